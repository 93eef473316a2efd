//! What several tests need: where the shared data lies, runs in temporary folders, small random networks.
#![allow(dead_code)] // each test binary uses its part

pub mod hub_server;

use foolproof::analysis::Run;
use foolproof::analysis::Summary;
use foolproof::data::Source;
use foolproof::kernel::{Net, Step};
use foolproof::record::StoredCell;
use foolproof::report;
use foolproof::rng::{Stream, Streams};
use foolproof::store::Store;
use foolproof::sweep::plan;
use foolproof::sweep::run::{self, Machine};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

/// The folder with real images and models: `FOOLPROOF_DATA`, else `../shared/data`. Says in one line where it is missing.
pub fn shared_data(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("FOOLPROOF_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let there = folder.join("cifar10/test.bin").is_file();
    if !there {
        eprintln!("skipped {test}: no data at {} (set FOOLPROOF_DATA)", folder.display());
    }
    there.then_some(folder)
}

/// The data folder and the folder with numbers from other implementations beside it; says where either is missing.
pub fn shared_reference(test: &str) -> Option<(PathBuf, PathBuf)> {
    let data = shared_data(test)?;
    let reference = data.join("../reference");
    let there = ["goldens.json", "goldens.safetensors"].iter().all(|f| reference.join(f).is_file());
    if !there {
        eprintln!("skipped {test}: no reference numbers at {}", reference.display());
    }
    there.then_some((data, reference))
}

/// The program, in an environment without the variables that say where the Hub and its cache are, and without proxies.
pub fn foolproof() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foolproof"));
    clear_hub(&mut command);
    command
}

/// Takes those variables out of a program's environment.
pub fn clear_hub(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let upper = name.to_string_lossy().to_uppercase();
        let begins = ["HF_", "HUGGING", "TRANSFORMERS_"].iter().any(|prefix| upper.starts_with(prefix));
        if begins || upper == "XDG_CACHE_HOME" || upper.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
}

/// The CPU with this batch size.
pub fn machine(batch: Option<usize>) -> Machine {
    Machine {
        device: candle_core::Device::Cpu,
        device_name: "cpu".into(),
        threads: rayon::current_num_threads(),
        batch,
    }
}

/// Runs a sweep from text into a new folder, and reports; returns the folder (kept while it is held) and one summary a cell.
pub fn sweep(text: &str, source: &Source, batch: Option<usize>) -> (tempfile::TempDir, Vec<Summary>) {
    let (folder, cells) = ran(text, source, batch);
    report::write(&Store::open(folder.path()).unwrap()).unwrap();
    (folder, cells)
}

/// [`sweep`] without reports.
pub fn ran(text: &str, source: &Source, batch: Option<usize>) -> (tempfile::TempDir, Vec<Summary>) {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan::parse(Path::new("test.toml"), text, source).unwrap();
    let store = Store::create(folder.path()).unwrap();
    run::run(&plan, &store, &machine(batch), &AtomicBool::new(false), &mut |_| {}).unwrap();
    let cells = Run::read(&store).unwrap().cells;
    (folder, cells)
}

/// All cells of a run with their outcomes.
pub fn stored(folder: &Path, cells: &[Summary]) -> Vec<StoredCell> {
    let store = Store::open(folder).unwrap();
    cells.iter().map(|c| store.read(&c.id).unwrap()).collect()
}

/// The most memory this process has held so far, in bytes; `None` where the system does not say.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// A stream for test data.
pub fn stream(purpose: &str) -> Stream {
    Streams::new(0, "test").stream(0, 0, purpose)
}

/// A number in [-1, 1).
pub fn number(stream: &mut Stream) -> f64 {
    f64::from(stream.uniform()) * 2.0 - 1.0
}

/// A small VGG-like net with these convolution widths, a pool after every second, odd sides welcome.
pub fn small_net(
    side: usize,
    widths: &[usize],
    average: Option<usize>,
    hidden: usize,
    classes: usize,
    seed: &str,
) -> Net<f64> {
    let mut s = stream(seed);
    let mut steps = Vec::new();
    let (mut channels, mut map) = (3, side);
    for (i, &outputs) in widths.iter().enumerate() {
        let scale = (2.0 / (9.0 * channels as f64)).sqrt() * 1.7;
        steps.push(Step::Conv {
            inputs: channels,
            outputs,
            weight: (0..outputs * channels * 9).map(|_| number(&mut s) * scale).collect(),
            bias: (0..outputs).map(|_| number(&mut s) * 0.1).collect(),
        });
        channels = outputs;
        if i % 2 == 1 && map > 1 {
            steps.push(Step::MaxPool);
            map /= 2;
        }
    }
    if let Some(side) = average {
        steps.push(Step::AveragePool { side });
        map = side;
    }
    let mut inputs = channels * map * map;
    for (outputs, relu) in [(hidden, true), (classes, false)] {
        let scale = (1.0 / inputs as f64).sqrt() * 1.7;
        steps.push(Step::Linear {
            inputs,
            outputs,
            weight: (0..outputs * inputs).map(|_| number(&mut s) * scale).collect(),
            bias: (0..outputs).map(|_| number(&mut s) * 0.1).collect(),
            relu,
        });
        inputs = outputs;
    }
    Net { side, mean: [0.49, 0.48, 0.45], std: [0.25, 0.24, 0.26], classes, steps }
}

/// Images in [0,1].
pub fn images(n: usize, side: usize, seed: &str) -> Vec<f64> {
    let mut s = stream(seed);
    (0..n * 3 * side * side).map(|_| f64::from(s.uniform())).collect()
}

/// The same numbers in f64.
pub fn widened(net: &Net<f32>) -> Net<f64> {
    let wide = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect();
    let step = |step: &Step<f32>| match step {
        Step::Conv { inputs, outputs, weight, bias } => {
            Step::Conv { inputs: *inputs, outputs: *outputs, weight: wide(weight), bias: wide(bias) }
        }
        Step::Linear { inputs, outputs, weight, bias, relu } => {
            Step::Linear { inputs: *inputs, outputs: *outputs, weight: wide(weight), bias: wide(bias), relu: *relu }
        }
        Step::MaxPool => Step::MaxPool,
        Step::AveragePool { side } => Step::AveragePool { side: *side },
    };
    Net {
        side: net.side,
        mean: net.mean.map(f64::from),
        std: net.std.map(f64::from),
        classes: net.classes,
        steps: net.steps.iter().map(step).collect(),
    }
}
