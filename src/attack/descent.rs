//! The one shared gradient loop: x ← project(x + α·steepest(∇loss)), every iterate proposed to the judge.

use super::Task;
use crate::data::Batch;
use crate::error::Result;
use crate::oracle::{Oracle, Proposal};
use candle_core::{Device, Tensor};

/// Steepest ascent of the loss inside a threat set.
pub struct Descent {
    /// Iterations.
    pub steps: usize,
    /// α, in units of [0,1] pixels.
    pub step_size: f64,
    /// Begin at a random point of the threat set instead of the clean image.
    pub random_start: bool,
    /// Runs of the whole loop; only images that still stand take part in the next.
    pub restarts: usize,
}

impl Descent {
    /// Runs it for every row of `batch`. An image that is settled leaves at once.
    pub fn run(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let mut standing = Standing::new(batch);
        for restart in 0..self.restarts {
            let mut x_adv = self.start(&standing, restart, task)?;
            for step in 1..=self.steps {
                let at_clean = step == 1 && !self.random_start && restart == 0;
                let gradient = match at_clean {
                    true => oracle.gradient_at_clean(&x_adv)?,
                    false => oracle.gradient(&standing.rows, &x_adv)?,
                };
                let moved = (x_adv + (task.threat.steepest(&gradient)? * self.step_size)?)?;
                x_adv = task.threat.project(&moved, &standing.x)?;
                let proposal = Proposal { images: &x_adv, gradient: Some(&gradient), step, restart };
                let settled = oracle.propose(&standing.rows, &proposal)?;
                let Some(left) = standing.keep_unsettled(&settled, x_adv)? else {
                    return Ok(());
                };
                x_adv = left;
            }
        }
        Ok(())
    }

    fn start(&self, standing: &Standing, restart: usize, task: &Task) -> Result<Tensor> {
        match self.random_start {
            false => Ok(standing.x.clone()),
            true => random_point(&standing.x, &standing.examples, restart, "start", task),
        }
    }
}

/// A random point of the threat set of each image of `x`, clipped to the box.
pub fn random_point(x: &Tensor, examples: &[usize], restart: usize, purpose: &str, task: &Task) -> Result<Tensor> {
    let values = x.elem_count() / examples.len();
    let change: Vec<f32> = examples
        .iter()
        .flat_map(|e| task.threat.random_change(values, &mut task.streams.stream(*e, restart, purpose)))
        .collect();
    let change = Tensor::from_vec(change, x.shape(), &Device::Cpu)?.to_device(x.device())?;
    task.threat.project(&(x + change)?, x)
}

/// The images that still stand.
struct Standing {
    /// Their rows in the batch.
    rows: Vec<usize>,
    examples: Vec<usize>,
    /// Clean, N×3×H×W.
    x: Tensor,
}

impl Standing {
    fn new(batch: &Batch) -> Standing {
        Standing {
            rows: (0..batch.examples.len()).collect(),
            examples: batch.examples.clone(),
            x: batch.images.clone(),
        }
    }

    /// Drops the settled images here and from `x_adv`; `None` when none is left.
    fn keep_unsettled(&mut self, settled: &[bool], x_adv: Tensor) -> Result<Option<Tensor>> {
        let kept: Vec<u32> = (0..settled.len() as u32).filter(|i| !settled[*i as usize]).collect();
        if kept.len() == settled.len() {
            return Ok(Some(x_adv));
        }
        if kept.is_empty() {
            return Ok(None);
        }
        self.rows = kept.iter().map(|i| self.rows[*i as usize]).collect();
        self.examples = kept.iter().map(|i| self.examples[*i as usize]).collect();
        let index = Tensor::new(kept, x_adv.device())?;
        self.x = self.x.index_select(&index, 0)?;
        Ok(Some(x_adv.index_select(&index, 0)?))
    }
}
