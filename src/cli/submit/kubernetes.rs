//! Kubernetes: a volume, and jobs on it that fetch, work and report, as one manifest in parts.

use super::job::Job;

/// Where the volume lies in every container; it stands for the current folder.
pub const FOLDER: &str = "/work";

/// The manifest. A worker's index is `JOB_COMPLETION_INDEX`.
///
/// A container that exits with 75 wants to be started again, and one that was moved to make room is no failure either: neither counts.
/// 1 (use, disk) and 2 (cells that failed for good) would be the same the next time. What was killed is tried again.
pub fn manifest(job: &Job, image: &str) -> String {
    let name = format!("foolproof-{}", label(&job.run));
    let parallel = job.max_parallel.map_or(job.shards, |most| most.min(job.shards));
    let mut worker = job.worker();
    worker.extend(["--shards".into(), job.shards.to_string(), "--threads".into(), job.cpus.to_string()]);
    let fetch = [job.program.clone(), "fetch".into(), job.config.clone()];
    let of_report = [job.reader("merge"), job.reader("report")]
        .map(|call| super::job::words(&call))
        .join(super::job::UNLESS_MISSING);
    let report = ["/bin/sh".into(), "-c".into(), of_report];
    let part = |name: String, part: &str| {
        format!(
            "  name: {}\n  labels: {{foolproof/run: {}, foolproof/part: {part}}}\n",
            text(&name),
            text(&label(&job.run))
        )
    };
    let single = |name: String, what: &str, command: &[String], offline: bool| {
        format!(
            "---\napiVersion: batch/v1\nkind: Job\nmetadata:\n{}spec:\n  backoffLimit: 2\n  template:\n    spec:\n{}",
            part(name, what),
            pod(job, image, command, offline, None)
        )
    };
    format!(
        r#"# The run `{run}` in {shards} workers, one part after the other (each by its label):
#   kubectl apply -f FILE -l foolproof/part=volume     and copy onto it what lies in this folder: the sweep, models, data
#   kubectl apply -f FILE -l foolproof/part=fetch      brings weights and data from the Hub onto it
#   kubectl apply -f FILE -l foolproof/part=workers
#   kubectl wait --for=condition=complete --timeout=-1s job/{name}
#   kubectl apply -f FILE -l foolproof/part=report
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
{volume}spec:
  accessModes: [ReadWriteMany]
  resources: {{requests: {{storage: 20Gi}}}}
{fetch}---
apiVersion: batch/v1
kind: Job
metadata:
{part}spec:
  completionMode: Indexed
  completions: {shards}
  parallelism: {parallel}
  backoffLimitPerIndex: 3
  podFailurePolicy:
    rules:
    - action: Ignore
      onExitCodes: {{containerName: foolproof, operator: In, values: [75]}}
    - action: Ignore
      onPodConditions: [{{type: DisruptionTarget, status: "True"}}]
    - action: FailIndex
      onExitCodes: {{containerName: foolproof, operator: In, values: [1, 2]}}
  template:
    spec:
      terminationGracePeriodSeconds: 120
{worker}{report}"#,
        run = job.run,
        shards = job.shards,
        volume = part(volume(job), "volume"),
        fetch = single(format!("{name}-fetch"), "fetch", &fetch, false),
        part = part(name.clone(), "workers"),
        worker = pod(job, image, &worker, true, Some(job.cpus)),
        report = single(format!("{name}-report"), "report", &report, true),
    )
}

/// What stands below `spec:` of a pod with one container; a worker has cores and a GPU of its own.
fn pod(job: &Job, image: &str, command: &[String], offline: bool, cpus: Option<u16>) -> String {
    let list = |words: &[String]| words.iter().map(|word| text(word)).collect::<Vec<_>>().join(", ");
    let offline = offline.then(|| ("HF_HUB_OFFLINE".to_string(), "1".to_string()));
    let variables = job.variables.iter().chain(&offline);
    let variables: String =
        variables.map(|(name, value)| format!("        - {{name: {name}, value: {}}}\n", text(value))).collect();
    let resources = cpus.map_or_else(String::new, |cpus| {
        let gpu = job.gpu.as_ref().map_or("", |_| ", nvidia.com/gpu: 1");
        format!("        resources: {{requests: {{cpu: {cpus}, memory: 4Gi}}, limits: {{memory: 4Gi{gpu}}}}}\n")
    });
    format!(
        r#"      restartPolicy: Never
      containers:
      - name: foolproof
        image: {image}
        workingDir: {FOLDER}
        command: [{command}]
        env:
{variables}{resources}        volumeMounts: [{{name: work, mountPath: {FOLDER}}}]
      volumes: [{{name: work, persistentVolumeClaim: {{claimName: {claim}}}}}]
"#,
        image = text(image),
        command = list(command),
        claim = text(&volume(job)),
    )
}

fn volume(job: &Job) -> String {
    format!("foolproof-{}-work", label(&job.run))
}

/// Longer names of pods are refused, and an index is added to them.
const MOST_LETTERS: usize = 40;

/// A run's name as Kubernetes takes names.
fn label(run: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    run.chars().map(safe).take(MOST_LETTERS).collect::<String>().trim_matches('-').into()
}

/// A string as YAML reads it back: JSON's form is YAML's, too.
fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
