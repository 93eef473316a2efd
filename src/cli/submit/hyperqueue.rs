//! HyperQueue: a script that submits an array of tasks, waits for it, merges and reports.

use super::job::{Job, UNLESS_MISSING, exports, quoted, words};

/// The script. A task's number is `HQ_TASK_ID`.
///
/// HyperQueue sends no signal before an allocation ends; the task is killed, and starts again on another worker of HyperQueue, as often as
/// its crash limit lets it.
pub fn script(job: &Job) -> String {
    let logs = format!("{}/submit/log", job.run_folder());
    let mut options = vec![
        format!("--name=foolproof-{}", job.run),
        format!("--array=0-{}", job.shards - 1),
        format!("--cpus={}", job.cpus),
        format!("--cwd={}", job.folder),
        format!("--stdout={logs}/%{{JOB_ID}}_%{{TASK_ID}}_%{{INSTANCE_ID}}.txt"),
        format!("--stderr={logs}/%{{JOB_ID}}_%{{TASK_ID}}_%{{INSTANCE_ID}}.err"),
        "--crash-limit=20".into(),
    ];
    let offline = [("HF_HUB_OFFLINE".to_string(), "1".to_string())];
    options.extend(job.variables.iter().chain(&offline).map(|(name, value)| format!("--env={name}={value}")));
    if job.gpu.is_some() {
        options.push("--resource=gpus/nvidia=1".into());
    }
    let mut worker = job.worker();
    worker.extend(["--shards".into(), job.shards.to_string(), "--threads".into(), job.cpus.to_string()]);
    format!(
        r#"#!/bin/bash
# The run {run} in {shards} tasks of HyperQueue.
cd {folder} || exit 1
{exports}mkdir -p {logs}
hq submit --wait {options} -- {worker}
{merge}{UNLESS_MISSING}{report}
"#,
        run = job.run,
        shards = job.shards,
        folder = quoted(&job.folder),
        exports = exports(job),
        logs = quoted(&logs),
        options = words(&options),
        worker = words(&worker),
        merge = words(&job.reader("merge")),
        report = words(&job.reader("report")),
    )
}
