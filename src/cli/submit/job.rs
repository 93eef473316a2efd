//! A job as plain data, and how its words are written for a shell.

/// The sizes and places that a job is made of. Every path is absolute.
#[derive(Debug, Clone)]
pub struct Job {
    /// The run: a folder below `out`.
    pub run: String,
    /// This program.
    pub program: String,
    /// The current folder, which relative paths in the sweep and in the environment start from.
    pub folder: String,
    /// The sweep file.
    pub config: String,
    /// Folder of all runs.
    pub out: String,
    /// Workers.
    pub shards: usize,
    /// Workers at a time, if fewer.
    pub max_parallel: Option<usize>,
    /// A GPU for each: its type, or nothing where any will do.
    pub gpu: Option<String>,
    /// Cores for each.
    pub cpus: u16,
    /// How long each may take at a time, as the engine writes it.
    pub time: Option<String>,
    /// Options that every worker is given as this program was.
    pub options: Vec<String>,
    /// Whether the report ends with exit code 3 where a relation of the sanity ladder is violated.
    pub strict: bool,
    /// Variables that say where data and weights are.
    pub variables: Vec<(String, String)>,
}

impl Job {
    /// Folder of the run.
    pub fn run_folder(&self) -> String {
        format!("{}/{}", self.out.trim_end_matches('/'), self.run)
    }

    /// The call of a worker, but for its shard and threads.
    pub fn worker(&self) -> Vec<String> {
        let call = [&self.program, "worker", "--config", &self.config, "--out", &self.out];
        call.iter().map(|word| word.to_string()).chain(self.options.iter().cloned()).collect()
    }

    /// The call of a verb that reads the run.
    pub fn reader(&self, verb: &str) -> Vec<String> {
        let strict = (self.strict && verb == "report").then(|| "--strict".to_string());
        [self.program.clone(), verb.into(), self.run_folder()].into_iter().chain(strict).collect()
    }
}

/// Between the calls of `merge` and `report`, for a shell: cells that failed for good (2) are in the report.
pub const UNLESS_MISSING: &str = " || [ $? -eq 2 ] && ";

/// Words as a shell reads them back.
pub fn words<W: AsRef<str>>(words: &[W]) -> String {
    words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it back: as it stands where nothing in it is special, else between single quotes.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// `export` lines: the variables of a job, and that nothing is downloaded.
pub fn exports(job: &Job) -> String {
    let offline = [("HF_HUB_OFFLINE".to_string(), "1".to_string())];
    job.variables.iter().chain(&offline).map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        assert_eq!(words(&["a/b-1.toml", "it's", "", "$x `y`", "~"]), r"a/b-1.toml 'it'\''s' '' '$x `y`' '~'");
    }
}
