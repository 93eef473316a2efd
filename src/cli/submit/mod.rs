//! `submit ENGINE`: the same sweep on a cluster, in jobs of the engine that is there.
//!
//! A [`Job`] is plain data; of each engine one file makes text of it. Only Slurm is called ([`sbatch`]).

mod htcondor;
mod hyperqueue;
mod job;
mod kubernetes;
mod sbatch;
mod slurm;

use super::fetch;
use super::options::Options;
use super::registries::print;
use super::run::{say_what_is_read, warn_of_unpinned};
use super::several;
use crate::config::{Problems, SweepFile};
use crate::error::{Error, Result};
use crate::notice::say;
use crate::store::Store;
use crate::sweep::plan::{self, Plan};
use crate::sweep::worker;
use job::Job;
use std::path::{Path, PathBuf, absolute};

/// What starts jobs.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// Submits an array of jobs, and one behind it that merges and reports
    Slurm,
    /// Prints a manifest
    Kubernetes,
    /// Prints a submit file
    Htcondor,
    /// Prints a script
    Hyperqueue,
}

/// What `submit` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// What starts jobs: slurm is called, for the others a file is printed
    pub engine: Engine,
    /// Sweep file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Workers; no more than there is to compute
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub shards: u32,
    /// Workers at a time [default: all]
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_parallel: Option<u32>,
    /// A GPU for each worker: 1, or TYPE:1
    #[arg(long, value_name = "G")]
    pub gpus: Option<String>,
    /// Cores for each worker, all of which compute
    #[arg(long, value_name = "C", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub cpus: u16,
    /// How long a worker may run at a time, as Slurm writes it; then it goes back into the queue [default: the cluster's]
    #[arg(long, value_name = "T")]
    pub time: Option<String>,
    /// Container image with the program on its path, for kubernetes
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// Submit though jobs of this run are queued or running
    #[arg(long)]
    pub again: bool,
    /// Print a script that does what slurm would be told, and neither submit nor download
    #[arg(long)]
    pub dry_run: bool,
    /// Further options of sbatch, for both jobs: account, partition, memory
    #[arg(last = true, value_name = "OPTIONS")]
    pub extra: Vec<String>,
}

/// Submits the sweep, or prints what would.
pub fn submit(arguments: &Arguments, config: &Path, options: &Options) -> Result<()> {
    several::check_is_file(config)?;
    arguments.check()?;
    match arguments.engine {
        Engine::Slurm => slurm(arguments, config, options),
        Engine::Kubernetes => {
            let here = std::env::current_dir().map_err(Error::io("find", Path::new(".")))?;
            let image = arguments.image.as_deref().unwrap_or("foolproof");
            let job = in_container(arguments.job(config, options)?, &unicode(&here)?)?;
            print(kubernetes::manifest(&job, image).as_bytes())
        }
        Engine::Htcondor => print(htcondor::submit_file(&arguments.job(config, options)?).as_bytes()),
        Engine::Hyperqueue => print(hyperqueue::script(&arguments.job(config, options)?).as_bytes()),
    }
}

fn slurm(arguments: &Arguments, config: &Path, options: &Options) -> Result<()> {
    let extra = &arguments.extra;
    let mut job = arguments.job(config, options)?;
    let run = PathBuf::from(job.run_folder());
    if arguments.dry_run {
        let mut source = options.here();
        source.limit = options.limit.map(|limit| limit as usize);
        match plan::load(config, &source) {
            Ok(plan) => job.shards = job.shards.min(missing(&plan, &run, options)?.max(1)),
            Err(problem) => say(format_args!("as many workers as asked for, for there is no plan yet: {problem}")),
        }
        return print(slurm::dry_run(&job, extra).as_bytes());
    }
    sbatch::is_there()?;
    let queued = if arguments.again { Vec::new() } else { sbatch::queued(&run)? };
    if !queued.is_empty() {
        return Err(Error::usage(format!(
            "jobs {} of run `{}` are queued or running (hint: `squeue`, `scancel`; --again submits more workers beside them)",
            queued.join(", "),
            job.run
        )));
    }
    let (plan, files) = fetch::bring(config, options)?;
    files.lines().filter(|_| !options.quiet).for_each(say);
    let plan = plan?;
    say_what_is_read(&plan, options.quiet);
    warn_of_unpinned(&plan, options.quiet);
    let missing = missing(&plan, &run, options)?;
    if missing == 0 {
        say(format_args!("nothing is missing of run `{}` (hint: `foolproof report {}`)", job.run, run.display()));
        return Ok(());
    }
    job.shards = job.shards.min(missing).min(sbatch::largest_array().unwrap_or(usize::MAX));
    let [array, report] = sbatch::submit(&job, extra)?;
    say(format_args!(
        "{missing} pieces of work are missing: {} workers are queued as job {array}, and job {report} behind them merges and reports \
         (hint: `foolproof status {}`)",
        job.shards,
        run.display()
    ));
    print(format!("{array} workers\n{report} report\n").as_bytes())
}

/// Pieces of work that nobody has done yet. Of a cell that failed a row says so: it is not tried again.
fn missing(plan: &Plan, run: &Path, options: &Options) -> Result<usize> {
    worker::open_pieces(plan, &Store::peek(run), options.chunk.map(|images| images as usize))
}

impl Arguments {
    /// Refuses what the engine would have to guess.
    fn check(&self) -> Result<()> {
        let Arguments { engine, extra, time, image, gpus, max_parallel, .. } = self;
        let only = |given: bool, option: &str, of: &str| match given {
            true => {
                Err(Error::usage(format!("{option} is for {of} only (hint: write it into the file that is printed)")))
            }
            false => Ok(()),
        };
        let of_array = |option: &&String| ["-a", "--array"].iter().any(|name| option.starts_with(name));
        if let Some(option) = extra.iter().find(of_array) {
            return Err(Error::usage(format!("{option}: the array is ours (hint: --shards and --max-parallel)")));
        }
        only(*engine != Engine::Slurm && time.is_some(), "--time", "slurm")?;
        only(*engine != Engine::Slurm && !extra.is_empty(), "`--`, with options of sbatch,", "slurm")?;
        only(*engine != Engine::Kubernetes && image.is_some(), "--image", "kubernetes")?;
        let typed = gpus.as_ref().is_some_and(|gpus| gpus.contains(':'));
        only(
            typed && [Engine::Kubernetes, Engine::Hyperqueue].contains(engine),
            "a type of GPU",
            "slurm and htcondor",
        )?;
        let limited = *engine == Engine::Hyperqueue && max_parallel.is_some();
        only(limited, "--max-parallel", "slurm, kubernetes and htcondor")
    }

    /// The job as it is on this machine.
    fn job(&self, config: &Path, options: &Options) -> Result<Job> {
        let text = std::fs::read_to_string(config).map_err(Error::io("read", config))?;
        let problems = Problems::new(config, &text);
        let mut run = SweepFile::parse(&problems).name;
        problems.into_result()?;
        if let Some(limit) = options.limit {
            run += &format!("-first-{limit}");
        }
        let program = std::env::current_exe().map_err(Error::io("find", Path::new("this program")))?;
        let whole = |path: &Path| unicode(&absolute(path).map_err(Error::io("find", path))?);
        Ok(Job {
            run,
            program: unicode(&program)?,
            folder: whole(Path::new("."))?,
            config: whole(config)?,
            out: whole(&options.out)?,
            shards: self.shards as usize,
            max_parallel: self.max_parallel.map(|most| most as usize),
            gpu: self.gpus.as_deref().map(gpu).transpose()?,
            cpus: self.cpus,
            time: self.time.clone(),
            options: device(options, self.gpus.is_some()).into_iter().chain(options.passed_on()).collect(),
            strict: options.strict,
            variables: variables(),
        })
    }
}

/// The type of GPU, empty if any will do.
fn gpu(text: &str) -> Result<String> {
    let kind = if text == "1" { Some("") } else { text.strip_suffix(":1") };
    let is_name = |kind: &&str| kind.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    kind.filter(is_name).map(String::from).ok_or_else(|| {
        Error::usage(format!(
            "--gpus {text}: a worker computes on one GPU (hint: --gpus 1 or TYPE:1, and more --shards)"
        ))
    })
}

/// The device that workers are told, where it is not left to them.
fn device(options: &Options, on_gpu: bool) -> Option<String> {
    // a worker that was given a GPU must not compute on its cores in silence
    let device = if on_gpu && options.device == "auto" { "cuda" } else { &options.device };
    (device != "auto").then(|| format!("--device={device}"))
}

/// Variables that say where things are; none of them is a secret.
const PLACES: [&str; 6] =
    ["FOOLPROOF_DATA", "FOOLPROOF_CUDA_LIBS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"];

fn variables() -> Vec<(String, String)> {
    let set = PLACES.iter().filter_map(|name| Some((name.to_string(), std::env::var(name).ok()?)));
    set.filter(|(_, value)| !value.is_empty()).collect()
}

/// The same job where the current folder is a volume: all that it names has to lie below.
fn in_container(mut job: Job, here: &str) -> Result<Job> {
    let moved = |path: &str| -> Result<String> {
        let below = absolute(path).ok().and_then(|path| path.strip_prefix(here).map(Path::to_path_buf).ok());
        let below = below.filter(|path| !path.components().any(|part| part.as_os_str() == ".."));
        let below = below.ok_or_else(|| {
            Error::usage(format!(
                "{path} is not below the current folder, which the volume stands for (hint: start where all of it lies below)"
            ))
        })?;
        Ok(format!("{}/{}", kubernetes::FOLDER, unicode(&below)?.replace('\\', "/")))
    };
    job.config = moved(&job.config)?;
    job.out = moved(&job.out)?;
    let data = job.variables.iter().find(|(name, _)| name == "FOOLPROOF_DATA");
    let data = data.map(|(name, value)| moved(value).map(|place| (name.clone(), place))).transpose()?;
    let cache = ("HF_HOME".to_string(), format!("{}/huggingface", kubernetes::FOLDER));
    job.variables = data.into_iter().chain([cache]).collect();
    job.program = "foolproof".into();
    job.folder = kubernetes::FOLDER.into();
    Ok(job)
}

/// A path as text. Control characters in it would end a line of the files that are written.
fn unicode(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    text.map(String::from).ok_or_else(|| {
        Error::usage(format!("{} has characters that a job cannot name (hint: another folder)", path.display()))
    })
}
