//! `train FILE`.

use super::options::Options;
use super::price::time;
use super::registries::print;
use super::run::stop_on_signals;
use crate::error::{Error, Result};
use crate::model::MODEL_FOLDER;
use crate::notice::say;
use crate::record::{EpochRecord, TrainingProvenance};
use crate::report::training;
use crate::statistics::wilson;
use crate::train::{self, Event, Plan, Setting};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What `train` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Training file
    pub file: PathBuf,
    /// Folder of the models: where sweeps find them by name
    #[arg(long, value_name = "DIR", default_value = MODEL_FOLDER)]
    pub models: PathBuf,
    /// Seconds between two checkpoints within an epoch; 0: after every batch
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub checkpoint: u32,
    /// Begin anew where a training was stopped, or is done
    #[arg(long)]
    pub restart: bool,
}

/// Trains every model of a training file that is not trained yet, and draws how each learned.
pub fn train(arguments: &Arguments, path: &Path, options: &Options) -> Result<()> {
    let machine = options.machine()?;
    let plan = train::load(path, &options.source())?;
    if !options.quiet {
        plan.notes.iter().for_each(say);
    }
    let folder = options.out.join(&plan.name);
    if folder.join("cells").exists() {
        return Err(Error::usage(format!(
            "{} is the run of a sweep (hint: another `name` in the training file)",
            folder.display()
        )));
    }
    let stop = stop_on_signals()?;
    let (mut rows, mut provenance, mut models) = (Vec::new(), Vec::new(), Vec::new());
    for training in &plan.trainings {
        let setting = Setting {
            device: &machine.device,
            state: folder.join("training").join(format!("{}.safetensors", training.model)),
            models: &arguments.models,
            file: path.display().to_string(),
            every: Duration::from_secs(arguments.checkpoint.into()),
            restart: arguments.restart,
            stop: &stop,
        };
        let mut progress = Progress::new(training.recipe.epochs, options.quiet);
        let outcome = train::train(training, &plan.data, &plan.held_out, &setting, &mut |event| progress.tell(event))?;
        provenance.push(TrainingProvenance {
            model: training.model.clone(),
            device: machine.device_name.clone(),
            threads: machine.threads,
            version: env!("CARGO_PKG_VERSION").into(),
            seconds: outcome.seconds,
            peak_memory_mib: peak_memory_mib(),
        });
        rows.extend(outcome.rows);
        models.push(outcome.model);
        // after each model: a training that is stopped leaves what is known
        training::write(&folder, &plan.name, &rows, &provenance)?;
    }
    print_table(&plan, &rows, &provenance, &models)
}

/// Lines on stderr: every epoch, and within one at times.
struct Progress {
    epochs: usize,
    quiet: bool,
    told: Instant,
}

/// Time between two lines within an epoch.
const EVERY: Duration = Duration::from_secs(20);

impl Progress {
    fn new(epochs: usize, quiet: bool) -> Progress {
        Progress { epochs, quiet, told: Instant::now() }
    }

    fn tell(&mut self, event: Event) {
        if self.quiet {
            return;
        }
        match event {
            Event::Resumed { epoch, batch } => say(format_args!("goes on after epoch {epoch} and {batch} batches")),
            Event::Batch { epoch, batch, batches, loss } => {
                if self.told.elapsed() >= EVERY && batch < batches {
                    let epochs = self.epochs;
                    say(format_args!("  epoch {}/{epochs}, batch {batch}/{batches}: loss {loss:.3}", epoch + 1));
                    self.told = Instant::now();
                }
            }
            Event::Epoch { row, left } => {
                self.told = Instant::now();
                say(line(row, self.epochs, left));
            }
        }
    }
}

fn line(row: &EpochRecord, epochs: usize, left: f64) -> String {
    let percent = |k: usize, n: usize| 100.0 * k as f64 / n.max(1) as f64;
    let end = match (row.stopped.is_empty(), row.epoch < epochs) {
        (false, _) => format!("; stopped: {}", row.stopped),
        (true, true) => format!("; {} left", time(left)),
        (true, false) => String::new(),
    };
    format!(
        "{} epoch {}/{epochs}: loss {:.3}, learned {:.1} %; held out {:.1} % clean, {:.1} % under PGD-10{end}",
        row.model,
        row.epoch,
        row.loss.parse::<f64>().unwrap_or(f64::NAN),
        percent(row.train_correct, row.train_images),
        percent(row.clean_correct, row.held_out),
        percent(row.pgd_correct, row.held_out),
    )
}

/// One line a model: what it is now, with 95 % Wilson intervals, and what it cost.
fn print_table(plan: &Plan, rows: &[EpochRecord], provenance: &[TrainingProvenance], models: &[PathBuf]) -> Result<()> {
    let mut text = String::from("model,recipe,epochs,clean,pgd_10,held_out,seconds,peak_memory_mib,file\n");
    for ((training, spent), file) in plan.trainings.iter().zip(provenance).zip(models) {
        let own: Vec<&EpochRecord> = rows.iter().filter(|row| row.model == training.model).collect();
        // of a training that was stopped the epoch before is the model
        let Some(row) = own.iter().rev().find(|row| row.stopped.is_empty()) else { continue };
        let share = |k: usize| {
            let (low, high) = wilson(k, row.held_out);
            format!("{:.1} [{:.1}; {:.1}]", 100.0 * k as f64 / row.held_out as f64, 100.0 * low, 100.0 * high)
        };
        let memory = spent.peak_memory_mib.map_or(String::new(), |mib| mib.to_string());
        text += &format!(
            "{},{},{},{},{},{},{:.0},{memory},{}\n",
            training.model,
            row.recipe,
            row.epoch,
            share(row.clean_correct),
            share(row.pgd_correct),
            row.held_out,
            spent.seconds,
            file.display()
        );
    }
    print(text.as_bytes())
}

/// Most memory that this process has had, where the system says it (`VmHWM` of proc(5)).
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib / 1024)
}

/// A training file as it stands, then below `configs/`, and there in `training/`, with or without its ending.
pub fn find(path: &Path) -> Result<PathBuf> {
    let below = Path::new("configs");
    let toml = path.with_extension("toml");
    let candidates =
        [path.to_path_buf(), below.join(path), below.join("training").join(path), below.join("training").join(&toml)];
    candidates.iter().find(|p| p.is_file()).cloned().ok_or_else(|| {
        Error::usage(format!(
            "no training file {} (hint: those that come along lie in configs/training)",
            path.display()
        ))
    })
}
