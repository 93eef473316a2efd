//! Several processes of this machine that compute one run: `--workers N`, or one a GPU.

use super::options::Options;
use super::price::time;
use crate::error::{Error, Result};
use crate::notice::say;
use crate::record::unix_s;
use crate::store::Store;
use crate::sweep::status::status;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a process that was killed is started again.
const RESTARTS: usize = 3;

/// Time between two looks at the processes, and between two lines of progress.
const LOOK: Duration = Duration::from_millis(50);
const EVERY: Duration = Duration::from_secs(10);

/// What a process is given to end, once all is done or it is asked to: a chunk under way may be one that another has done.
const GRACE: Duration = Duration::from_secs(60);

/// The devices of a text: `cuda:0,cuda:1` is two, `cuda:all` as many as this machine has.
///
/// # Errors
/// `cuda:all` where there is none.
pub fn devices(text: &str) -> Result<Vec<String>> {
    if text != "cuda:all" {
        return Ok(text.split(',').map(|device| device.trim().to_string()).collect());
    }
    // numbers of devices count those that are visible
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let there = match &visible {
        Some(list) => list.split(',').filter(|device| !device.trim().is_empty()).count(),
        None => std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count),
    };
    match there {
        0 => Err(Error::usage("this machine shows no GPU (hint: --device cpu, or `foolproof doctor`)")),
        n => Ok((0..n).map(|i| format!("cuda:{i}")).collect()),
    }
}

/// Refuses a sweep that comes through a pipe: every worker reads it, and a pipe is empty for the second.
pub fn check_is_file(config: &Path) -> Result<()> {
    match config.is_file() {
        true => Ok(()),
        false => {
            Err(Error::usage(format!("{} is no file, which workers have to read (hint: save it)", config.display())))
        }
    }
}

/// Whether more than one process is asked for.
pub fn is_asked(options: &Options) -> bool {
    options.workers.is_some_and(|n| n > 1) || options.device.contains(',') || options.device == "cuda:all"
}

/// A process, and what it does.
struct Process {
    share: usize,
    child: Child,
    restarts: usize,
    ended: Option<ExitStatus>,
}

/// Computes a sweep by several processes, until all have ended. `dir` is the folder of the run.
///
/// # Errors
/// [`Error::Interrupted`] by `stop`; processes that failed.
pub fn compute(config: &Path, dir: &Path, options: &Options, stop: &AtomicBool) -> Result<()> {
    let devices = devices(&options.device)?;
    let count = options.workers.map_or(devices.len(), usize::from).max(devices.len());
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (options.threads.map_or_else(cores, usize::from) / count).max(1);
    if !options.quiet {
        say(format_args!("{count} workers of {threads} threads on {}", devices.join(", ")));
    }
    let start = |share: usize| -> Result<Child> {
        let program = std::env::current_exe().map_err(Error::io("find", Path::new("this program")))?;
        let mut command = Command::new(&program);
        command.arg("worker").arg("--config").arg(config).arg("--shard").arg(format!("{share}/{count}"));
        command.arg("--device").arg(&devices[share % devices.len()]).arg("--threads").arg(threads.to_string());
        command.arg("--quiet").arg("--out").arg(&options.out).args(options.passed_on());
        command.spawn().map_err(Error::io("start", &program))
    };
    let process = |share| Ok(Process { share, child: start(share)?, restarts: 0, ended: None });
    let mut processes = (0..count).map(process).collect::<Result<Vec<_>>>()?;
    let (mut told, mut asked_to_stop, mut ending) = (Instant::now(), false, None);
    loop {
        for process in processes.iter_mut().filter(|p| p.ended.is_none()) {
            let pid = process.child.id();
            let ended = process.child.try_wait().map_err(Error::io("wait for", Path::new("a worker")))?;
            // a code says that it ended by itself
            let killed = ended.is_some_and(|status| status.code().is_none()) && !stop.load(Ordering::Relaxed);
            if killed && process.restarts < RESTARTS {
                say(format_args!("worker {} (process {pid}) was killed, and is started again", process.share));
                (process.child, process.restarts) = (start(process.share)?, process.restarts + 1);
            } else {
                process.ended = ended;
            }
        }
        if processes.iter().all(|p| p.ended.is_some()) {
            break;
        }
        // one that came to its end says that all is done: whoever stays longer is stopped, or hangs
        let is_whole = processes.iter().any(|p| p.ended.is_some_and(|s| [Some(0), Some(2)].contains(&s.code())));
        if is_whole || asked_to_stop {
            let since = *ending.get_or_insert_with(Instant::now);
            if since.elapsed() > GRACE {
                for process in processes.iter_mut().filter(|p| p.ended.is_none()) {
                    say(format_args!("worker {} does not end, and is killed", process.share));
                    process.restarts = RESTARTS;
                    process.child.kill().map_err(Error::io("kill", Path::new("a worker")))?;
                }
            }
        }
        if stop.load(Ordering::Relaxed) && !asked_to_stop {
            asked_to_stop = true;
            processes.iter().filter(|p| p.ended.is_none()).for_each(|p| ask_to_stop(&p.child));
        }
        if told.elapsed() >= EVERY && !options.quiet {
            told = Instant::now();
            say_progress(dir);
        }
        std::thread::sleep(LOOK);
    }
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    // 2: some cells failed, which the report says
    let failed = processes.iter().filter(|p| p.ended.is_none_or(|status| ![Some(0), Some(2)].contains(&status.code())));
    let failed: Vec<String> = failed.map(|p| p.share.to_string()).collect();
    // what one could not do, another may have done
    if failed.len() == processes.len() {
        return Err(Error::usage(format!(
            "no worker came to its end (hint: what each said stands above; shares {})",
            failed.join(", ")
        )));
    }
    if !failed.is_empty() {
        say(format_args!("warning: workers {} did not come to their end; the others took over", failed.join(", ")));
    }
    Ok(())
}

/// Ctrl-C reaches all processes of a terminal; SIGTERM only this one.
fn ask_to_stop(child: &Child) {
    #[cfg(unix)]
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // one that has ended meanwhile needs none
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    #[cfg(not(unix))]
    let _ = child;
}

/// `12/40 chunks, about 30 s left`.
fn say_progress(dir: &Path) {
    // before the first worker has planned there is nothing to be seen
    let Ok(status) = Store::open(dir).and_then(|store| status(&store, unix_s())) else { return };
    let Some(chunks) = status.chunks else { return };
    let done = chunks.done + chunks.failed;
    let all = done + chunks.running + chunks.missing;
    let left = match status.seconds_left {
        _ if done == all => ", workers are about to end".to_string(),
        left => left.map_or(String::new(), |s| format!(", about {} left", time(s))),
    };
    say(format_args!("{done}/{all} chunks{left}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_one_or_several() {
        assert_eq!(devices("auto").unwrap(), ["auto"]);
        assert_eq!(devices("cuda:0, cuda:2").unwrap(), ["cuda:0", "cuda:2"]);
    }
}
