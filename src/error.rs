//! Every way in which something can go wrong, in words a user can act on.

use std::path::{Path, PathBuf};

/// The one error type. Messages name the thing and a way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Wrong use: a name that does not exist, a value out of range, a missing file.
    #[error("{0}")]
    Usage(String),
    /// All problems of one sweep or model file, one a line: `file:line: text`.
    #[error("{}", .0.join("\n"))]
    Config(Vec<String>),
    /// A weight file that does not hold what its model needs.
    #[error("weights of `{model}`: {problem}")]
    Weights {
        /// Name of the model.
        model: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// A stored file that is damaged, foreign, or of another schema.
    #[error("store: {0}")]
    Store(String),
    /// A claim in the store that does not hold when it is recomputed.
    #[error("verification failed: {0}")]
    Verify(String),
    /// A comparison that fails as `--fail-on` says, or the sanity ladder under `--strict`.
    #[error("gate failed: {0}")]
    Gate(String),
    /// The operating system refused.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb: "read", "write", …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A tensor operation failed.
    #[error("tensor: {0}")]
    Tensor(#[source] candle_core::Error),
    /// The cell of a smaller budget that a cell goes on from failed.
    #[error("{0}")]
    Rung(String),
    /// A chart could not be drawn.
    #[error("figure: {0}")]
    Figure(String),
    /// Data that is not on this machine.
    #[error("{0}")]
    Absent(String),
    /// A file of the Hub that could not be had, or is not what it should be.
    #[error("hub: {0}")]
    Hub(String),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// A worker that was asked to end after its piece of work.
    #[error("ended after its piece, as it was asked to (hint: start it again, it goes on)")]
    Unfinished,
    /// Cells of a plan that no worker has stored.
    #[error("{}", .0.join("\n"))]
    Missing(Vec<String>),
    /// The run ended, but some of its cells failed.
    #[error("{failed} of {total} cells failed; `tables/summary.csv` names the errors")]
    CellsFailed {
        /// Number of failed cells.
        failed: usize,
        /// Number of cells in the plan.
        total: usize,
    },
}

impl From<candle_core::Error> for Error {
    /// Without the backtrace that candle adds where `RUST_BACKTRACE` is set: a message has one line.
    fn from(mut problem: candle_core::Error) -> Error {
        while let candle_core::Error::WithBacktrace { inner, .. } = problem {
            problem = *inner;
        }
        Error::Tensor(problem)
    }
}

/// `Result` with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps an I/O error with what was tried on which file.
    pub fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
        move |source| Error::Io { action, path: path.to_path_buf(), source }
    }

    /// Shorthand for [`Error::Usage`].
    pub fn usage(text: impl Into<String>) -> Error {
        Error::Usage(text.into())
    }

    /// Whether data could not be had, rather than being wrong.
    pub fn is_absence(&self) -> bool {
        match self {
            Error::Absent(_) | Error::Hub(_) => true,
            Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// What helps where the message itself does not say: by the kind of error.
    pub fn way_out(&self) -> &'static str {
        use std::io::ErrorKind::{
            IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull,
        };
        let text = self.to_string();
        if ["(hint: ", "(known: "].iter().any(|says| text.contains(says)) {
            return "";
        }
        match self {
            Error::Store(_) => " (hint: put back a sound copy, or move the run away and run its sweep again)",
            Error::Tensor(_) => {
                " (hint: a smaller --batch where memory is short; else please report it, with `foolproof doctor`)"
            }
            Error::Figure(_) => {
                " (hint: the cells are stored, and `foolproof report RUN` draws again; please report it)"
            }
            Error::Hub(_) => " (hint: docs/hub.md; `foolproof cache --verify` checks what is here)",
            Error::Io { source, .. } => match source.kind() {
                NotFound => " (hint: is the path right?)",
                PermissionDenied | ReadOnlyFilesystem => " (hint: another folder, or other rights)",
                NotADirectory | IsADirectory => " (hint: a file stands where a folder should, or the other way round)",
                StorageFull => " (hint: make room; what is stored stays, and the same command goes on)",
                _ => "",
            },
            _ => "",
        }
    }

    /// Process exit code: 1 user error, 2 some cells failed, 3 a gate failed, 4 cells are missing, 75 to be started again
    /// (`EX_TEMPFAIL` of sysexits.h), 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::CellsFailed { .. } => 2,
            Error::Verify(_) | Error::Gate(_) => 3,
            Error::Missing(_) => 4,
            Error::Unfinished => 75,
            Error::Interrupted => 130,
            _ => 1,
        }
    }
}

/// The known name nearest to `name` by edit distance, whatever the case, if one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (edit_distance(name, k), k))
        .filter(|(d, k)| *d <= 1 + k.len().max(name.len()) / 3)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Whether these words stand in a name one after the other, whatever the case, and are not all of it: `eagle` in `bald eagle`,
/// not `step` in `step_size`, which is one word.
fn is_part(words: &str, name: &str) -> bool {
    let split = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)).filter(|part| !part.is_empty());
        parts.map(str::to_lowercase).collect()
    };
    let (words, name) = (split(words), split(name));
    !words.is_empty() && words.len() < name.len() && name.windows(words.len()).any(|part| part == words)
}

/// Names of a longer list are not read by anybody.
const MOST_NAMES: usize = 20;
/// So many of such a list are named.
const NAMES: usize = 10;

/// ` (hint: did you mean `x`?)`, or a list of what is known where nothing is near: of a long one the nearest. Names that have
/// it as a word come before those that are spelled like it, and these before those that begin with it.
pub fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    let lower = name.to_lowercase();
    let those = |fits: &dyn Fn(&str) -> bool| -> Vec<&str> { known.iter().copied().filter(|k| fits(k)).collect() };
    let ways = [
        those(&|k| k.to_lowercase() == lower),
        those(&|k| is_part(name, k)),
        nearest(name, known.iter().copied()).into_iter().collect(),
        those(&|k| !lower.is_empty() && k.to_lowercase().starts_with(&lower)),
    ];
    match ways.iter().find(|meant| !meant.is_empty()).map(Vec::as_slice) {
        Some([meant]) => return format!(" (hint: did you mean `{meant}`?)"),
        Some(meant) => {
            return format!(" (hint: did you mean one of `{}`?)", meant[..meant.len().min(NAMES)].join("`, `"));
        }
        None => {}
    }
    let count = known.len();
    if count <= MOST_NAMES {
        return format!(" (known: {})", known.join(", "));
    }
    known.sort_by_cached_key(|k| edit_distance(name, k));
    format!(" (known: {}, … {count} in all)", known[..NAMES].join(", "))
}

/// Levenshtein distance over characters, whatever their case, with names longer than 64 characters cut off: it takes time as their product.
fn edit_distance(a: &str, b: &str) -> usize {
    let head = |name: &str| name.to_lowercase().chars().take(64).collect::<String>();
    strsim::levenshtein(&head(a), &head(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_the_meant_key_and_nothing_far_away() {
        let keys = ["steps", "step_size", "random_start", "restarts"];
        assert_eq!(nearest("stepsize", keys), Some("step_size"));
        assert_eq!(nearest("step", keys), Some("steps"));
        assert_eq!(nearest("randomstart", keys), Some("random_start"));
        assert_eq!(nearest("zzzzzz", keys), None);
    }

    #[test]
    fn a_name_that_has_it_as_a_word_is_meant_before_one_that_is_spelled_like_it() {
        let classes = ["beagle", "bald eagle", "crate", "crane (bird)", "crane (machine)", "hamster"];
        assert_eq!(hint("eagle", classes), " (hint: did you mean `bald eagle`?)");
        assert_eq!(hint("Crane", classes), " (hint: did you mean one of `crane (bird)`, `crane (machine)`?)");
        assert_eq!(hint("hamstr", classes), " (hint: did you mean `hamster`?)");
        assert_eq!(hint("step", ["step_size", "steps"]), " (hint: did you mean `steps`?)");
        assert_eq!(hint("Auto", ["noise", "autoattack", "fab"]), " (hint: did you mean `autoattack`?)");
        assert_eq!(hint("PGD", ["noise", "pgd"]), " (hint: did you mean `pgd`?)");
        assert_eq!(hint("sgd", ["sgd momentum", "SGD"]), " (hint: did you mean `SGD`?)");
    }

    #[test]
    fn long_lists_are_cut() {
        let many: Vec<String> = (0..1000).map(|i| format!("class {i}")).collect();
        let text = hint("n01443537", many.iter().map(String::as_str));
        assert!(text.len() < 200 && text.ends_with(", … 1000 in all)"), "{text}");
        assert_eq!(text.matches("class").count(), NAMES);
        let few = hint("n01443537", many[..MOST_NAMES].iter().map(String::as_str));
        assert_eq!(few.matches("class").count(), MOST_NAMES);
    }
}
