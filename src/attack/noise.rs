//! Uniform noise of the same budget: the control of every table. An attack that is not better than this is broken.

use super::descent::random_points;
use super::{Attack, Entry, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::oracle::{Oracle, Place, Proposal};
use crate::threat::Norm;

pub const ENTRY: Entry = Entry {
    name: "noise",
    revision: 1,
    summary: "uniform noise of the same budget, the control of every table",
    norms: &[Norm::Linf, Norm::L2],
    params: &[],
    build: |_, _| Ok(Box::new(Noise)),
};

struct Noise;

impl Attack for Noise {
    /// x' = clip(x + u), u uniform in the ball.
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let all: Vec<usize> = (0..batch.len()).collect();
        for rows in all.chunks(batch.window) {
            let images = random_points(&batch.images(rows)?, rows, batch, 0, "noise", task)?;
            let places = vec![Place { restart: 0, step: 1 }; rows.len()];
            oracle.propose(rows, &Proposal { images: &images, gradient: None, here: None, places: &places })?;
            oracle.leave(rows.len());
        }
        Ok(())
    }

    fn cost(&self) -> u64 {
        1
    }
}
