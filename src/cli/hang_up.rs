//! A terminal that is closed while the program runs: it says so by SIGHUP, and takes nothing more. No run ends for that.

use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The terminal that a process has, whatever its stdin, stdout and stderr are.
const TERMINAL: &str = "/dev/tty";

/// The system and the shell say one after the other that the terminal is gone, within moments.
const MOMENTS: Duration = Duration::from_secs(5);

/// Tells the signals of a terminal that is closed from those that ask the program to end. Which signal it was, a handler here is
/// not told; but from before the first SIGHUP on, the process has no terminal any more.
pub struct HangUp {
    was_there: bool,
    gone: Mutex<Option<Instant>>,
}

impl HangUp {
    /// Notes whether there is a terminal now.
    pub fn watch() -> HangUp {
        HangUp { was_there: has_terminal(), gone: Mutex::new(None) }
    }

    /// Whether the signal that has just come is that of the terminal.
    pub fn is_it(&self) -> bool {
        let mut gone = self.gone.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.was_there && !has_terminal() && gone.get_or_insert_with(Instant::now).elapsed() < MOMENTS
    }
}

fn has_terminal() -> bool {
    File::open(TERMINAL).is_ok()
}

/// Whether writing to stdout failed because it is a terminal that is gone; a disk that fails says the same (EIO).
pub fn is_of_terminal(problem: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::fs::{FileType, fstat};
        let device = fstat(io::stdout()).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::CharacterDevice);
        device && problem.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
    }
    #[cfg(not(unix))]
    {
        let _ = problem;
        false
    }
}
