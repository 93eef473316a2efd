//! Long work that is stopped goes on from its last state, and ends with the bytes of work that was not.

#[path = "support/attempts.rs"]
mod attempts;
mod support;

use attempts::{attempt, results};
use foolproof::attack::State;
use foolproof::data::Source;
use foolproof::error::Error;
use foolproof::store::Store;
use foolproof::sweep::run::Event;
use foolproof::sweep::verify;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::machine;

const PATCH: &str = r#"
name = "patch"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", first = 1, every = 2 }
train   = { name = "cifar10-sample", first = 0, every = 2 }
goals   = ["target:ship"]
threats = [{ norm = "patch", area = ["10 %", "20 %"] }]
attacks = [{ name = "patch", steps = 40 }, { name = "paste", content = "grey" }]
"#;

const CLASS_MAX: &str = r#"
name = "class-max"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "blank-cifar10", take = 2 }
goals   = ["target:ship"]
threats = [{ norm = "any" }]
attacks = [{ name = "class-max", recipe = ["fourier", "tv"], steps = 700 }]
"#;

fn states(folder: &Path) -> usize {
    fs::read_dir(folder.join("checkpoints")).map_or(0, |entries| entries.flatten().count())
}

fn uninterrupted(text: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    attempt(text, folder.path(), &AtomicBool::new(false), &mut |_| {}).unwrap();
    results(folder.path())
}

#[test]
fn the_fit_of_a_patch_goes_on_from_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut halfway = |event| {
        if matches!(event, Event::Fitted(share) if share >= 0.5) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    assert!(matches!(attempt(PATCH, folder.path(), &stop, &mut halfway), Err(Error::Interrupted)));
    assert_eq!(states(folder.path()), 1, "the state is kept");
    let mut steps = 0;
    let mut count = |event| steps += usize::from(matches!(event, Event::Fitted(_)));
    attempt(PATCH, folder.path(), &AtomicBool::new(false), &mut count).unwrap();
    assert!(steps <= 20, "{steps} steps were left");
    assert_eq!(states(folder.path()), 0, "and dropped when the work is done");
    assert!(results(folder.path()) == uninterrupted(PATCH));
}

/// The only state that is kept: id of the work, and bytes.
fn kept(folder: &Path) -> (String, Vec<u8>) {
    let entry = fs::read_dir(folder.join("checkpoints")).unwrap().next().unwrap().unwrap();
    let id = entry.file_name().into_string().unwrap();
    let state = Store::open(folder).unwrap().read_checkpoint(&id, 0).unwrap();
    (id, state)
}

#[test]
fn a_fit_whose_state_is_none_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let halted = |at: f64| {
        let stop = AtomicBool::new(false);
        let halt = &mut |event| {
            if matches!(event, Event::Fitted(share) if share >= at) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        assert!(matches!(attempt(PATCH, folder.path(), &stop, halt), Err(Error::Interrupted)));
    };
    halted(0.5);
    let (id, state) = kept(folder.path());
    let put = |bytes: &[u8]| Store::create(folder.path()).unwrap().put_checkpoint(&id, 0, bytes).unwrap();
    // as written before safetensors: the length of the curve, a header, settings, numbers
    let old = [&0u64.to_le_bytes()[..], b"foolproof patch fit 1\n16\n", &[0; 8 + 8 * 3 * 16 * 16]].concat();
    // a curve that belongs to no fit here
    let foreign = State::new("painting").with_curve(&[(0, 9.9f64)]).with("step", &[30u64]).to_bytes();
    for bytes in [&old, &state[..state.len() - 4].to_vec(), &foreign] {
        put(bytes);
        halted(0.25);
        let anew = State::parse(&kept(folder.path()).1).unwrap();
        assert_eq!(anew.number("step"), Some(10u64), "it began at 0, and was stopped at a quarter");
    }
    put(&foreign);
    attempt(PATCH, folder.path(), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert!(results(folder.path()) == uninterrupted(PATCH), "and its curve is its own");
}

#[test]
fn a_painting_goes_on_from_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(400));
            stop.store(true, Ordering::Relaxed);
        });
        assert!(matches!(attempt(CLASS_MAX, folder.path(), &stop, &mut |_| {}), Err(Error::Interrupted)));
    });
    assert_eq!(states(folder.path()), 1, "the state is kept");
    attempt(CLASS_MAX, folder.path(), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!(states(folder.path()), 0);
    assert!(results(folder.path()) == uninterrupted(CLASS_MAX));
}

#[test]
fn verify_redoes_what_was_pasted() {
    let folder = tempfile::tempdir().unwrap();
    attempt(PATCH, folder.path(), &AtomicBool::new(false), &mut |_| {}).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let problems = || verify::verify(&store, &Source::new("nowhere"), &machine(None)).unwrap().problems;
    assert!(problems().is_empty(), "{:?}", problems());
    // another patch in the place of the one that was pasted
    let fit = store.fits().into_iter().find(|id| store.read_curve(id).unwrap().len() > 1).unwrap();
    let (record, mut pictures) = store.read_fit(&fit).unwrap();
    let provenance = store.fit_provenance(&fit).unwrap();
    pictures.rgb.iter_mut().for_each(|v| *v = 255 - *v);
    let writer = Store::create(folder.path()).unwrap();
    fs::remove_dir_all(folder.path().join("fits").join(&fit)).unwrap();
    writer.put_fit(&record, &pictures, &[(0, 0.0)], provenance).unwrap();
    let found = problems();
    assert!(found.iter().any(|p| p.contains("not the noted picture at the noted place")), "{found:?}");
}

const BESIDE: &str = r#"
name = "beside"
seed = 0

[[sweep]]
models      = ["vgg11-half-cifar10"]
data        = { name = "cifar10-sample", take = 3 }
goals       = ["untargeted"]
threats     = [{ norm = "linf", eps = ["8/255"] }]
attacks     = [{ name = "fgsm" }]
transfer_to = ["vgg11-half-cifar10-robust"]
explain     = true
"#;

#[test]
fn verify_asks_other_nets_again_and_makes_maps_again() {
    let folder = tempfile::tempdir().unwrap();
    attempt(BESIDE, folder.path(), &AtomicBool::new(false), &mut |_| {}).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let check = || verify::verify(&store, &Source::new("nowhere"), &machine(None)).unwrap();
    let found = check();
    assert_eq!((found.transfers, found.maps, found.problems.len()), (3, 6, 0), "{:?}", found.problems);

    let cell = store.ids().unwrap().remove(0);
    let (model, mut rows, provenance) = store.transfers_and_provenance(&cell).unwrap().remove(0);
    let mut explanation = store.read_explanation(&cell).unwrap().unwrap();
    rows[1].prediction = rows[1].prediction.map(|p| (p + 1) % 10);
    let most = explanation.adversarial.iter().fold(0.0f32, |most, v| most.max(*v));
    explanation.adversarial[0] += most / 100.0;
    for part in ["transfers", "explanations"] {
        fs::remove_dir_all(folder.path().join(part)).unwrap();
        fs::create_dir(folder.path().join(part)).unwrap();
    }
    let writer = Store::create(folder.path()).unwrap();
    writer.put_transfer(&cell, &model, &rows, provenance.clone()).unwrap();
    writer.put_explanation(&cell, &explanation, provenance).unwrap();
    let problems = check().problems;
    let named = |what: &str| problems.iter().filter(|p| p.contains(what)).count();
    assert_eq!(
        (named("asked of `vgg11-half-cifar10-robust`: prediction"), named("maps: at 0")),
        (1, 1),
        "{problems:?}"
    );
    assert_eq!(problems.len(), 2);
}
