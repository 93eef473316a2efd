//! Lines for people, on stderr.

use std::io::Write;

/// Writes a line to stderr, in one piece. Where that cannot be done (a pipe nobody reads, a full disk, a closed terminal) the line
/// is dropped: it is no result, and the work goes on.
pub fn say(line: impl std::fmt::Display) {
    std::io::stderr().lock().write_all(format!("{line}\n").as_bytes()).ok();
}
