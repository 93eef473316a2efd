//! What several tests need: where the shared data lies, runs in temporary folders, and small networks ([`nets`]).
#![allow(dead_code, unused_imports)] // each test binary uses its part

pub mod hub_server;
mod memory;
mod nets;

pub use memory::peak_memory;
pub use nets::*;

use foolproof::analysis::Run;
use foolproof::analysis::Summary;
use foolproof::data::Source;
use foolproof::record::StoredCell;
use foolproof::report;
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
        chunk: None,
    }
}

/// Runs a sweep from text into a new folder, and reports; returns the folder (kept while it is held) and one summary a cell.
pub fn sweep(text: &str, source: &Source, batch: Option<usize>) -> (tempfile::TempDir, Vec<Summary>) {
    sweep_on(text, source, &machine(batch))
}

/// The same on a machine.
pub fn sweep_on(text: &str, source: &Source, machine: &Machine) -> (tempfile::TempDir, Vec<Summary>) {
    let (folder, cells) = ran_on(text, source, machine);
    report::write(&Store::open(folder.path()).unwrap()).unwrap();
    (folder, cells)
}

/// [`sweep`] without reports.
pub fn ran(text: &str, source: &Source, batch: Option<usize>) -> (tempfile::TempDir, Vec<Summary>) {
    ran_on(text, source, &machine(batch))
}

fn ran_on(text: &str, source: &Source, machine: &Machine) -> (tempfile::TempDir, Vec<Summary>) {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan::parse(Path::new("test.toml"), text, source).unwrap();
    let store = Store::create(folder.path()).unwrap();
    run::run(&plan, &store, machine, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let cells = Run::read(&store).unwrap().cells;
    (folder, cells)
}

/// All cells of a run with their outcomes.
pub fn stored(folder: &Path, cells: &[Summary]) -> Vec<StoredCell> {
    let store = Store::open(folder).unwrap();
    cells.iter().map(|c| store.read(&c.id).unwrap()).collect()
}
