//! `submit`: what is written for each engine, how a shell reads it back, and the way to Slurm with commands that stand in for its own.
#![cfg(unix)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::foolproof;

/// Four cells.
const SWEEP: &str = r#"
name = "tiny"
[[sweep]]
models  = ["vgg11-half-cifar10"]
goals   = ["untargeted"]
data    = { name = "cifar10-sample", take = 2 }
threats = [{ norm = "linf", eps = ["1/255", "2/255"] }]
attacks = [{ name = "noise" }, { name = "fgsm" }]
"#;

/// A folder that no shell reads back unless it is quoted, with a sweep of such a name, and commands in place of Slurm's.
struct Site {
    root: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site { root: tempfile::tempdir().unwrap() };
        fs::create_dir(site.here()).unwrap();
        fs::write(site.here().join("a sweep.toml"), SWEEP).unwrap();
        // each call is noted, one word a line; ids count up
        let sbatch = r#"#!/bin/bash
[ "$1" = --version ] && exit 0
{ echo CALL; printf '%s\n' "$@"; } >> "$ROOT/calls"
[ ! -e "$ROOT/refuse" ] || { echo "sbatch: error: Invalid account" >&2; exit 1; }
echo "$((6 + $(grep -c ^CALL "$ROOT/calls")));there"
"#;
        site.command("sbatch", sbatch);
        site.command("squeue", "#!/bin/bash\ncat \"$ROOT/queue\" 2> /dev/null; true\n");
        let scontrol =
            "#!/bin/bash\n[ \"$1\" = show ] && exec cat \"$ROOT/settings\"\necho \"$@\" >> \"$ROOT/scontrol\"\n";
        site.command("scontrol", scontrol);
        site.write("settings", "MaxArraySize            = 1001\n");
        site
    }

    fn here(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap().join("it's 100% \"$HOME\" `x`")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.root.path().join(name), text).unwrap();
    }

    fn command(&self, name: &str, text: &str) {
        let folder = self.root.path().join("bin");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// In this folder, with these commands first.
    fn with_commands<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let path = format!("{}:{}", self.root.path().join("bin").display(), std::env::var("PATH").unwrap());
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
        command.current_dir(self.here()).env("PATH", path).env("ROOT", self.root.path()).env("FOOLPROOF_DATA", data)
    }

    /// `foolproof submit ENGINE --config …`, with further words.
    fn submit(&self, engine: &str, further: &[&str]) -> Output {
        let mut command = foolproof();
        command.args(["submit", engine, "--config", "a sweep.toml"]).args(further);
        self.with_commands(&mut command).output().unwrap()
    }

    fn text(&self, engine: &str, further: &[&str]) -> String {
        let output = self.submit(engine, further);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The words of each call of sbatch.
    fn calls(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.root.path().join("calls")).unwrap_or_default();
        text.split("CALL\n").skip(1).map(|call| call.lines().map(String::from).collect()).collect()
    }

    fn script(&self, name: &str) -> String {
        fs::read_to_string(self.here().join("results/tiny/submit").join(name)).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    assert!(output.stdout.is_empty());
    stderr(output)
}

// ---- Slurm

#[test]
fn an_array_is_submitted_and_behind_it_a_report() {
    let site = Site::new();
    let extra = ["--shards", "3", "--max-parallel", "2", "--gpus", "a100:1", "--cpus", "5", "--time", "1:00:00"];
    let output = site.submit("slurm", &[&extra[..], &["--", "--account=x y"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "7 workers\n8 report\n");
    assert!(
        stderr(&output).contains("4 pieces of work are missing: 3 workers are queued as job 7"),
        "{}",
        stderr(&output)
    );

    let [workers, report] = &site.calls()[..] else { panic!("{:?}", site.calls()) };
    let folder = format!("{}/results/tiny/submit", site.here().display());
    let expected = [
        "--parsable",
        "--job-name=foolproof-tiny",
        "--array=0-2%2",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=5",
        "--requeue",
        "--signal=B:USR1@120",
        "--open-mode=append",
        &format!("--chdir={folder}"),
        "--output=log/%A_%a.txt",
        "--time=1:00:00",
        "--gres=gpu:a100:1",
        "--account=x y",
        &format!("{folder}/worker.sh"),
    ];
    assert_eq!(workers, &expected);
    let expected = [
        "--parsable",
        "--job-name=foolproof-tiny",
        "--dependency=afterany:7",
        "--nodes=1",
        "--ntasks=1",
        "--requeue",
        "--open-mode=append",
        &format!("--chdir={folder}"),
        "--output=log/%j-report.txt",
        "--account=x y",
        &format!("{folder}/report.sh"),
    ];
    assert_eq!(report, &expected);
    assert!(Path::new(&folder).join("log").is_dir());
    // a GPU that is not there must be an error of the worker
    assert!(site.script("worker.sh").contains(" --device=cuda --shard \"${SLURM_ARRAY_TASK_ID}/3\" "));
}

#[test]
fn a_dry_run_prints_a_script_that_does_the_same_and_needs_no_slurm() {
    let (site, other) = (Site::new(), Site::new());
    let options = ["--shards", "2", "--out", "o u t", "--", "--partition=it's"];
    let mut command = foolproof();
    command.args(["submit", "slurm", "--config", "a sweep.toml", "--dry-run"]).args(options);
    let printed = site.with_commands(&mut command).env("PATH", "/usr/bin:/bin").output().unwrap();
    assert!(printed.status.success(), "{}", stderr(&printed));
    assert!(!site.here().join("o u t").exists() && site.calls().is_empty());

    fs::write(site.root.path().join("script"), &printed.stdout).unwrap();
    let mut shell = Command::new("bash");
    assert!(site.with_commands(shell.arg(site.root.path().join("script"))).status().unwrap().success());
    assert!(other.submit("slurm", &options).status.success());
    // but for where each site lies
    let (here, there) = (site.here().display().to_string(), other.here().display().to_string());
    let quoted = |text: &str| text.replace('\'', r"'\''");
    let moved = |text: String| text.replace(&here, &there).replace(&quoted(&here), &quoted(&there));
    let calls: Vec<Vec<String>> = site.calls().into_iter().map(|call| call.into_iter().map(moved).collect()).collect();
    assert_eq!(calls, other.calls());
    for name in ["worker.sh", "report.sh"] {
        let read = |s: &Site| fs::read_to_string(s.here().join("o u t/tiny/submit").join(name)).unwrap();
        assert_eq!(moved(read(&site)), read(&other));
    }
}

#[test]
fn what_is_queued_is_not_submitted_twice() {
    let site = Site::new();
    assert!(site.submit("slurm", &[]).status.success());
    site.write("queue", "3\n77\n8\n");
    let text = refusal(&site.submit("slurm", &[]));
    assert!(text.contains("jobs 8 of run `tiny` are queued or running") && text.contains("--again"), "{text}");
    assert_eq!(site.calls().len(), 2);
    assert!(site.submit("slurm", &["--again"]).status.success());
    // jobs of others do not count
    site.write("queue", "3\n77\n");
    assert!(site.submit("slurm", &[]).status.success());
    assert_eq!(site.calls().len(), 6);
}

#[test]
fn only_what_is_missing_is_submitted() {
    let site = Site::new();
    site.text("slurm", &[]);
    assert!(site.calls()[0].contains(&"--array=0-3".to_string()), "four cells are no work for eight workers");
    let mut run = foolproof();
    assert!(site.with_commands(run.args(["run", "a sweep.toml", "--quiet"])).status().unwrap().success());
    let output = site.submit("slurm", &[]);
    assert!(output.status.success() && output.stdout.is_empty());
    let text = stderr(&output);
    assert!(text.contains("nothing is missing of run `tiny`") && text.contains("foolproof report"), "{text}");
    let cell = fs::read_dir(site.here().join("results/tiny/cells")).unwrap().next().unwrap().unwrap();
    fs::remove_dir_all(cell.path()).unwrap();
    site.text("slurm", &[]);
    assert_eq!(site.calls().len(), 4);
    assert!(site.calls()[2].contains(&"--array=0-0".to_string()));
}

#[test]
fn what_slurm_refuses_is_said() {
    let site = Site::new();
    site.write("refuse", "");
    let text = refusal(&site.submit("slurm", &[]));
    assert!(text.contains("sbatch refused: sbatch: error: Invalid account"), "{text}");
    fs::remove_file(site.root.path().join("refuse")).unwrap();
    site.write("settings", "MaxArraySize            = 3\n");
    site.text("slurm", &[]);
    assert!(site.calls()[1].contains(&"--array=0-2".to_string()), "{:?}", site.calls()[1]);

    let mut command = foolproof();
    command.args(["submit", "slurm", "--config", "a sweep.toml"]);
    let text = refusal(&site.with_commands(&mut command).env("PATH", "/nowhere").output().unwrap());
    assert!(text.contains("cannot start sbatch") && text.contains("--dry-run"), "{text}");
}

/// The worker's script with a program in place of ours.
fn batch(site: &Site, program: &str) -> Command {
    site.text("slurm", &[]);
    let ours = env!("CARGO_BIN_EXE_foolproof");
    let text = site.script("worker.sh");
    assert!(text.contains(ours));
    site.command("worker", program);
    site.write("batch.sh", &text.replace(ours, "worker"));
    let mut shell = Command::new("bash");
    site.with_commands(shell.arg(site.root.path().join("batch.sh")));
    shell.envs([("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_JOB_ID", "9")]);
    shell.env("SLURM_CPUS_PER_TASK", "3");
    shell
}

#[test]
fn the_batch_shell_passes_usr1_on_and_requeues() {
    let site = Site::new();
    let worker = "#!/bin/bash\nprintf '%s\\n' \"$PWD\" \"$HF_HUB_OFFLINE\" \"$@\" > \"$ROOT/words\"\n\
                  trap 'sleep 0.2; echo chunk > \"$ROOT/chunk\"; exit 75' USR1\ntouch \"$ROOT/ready\"\nwhile :; do sleep 0.05; done\n";
    let mut shell = batch(&site, worker).spawn().unwrap();
    let ready = site.root.path().join("ready");
    while !ready.exists() {
        assert!(shell.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-USR1", &shell.id().to_string()]).status().unwrap().success());
    assert_eq!(shell.wait().unwrap().code(), Some(75));
    assert!(site.root.path().join("chunk").exists(), "the shell waited for the worker to finish its chunk");
    assert_eq!(fs::read_to_string(site.root.path().join("scontrol")).unwrap(), "requeue 7_2\n");

    let here = site.here().display().to_string();
    let (config, out) = (format!("{here}/a sweep.toml"), format!("{here}/results"));
    let words = [&here, "1", "worker", "--config", &config, "--out", &out, "--shard", "2/4", "--threads", "3"];
    assert_eq!(fs::read_to_string(site.root.path().join("words")).unwrap().lines().collect::<Vec<_>>(), words);
}

#[test]
fn other_exit_codes_are_those_of_the_job() {
    for code in [0, 1, 2] {
        let site = Site::new();
        assert_eq!(batch(&site, &format!("#!/bin/bash\nexit {code}\n")).status().unwrap().code(), Some(code));
        assert!(!site.root.path().join("scontrol").exists());
    }
    let site = Site::new();
    let killed = batch(&site, "#!/bin/bash\nkill -KILL $$\n").output().unwrap();
    assert_eq!(killed.status.code(), Some(137));
}

#[test]
fn the_report_job_merges_shows_and_reports_only_what_is_whole() {
    let site = Site::new();
    site.text("slurm", &["--strict"]);
    let ours = env!("CARGO_BIN_EXE_foolproof");
    site.command(
        "reader",
        "#!/bin/bash\necho \"$@\" >> \"$ROOT/read\"\n[ \"$1\" != merge ] || exit \"$(cat \"$ROOT/code\")\"\n",
    );
    site.write("report.sh", &site.script("report.sh").replace(ours, "reader"));
    let run = site.here().join("results/tiny").display().to_string();
    let [merge, status] = [format!("merge {run}\n"), format!("status {run}\n")];
    for (code, read) in [(4, format!("{merge}{status}")), (0, format!("{merge}{status}report {run} --strict\n"))] {
        site.write("code", &code.to_string());
        site.write("read", "");
        let mut shell = Command::new("bash");
        let ended = site.with_commands(shell.arg(site.root.path().join("report.sh"))).status().unwrap();
        assert_eq!(ended.code(), Some(code));
        assert_eq!(fs::read_to_string(site.root.path().join("read")).unwrap(), read);
    }
}

// ---- the others

#[test]
fn kubernetes_gets_a_manifest_in_four_parts() {
    let site = Site::new();
    // data beside the sweep, which the volume stands for
    let submit = |data: &str, further: &[&str]| {
        let mut command = foolproof();
        command.args(["submit", "kubernetes", "--config", "a sweep.toml"]).args(further);
        site.with_commands(&mut command).env("FOOLPROOF_DATA", data).output().unwrap()
    };
    let options =
        ["--shards", "6", "--max-parallel", "4", "--gpus", "1", "--image", "registry/foolproof:1", "--limit", "5"];
    let output = submit("da ta", &options);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "  name: \"foolproof-tiny-first-5\"",
        "  completionMode: Indexed",
        "  completions: 6",
        "  parallelism: 4",
        "  backoffLimitPerIndex: 3",
        "    - action: Ignore\n      onExitCodes: {containerName: foolproof, operator: In, values: [75]}",
        "    - action: FailIndex\n      onExitCodes: {containerName: foolproof, operator: In, values: [1, 2]}",
        "        image: \"registry/foolproof:1\"",
        "        command: [\"foolproof\", \"worker\", \"--config\", \"/work/a sweep.toml\", \"--out\", \"/work/results\", \"--device=cuda\", \
         \"--limit=5\", \"--shards\", \"6\", \"--threads\", \"4\"]",
        "        - {name: FOOLPROOF_DATA, value: \"/work/da ta\"}",
        "        command: [\"/bin/sh\", \"-c\", \"foolproof merge /work/results/tiny-first-5 || [ $? -eq 2 ] && foolproof report \
         /work/results/tiny-first-5\"]",
    ] {
        assert!(text.contains(&format!("{line}\n")), "no `{line}` in\n{text}");
    }
    assert_eq!(text.matches("\nkind: ").count(), 4);
    assert!(!text.contains('\t') && text.lines().all(|line| (line.len() - line.trim_start().len()) % 2 == 0));
    is_yaml(&site, &text);

    let text = refusal(&submit("/elsewhere", &[]));
    assert!(text.contains("/elsewhere is not below the current folder"), "{text}");
}

/// Read by Python's YAML, where there is one.
fn is_yaml(site: &Site, text: &str) {
    site.write("manifest.yaml", text);
    let program =
        "import sys, yaml\nfor d in yaml.safe_load_all(open(sys.argv[1])):\n print(d['kind'], d['metadata']['name'])";
    let has_yaml =
        |python: &str| Command::new(python).args(["-c", "import yaml"]).output().is_ok_and(|o| o.status.success());
    if !has_yaml("python3") {
        eprintln!("skipped a part of kubernetes_gets_a_manifest_in_four_parts: no Python with PyYAML");
        return;
    }
    let output =
        Command::new("python3").args(["-c", program]).arg(site.root.path().join("manifest.yaml")).output().unwrap();
    let name = "foolproof-tiny-first-5";
    let expected = format!("PersistentVolumeClaim {name}-work\nJob {name}-fetch\nJob {name}\nJob {name}-report\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", stderr(&output));
}

#[test]
fn htcondor_gets_a_submit_file() {
    let site = Site::new();
    let text = site.text("htcondor", &["--shards", "6", "--max-parallel", "4", "--gpus", "A100:1", "--dry-run"]);
    let lines: Vec<&str> = text.lines().collect();
    let here = site.here().display().to_string().replace('$', "$(DOLLAR)");
    let inside = here.replace('\'', "''").replace('"', "\"\"");
    for line in [
        format!("executable = {}", env!("CARGO_BIN_EXE_foolproof")),
        format!(
            "arguments = \"'worker' '--config' '{inside}/a sweep.toml' '--out' '{inside}/results' '--device=cuda' '--shard' \
             '$(Process)/6' '--threads' '4'\""
        ),
        format!("initialdir = {here}"),
        format!("output = {here}/results/tiny/submit/log/$(Cluster)_$(Process).txt"),
        "request_gpus = 1".into(),
        "kill_sig = SIGUSR1".into(),
        "on_exit_hold = (ExitBySignal =?= False) && (ExitCode =?= 1)".into(),
        "on_exit_remove = (ExitBySignal =?= False && ExitCode =!= 75) || (ExitBySignal =?= True && NumJobCompletions >= 3)".into(),
        "max_materialize = 4".into(),
    ] {
        assert!(lines.contains(&line.as_str()), "no `{line}` in\n{text}");
    }
    assert_eq!(lines.last(), Some(&"queue 6"));
}

#[test]
fn hyperqueue_gets_a_script_that_a_shell_reads_back() {
    let site = Site::new();
    site.command("hq", "#!/bin/bash\nprintf '%s\\n' \"$@\" > \"$ROOT/words\"\n");
    site.command("reader", "#!/bin/bash\necho \"$@\" >> \"$ROOT/read\"\n");
    let ours = env!("CARGO_BIN_EXE_foolproof");
    site.write("hq.sh", &site.text("hyperqueue", &["--shards", "6", "--gpus", "1"]).replace(ours, "reader"));
    let mut shell = Command::new("bash");
    assert!(site.with_commands(shell.arg(site.root.path().join("hq.sh"))).status().unwrap().success());
    let words = fs::read_to_string(site.root.path().join("words")).unwrap();
    let here = site.here().display().to_string();
    let begin = ["submit", "--wait", "--name=foolproof-tiny", "--array=0-5", "--cpus=4", &format!("--cwd={here}")];
    assert!(words.starts_with(&begin.map(|word| format!("{word}\n")).concat()), "{words}");
    let end = format!(
        "--env=HF_HUB_OFFLINE=1\n--resource=gpus/nvidia=1\n--\nreader\nworker\n--config\n{here}/a sweep.toml\n--out\n{here}/results\n\
         --device=cuda\n--shards\n6\n--threads\n4\n"
    );
    assert!(words.ends_with(&end), "{words}");
    let read = fs::read_to_string(site.root.path().join("read")).unwrap();
    assert_eq!(read, format!("merge {here}/results/tiny\nreport {here}/results/tiny\n"));
}

#[test]
fn what_an_engine_cannot_be_told_is_refused() {
    let site = Site::new();
    for (engine, further, says) in [
        ("hyperqueue", &["--time", "3"][..], "--time is for slurm only"),
        ("htcondor", &["--", "--account=x"], "with options of sbatch, is for slurm only"),
        ("slurm", &["--image", "x"], "--image is for kubernetes only"),
        ("kubernetes", &["--gpus", "a100:1"], "a type of GPU is for slurm and htcondor only"),
        ("hyperqueue", &["--max-parallel", "2"], "--max-parallel is for slurm, kubernetes and htcondor only"),
        ("slurm", &["--", "--array=0-9"], "the array is ours (hint: --shards"),
        ("slurm", &["--gpus", "2"], "a worker computes on one GPU (hint: "),
        ("slurm", &["--gpus", "\"x\":1"], "a worker computes on one GPU (hint: "),
    ] {
        let text = refusal(&site.submit(engine, further));
        assert!(text.contains(says), "{engine} {further:?}: {text}");
    }
    assert!(site.calls().is_empty());
}
