//! How several workers share out the pieces of a run, with nothing between them but a store.
//!
//! Each begins with its share, the longest pieces first, and then takes what nobody has done. Claims keep two from the same piece;
//! they are advice: where a claim is lost, or two hold one, a piece is computed twice, and whoever is second compares.

use crate::error::{Error, Result};
use crate::record::{WorkerRecord, unix_s};
use crate::store::{Claim, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pieces of work, by number.
pub trait Pieces {
    /// How many there are.
    fn count(&self) -> usize;

    /// Name of one: no other has it.
    fn name(&self, piece: usize) -> &str;

    /// Its work, in any unit.
    fn cost(&self, piece: usize) -> f64;

    /// What it has in common with others that are best done together.
    fn group(&self, piece: usize) -> usize;

    /// Pieces that must be done before.
    fn needs(&self, piece: usize) -> &[usize];

    /// Which are done, by whomever: a listing of the store.
    fn done(&self) -> Result<Vec<bool>>;

    /// Whether one is done: asked when it is about to be computed.
    fn is_done(&self, piece: usize) -> Result<bool>;

    /// Computes and stores one; whether it is done now, which it is not where something that it needs turned out to be damaged.
    fn compute(&mut self, piece: usize) -> Result<bool>;

    /// Stores that one failed for good; hands the problem back where there is no place for it.
    fn give_up(&mut self, piece: usize, problem: Error) -> Result<()>;
}

/// A worker, and when it is to end.
pub struct Worker<'a> {
    /// The run, which it has joined.
    pub store: &'a Store,
    /// Its name: no other has it.
    pub name: String,
    /// Its machine.
    pub host: String,
    /// Its share, from 0, and of how many.
    pub share: (usize, usize),
    /// Ends it within its piece.
    pub stop: &'a AtomicBool,
    /// Ends it after its piece.
    pub finish: &'a AtomicBool,
    /// How often it says that it is there.
    pub beat: Duration,
}

/// How often a worker says that it is there.
pub const BEAT: Duration = Duration::from_secs(10);

/// A worker of another machine that has said nothing for so many beats is gone. Network file systems may show what others write
/// a minute late (NFS: `acregmax`, `acdirmax`).
const GONE_AFTER: u32 = 9;

/// How often something that may pass is tried, and the waits between.
const TRIES: usize = 3;
const WAITS: [Duration; TRIES - 1] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The shortest and the longest wait for pieces that others compute.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// A wait looks so often at least whether it is to end.
const LONGEST_NAP: Duration = Duration::from_millis(200);
/// Of a thousand that wait for the last pieces, each asks the store every two seconds at first, and then every twenty.
const SHORTEST_A_WORKER: Duration = Duration::from_millis(2);
const LONGEST_A_WORKER: Duration = Duration::from_millis(20);

/// Claims of others of which is looked up, between two waits, whether their worker lives.
const MOST_LOOKS: usize = 8;

/// A wait is so many times as long as the listing of the store before it: a store that is slow is asked less.
const WAIT_A_LISTING: u32 = 4;

/// The order in which a worker takes pieces: those of its share, group by group, the longest of a group first; then those of the
/// other shares, from the next one on, each from its end, where its owner comes last. A share is a part of equal work of the pieces
/// in their order, so that it has few groups.
pub fn order(pieces: &dyn Pieces, (share, of): (usize, usize)) -> Vec<usize> {
    let total: f64 = (0..pieces.count()).map(|p| pieces.cost(p)).sum();
    let mut shares: Vec<Vec<usize>> = vec![Vec::new(); of];
    let mut before = 0.0;
    for piece in 0..pieces.count() {
        // by the middle of the piece: the shares differ by one at most
        let middle = before + pieces.cost(piece) / 2.0;
        shares[((middle / total * of as f64) as usize).min(of - 1)].push(piece);
        before += pieces.cost(piece);
    }
    for share in &mut shares {
        let longest_first = |a: &usize, b: &usize| pieces.cost(*b).total_cmp(&pieces.cost(*a));
        share.sort_by(|a, b| pieces.group(*a).cmp(&pieces.group(*b)).then_with(|| longest_first(a, b)));
    }
    let mut order = shares[share].clone();
    (1..of).for_each(|next| order.extend(shares[(share + next) % of].iter().rev()));
    order
}

/// Whether an error may be gone at the next try: memory, disks, networks.
pub fn may_pass(problem: &Error) -> bool {
    match problem {
        Error::Io { .. } | Error::Hub(_) => true,
        // `CUDA_ERROR_OUT_OF_MEMORY`, `out of memory`
        Error::Tensor(problem) => problem.to_string().to_lowercase().replace('_', " ").contains("out of memory"),
        _ => false,
    }
}

/// Who says what of himself, and which of the others are alive.
struct Roll<'a> {
    worker: &'a Worker<'a>,
    own: Mutex<WorkerRecord>,
    began: Instant,
    log: Mutex<File>,
    /// The last beat of others, and since when it is that.
    seen: Mutex<BTreeMap<String, (u64, Instant)>>,
}

impl Roll<'_> {
    /// Takes note of something that is said with the next beat.
    fn know(&self, change: impl FnOnce(&mut WorkerRecord)) {
        change(&mut self.own.lock().expect("nobody panics while holding it"));
    }

    fn say(&self, change: impl FnOnce(&mut WorkerRecord)) -> Result<()> {
        let mut own = self.own.lock().expect("nobody panics while holding it");
        change(&mut own);
        own.beat += 1;
        own.seconds = self.began.elapsed().as_secs_f64();
        own.unix_s = unix_s();
        self.worker.store.put_worker(&own)
    }

    /// The log is for people: work that is stored is not undone where it takes no line.
    fn log(&self, line: &str) {
        let _ = self.log.lock().expect("nobody panics while holding it").write_all(line.as_bytes());
    }

    /// Whether the worker of this name still computes, as far as can be seen from here.
    fn is_alive(&self, name: &str) -> bool {
        let Some(other) = self.worker.store.read_worker(name) else { return false };
        let is_gone = other.host == self.worker.host && process_is_gone(other.process);
        other.ended.is_none() && !is_gone && self.is_heard(name, other.beat)
    }

    /// Whether something of this name has changed lately.
    fn is_heard(&self, name: &str, now: u64) -> bool {
        let mut seen = self.seen.lock().expect("nobody panics while holding it");
        let (beat, since) = seen.entry(name.to_string()).or_insert((now, Instant::now()));
        if *beat != now {
            (*beat, *since) = (now, Instant::now());
        }
        since.elapsed() < self.worker.beat * GONE_AFTER
    }
}

/// Whether it is sure that a process of this machine is gone. Its number may have another by now: that one is waited for.
fn process_is_gone(process: u32) -> bool {
    Path::new("/proc/self").exists() && !Path::new("/proc").join(process.to_string()).exists()
}

/// Computes pieces until all are done, by whomever.
///
/// # Errors
/// [`Error::Interrupted`] by `stop`, [`Error::Unfinished`] by `finish`; what cannot be stored.
pub fn work(worker: &Worker, pieces: &mut dyn Pieces) -> Result<()> {
    let own = WorkerRecord {
        name: worker.name.clone(),
        host: worker.host.clone(),
        process: std::process::id(),
        shard: worker.share.0,
        of: worker.share.1,
        done: 0,
        work: 0.0,
        seconds: 0.0,
        beat: 0,
        unix_s: 0,
        ended: None,
    };
    let log = Mutex::new(worker.store.begin_log(&worker.name)?);
    let roll = Roll { worker, own: Mutex::new(own), began: Instant::now(), log, seen: Mutex::default() };
    // before its first claim: whoever is not known is not alive
    roll.say(|_| {})?;
    let (ended, wake) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let wake = wake;
            // a disk that takes no beat is met by the work itself
            while wake.recv_timeout(worker.beat) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = roll.say(|_| {});
            }
        });
        let result = take_turns(&roll, pieces);
        drop(ended);
        let status = result.as_ref().map_or_else(Error::exit_code, |()| 0);
        let said = roll.say(|own| own.ended = Some(status));
        result.and(said)
    })
}

fn take_turns(roll: &Roll, pieces: &mut dyn Pieces) -> Result<()> {
    let worker = roll.worker;
    let order = order(pieces, worker.share);
    let many = worker.share.1 as u32;
    let (shortest_wait, longest_wait) =
        (SHORTEST_WAIT + many * SHORTEST_A_WORKER, LONGEST_WAIT + many * LONGEST_A_WORKER);
    let mut wait = shortest_wait;
    // claims whose workers were found alive, since all were looked at last: the next round looks at others
    let mut looked_at: BTreeSet<usize> = BTreeSet::new();
    // pieces that are done, whatever a later listing says
    let mut found_done: BTreeSet<usize> = BTreeSet::new();
    loop {
        let listing = Instant::now();
        let (mut done, claimed) = (pieces.done()?, worker.store.claimed());
        let listing = listing.elapsed();
        // in the order, all before it are done; a chunk that was found to be damaged is not any more
        let Some(mut first) = order.iter().position(|piece| !done[*piece]) else { return Ok(()) };
        let (mut computed, mut is_stale, mut looks) = (false, false, 0);
        let mut at = first;
        while let Some(piece) = order.get(at).copied() {
            at += 1;
            if worker.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if worker.finish.load(Ordering::Relaxed) {
                return Err(Error::Unfinished);
            }
            if done[piece] || pieces.needs(piece).iter().any(|need| !done[*need]) {
                continue;
            }
            let name = pieces.name(piece).to_string();
            if claimed.contains(&name) && (looks >= MOST_LOOKS || looked_at.contains(&piece)) {
                continue;
            }
            match worker.store.claim(&name, &worker.name)? {
                Claim::Of(holder) if holder == worker.name => {}
                Claim::Of(holder) if roll.is_alive(&holder) => {
                    looked_at.insert(piece);
                    looks += 1;
                    continue;
                }
                // by one who is about to write his name, or died before he did
                Claim::Nameless if roll.is_heard(&name, 0) => continue,
                Claim::Of(_) | Claim::Nameless => worker.store.take_claim(&name, &worker.name)?,
                Claim::Ours => {}
            }
            if pieces.is_done(piece)? {
                worker.store.drop_claim(&name)?;
                done[piece] = true;
                // others have done this one, and more: one listing finds them all, unless it lags behind, as that of a network may
                is_stale = found_done.insert(piece);
                if is_stale {
                    break;
                }
                continue;
            }
            let is_done = try_piece(roll, pieces, piece)?;
            worker.store.drop_claim(&name)?;
            let cost = pieces.cost(piece);
            let count = |own: &mut WorkerRecord| (own.done, own.work) = (own.done + 1, own.work + cost);
            match roll.began.elapsed() < worker.beat {
                true => roll.say(count)?, // how fast it is, need not wait for a beat
                false => roll.know(count),
            }
            at = first; // what it made ready may come before it
            if !is_done {
                break; // what it needs is not there after all
            }
            (computed, done[piece]) = (true, true);
            found_done.insert(piece);
            while order.get(first).is_some_and(|piece| done[*piece]) {
                first += 1;
            }
        }
        if looks < MOST_LOOKS {
            looked_at.clear();
        }
        match computed || is_stale {
            true => wait = shortest_wait,
            false => {
                let long = wait.max(listing * WAIT_A_LISTING).min(longest_wait);
                sleep(long, worker.stop, worker.finish);
                wait = (long * 2).min(longest_wait);
            }
        }
    }
}

/// Sleeps, unless it is to end.
fn sleep(time: Duration, stop: &AtomicBool, finish: &AtomicBool) {
    let (began, nap) = (Instant::now(), (time / 10).clamp(SHORTEST_WAIT, LONGEST_NAP));
    while began.elapsed() < time && !stop.load(Ordering::Relaxed) && !finish.load(Ordering::Relaxed) {
        std::thread::sleep(nap.min(time.saturating_sub(began.elapsed())));
    }
}

/// Computes a piece, three times at most where what went wrong may pass. Whether it is done, if only as failed.
fn try_piece(roll: &Roll, pieces: &mut dyn Pieces, piece: usize) -> Result<bool> {
    let (mut waits, name) = (WAITS.iter(), pieces.name(piece).to_string());
    let log = |seconds: &str, word: &str| roll.log(&format!("{name},{seconds},\"{word}\"\n"));
    loop {
        let began = Instant::now();
        log("", "begun");
        let result = pieces.compute(piece);
        let word = match &result {
            Ok(true) => "done".to_string(),
            Ok(false) => "damaged".to_string(),
            Err(problem) => problem.to_string().replace(['"', '\n'], " "),
        };
        log(&format!("{:.3}", began.elapsed().as_secs_f64()), &word);
        let problem = match result {
            Ok(is_done) => return Ok(is_done),
            Err(problem @ (Error::Interrupted | Error::Unfinished | Error::Store(_) | Error::Absent(_))) => {
                return Err(problem);
            }
            Err(problem) => problem,
        };
        if may_pass(&problem) {
            match waits.next() {
                Some(wait) => {
                    sleep(*wait, roll.worker.stop, roll.worker.finish);
                    continue;
                }
                // another machine may have what this one lacks
                None if matches!(problem, Error::Io { .. } | Error::Hub(_)) => return Err(problem),
                None => {}
            }
        }
        pieces.give_up(piece, problem)?;
        return Ok(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::path::PathBuf;

    /// How often it fails, and how.
    type Fails = (usize, fn() -> Error);

    /// Pieces that are files, some of which fail a few times.
    struct Files {
        names: Vec<String>,
        costs: Vec<f64>,
        groups: Vec<usize>,
        needs: Vec<Vec<usize>>,
        folder: PathBuf,
        /// Tries of a piece that fail, and how.
        fails: BTreeMap<usize, Fails>,
        order: Vec<usize>,
        /// A piece that finds another damaged, once.
        finds_damaged: Option<(usize, usize)>,
        /// Until then a listing knows of none.
        lags_until: Option<Instant>,
        listings: Cell<usize>,
    }

    impl Files {
        fn new(folder: &Path, costs: &[f64], groups: &[usize]) -> Files {
            Files {
                names: (0..costs.len()).map(|i| format!("piece-{i},0,0")).collect(),
                costs: costs.to_vec(),
                groups: groups.to_vec(),
                needs: vec![Vec::new(); costs.len()],
                folder: folder.to_path_buf(),
                fails: BTreeMap::new(),
                order: Vec::new(),
                finds_damaged: None,
                lags_until: None,
                listings: Cell::new(0),
            }
        }

        fn place(&self, piece: usize) -> PathBuf {
            self.folder.join(piece.to_string())
        }
    }

    impl Pieces for Files {
        fn count(&self) -> usize {
            self.names.len()
        }
        fn name(&self, piece: usize) -> &str {
            &self.names[piece]
        }
        fn cost(&self, piece: usize) -> f64 {
            self.costs[piece]
        }
        fn group(&self, piece: usize) -> usize {
            self.groups[piece]
        }
        fn needs(&self, piece: usize) -> &[usize] {
            &self.needs[piece]
        }
        fn done(&self) -> Result<Vec<bool>> {
            self.listings.update(|n| n + 1);
            let lags = self.lags_until.is_some_and(|end| Instant::now() < end);
            (0..self.count()).map(|piece| Ok(!lags && self.is_done(piece)?)).collect()
        }
        fn is_done(&self, piece: usize) -> Result<bool> {
            Ok(self.place(piece).exists())
        }
        fn compute(&mut self, piece: usize) -> Result<bool> {
            if let Some((left, problem)) = self.fails.get_mut(&piece).filter(|(left, _)| *left > 0) {
                *left -= 1;
                return Err(problem());
            }
            if let Some((_, damaged)) = self.finds_damaged.take_if(|(finder, _)| *finder == piece) {
                std::fs::remove_file(self.place(damaged)).map_err(Error::io("remove", &self.folder))?;
                return Ok(false);
            }
            self.order.push(piece);
            std::fs::write(self.place(piece), "done").map_err(Error::io("write", &self.folder))?;
            Ok(true)
        }
        fn give_up(&mut self, piece: usize, problem: Error) -> Result<()> {
            std::fs::write(self.place(piece), problem.to_string()).map_err(Error::io("write", &self.folder))
        }
    }

    fn worker<'a>(store: &'a Store, name: &str, never: &'a AtomicBool) -> Worker<'a> {
        let beat = Duration::from_millis(20);
        Worker { store, name: name.into(), host: "here".into(), share: (0, 1), stop: never, finish: never, beat }
    }

    fn said(name: &str, host: &str, process: u32, ended: Option<u8>) -> WorkerRecord {
        WorkerRecord {
            name: name.into(),
            host: host.into(),
            process,
            shard: 0,
            of: 1,
            done: 0,
            work: 0.0,
            seconds: 0.0,
            beat: 7,
            unix_s: 0,
            ended,
        }
    }

    #[test]
    fn shares_are_of_equal_work_and_begin_with_the_longest_of_a_group() {
        let folder = tempfile::tempdir().unwrap();
        let costs = [1.0, 5.0, 2.0, 2.0, 1.0, 3.0, 4.0, 2.0, 6.0, 1.0, 1.0, 2.0];
        let files = Files::new(folder.path(), &costs, &[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        let orders: Vec<Vec<usize>> = (0..3).map(|k| order(&files, (k, 3))).collect();
        for order in &orders {
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), costs.len(), "each takes all at last");
        }
        // 30 in all: ten each
        assert_eq!([0, 1, 2].map(|k| orders[k][..4].to_vec()), [[1, 2, 3, 0], [5, 4, 6, 7], [8, 11, 9, 10]]);
        assert_eq!(orders[0][4..], [7, 6, 4, 5, 10, 9, 11, 8], "of the others, what they come to last");
    }

    #[test]
    fn what_is_needed_comes_first_and_what_others_did_is_not_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::join(&folder.path().join("run")).unwrap();
        let mut files = Files::new(folder.path(), &[9.0, 1.0, 2.0], &[0; 3]);
        files.needs[0] = vec![1];
        std::fs::write(files.place(2), "by another").unwrap();
        let never = AtomicBool::new(false);
        work(&worker(&store, "a", &never), &mut files).unwrap();
        assert_eq!(files.order, [1, 0]);
        assert!(store.claims().is_empty());
        assert_eq!(store.read_worker("a").map(|w| (w.done, w.work, w.ended)), Some((2, 10.0, Some(0))));
    }

    #[test]
    fn what_was_done_and_is_not_any_more_is_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::join(&folder.path().join("run")).unwrap();
        let mut files = Files::new(folder.path(), &[1.0; 3], &[0; 3]);
        files.needs = vec![vec![], vec![0], vec![1]];
        let never = AtomicBool::new(false);
        files.finds_damaged = Some((1, 0));
        work(&worker(&store, "a", &never), &mut files).unwrap();
        assert_eq!(files.order, [0, 0, 1, 2], "and what needs it waits");
    }

    #[test]
    fn a_listing_that_lags_behind_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::join(&folder.path().join("run")).unwrap();
        let mut files = Files::new(folder.path(), &[1.0; 3], &[0; 3]);
        std::fs::write(files.place(0), "by another").unwrap();
        let never = AtomicBool::new(false);
        files.lags_until = Some(Instant::now() + Duration::from_millis(300));
        work(&worker(&store, "a", &never), &mut files).unwrap();
        assert_eq!(files.order, [1, 2]);
        // one at once for what another did, and then waits that double
        assert!((3..15).contains(&files.listings.get()), "{} listings", files.listings.get());
    }

    #[test]
    fn a_claim_counts_as_long_as_its_worker_lives() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::join(&folder.path().join("run")).unwrap();
        let never = AtomicBool::new(false);
        // one that never was, one that said it ended, one whose process is gone, and one of elsewhere that says nothing more
        let gone = [("ended", "there", 1, Some(0)), ("killed", "here", u32::MAX, None), ("silent", "there", 1, None)];
        for (name, host, process, ended) in gone {
            store.put_worker(&said(name, host, process, ended)).unwrap();
        }
        let mut files = Files::new(folder.path(), &[1.0; 4], &[0; 4]);
        for (piece, holder) in ["nobody", "ended", "killed", "silent"].iter().enumerate() {
            assert_eq!(store.claim(files.name(piece), holder).unwrap(), Claim::Ours);
        }
        let began = Instant::now();
        work(&worker(&store, "a", &never), &mut files).unwrap();
        assert_eq!(files.order[3], 3, "who is silent is waited for");
        assert!(began.elapsed() >= Duration::from_millis(20) * GONE_AFTER);
        // a claim without a name is one that is being written
        let mut files = Files::new(&folder.path().join("run"), &[1.0], &[0]);
        files.names = vec!["nameless,0,0".into()];
        std::fs::write(folder.path().join("run/work/claims/nameless,0,0"), "").unwrap();
        let began = Instant::now();
        work(&worker(&store, "c", &never), &mut files).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(20) * GONE_AFTER);
        std::fs::remove_file(files.place(0)).unwrap();
        // one that goes on speaking keeps its piece, until it is done
        let mut files = Files::new(folder.path(), &[1.0], &[0]);
        files.names = vec!["held,0,0".into()];
        files.folder = folder.path().join("run");
        store.put_worker(&said("alive", "there", 1, None)).unwrap();
        store.claim("held,0,0", "alive").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for beat in 8..60 {
                    store.put_worker(&WorkerRecord { beat, ..said("alive", "there", 1, None) }).unwrap();
                    std::thread::sleep(Duration::from_millis(10));
                }
                std::fs::write(folder.path().join("run/0"), "by its owner").unwrap();
            });
            work(&worker(&store, "b", &never), &mut files).unwrap();
        });
        assert_eq!(files.order, Vec::<usize>::new());
    }

    #[test]
    fn the_claim_of_the_dead_is_found_behind_those_of_many_who_live() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::join(&folder.path().join("run")).unwrap();
        let (never, finish) = (AtomicBool::new(false), AtomicBool::new(false));
        let mut files = Files::new(folder.path(), &[1.0; 61], &[0; 61]);
        store.put_worker(&said("alive", "there", 1, None)).unwrap();
        for piece in 0..60 {
            store.claim(files.name(piece), "alive").unwrap();
        }
        store.claim(files.name(60), "nobody").unwrap();
        let taken = files.place(60);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let began = Instant::now();
                // whoever looks at the same eight each time takes it when all others are gone: after 90 s
                while !taken.exists() && began.elapsed() < Duration::from_secs(60) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                finish.store(true, Ordering::Relaxed);
            });
            let worker = Worker { finish: &finish, beat: BEAT, ..worker(&store, "a", &never) };
            assert!(matches!(work(&worker, &mut files), Err(Error::Unfinished)));
        });
        assert_eq!(files.order, [60]);
    }

    #[test]
    fn what_may_pass_is_tried_three_times_and_what_cannot_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::join(&folder.path().join("run")).unwrap();
        let never = AtomicBool::new(false);
        let memory = || Error::Tensor(candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY".into()));
        let shape = || Error::Tensor(candle_core::Error::Msg("shape mismatch".into()));
        let mut files = Files::new(folder.path(), &[1.0; 2], &[0; 2]);
        files.fails = BTreeMap::from([(0, (1, memory as fn() -> Error)), (1, (9, shape as fn() -> Error))]);
        work(&worker(&store, "a", &never), &mut files).unwrap();
        assert_eq!((files.order.as_slice(), files.fails[&1].0), (&[0][..], 8), "a shape is wrong at every try");
        assert_eq!(std::fs::read_to_string(files.place(1)).unwrap(), "tensor: shape mismatch");
        let mut files = Files::new(&folder.path().join("run"), &[1.0], &[0]);
        files.fails = BTreeMap::from([(0, (9, memory as fn() -> Error))]);
        work(&worker(&store, "b", &never), &mut files).unwrap();
        assert_eq!(files.fails[&0].0, 6, "three tries, and then a row says so");
    }
}
