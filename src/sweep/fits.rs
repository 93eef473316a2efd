//! The pictures that attacks paste: made once, stored beside the cells, and read by all cells that share them.

use super::plan::{Fitting, PlannedCell};
use super::runner::{Event, Runner};
use crate::attack::{Checkpoint, Workshop};
use crate::error::{Error, Result};
use crate::kernel::Precision;
use crate::placement::Picture;
use crate::record::StoredPictures;
use crate::rng::Streams;
use crate::store::Store;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between two states that are kept of long work: what a kill may cost.
const EVERY: Duration = Duration::from_secs(10);

/// Keeps the state of one piece of work in the store.
pub struct Kept<'a> {
    store: &'a Store,
    id: &'a str,
    stop: &'a AtomicBool,
    last: Mutex<Instant>,
}

impl<'a> Kept<'a> {
    /// Of the cell or fit of this id.
    pub fn new(store: &'a Store, id: &'a str, stop: &'a AtomicBool) -> Kept<'a> {
        Kept { store, id, stop, last: Mutex::new(Instant::now()) }
    }
}

impl Checkpoint for Kept<'_> {
    fn load(&self, part: usize) -> Option<Vec<u8>> {
        self.store.read_checkpoint(self.id, part)
    }

    fn is_due(&self) -> bool {
        let mut last = self.last.lock().expect("nobody panics while holding it");
        let due = last.elapsed() >= EVERY || self.stop.load(Ordering::Relaxed);
        if due {
            *last = Instant::now();
        }
        due
    }

    fn save(&self, part: usize, state: &[u8]) -> Result<()> {
        self.store.put_checkpoint(self.id, part, state)
    }
}

/// The pictures of a fit: from the store, else made and stored; and whether they were made without a gradient at some step.
pub fn pictures(
    runner: &Runner,
    cell: &PlannedCell,
    fit: &Fitting,
    tell: &mut dyn FnMut(Event),
) -> Result<(Vec<Picture>, bool)> {
    let id = fit.record.id();
    if !runner.store.has_fit(&id) {
        make(runner, cell, fit, &id, tell)?;
    }
    let kept = runner.store.read_fit(&id)?.1;
    Ok((restored(&kept)?, kept.blind))
}

fn make(runner: &Runner, cell: &PlannedCell, fit: &Fitting, id: &str, tell: &mut dyn FnMut(Event)) -> Result<()> {
    let device = &runner.machine.device;
    let engines = fit.models.iter().map(|m| runner.plan.models[*m].engine(device, Precision::F32));
    let began = Instant::now();
    let kept = Kept::new(runner.store, id, runner.stop);
    let mut workshop = Workshop {
        engines: engines.collect::<Result<_>>()?,
        device,
        train: fit.data.map(|d| &runner.plan.data[d].subset),
        goal: cell.cell.goal,
        size: fit.record.size,
        given: fit.given.as_ref(),
        streams: Streams::new(fit.record.seed, id),
        checkpoint: &kept,
        stop: runner.stop,
        progress: &mut |share| tell(Event::Fitted(share)),
        curve: Vec::new(),
        blind: false,
    };
    let pictures = cell.attack.pictures(&mut workshop)?;
    let (curve, blind) = (std::mem::take(&mut workshop.curve), workshop.blind);
    let provenance = runner.provenance(cell, began, None);
    runner.store.put_fit(&fit.record, &stored(&pictures, blind)?, &curve, provenance)?;
    runner.store.drop_checkpoint(id)
}

/// Pictures as they are stored; all have one side, and either all have transparent pixels or none has.
fn stored(pictures: &[Picture], blind: bool) -> Result<StoredPictures> {
    let side = pictures.first().map(|p| p.side).ok_or_else(|| Error::usage("an attack made no picture to paste"))?;
    let (mut rgb, mut alpha) = (Vec::new(), None);
    for picture in pictures {
        let (colours, transparency) = picture.to_u8();
        rgb.extend(colours);
        if let Some(transparency) = transparency {
            alpha.get_or_insert_with(Vec::new).extend(transparency);
        }
    }
    Ok(StoredPictures { side, rgb, alpha, blind })
}

/// Stored pictures as they are pasted.
pub fn restored(stored: &StoredPictures) -> Result<Vec<Picture>> {
    let plane = stored.side * stored.side;
    let picture = |(i, rgb): (usize, &[u8])| -> Result<Picture> {
        let mut picture = Picture::from_rgb_u8(stored.side, rgb)?;
        let alpha = stored.alpha.as_ref().and_then(|a| a.get(i * plane..(i + 1) * plane));
        picture.alpha = alpha.map(|a| a.iter().map(|v| f32::from(*v) / 255.0).collect());
        Ok(picture)
    };
    stored.rgb.chunks_exact(3 * plane).enumerate().map(picture).collect()
}
