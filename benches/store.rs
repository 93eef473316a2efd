//! What a large store costs: seconds, processor time and memory of planning, listing, resuming, joining and reporting a run that
//! nobody computed.
//!
//! `cargo bench --bench store -- CELLS IMAGES [FOLDER]` makes the run in a temporary folder below FOLDER, measures each step in a
//! process of its own, and prints a line for each. Outcomes are of [`KINDS`] kinds, which the cells share by hard links, so that
//! a store of many gigabytes takes little room; what is read is the same. Without arguments it does nothing.

#[path = "../tests/support/made_up.rs"]
#[allow(dead_code, reason = "it takes rows and provenance alone")]
mod made_up;
#[path = "../tests/support/onnx.rs"]
mod writer;

use clap::Parser;
use foolproof::cli::Cli;
use foolproof::data::Source;
use foolproof::digest;
use foolproof::record::{Outcome, Provenance, Witnesses};
use foolproof::store::Store;
use foolproof::sweep::plan::{self, Plan};
use foolproof::sweep::run::{self, Machine};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use writer::{Attribute, OPEN, Onnx};

/// Outcomes that differ.
const KINDS: usize = 64;
/// Networks, and budgets of each of two norms; the rest of the cells are attacks.
const MODELS: usize = 10;
const BUDGETS: usize = 10;
/// Classes, and the side of an image.
const CLASSES: usize = 10;
const SIDE: usize = 2;
/// Name of the run.
const NAME: &str = "large";

/// Steps that are measured, each in a process of its own.
const STEPS: [&str; 7] = ["plan", "list, nothing stored", "list", "resume", "worker", "status", "report"];

/// Names the step to a process that takes one.
const STEP: &str = "FOOLPROOF_BENCH_STEP";

fn main() {
    // cargo adds options of its own
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let Ok(step) = std::env::var(STEP) {
        return measure(&step, Path::new(&arguments[0]));
    }
    let [cells, images, place @ ..] = arguments.as_slice() else {
        println!("CELLS IMAGES [FOLDER]");
        return;
    };
    let [cells, images] = [cells, images].map(|n| n.parse().expect("a number"));
    let place = place.first().map_or_else(std::env::temp_dir, |folder| folder.into());
    let folder = tempfile::tempdir_in(place).expect("a place to write to");
    write_inputs(folder.path(), cells, images);
    let plan = plan::load(&folder.path().join("sweep.toml"), &Source::new("nowhere")).expect("a plan");
    write_store(folder.path(), &plan);
    println!("{} cells of {images} images", plan.cells.len());
    drop(plan);
    for step in STEPS {
        let own = std::env::current_exe().expect("a path");
        let child = Command::new(own).arg(folder.path()).env(STEP, step).stdout(Stdio::null()).output();
        let said = String::from_utf8(child.expect("it starts").stderr).expect("text");
        println!("{step:20} {}", said.lines().last().unwrap_or("failed"));
    }
}

/// Networks, pictures, and a sweep of about so many cells.
fn write_inputs(folder: &Path, cells: usize, images: usize) {
    let values = 3 * SIDE * SIDE;
    for model in 0..MODELS {
        let number = |i: usize| ((i * 7 + model) % 13) as f32 / 13.0 - 0.5;
        let net = Onnx::new(&[OPEN, 3, SIDE as i64, SIDE as i64], 17)
            .weight("w", &[CLASSES as i64, values as i64], &(0..CLASSES * values).map(number).collect::<Vec<_>>())
            .weight("b", &[CLASSES as i64], &[0.0; CLASSES])
            .node("Flatten", &["image"], &["flat"], &[])
            .node("Gemm", &["flat", "w", "b"], &["logits"], &[("transB", Attribute::Int(1))]);
        fs::write(folder.join(format!("net{model}.onnx")), net.bytes()).expect("room");
        let file = format!(
            "weights = \"net{model}.onnx\"\nside = {SIDE}\nclasses = {CLASSES}\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n"
        );
        fs::write(folder.join(format!("net{model}.toml")), file).expect("room");
    }
    for class in 0..CLASSES {
        let pictures = folder.join(format!("pictures/{class}"));
        fs::create_dir_all(&pictures).expect("room");
        for image in (class..images).step_by(CLASSES) {
            let colour =
                |x: u32, y: u32| image::Rgb([(image % 251) as u8, (40 * x + class as u32) as u8, 90 * y as u8]);
            let picture = image::RgbImage::from_fn(SIDE as u32, SIDE as u32, colour);
            picture.save(pictures.join(format!("{image:06}.png"))).expect("room");
        }
    }
    // noise and FGSM beside PGD of many steps and restarts
    let attacks = (cells / (MODELS * 2 * BUDGETS)).saturating_sub(2).max(1);
    let steps = (attacks as f64).sqrt() as usize;
    let listed = |numbers: &mut dyn Iterator<Item = String>| numbers.collect::<Vec<_>>().join(", ");
    let budgets = |unit: &str| listed(&mut (1..=BUDGETS).map(|b| format!("\"{b}{unit}\"")));
    let sweep = format!(
        "name = \"{NAME}\"\n[[sweep]]\nmodels = [{}]\ndata = {{ name = \"folder\", path = \"pictures\" }}\ngoals = [\"untargeted\"]\n\
         threats = [{{ norm = \"linf\", eps = [{}] }}, {{ norm = \"l2\", eps = [{}] }}]\n\
         attacks = [{{ name = \"noise\" }}, {{ name = \"fgsm\" }}, {{ name = \"pgd\", steps = [{}], restarts = [{}] }}]\n",
        listed(&mut (0..MODELS).map(|m| format!("\"net{m}.toml\""))),
        budgets("/255"),
        budgets(""),
        listed(&mut (1..=steps).map(|n| n.to_string())),
        listed(&mut (1..=attacks / steps).map(|n| n.to_string())),
    );
    fs::write(folder.join("sweep.toml"), sweep).expect("room");
}

/// The outcomes of a kind: all images are right, and of some more than of others are fooled.
fn outcomes(kind: usize, images: usize) -> Vec<Outcome> {
    let row = |example: usize| {
        let stands = made_up::standing(example, example % CLASSES);
        let hard = (example * 7919 + kind * 31) % KINDS;
        match hard < kind {
            false => stands,
            true => Outcome {
                adversarial_prediction: Some((example + 1) % CLASSES),
                success: Some(true),
                margin_adversarial: Some(-0.5),
                linf_255: Some((hard % 8) as f64 + 1.0),
                l2: Some(hard as f64 / 100.0),
                step: hard % 40 + 1,
                forwards: hard as u64 + 2,
                backwards: hard as u64 + 1,
                label_probability_adversarial: Some(0.3),
                ..stands
            },
        }
    };
    (0..images).map(row).collect()
}

/// All cells of the plan, with the bytes that [`Store::put`] writes, but without its waiting for the disk.
fn write_store(folder: &Path, plan: &Plan) {
    let store = Store::create(&folder.join("results").join(NAME)).expect("room");
    store.put_plan(&plan.record()).expect("room");
    let subset = &plan.data[0].subset;
    store.put_inputs(&subset.digest, &subset.inputs()).expect("room");
    let kinds = Store::create(&folder.join("kinds")).expect("room");
    let kinds: Vec<(std::path::PathBuf, Provenance)> = (0..KINDS.min(plan.cells.len()))
        .map(|kind| {
            let (cell, id) = (&plan.cells[kind].cell, &plan.cells[kind].id);
            let (rows, witnesses) = (outcomes(kind, subset.len()), Witnesses::U8(subset.pixels.clone()));
            kinds.put(cell, &rows, &witnesses, subset.size, made_up::provenance()).expect("room");
            (folder.join("kinds/cells").join(id), kinds.cell_provenance(id).expect("just written"))
        })
        .collect();
    for (i, planned) in plan.cells.iter().enumerate() {
        let (kind, provenance) = &kinds[(i * 37) % kinds.len()];
        let own = store.dir().join("cells").join(&planned.id);
        fs::create_dir(&own).expect("room");
        let (cell, mut provenance) = (planned.cell.canonical(), provenance.clone());
        provenance.files.insert("cell.json".into(), digest::sha256(cell.as_bytes()));
        let sealed = digest::seal(&serde_json::to_string_pretty(&provenance).expect("plain data"));
        fs::write(own.join("cell.json"), cell).expect("room");
        fs::write(own.join("provenance.json"), sealed).expect("room");
        for file in ["outcomes.csv", "witnesses.safetensors"] {
            fs::hard_link(kind.join(file), own.join(file)).expect("a file system with hard links");
        }
    }
}

/// Takes one step, and says what it cost.
fn measure(step: &str, folder: &Path) {
    let (sweep, results, empty) = (folder.join("sweep.toml"), folder.join("results"), folder.join("none"));
    let [sweep_text, results_text, empty_text] = [&sweep, &results, &empty].map(|p| p.to_str().expect("text"));
    let command = |words: &[&str]| Cli::try_parse_from([&["foolproof"], words].concat()).expect("a command").execute();
    let began = Instant::now();
    match step {
        "plan" => drop(plan::load(&sweep, &Source::new("nowhere")).expect("a plan")),
        "resume" => resume(&sweep, &results.join(NAME)),
        // which finds that all is done, and leaves what `status` reads
        "worker" => {
            command(&["worker", "--config", sweep_text, "--out", results_text, "--quiet"]).expect("nothing to do");
        }
        "status" => command(&["status", NAME, "--out", results_text]).expect("a status"),
        "report" => command(&["report", NAME, "--out", results_text]).expect("a report"),
        "list" => command(&["list", sweep_text, "--out", results_text]).expect("a list"),
        _ => command(&["list", sweep_text, "--out", empty_text]).expect("a list"),
    }
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{seconds:8.2} s, {:8.2} s of processors, {:6.0} MiB", processors(), peak());
}

/// A run that finds nothing missing.
fn resume(sweep: &Path, results: &Path) {
    let plan = plan::load(sweep, &Source::new("nowhere")).expect("a plan");
    let device = candle_core::Device::Cpu;
    let machine = Machine { device, device_name: "cpu".into(), threads: 2, batch: None, chunk: None };
    let store = Store::create(results).expect("a run");
    let done = run::run(&plan, &store, &machine, &AtomicBool::new(false), &mut |_| {}).expect("a run");
    assert_eq!((done.cached, done.computed), (plan.cells.len(), 0));
}

/// Most memory this process has held, in MiB (Linux).
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Seconds that all processors spent on this process, in the system too (Linux, where a second has 100 ticks).
fn processors() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}
