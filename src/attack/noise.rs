//! Uniform noise of the same budget: the control of every table. An attack that is not better than this is broken.

use super::descent::random_point;
use super::{Attack, Entry, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::oracle::{Oracle, Proposal};
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
        let rows: Vec<usize> = (0..batch.examples.len()).collect();
        let images = random_point(&batch.images, &batch.examples, 0, "noise", task)?;
        oracle.propose(&rows, &Proposal { images: &images, gradient: None, step: 1, restart: 0 })?;
        Ok(())
    }

    fn cost(&self) -> u64 {
        1
    }
}
