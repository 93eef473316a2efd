//! One of several processes that compute a run together.

use super::pieces::OfRun;
use super::plan::Plan;
use super::runner::{Event, Machine, Runner};
use super::share::{self, Worker};
use super::status;
use crate::error::{Error, Result};
use crate::store::Store;
use candle_core::Device;
use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

/// Chunks of a plan that nobody has stored, and cells of which something is still to be made, cut as on a CPU: more workers would
/// find nothing to do.
///
/// # Errors
/// A store that cannot be read; an ONNX file that cannot.
pub fn open_pieces(plan: &Plan, store: &Store, chunk: Option<usize>) -> Result<usize> {
    let machine = &Machine { device: Device::Cpu, device_name: "cpu".into(), threads: 1, batch: None, chunk };
    let runner = Runner { plan, store, machine, stop: &AtomicBool::new(false), noted: RefCell::default() };
    OfRun::new(&runner, &mut |_| {})?.open()
}

/// Computes a share of a plan, then what nobody has done, until all of it is stored, by whomever. Cells that failed for good are
/// stored so, and not tried again.
///
/// # Errors
/// [`crate::error::Error::Interrupted`] and [`crate::error::Error::Unfinished`], as the worker is told; what cannot be stored; two
/// that computed the same and differ.
pub fn work(plan: &Plan, machine: &Machine, worker: &Worker, tell: &mut dyn FnMut(Event)) -> Result<()> {
    let (store, stop) = (worker.store, worker.stop);
    let runner = Runner { plan, store, machine, stop, noted: RefCell::default() };
    runner.check_precision(&plan.cells.iter().collect::<Vec<_>>())?;
    let mut pieces = OfRun::new(&runner, tell)?;
    let work = pieces.record()?;
    let known = store.read_work();
    if known.as_ref().is_some_and(|there| there.run != work.run) && status::is_somebody_at_work(store) {
        return Err(Error::usage(format!(
            "workers of another sweep named `{}` are at work in {} (hint: another `name`, or --out; one that was killed counts for \
             100 seconds)",
            plan.name,
            store.dir().display()
        )));
    }
    runner.store_inputs()?;
    match known {
        Some(there) if there == work => {}
        there => {
            if there.is_some_and(|there| there.run == work.run) {
                pieces.tell(Event::Note(
                    "another worker cuts the images of this run otherwise, so that work may be done twice (hint: the same \
                     --chunk and kind of device for all)"
                        .into(),
                ));
            }
            store.put_work(&work)?;
        }
    }
    share::work(worker, &mut pieces)
}
