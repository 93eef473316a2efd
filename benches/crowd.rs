//! A thousand workers on one store, whose pieces of work are to sleep: what the store costs them.
//!
//! `cargo bench --bench crowd -- [--workers N] [--pieces N] [--seconds S] [--out DIR]`. Each worker is a thread with a store, a record
//! and a beat of its own. Prints the time that is lost, and the calls that a piece makes: run it under `strace -f -c` for the
//! system's own count.

#[path = "../tests/support/made_up.rs"]
#[allow(dead_code, reason = "it takes a provenance alone")]
mod made_up;

use foolproof::error::{Error, Result};
use foolproof::record::Chunk;
use foolproof::store::Store;
use foolproof::sweep::share::{self, BEAT, Pieces, Worker};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pieces of a unit.
const TOGETHER: usize = 100;

struct Sleeping<'a> {
    store: &'a Store,
    names: &'a [String],
    places: &'a [(String, Range<usize>)],
    time: Duration,
    computed: &'a AtomicUsize,
    /// When each piece of this worker began, and when its sleep was over.
    spans: Vec<(Instant, Instant)>,
}

fn place(piece: usize) -> (String, Range<usize>) {
    (format!("{:016}", piece / TOGETHER), piece % TOGETHER..piece % TOGETHER + 1)
}

impl Pieces for Sleeping<'_> {
    fn count(&self) -> usize {
        self.names.len()
    }
    fn name(&self, piece: usize) -> &str {
        &self.names[piece]
    }
    fn cost(&self, _: usize) -> f64 {
        1.0
    }
    fn group(&self, piece: usize) -> usize {
        piece / TOGETHER
    }
    fn needs(&self, _: usize) -> &[usize] {
        &[]
    }
    fn done(&self) -> Result<Vec<bool>> {
        let stored = self.store.all_chunks();
        let is_stored = |(unit, range): &(String, Range<usize>)| {
            stored.get(unit).is_some_and(|ranges| ranges.contains(&(range.start, range.end)))
        };
        Ok(self.places.iter().map(is_stored).collect())
    }
    fn is_done(&self, piece: usize) -> Result<bool> {
        let (unit, range) = &self.places[piece];
        Ok(self.store.has_chunk(unit, range))
    }
    fn compute(&mut self, piece: usize) -> Result<bool> {
        let began = Instant::now();
        std::thread::sleep(self.time);
        self.spans.push((began, Instant::now()));
        self.computed.fetch_add(1, Ordering::Relaxed);
        let (unit, range) = &self.places[piece];
        self.store.put_chunk(
            unit,
            range,
            &Chunk { provenance: made_up::provenance(), size: [1; 2], cells: Vec::new() },
        )?;
        Ok(true)
    }
    fn give_up(&mut self, _: usize, problem: Error) -> Result<()> {
        Err(problem)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().position(|a| a == name).map(|i| arguments[i + 1].clone());
    let number = |name: &str, usual: f64| option(name).map_or(usual, |text| text.parse().expect("a number"));
    let (workers, pieces) = (number("--workers", 1000.0) as usize, number("--pieces", 6000.0) as usize);
    let time = Duration::from_secs_f64(number("--seconds", 10.0));
    let own = tempfile::tempdir().expect("a folder");
    let folder = option("--out").map_or_else(|| own.path().join("run"), PathBuf::from);
    let places: Vec<(String, Range<usize>)> = (0..pieces).map(place).collect();
    let names: Vec<String> = places.iter().map(|(u, r)| format!("{u},{},{}", r.start, r.end)).collect();
    let (never, computed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = Instant::now();
    let workers_spans: Vec<(Vec<(Instant, Instant)>, Instant)> = std::thread::scope(|scope| {
        let run = |k: usize| {
            let (names, places, never, computed, folder) = (&names, &places, &never, &computed, &folder);
            move || {
                let store = Store::join(Path::new(folder)).expect("a store");
                let worker = Worker {
                    store: &store,
                    name: format!("worker-{k}"),
                    // machines of eight workers each
                    host: format!("host-{}", k / 8),
                    share: (k, workers),
                    stop: never,
                    finish: never,
                    beat: BEAT,
                };
                let mut pieces = Sleeping { store: &store, names, places, time, computed, spans: Vec::new() };
                share::work(&worker, &mut pieces).expect("no error");
                (pieces.spans, Instant::now())
            }
        };
        let all: Vec<_> = (0..workers).map(|k| scope.spawn(run(k))).collect();
        all.into_iter().map(|worker| worker.join().expect("no panic")).collect()
    });
    let wall = began.elapsed().as_secs_f64();
    let ideal = time.as_secs_f64() * (pieces as f64 / workers as f64).ceil();
    println!(
        "{workers} workers, {pieces} pieces of {:.1} s: {wall:.1} s; without a store {ideal:.1} s: {:.1} % lost; {} pieces computed twice",
        time.as_secs_f64(),
        100.0 * (wall - ideal) / wall,
        computed.load(Ordering::Relaxed) - pieces
    );
    // where a worker's time goes besides
    let said = |what: &str, times: Vec<f64>| {
        let (mean, most) =
            (times.iter().sum::<f64>() / times.len().max(1) as f64, times.iter().copied().fold(0.0, f64::max));
        println!("{what}: {mean:.2} s in the mean, {most:.2} s at most");
    };
    let with_work = || workers_spans.iter().filter(|(spans, _)| !spans.is_empty());
    said("before its first piece", with_work().map(|(spans, _)| (spans[0].0 - began).as_secs_f64()).collect());
    let between = |spans: &[(Instant, Instant)]| -> Vec<f64> {
        spans.windows(2).map(|w| (w[1].0 - w[0].1).as_secs_f64()).collect()
    };
    said("between two pieces", with_work().flat_map(|(spans, _)| between(spans)).collect());
    said(
        "after its last piece",
        with_work().map(|(spans, end)| (*end - spans[spans.len() - 1].1).as_secs_f64()).collect(),
    );
}
