//! Chunks: the images of a unit, cut so that a kill costs about a minute. What an attack finds for an image does not depend on the
//! others, so a cell's bytes do not depend on how it was cut.

use super::runner::{Machine, Runner};
use super::units::Unit;
use crate::error::Result;
use crate::record::{Chunk, StageRecord, Witnesses};
use std::collections::BTreeSet;
use std::ops::Range;

/// What a chunk should take.
const SECONDS: f64 = 60.0;

/// Multiplications with an addition a second that a chunk is cut for: two cores of the machine that this was measured on
/// (docs/performance.md), and a GPU of a cluster. One that is ten times faster has chunks of six seconds, and loses nothing by it:
/// all workers must cut alike, so it is no property of theirs.
const CPU_SPEED: f64 = 1e11;
const GPU_SPEED: f64 = 1e13;

/// Fewer images at a time leave a GPU idle. A CPU takes its images one a thread.
const FEWEST_ON_CPU: usize = 4;
const FEWEST_ON_GPU: usize = 64;

/// A pass forward and one back: the way back computes the gradient of every product, and of no weight.
const PASSES_A_STEP: f64 = 2.0;

/// Multiplications with an addition that an image of a unit takes, if it stands to the end.
pub fn cost(runner: &Runner, unit: &Unit) -> Result<f64> {
    let pass = runner.plan.models[unit.longest().model].multiply_adds()?;
    Ok(PASSES_A_STEP * pass as f64 * unit.steps() as f64)
}

/// Where the images of a unit are cut: the first image of each chunk, and behind the last.
pub fn cuts(runner: &Runner, unit: &Unit) -> Result<Vec<usize>> {
    let images = unit.longest().cell.data.take;
    match unit.longest().attack.mixes_images() {
        true => Ok(vec![0, images]),
        false => Ok(even_cuts(images, cost(runner, unit)?, runner.machine)),
    }
}

/// Where images are cut of which each costs so much: into chunks of about [`SECONDS`], as even as can be.
pub fn even_cuts(images: usize, cost: f64, machine: &Machine) -> Vec<usize> {
    let (speed, fewest) = match machine.device.is_cpu() {
        true => (CPU_SPEED, FEWEST_ON_CPU),
        false => (GPU_SPEED, FEWEST_ON_GPU),
    };
    let most = machine.chunk.unwrap_or_else(|| ((SECONDS * speed / cost.max(1.0)) as usize).max(fewest));
    let chunks = images.div_ceil(most).max(1);
    (0..=chunks).map(|k| k * images / chunks).collect()
}

/// The ranges between cuts.
pub fn ranges(cuts: &[usize]) -> impl Iterator<Item = Range<usize>> {
    cuts.windows(2).map(|cut| cut[0]..cut[1])
}

/// Chunks one after the other, as if they had been one. `None`: there is none.
pub fn joined(chunks: impl IntoIterator<Item = Chunk>) -> Option<Chunk> {
    let mut chunks = chunks.into_iter();
    let mut all = chunks.next()?;
    let mut machines: BTreeSet<String> = all.provenance.machine.iter().cloned().collect();
    for chunk in chunks {
        all.provenance.time_s += chunk.provenance.time_s;
        add_stages(&mut all.provenance.stages, &chunk.provenance.stages);
        machines.extend(chunk.provenance.machine);
        for (id, outcomes, witnesses) in chunk.cells {
            let known = all.cells.iter_mut().find(|(known, ..)| *known == id);
            let (_, rows, images) = known.expect("chunks of one unit have the same cells");
            rows.extend(outcomes);
            append(images, witnesses);
        }
    }
    // of several kinds of machines, all: bits may then differ from those of either
    all.provenance.machine = Some(machines.into_iter().collect::<Vec<_>>().join("; ")).filter(|m| !m.is_empty());
    Some(all)
}

/// Adds what an attack in stages told of other images. Every stage tells how it stood, whether an image was left for it or not.
fn add_stages(sum: &mut [StageRecord], other: &[StageRecord]) {
    for (sum, stage) in sum.iter_mut().zip(other) {
        sum.standing += stage.standing;
        sum.forwards += stage.forwards;
        sum.backwards += stage.backwards;
        sum.seconds += stage.seconds;
    }
}

fn append(all: &mut Witnesses, more: Witnesses) {
    match (all, more) {
        (Witnesses::U8(all), Witnesses::U8(more)) => all.extend(more),
        (Witnesses::F32(all), Witnesses::F32(more)) => all.extend(more),
        _ => unreachable!("all witnesses of a cell are of one kind"),
    }
}
