//! Downloads on stderr: a bar on a terminal, a plain line now and then elsewhere.

use crate::hub::{Event, Hub};
use crate::notice::say;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between plain lines.
const EVERY: Duration = Duration::from_secs(10);

/// The Hub of the environment, telling what it does unless `quiet`.
pub fn hub(quiet: bool) -> Hub {
    let hub = Hub::from_env();
    if quiet {
        return hub;
    }
    let shown = Mutex::new(None);
    hub.with_progress(move |event| tell(&mut shown.lock().unwrap_or_else(PoisonError::into_inner), event))
}

/// A download that goes on.
struct Transfer {
    name: String,
    bytes: u64,
    /// Bytes that were here when the clock started.
    there: Option<u64>,
    here: u64,
    began: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

fn tell(shown: &mut Option<Transfer>, event: &Event) {
    match (event, shown.as_mut()) {
        (Event::Note(text), Some(Transfer { bar: Some(bar), .. })) => bar.println(text),
        (Event::Note(text), _) => say(text),
        (Event::Begin { file, bytes }, _) => {
            let name = format!("{} of {}", file.path, file.repository);
            let bar = std::io::stderr().is_terminal().then(|| bar(&name, *bytes));
            if bar.is_none() {
                say(format_args!("downloading {name}: {:.1} MB", megabytes(*bytes)));
            }
            let now = Instant::now();
            *shown = Some(Transfer { name, bytes: *bytes, there: None, here: 0, began: now, last_line: now, bar });
        }
        (Event::Here(here), Some(t)) => {
            t.here = *here;
            t.there.get_or_insert(*here);
            match &t.bar {
                Some(bar) => bar.set_position(*here),
                None if t.last_line.elapsed() >= EVERY => {
                    t.last_line = Instant::now();
                    say(line(t));
                }
                None => {}
            }
        }
        (Event::End(whole), Some(t)) => {
            match &t.bar {
                Some(bar) => bar.finish_and_clear(),
                None if *whole => say(line(t)),
                None => {}
            }
            *shown = None;
        }
        (Event::Here(_) | Event::End(_), None) => {}
    }
}

fn bar(name: &str, bytes: u64) -> ProgressBar {
    let template = "{bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left, {msg}";
    let bar = ProgressBar::new(bytes);
    bar.set_style(ProgressStyle::with_template(template).expect("a sound template"));
    bar.set_message(name.to_string());
    bar
}

/// `model.safetensors of owner/name: 120.0/528.0 MB, 35.1 MB/s, 12 s left`.
fn line(t: &Transfer) -> String {
    let came = t.here - t.there.unwrap_or(t.here).min(t.here);
    let rate = came as f64 / t.began.elapsed().as_secs_f64().max(1e-3);
    let left = if came == 0 { "?".into() } else { format!("{:.0}", t.bytes.saturating_sub(t.here) as f64 / rate) };
    let Transfer { name, bytes, here, .. } = t;
    format!("{name}: {:.1}/{:.1} MB, {:.1} MB/s, {left} s left", megabytes(*here), megabytes(*bytes), rate / 1e6)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
