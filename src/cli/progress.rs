//! Progress on stderr: a bar on a terminal, a plain line now and then elsewhere.

use crate::notice::say;
use crate::sweep::run::{Event, Machine};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between plain lines.
const EVERY: Duration = Duration::from_secs(10);

/// Counts what has happened and shows it.
pub struct Progress {
    quiet: bool,
    machine: String,
    bar: Option<ProgressBar>,
    began: Instant,
    last_line: Instant,
    cells: usize,
    cached: usize,
    stored: usize,
    images: usize,
    work: u64,
    work_done: u64,
    /// Share of the pictures in the making that is done.
    fitted: Option<f64>,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new(quiet: bool, machine: &Machine) -> Progress {
        let now = Instant::now();
        let machine = format!("{}, {} threads", machine.device_name, machine.threads);
        Progress {
            quiet,
            machine,
            bar: None,
            began: now,
            last_line: now,
            cells: 0,
            cached: 0,
            stored: 0,
            images: 0,
            work: 0,
            work_done: 0,
            fitted: None,
        }
    }

    /// Takes note of an event.
    pub fn tell(&mut self, event: Event) {
        match event {
            Event::Begin { cells, cached, work } => self.begin(cells, cached, work),
            Event::Settled { images, work } => {
                self.images += images;
                self.work_done += work;
            }
            Event::Fitted(share) => self.fitted = (share < 1.0).then_some(share),
            Event::After { what, done, of } if self.last_line.elapsed() >= EVERY && !self.quiet => {
                self.last_line = Instant::now();
                self.say(&format!("{what}: {done}/{of} cells"));
            }
            Event::After { .. } => {}
            Event::Stored => self.stored += 1,
            Event::Note(text) => self.say(&text),
            Event::Failed(problem) => self.say(&format!("failed: {problem}")),
            Event::Shrunk(n) => self.say(&format!("out of memory: the net now takes {n} images at a time")),
        }
        self.show();
    }

    /// A line that stays.
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => say(line),
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if !self.quiet && self.images > 0 {
            say(self.line());
        }
    }

    fn begin(&mut self, cells: usize, cached: usize, work: u64) {
        (self.cells, self.cached, self.work, self.began) = (cells, cached, work, Instant::now());
        if self.quiet || work == 0 {
            return;
        }
        let noun = if cells == 1 { "cell" } else { "cells" };
        say(format_args!("{cells} {noun}, {cached} cached; computing on {}", self.machine));
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(work);
            bar.set_style(ProgressStyle::with_template("{bar:30} {msg}").expect("a sound template"));
            self.bar = Some(bar);
        }
    }

    fn show(&mut self) {
        if self.quiet || self.work == 0 {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.work_done);
                bar.set_message(self.line());
            }
            None if self.last_line.elapsed() >= EVERY => {
                self.last_line = Instant::now();
                say(self.line());
            }
            None => {}
        }
    }

    /// `3/40 cells, 12 cached, 812 images/s, 14 s left`.
    fn line(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = self.images as f64 / seconds.max(1e-3);
        let left = match self.work_done {
            0 => "?".to_string(),
            done => format!("{:.0}", seconds * self.work.saturating_sub(done) as f64 / done as f64),
        };
        let fitting = self.fitted.map_or(String::new(), |share| format!(", fitting {:.0} %", 100.0 * share));
        format!(
            "{}/{} cells, {} cached, {rate:.0} images/s, {left} s left{fitting}",
            self.cached + self.stored,
            self.cells,
            self.cached
        )
    }
}
