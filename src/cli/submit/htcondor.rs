//! HTCondor: a submit file for a pool whose machines share the disk.

use super::job::{Job, UNLESS_MISSING, words};

/// The submit file.
///
/// Where a job has to go it is sent USR1, finishes its chunk and starts again elsewhere; so it does after exit code 75 in any case. Errors
/// of use and of the disk (1) are held for a person to look at; of cells that failed for good (2) their rows say why. What a signal ended
/// is started again, three times at most.
pub fn submit_file(job: &Job) -> String {
    let mut arguments = job.worker().split_off(1);
    arguments.extend(["--shard".into(), format!("{PROCESS}/{}", job.shards), "--threads".into(), job.cpus.to_string()]);
    let offline = [("HF_HUB_OFFLINE".to_string(), "1".to_string())];
    let variables = job.variables.iter().chain(&offline).map(|(name, value)| format!("{name}={value}"));
    let logs = format!("{}/submit/log", job.run_folder());
    let gpu = job.gpu.as_ref().map_or_else(String::new, |kind| match kind.is_empty() {
        true => "request_gpus = 1\n".into(),
        false => format!("request_gpus = 1\nrequire_gpus = regexp(\"{kind}\", DeviceName, \"i\")\n"),
    });
    let most = job.max_parallel.map_or_else(String::new, |most| format!("max_materialize = {most}\n"));
    format!(
        r#"# The run `{run}` in {shards} workers. Before: mkdir -p {mkdir}; afterwards:
#   {merge}{UNLESS_MISSING}{report}
universe = vanilla
executable = {program}
arguments = {arguments}
environment = {environment}
initialdir = {folder}
should_transfer_files = NO
output = {files}/$(Cluster)_$(Process).txt
error = {files}/$(Cluster)_$(Process).err
log = {files}/$(Cluster).log
request_cpus = {cpus}
request_memory = 4GB
{gpu}kill_sig = SIGUSR1
job_max_vacate_time = 120
on_exit_hold = (ExitBySignal =?= False) && (ExitCode =?= 1)
on_exit_hold_reason = "a worker of {run} ended with an error of use or of the disk"
on_exit_remove = (ExitBySignal =?= False && ExitCode =!= 75) || (ExitBySignal =?= True && NumJobCompletions >= 3)
{most}queue {shards}
"#,
        run = job.run,
        shards = job.shards,
        mkdir = words(std::slice::from_ref(&logs)),
        merge = words(&job.reader("merge")),
        report = words(&job.reader("report")),
        program = literal(&job.program),
        arguments = list(arguments),
        environment = list(variables),
        folder = literal(&job.folder),
        files = literal(&logs),
        cpus = job.cpus,
    )
}

/// What HTCondor replaces by the number of a job; no file has it in its name, for that would hold a control character.
const PROCESS: &str = "\u{1}";

/// Text in which HTCondor replaces nothing.
fn literal(text: &str) -> String {
    text.replace('$', "$(DOLLAR)").replace(PROCESS, "$(Process)")
}

/// Words in HTCondor's newer form: all between double quotes, each between single quotes, either doubled within.
fn list(words: impl IntoIterator<Item = String>) -> String {
    let word = |word: String| format!("'{}'", word.replace('\'', "''"));
    let all = words.into_iter().map(word).collect::<Vec<_>>().join(" ");
    format!("\"{}\"", literal(&all.replace('"', "\"\"")))
}
