//! Slurm: an array of workers, and behind it one job that merges and reports. Text only.
//!
//! Nothing but options that mean the same from Slurm 22.05 to 25.x. Output files are named relative to `--chdir`: Slurm reads `%` in
//! an absolute name as a placeholder.

use super::job::{Job, exports, quoted, words};

/// Below the run's folder.
pub const FOLDER: &str = "submit";
/// Name of the script of each worker, below [`FOLDER`].
pub const WORKER: &str = "worker.sh";
/// That of the job that merges and reports.
pub const REPORT: &str = "report.sh";
/// Folder of what jobs print, below [`FOLDER`].
pub const LOGS: &str = "log";
/// Seconds before the time limit at which a worker is told to finish its chunk.
const NOTICE: u32 = 120;

/// Folder of scripts, logs and the list of jobs.
pub fn folder(job: &Job) -> String {
    format!("{}/{FOLDER}", job.run_folder())
}

/// Name of the jobs of a run.
pub fn job_name(job: &Job) -> String {
    format!("foolproof-{}", job.run)
}

/// The script of a worker.
///
/// Slurm signals the batch shell alone, so it passes the signal on; a trapped signal ends `wait`, so it waits again. A worker that was
/// told to finish exits with 75 and goes back into the queue, by the array's own name for it.
pub fn worker_script(job: &Job) -> String {
    let shard = format!("\"${{SLURM_ARRAY_TASK_ID}}/{}\"", job.shards);
    format!(
        r#"#!/bin/bash
# A worker of {name}, written by `foolproof submit slurm`.
cd {folder} || exit 1
{exports}worker=
signalled=1
forward() {{
  signalled=1
  [ -z "$worker" ] || kill -USR1 "$worker"
}}
trap forward USR1
echo "worker ${{SLURM_ARRAY_TASK_ID}} of {shards} on $(hostname), start ${{SLURM_RESTART_COUNT:-0}}, job ${{SLURM_JOB_ID}}" >&2
{call} --shard {shard} --threads "${{SLURM_CPUS_PER_TASK:-1}}" &
worker=$!
while [ -n "$signalled" ]; do
  signalled=
  wait "$worker"
  code=$?
done
# 138: the signal came before the worker listened to it
if [ "$code" -eq 75 ] || [ "$code" -eq 138 ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
"#,
        name = job.run,
        folder = quoted(&job.folder),
        exports = exports(job),
        shards = job.shards,
        call = words(&job.worker()),
    )
}

/// The script of the job behind the array: it shows how far the run is, and reports if all of it is there.
pub fn report_script(job: &Job) -> String {
    format!(
        r#"#!/bin/bash
# Merges and reports {name}, written by `foolproof submit slurm`.
cd {folder} || exit 1
{exports}{merge}
code=$?
{status}
# 2: cells failed for good, which the report says
[ "$code" -eq 0 ] || [ "$code" -eq 2 ] || exit "$code"
{report}
"#,
        name = job.run,
        folder = quoted(&job.folder),
        exports = exports(job),
        merge = words(&job.reader("merge")),
        status = words(&job.reader("status")),
        report = words(&job.reader("report")),
    )
}

/// Options of `sbatch` for the workers, with the script. `extra` comes last, so that it counts.
pub fn worker_options(job: &Job, extra: &[String]) -> Vec<String> {
    let most = job.max_parallel.map_or_else(String::new, |most| format!("%{most}"));
    let mut options = vec![
        "--parsable".into(),
        format!("--job-name={}", job_name(job)),
        format!("--array=0-{}{most}", job.shards - 1),
        "--nodes=1".into(),
        "--ntasks=1".into(),
        format!("--cpus-per-task={}", job.cpus),
        "--requeue".into(),
        format!("--signal=B:USR1@{NOTICE}"),
        "--open-mode=append".into(),
        format!("--chdir={}", folder(job)),
        format!("--output={LOGS}/%A_%a.txt"),
    ];
    options.extend(job.time.iter().map(|time| format!("--time={time}")));
    options.extend(job.gpu.iter().map(|kind| match kind.is_empty() {
        true => "--gres=gpu:1".into(),
        false => format!("--gres=gpu:{kind}:1"),
    }));
    options.extend(extra.iter().cloned());
    options.push(format!("{}/{WORKER}", folder(job)));
    options
}

/// Options of `sbatch` for the job behind them. `array` is their job id.
pub fn report_options(job: &Job, array: &str, extra: &[String]) -> Vec<String> {
    let mut options = vec![
        "--parsable".into(),
        format!("--job-name={}", job_name(job)),
        format!("--dependency=afterany:{array}"),
        "--nodes=1".into(),
        "--ntasks=1".into(),
        "--requeue".into(),
        "--open-mode=append".into(),
        format!("--chdir={}", folder(job)),
        format!("--output={LOGS}/%j-report.txt"),
    ];
    options.extend(extra.iter().cloned());
    options.push(format!("{}/{REPORT}", folder(job)));
    options
}

/// All that a submission does, as a script that does it.
pub fn dry_run(job: &Job, extra: &[String]) -> String {
    let folder = quoted(&folder(job));
    let file = |name: &str, text: &str| format!("cat > {folder}/{name} << 'END_OF_SCRIPT'\n{text}END_OF_SCRIPT\n");
    // the id is known to the shell that submits
    let report = words(&report_options(job, "ARRAY", extra)).replacen("afterany:ARRAY", "afterany:\"${array%%;*}\"", 1);
    format!(
        "mkdir -p {folder}/{LOGS}\n{}{}array=$(sbatch {})\nsbatch {report}\n",
        file(WORKER, &worker_script(job)),
        file(REPORT, &report_script(job)),
        words(&worker_options(job, extra)),
    )
}
