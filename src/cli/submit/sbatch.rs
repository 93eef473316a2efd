//! What `submit slurm` does on the login node: asks what is queued, writes the scripts, submits, and notes the ids.

use super::job::Job;
use super::slurm::{
    FOLDER, LOGS, REPORT, WORKER, folder, report_options, report_script, worker_options, worker_script,
};
use crate::error::{Error, Result};
use crate::notice::say;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// List of the jobs that were submitted, below the folder of scripts: a line each, `job,what,shards`.
const JOBS: &str = "jobs.csv";

/// Says where there is no Slurm.
pub fn is_there() -> Result<()> {
    call("sbatch", &["--version".into()]).map(drop)
}

/// Jobs of this run that are queued or running; the list says which were ours, Slurm which still are.
pub fn queued(run: &Path) -> Result<Vec<String>> {
    let path = run.join(FOLDER).join(JOBS);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(Error::io("read", &path))?,
    };
    // %F is the id of a whole array, and of any other job its own
    let there = call("squeue", &["--me", "--noheader", "--format=%F"].map(String::from))?;
    let is_there = |id: &&str| there.lines().any(|line| line.trim() == *id);
    let ours = text.lines().filter_map(|line| line.split(',').next());
    Ok(ours.filter(is_there).map(String::from).collect())
}

/// The most workers that an array may have here, if Slurm says it.
pub fn largest_array() -> Option<usize> {
    let text = call("scontrol", &["show", "config"].map(String::from)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MaxArraySize"))?;
    line.trim_start_matches([' ', '=']).trim().parse().ok()
}

/// Writes the scripts below the run's folder and submits both jobs; gives their ids.
pub fn submit(job: &Job, extra: &[String]) -> Result<[String; 2]> {
    let folder = PathBuf::from(folder(job));
    fs::create_dir_all(folder.join(LOGS)).map_err(Error::io("create folder", &folder))?;
    for (name, text) in [(WORKER, worker_script(job)), (REPORT, report_script(job))] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))?;
    }
    let array = sbatch(&worker_options(job, extra))?;
    note(&folder, &array, "workers", job.shards)?;
    let report = sbatch(&report_options(job, &array, extra)).inspect_err(|_| {
        say(format_args!("the workers are queued as job {array}, without a job behind them that merges and reports"));
    })?;
    note(&folder, &report, "report", job.shards)?;
    Ok([array, report])
}

fn note(folder: &Path, id: &str, what: &str, shards: usize) -> Result<()> {
    let path = folder.join(JOBS);
    let file = fs::File::options().create(true).append(true).open(&path);
    let line = format!("{id},{what},{shards}\n");
    file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(Error::io("write", &path))
}

/// The id of what was submitted. `--parsable` prints `id` or `id;cluster`.
fn sbatch(options: &[String]) -> Result<String> {
    let printed = call("sbatch", options)?;
    let id = printed.trim().split(';').next().unwrap_or_default();
    match !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok(id.into()),
        false => Err(Error::usage(format!(
            "sbatch printed no job id, but `{}` (hint: --dry-run prints what it was told)",
            printed.trim()
        ))),
    }
}

/// What a command of Slurm prints; its complaint as an error.
fn call(program: &str, arguments: &[String]) -> Result<String> {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output().map_err(|e| {
        Error::usage(format!(
            "cannot start {program}: {e} (hint: submit where Slurm's commands are; --dry-run prints what it would do, without them)"
        ))
    })?;
    match status.success() {
        true => Ok(String::from_utf8_lossy(&stdout).into_owned()),
        false => Err(Error::usage(format!(
            "{program} refused: {} (hint: what stands behind `--` goes to sbatch as it is)",
            String::from_utf8_lossy(&stderr).trim()
        ))),
    }
}
