//! `mode = "within"`: what breaks at a small budget counts at every larger one, and the others are attacked on.

mod support;

use foolproof::analysis::Summary;
use foolproof::data::Source;
use foolproof::record::{CARRIED, Outcome, Witnesses};
use foolproof::store::Store;
use foolproof::sweep::{plan, run, verify};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use support::{machine, stored, sweep};

fn text(mode: &str, eps: &str) -> String {
    format!(
        "name = \"within\"\nseed = 1\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\", \"vgg11-half-cifar10-robust\"]\n\
         data = {{ name = \"cifar10-sample\" }}\ngoals = [\"untargeted\"]\nmode = \"{mode}\"\n\
         threats = [{{ norm = \"linf\", eps = {eps} }}]\n\
         attacks = [{{ name = \"fgsm\" }}, {{ name = \"pgd\", steps = 5, restarts = 2 }}]\n"
    )
}

#[test]
fn attacks_whose_last_iterate_counts_say_that_it_is_no_choice() {
    for (mode, told) in [("within", true), ("at", false)] {
        let text = text(mode, LADDER).replace("{ name = \"fgsm\" }", "{ name = \"mi-fgsm\" }");
        let plan = plan::parse(Path::new("test.toml"), &text, &Source::new("nowhere")).unwrap();
        let notes = plan.notes_of(&plan.cells[0]);
        assert_eq!(
            notes.iter().any(|note| note.contains("attack `mi-fgsm`: with `mode = \"within\"`")),
            told,
            "{notes:?}"
        );
    }
}

const LADDER: &str = "[\"8/255\", \"1/255\", \"16/255\", \"2/255\", \"1/255\", \"4/255\"]";

/// The cells of each ladder, in order.
fn ladders(cells: &[Summary]) -> Vec<&[Summary]> {
    cells.chunk_by(|a, b| a.cell.model == b.cell.model && a.cell.attack == b.cell.attack).collect()
}

#[test]
fn a_broken_image_stays_broken_and_costs_nothing_more() {
    let (folder, cells) = sweep(&text("within", LADDER), &Source::new("nowhere"), None);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(ladders(&cells).len(), 4);
    let mut carried = 0;
    for ladder in ladders(&cells) {
        let eps: Vec<String> = ladder.iter().map(|s| s.cell.threat.eps_text()).collect();
        assert_eq!(eps, ["1/255", "2/255", "4/255", "8/255", "16/255"], "sorted, each once");
        assert!(ladder.iter().all(|s| s.cell.mode.name() == "within"));
        let rows = stored(folder.path(), ladder);
        for (small, large) in (0..4).map(|i| (&rows[i], &rows[i + 1])) {
            let images = |id: &str| match store.read_witnesses(id).unwrap() {
                Witnesses::U8(v) => v,
                Witnesses::F32(_) => panic!("8-bit witnesses"),
            };
            let (before, after) = (images(&small.cell.id()), images(&large.cell.id()));
            let broken = |o: &Outcome| o.success == Some(true);
            for (k, (a, b)) in small.outcomes.iter().zip(&large.outcomes).enumerate() {
                assert_eq!(b.has(CARRIED), broken(a), "{a:?} {b:?}");
                if !broken(a) {
                    assert!(b.restart == 0 && b.backwards <= 5, "goes on in one run: {b:?}");
                }
                if broken(a) {
                    carried += 1;
                    assert!(broken(b), "robust accuracy never rises");
                    assert_eq!((a.step, a.restart, a.linf_255), (b.step, b.restart, b.linf_255));
                    assert_eq!((b.forwards, b.backwards), (0, 0));
                    assert_eq!(before[k * 3072..(k + 1) * 3072], after[k * 3072..(k + 1) * 3072]);
                }
            }
        }
    }
    assert!(carried > 50, "{carried}");
    let findings = verify::verify(&store, &Source::new("nowhere"), &machine(None)).unwrap();
    assert!(findings.problems.is_empty(), "{:?}", findings.problems);
}

#[test]
fn the_smallest_budget_is_attacked_as_it_is_alone() {
    let (_, within) = sweep(&text("within", "[\"2/255\"]"), &Source::new("nowhere"), None);
    let (_, at) = sweep(&text("at", "[\"2/255\"]"), &Source::new("nowhere"), None);
    for (a, b) in within.iter().zip(&at).filter(|(a, _)| a.cell.attack.name == "fgsm") {
        assert_eq!(a.rates.as_ref().unwrap().robust_correct, b.rates.as_ref().unwrap().robust_correct);
        assert_ne!(a.id, b.id, "the mode is part of the cell");
    }
}

/// A ball of radius 0 has given no restart.
#[test]
fn a_rung_of_no_radius_uses_up_no_restart() {
    let rows = |eps: &str| {
        let (folder, cells) = sweep(&text("within", eps), &Source::new("nowhere"), None);
        let cells: Vec<Summary> = cells.into_iter().filter(|s| s.cell.threat.eps_text() == "1/255").collect();
        assert_eq!(cells.len(), 4);
        stored(folder.path(), &cells)
    };
    let (from_zero, alone) = (rows("[\"0\", \"1/255\"]"), rows("[\"1/255\"]"));
    let mut twice = 0;
    for (a, b) in from_zero.iter().zip(&alone) {
        let steps = if a.cell.attack.name == "pgd" { 5 } else { 1 };
        for (a, b) in a.outcomes.iter().zip(&b.outcomes) {
            assert!(!a.has(CARRIED));
            let stands = |o: &Outcome| o.success == Some(false) && o.is_right_before();
            if stands(a) && steps == 5 {
                assert_eq!(a.backwards, 10, "two runs of five steps: {a:?}");
                twice += 1;
            }
            // where no chance takes part, the same
            assert!(steps == 5 || (a.success, a.linf_255) == (b.success, b.linf_255));
        }
    }
    assert!(twice > 10, "{twice}");
}

#[test]
fn a_ladder_goes_on_from_the_store_with_the_same_bytes() {
    let (folder, cells) = sweep(&text("within", LADDER), &Source::new("nowhere"), None);
    let bytes = |id: &str| -> Vec<Vec<u8>> {
        let read = |file: &&str| std::fs::read(folder.path().join("cells").join(id).join(file)).unwrap();
        ["cell.json", "outcomes.csv", "witnesses.safetensors"].iter().map(read).collect()
    };
    let before: Vec<_> = cells.iter().map(|c| bytes(&c.id)).collect();
    // as a kill in the middle of each ladder would leave it
    for ladder in ladders(&cells) {
        for cell in &ladder[2..] {
            std::fs::remove_dir_all(folder.path().join("cells").join(&cell.id)).unwrap();
        }
    }
    let plan = plan::parse(Path::new("test.toml"), &text("within", LADDER), &Source::new("nowhere")).unwrap();
    let store = Store::create(folder.path()).unwrap();
    let done = run::run(&plan, &store, &machine(Some(3)), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!((done.computed, done.cached, done.failed), (12, 8, 0));
    assert!(cells.iter().zip(before).all(|(c, b)| bytes(&c.id) == b));
}

#[test]
fn a_missing_rung_fails_the_cells_above_it_alone_and_a_second_run_heals_them() {
    let parse = || plan::parse(Path::new("test.toml"), &text("within", LADDER), &Source::new("nowhere")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    let mut broken = parse();
    // cells 0 to 4 are the first ladder
    broken.cells.remove(1);
    let stop = AtomicBool::new(false);
    let mut told = Vec::new();
    let mut tell = |event: run::Event| {
        if let run::Event::Failed(text) = event {
            told.push(text);
        }
    };
    let done = run::run(&broken, &store, &machine(None), &stop, &mut tell).unwrap();
    assert_eq!((done.computed, done.failed), (16, 3), "each rung needs the one below");
    assert!(told.iter().all(|t| t.contains("it goes on from cell")), "{told:?}");
    assert!(told[0].contains("which is not there"), "{told:?}");
    assert!(told[1..].iter().all(|t| t.ends_with("which failed")), "{told:?}");
    let done = run::run(&parse(), &store, &machine(None), &stop, &mut |_| {}).unwrap();
    assert_eq!((done.computed, done.cached, done.failed), (4, 16, 0));
}

#[test]
fn an_unknown_mode_is_told_with_a_hint() {
    let problem = plan::parse(Path::new("s.toml"), &text("withim", LADDER), &Source::new("nowhere")).err().unwrap();
    assert!(
        problem.to_string().contains("s.toml:7: unknown mode `withim` (hint: did you mean `within`?)"),
        "{problem}"
    );
}
