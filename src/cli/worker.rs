//! One of several processes that compute a run together.

use super::options::Options;
use super::progress::Progress;
use super::run::{plan_of, say_what_is_read, stop_on_signals, warn_of_unpinned};
use crate::disk;
use crate::error::{Error, Result};
use crate::notice::say;
use crate::store::{State, Store};
use crate::sweep::share::{BEAT, Worker};
use crate::sweep::worker;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `worker` is told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Sweep file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Its share: K of N, from 0 [default: that of the batch system's variables, else all]
    #[arg(long, value_name = "K/N", conflicts_with = "shards")]
    pub shard: Option<String>,
    /// Number of shares, where the batch system says which one this is, and not of how many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shards: Option<u32>,
}

/// Variables by which batch systems say which of several alike a process is.
const INDICES: [&str; 3] = ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "HQ_TASK_ID"];

/// The share of this process, from what it is told and from its variables.
fn share(arguments: &Arguments, variable: &dyn Fn(&str) -> Option<String>) -> Result<(usize, usize)> {
    let hint = "hint: --shard K/N with K from 0 to N-1";
    if let Some(text) = &arguments.shard {
        let numbers = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        let in_range = numbers.filter(|(k, n): &(usize, usize)| k < n);
        return in_range.ok_or_else(|| Error::usage(format!("`{text}` is no share ({hint})")));
    }
    let number = |name: &str| -> Result<Option<usize>> {
        let Some(text) = variable(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let parsed = text.trim().parse();
        parsed.map(Some).map_err(|_| Error::usage(format!("{name} is `{text}`, which is no number ({hint})")))
    };
    let mut index = None;
    for name in INDICES {
        index = index.or(number(name)?);
    }
    let asked = arguments.shards.map(|n| n as usize);
    match (index, asked.or(number("SLURM_ARRAY_TASK_COUNT")?)) {
        (None, None) => Ok((0, 1)),
        (Some(index), Some(of)) => {
            let index = index - number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0).min(index);
            match index < of {
                true => Ok((index, of)),
                false => Err(Error::usage(format!("share {index} of {of} ({hint})"))),
            }
        }
        (Some(index), None) => Err(Error::usage(format!(
            "this is number {index} of how many alike? (hint: --shards N, or --shard {index}/N)"
        ))),
        (None, Some(of)) => Err(Error::usage(format!(
            "which of the {of} shares is this? No batch system says so by {} ({hint})",
            INDICES.join(", ")
        ))),
    }
}

/// Computes a share of a sweep, and then what nobody has done.
pub fn worker(arguments: &Arguments, config: &Path, options: &Options) -> Result<()> {
    let share = share(arguments, &|name| std::env::var(name).ok())?;
    let finish = finish_on_signal()?; // it may come while the plan is made
    let machine = options.machine()?; // first: the plan's pictures are decoded by its threads
    let plan = plan_of(config, options)?;
    // every worker reads the same
    if share.0 == 0 {
        say_what_is_read(&plan, options.quiet);
        warn_of_unpinned(&plan, options.quiet);
    }
    let store = Store::join(&options.out.join(&plan.name))?;
    let stop = stop_on_signals()?;
    let host = disk::host();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let plain: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = format!("{plain}-{}-{now:x}", std::process::id());
    let worker = Worker { store: &store, name, host, share, stop: &stop, finish: &finish, beat: BEAT };
    // how far the run is, `status` says; what failed or is to be known is said all the same
    let mut progress = Progress::new(true, &machine);
    let result = worker::work(&plan, &machine, &worker, &mut |event| progress.tell(event));
    progress.finish();
    result?;
    let states = store.states(plan.cells.iter().map(|cell| &cell.id))?;
    match states.iter().filter(|state| **state == State::Failed).count() {
        0 => Ok(()),
        failed => Err(Error::CellsFailed { failed, total: states.len() }),
    }
}

/// Set by USR1, where there is such a signal: the worker ends after its piece of work.
fn finish_on_signal() -> Result<Arc<AtomicBool>> {
    let finish = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    if let Err(problem) = signal_hook::flag::register(signal_hook::consts::SIGUSR1, finish.clone()) {
        say(format_args!("warning: cannot listen for USR1: {problem}; a time limit will cost a chunk"));
    }
    Ok(finish)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share_of(
        shard: Option<&str>,
        shards: Option<u32>,
        variables: &[(&str, &str)],
    ) -> Result<(usize, usize), String> {
        let arguments = Arguments { config: PathBuf::new(), shard: shard.map(String::from), shards };
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, text)| text.to_string());
        share(&arguments, &variable).map_err(|e| e.to_string())
    }

    #[test]
    fn a_share_is_what_is_said_or_what_the_batch_system_says() {
        assert_eq!(share_of(None, None, &[]), Ok((0, 1)));
        assert_eq!(
            share_of(Some("2/6"), None, &[("SLURM_ARRAY_TASK_ID", "5"), ("SLURM_ARRAY_TASK_COUNT", "6")]),
            Ok((2, 6))
        );
        let slurm = [("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_COUNT", "6"), ("SLURM_ARRAY_TASK_MIN", "1")];
        assert_eq!(share_of(None, None, &slurm), Ok((2, 6)));
        assert_eq!(share_of(None, Some(4), &[("JOB_COMPLETION_INDEX", "3")]), Ok((3, 4)));
        assert_eq!(share_of(None, Some(4), &[("HQ_TASK_ID", "0")]), Ok((0, 4)));
    }

    #[test]
    fn no_share_is_guessed() {
        for (shard, shards, variables) in [
            (Some("6/6"), None, vec![]),
            (Some("-1/6"), None, vec![]),
            (Some("3"), None, vec![]),
            (None, Some(4), vec![]),
            (None, None, vec![("HQ_TASK_ID", "1")]),
            (None, Some(4), vec![("HQ_TASK_ID", "4")]),
            (None, Some(4), vec![("HQ_TASK_ID", "one")]),
        ] {
            let problem = share_of(shard, shards, &variables).unwrap_err();
            assert!(problem.contains("(hint: "), "{problem}");
        }
    }
}
