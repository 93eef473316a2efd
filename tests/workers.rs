//! Several processes that compute one run together: they are as one, whatever kills them.

#[path = "support/attempts.rs"]
mod attempts;
mod support;

use attempts::results;
use foolproof::data::Source;
use foolproof::error::Error;
use foolproof::record::{UnitRecord, Witnesses};
use foolproof::store::Store;
use foolproof::sweep::plan;
use foolproof::sweep::run::{self, Event, Machine};
use foolproof::sweep::status::status;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use support::foolproof;

/// Cells that share a run, that go on from another, that paste what is fitted, that other nets judge, and that are explained.
const SWEEP: &str = r#"
name = "shared"
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["2/255", "8/255"] }, { norm = "l2", eps = ["0.25"] }]
attacks = [{ name = "noise" }, { name = "pgd", steps = [5, 20], random_start = true }, { name = "fmn", steps = 20 }]
transfer_to = ["vgg11-half-cifar10-robust"]
explain = true
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", take = 8 }
goals   = ["untargeted"]
mode    = "within"
threats = [{ norm = "linf", eps = ["1/255", "2/255", "4/255"] }]
attacks = [{ name = "pgd", steps = 5 }, { name = "admix", steps = 4 }]
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", first = 1, every = 2 }
train   = { name = "cifar10-sample", first = 0, every = 2 }
goals   = ["target:ship"]
threats = [{ norm = "patch", area = ["10 %", "20 %"] }]
attacks = [{ name = "patch", steps = 10 }, { name = "paste", content = "grey" }]
"#;

/// A folder with the sweep file; runs go below it.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new(text: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sweep.toml"), text).unwrap();
        Bench(folder)
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = foolproof();
        command.current_dir(self.0.path()).args(arguments.split_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Worker `k` of 6, in chunks of two images.
    fn worker(&self, out: &str, k: usize) -> Child {
        let arguments = format!("worker --config sweep.toml --shard {k}/6 --chunk 2 --threads 1 --quiet --out {out}");
        self.command(&arguments).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Worker 0 of 6, which has begun.
    fn worker_at_work(&self, out: &str) -> Child {
        let (mut worker, began) = (self.worker(out, 0), Instant::now());
        while !self.dir(out).join("work/log").exists() {
            assert!(began.elapsed() < Duration::from_secs(60) && worker.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        worker
    }

    fn dir(&self, out: &str) -> std::path::PathBuf {
        self.0.path().join(out).join("shared")
    }

    /// Lines of the logs of all workers: what was begun, and what was done, how often.
    fn log(&self, out: &str) -> BTreeMap<String, [usize; 2]> {
        let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
        for file in fs::read_dir(self.dir(out).join("work/log")).unwrap() {
            for line in fs::read_to_string(file.unwrap().path()).unwrap().lines().skip(1) {
                let fields: Vec<&str> = line.splitn(5, ',').collect();
                let count = counts.entry(fields[..3].join(",")).or_default();
                match fields[4] {
                    "\"begun\"" => count[0] += 1,
                    "\"done\"" => count[1] += 1,
                    other => panic!("{line}: {other}"),
                }
            }
        }
        counts
    }
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Names of what is still being written below a folder.
fn leftovers(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".tmp-") {
            found.push(name);
        } else if entry.path().is_dir() {
            found.extend(leftovers(&entry.path()));
        }
    }
    found
}

#[test]
fn six_workers_are_as_one_run() {
    let bench = Bench::new(SWEEP);
    assert_eq!(code(&bench.run("--config sweep.toml --quiet --out alone")), Some(0));
    let workers: Vec<Child> = (0..6).map(|k| bench.worker("together", k)).collect();
    for worker in workers {
        assert_eq!(worker.wait_with_output().unwrap().status.code(), Some(0));
    }
    let log = bench.log("together");
    assert!(log.len() > 100 && log.values().all(|counts| *counts == [1, 1]), "{log:?}");
    assert_eq!(code(&bench.run("merge shared --out together")), Some(0));
    assert!(results(&bench.dir("together")) == results(&bench.dir("alone")));
    assert!(!bench.dir("together").join("work").exists(), "no trace of the chunks");
    assert_eq!(code(&bench.run("report shared --quiet --out together")), Some(0));
    let tables = |out: &str| {
        let tables = fs::read_dir(bench.dir(out).join("tables")).unwrap().flatten();
        tables.map(|t| (t.file_name(), fs::read(t.path()).unwrap())).collect::<BTreeMap<_, _>>()
    };
    assert!(tables("together") == tables("alone"));
    let verified = bench.run("verify shared --quiet --out together");
    assert_eq!(code(&verified), Some(0), "{}", said(&verified));
}

/// 200 kills: SIGKILL to one of six workers at a time, which is started again at once.
#[test]
fn two_hundred_kills_lose_nothing_and_cost_a_chunk_each() {
    const KILLS: usize = 200;
    let bench = Bench::new(SWEEP);
    assert_eq!(code(&bench.run("--config sweep.toml --quiet --out alone")), Some(0));
    let expected = results(&bench.dir("alone"));
    let (mut kills, mut rounds, mut recomputed) = (0, 0, 0);
    while kills < KILLS {
        rounds += 1;
        let (out, before) = (format!("round-{rounds}"), kills);
        let mut workers: Vec<Child> = (0..6).map(|k| bench.worker(&out, k)).collect();
        while kills < KILLS {
            // a little longer than it takes to plan, so that something is computed
            std::thread::sleep(Duration::from_millis(60 + 37 * (kills as u64 % 5)));
            if workers.iter_mut().all(|w| w.try_wait().unwrap().is_some()) {
                break;
            }
            // two at once; one that has ended cannot be killed
            for k in [kills % 6, (kills + 3) % 6] {
                if workers[k].try_wait().unwrap().is_none() {
                    workers[k].kill().unwrap();
                    workers[k].wait().unwrap();
                    kills += 1;
                }
                workers[k] = bench.worker(&out, k);
            }
        }
        for worker in workers {
            assert_eq!(worker.wait_with_output().unwrap().status.code(), Some(0));
        }
        let again: usize = bench.log(&out).values().map(|[begun, _]| begun - 1).sum();
        assert!(again <= kills - before, "{again} pieces were begun again after {} kills", kills - before);
        recomputed += again;
        let merged = bench.run(&format!("merge shared --out {out}"));
        assert_eq!(code(&merged), Some(0), "{}", said(&merged));
        assert!(results(&bench.dir(&out)) == expected, "round {rounds}");
        assert_eq!(leftovers(&bench.dir(&out)), Vec::<String>::new());
        assert!(!bench.dir(&out).join("work").exists());
        assert!(!bench.dir(&out).join("conflicts").exists());
    }
    println!("{kills} kills in {rounds} runs: 0 cells lost, 0 differ, {recomputed} pieces begun again");
}

#[cfg(unix)]
#[test]
fn usr1_ends_a_worker_after_its_piece_and_another_goes_on() {
    let bench = Bench::new(SWEEP);
    let mut worker = bench.worker_at_work("out");
    assert!(Command::new("kill").args(["-USR1", &worker.id().to_string()]).status().unwrap().success());
    assert_eq!(worker.wait().unwrap().code(), Some(75));
    let log = bench.log("out");
    assert!(log.values().all(|[begun, done]| begun == done), "nothing is begun and not done: {log:?}");
    let store = Store::open(&bench.dir("out")).unwrap();
    let said = store.workers();
    assert_eq!((said.len(), said[0].ended), (1, Some(75)));
    assert!(store.claims().is_empty());
    let merged = bench.run("merge shared --out out");
    assert_eq!(code(&merged), Some(4));
    assert!(self::said(&merged).contains("cells are missing, and "), "{}", self::said(&merged));
    assert_eq!(bench.worker("out", 0).wait().unwrap().code(), Some(0));
    assert!(bench.log("out").values().all(|counts| *counts == [1, 1]), "nothing is computed twice");
}

#[test]
fn workers_by_one_command_and_what_they_leave() {
    let bench = Bench::new(SWEEP);
    let output = bench.run("--config sweep.toml --workers 3 --threads 2 --chunk 5 --out out");
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    assert!(said(&output).contains("3 workers of 1 threads"), "{}", said(&output));
    let cells = Store::open(&bench.dir("out")).unwrap().ids().unwrap().len();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with(&format!("{cells} cells computed, 0 cached, 0 failed\n")), "{stdout}");
    assert!(bench.dir("out").join("report.html").exists());
    assert!(!bench.dir("out").join("work").exists());
}

fn machine(chunk: usize) -> Machine {
    Machine { chunk: Some(chunk), ..support::machine(None) }
}

/// One cell of 16 images.
const CELL: &str = r#"
name = "cell"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["1/255"] }]
attacks = [{ name = "pgd", steps = [5, 30], random_start = true }]
"#;

fn attempt(folder: &Path, chunk: usize, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<run::Done, Error> {
    let plan = plan::parse(Path::new("x.toml"), CELL, &Source::new("nowhere")).unwrap();
    run::run(&plan, &Store::create(folder).unwrap(), &machine(chunk), stop, tell)
}

#[test]
fn a_run_that_is_stopped_goes_on_from_its_last_chunk_and_leaves_none() {
    let whole = tempfile::tempdir().unwrap();
    attempt(whole.path(), 16, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut settled = 0;
    let halt = &mut |event| {
        if let Event::Settled { images, .. } = event {
            settled += images;
            stop.store(settled >= 8, std::sync::atomic::Ordering::Relaxed);
        }
    };
    assert!(matches!(attempt(folder.path(), 4, &stop, halt), Err(Error::Interrupted)));
    let store = Store::open(folder.path()).unwrap();
    let chunks = store.all_chunks();
    assert_eq!(chunks.values().map(|c| c.iter().copied().collect::<Vec<_>>()).collect::<Vec<_>>(), [[(0, 4), (4, 8)]]);
    // marked, to be seen in what is made of it; the other is damaged, and so computed again
    let (unit, _) = chunks.first_key_value().unwrap();
    let mut first = store.read_chunk(unit, &(0..4)).unwrap();
    first.provenance.time_s = 1000.0;
    store.drop_chunk(unit, &(0..4)).unwrap();
    store.put_chunk(unit, &(0..4), &first).unwrap();
    let second = folder.path().join("work/chunks").join(unit).join("4-8");
    let mut bytes = fs::read(&second).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&second, bytes).unwrap();
    attempt(folder.path(), 4, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert!(results(folder.path()) == results(whole.path()));
    assert!(!folder.path().join("work").exists());
    assert!(store.cell_provenance(unit).unwrap().time_s > 1000.0);
}

#[test]
fn who_comes_second_compares() {
    let whole = tempfile::tempdir().unwrap();
    attempt(whole.path(), 16, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let source = Store::open(whole.path()).unwrap();
    let id = source.ids().unwrap().remove(0);
    let (cell, witnesses) = (source.read(&id).unwrap(), source.read_witnesses(&id).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [0, 1].map(|_| Store::join(folder.path()).unwrap());
    let put = |store: &Store, witnesses: &Witnesses, error: Option<&str>| {
        let provenance = foolproof::record::Provenance { error: error.map(String::from), ..cell.provenance.clone() };
        match error {
            Some(_) => store.put_failed(&cell.cell, provenance),
            None => store.put(&cell.cell, &cell.outcomes, witnesses, [32; 2], provenance),
        }
    };
    put(&one, &witnesses, Some("no memory")).unwrap();
    put(&two, &witnesses, None).unwrap();
    put(&one, &witnesses, Some("no memory")).unwrap();
    put(&one, &witnesses, None).unwrap();
    assert!(two.read_witnesses(&id).unwrap() == witnesses, "what failed does not replace what is done");
    let Witnesses::U8(mut pixels) = witnesses.clone() else { panic!("8-bit witnesses") };
    pixels[0] ^= 1;
    let problem = put(&two, &Witnesses::U8(pixels), None).unwrap_err().to_string();
    assert!(problem.contains("computed twice, and differently") && problem.contains("(hint: "), "{problem}");
    assert!(one.read_witnesses(&id).unwrap() == witnesses, "the first is kept");
    let kept = folder.path().join("conflicts").join(format!("cells-{id}"));
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 4, "and so is the second, with all its files");
    assert_eq!(leftovers(folder.path()), Vec::<String>::new());
    let alone = Store::create(folder.path()).err().expect("others have joined").to_string();
    assert!(alone.contains("another foolproof is writing"), "{alone}");
}

#[test]
fn a_status_counts_what_the_store_has() {
    let bench = Bench::new(SWEEP);
    let mut worker = bench.worker("out", 3);
    let began = Instant::now();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    loop {
        assert!(began.elapsed() < Duration::from_secs(60) && worker.try_wait().unwrap().is_none());
        let store = Store::open(&bench.dir("out"));
        let known = store.and_then(|store| status(&store, now()));
        if let Ok(known) = known.as_ref()
            && known.chunks.as_ref().is_some_and(|chunks| chunks.done > 5)
        {
            let cells = &known.cells;
            assert_eq!(cells.done + cells.running + cells.failed + cells.missing, 34);
            assert_eq!((known.workers.len(), known.workers[0].state.as_str()), (1, "at work"));
            assert!(known.seconds_left.is_some_and(|s| s > 0.0));
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    // killed between a chunk and its claim: what is stored does not run
    let store = Store::open(&bench.dir("out")).unwrap();
    let (work, stored) = (store.read_work().unwrap(), store.all_chunks());
    let mut chunks = work.units.iter().flat_map(|unit| unit.cuts.windows(2).map(move |cut| (unit, cut[0], cut[1])));
    let is_done = |(unit, from, to): &(&UnitRecord, usize, usize)| {
        let of_unit = stored.get(unit.cells.last().unwrap());
        unit.cells.iter().all(|id| store.has(id)) || of_unit.is_some_and(|ranges| ranges.contains(&(*from, *to)))
    };
    let (unit, from, to) = chunks.find(is_done).expect("some are");
    let before = status(&store, now()).unwrap().chunks.unwrap();
    store.claims().keys().for_each(|what| store.drop_claim(what).unwrap());
    store.claim(&format!("{},{from},{to}", unit.cells.last().unwrap()), &store.workers()[0].name).unwrap();
    let after = status(&store, now()).unwrap().chunks.unwrap();
    assert_eq!((after.running, after.done), (0, before.done));
    assert_eq!(after.done + after.missing, before.done + before.running + before.missing);
    let known = status(&store, now() + 1000).unwrap();
    assert_eq!((known.workers[0].state.as_str(), known.cells.running), ("silent", 0));
    let output = bench.run("status shared --out out --json");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["workers"][0]["shard"], 3);
}

/// Cells that go on from each other, and that other nets judge.
const CHAIN: &str = r#"
name = "shared"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", take = 8 }
goals   = ["untargeted"]
mode    = "within"
threats = [{ norm = "linf", eps = ["1/255", "2/255", "4/255"] }]
attacks = [{ name = "pgd", steps = 60 }]
transfer_to = ["vgg11-half-cifar10-robust"]
explain = true
"#;

#[test]
fn what_is_damaged_on_the_way_is_computed_again() {
    let bench = Bench::new(CHAIN);
    assert_eq!(code(&bench.run("--config sweep.toml --quiet --out alone")), Some(0));
    let mut worker = bench.worker("out", 0);
    let chunks = || Store::open(&bench.dir("out")).map(|store| store.all_chunks()).unwrap_or_default();
    let began = Instant::now();
    while chunks().values().all(|ranges| ranges.len() < 2) {
        assert!(began.elapsed() < Duration::from_secs(60) && worker.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(2));
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    let mut damaged = 0;
    for (unit, ranges) in chunks() {
        for (from, to) in ranges {
            let file = bench.dir("out").join(format!("work/chunks/{unit}/{from}-{to}"));
            let bytes = fs::read(&file).unwrap();
            fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
            damaged += 1;
        }
        // no text, and of nobody
        fs::write(bench.dir("out").join(format!("work/claims/{unit},0,2")), [0xff, 0xfe, 0]).unwrap();
    }
    assert!(damaged >= 2);
    assert_eq!(bench.worker("out", 0).wait().unwrap().code(), Some(0));
    let merged = bench.run("merge shared --out out");
    assert_eq!(code(&merged), Some(0), "{}", said(&merged));
    assert!(results(&bench.dir("out")) == results(&bench.dir("alone")));
}

#[test]
fn what_is_to_be_made_of_stored_cells_is_missed_too() {
    let bench = Bench::new(CHAIN);
    assert_eq!(bench.worker("out", 0).wait().unwrap().code(), Some(0));
    for shelf in ["transfers", "explanations"] {
        let one = fs::read_dir(bench.dir("out").join(shelf)).unwrap().next().unwrap().unwrap();
        fs::remove_dir_all(one.path()).unwrap();
    }
    for verb in ["merge", "report"] {
        let output = bench.run(&format!("{verb} shared --out out"));
        let text = said(&output);
        assert_eq!(code(&output), Some(4), "{text}");
        for missing in
            ["missing: what `vgg11-half-cifar10-robust` says of cell", "missing: the maps of cell", "0 of 3 cells"]
        {
            assert!(text.contains(missing), "{text}");
        }
    }
    assert!(said(&bench.run("status shared --out out")).contains("verdicts of other networks and maps: 2 missing"));
    assert_eq!(bench.worker("out", 0).wait().unwrap().code(), Some(0));
    assert_eq!(code(&bench.run("merge shared --out out")), Some(0));
}

#[test]
fn another_sweep_of_the_same_name_is_refused_while_workers_are_at_work() {
    let bench = Bench::new(SWEEP);
    let mut worker = bench.worker_at_work("out");
    fs::write(bench.0.path().join("other.toml"), CHAIN).unwrap();
    let other = bench.run("worker --config other.toml --out out");
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(code(&other), Some(1));
    assert!(said(&other).contains("workers of another sweep named `shared` are at work"), "{}", said(&other));
}
