//! Several networks as one: its logits are the mean of theirs (Liu et al. 2017, as TransferAttack has it).

use super::bus::down_rows;
use super::engine::{Change, Engine, Loss};
use crate::error::Result;
use candle_core::Tensor;

/// Networks of the same classes, asked about the same images.
pub struct Ensemble(Vec<Box<dyn Engine>>);

impl Ensemble {
    /// The mean of these, at least one.
    ///
    /// # Panics
    /// Without any.
    pub fn new(engines: Vec<Box<dyn Engine>>) -> Ensemble {
        assert!(!engines.is_empty(), "the mean of nothing");
        Ensemble(engines)
    }

    /// The sum, in order, of what each engine says, times 1/n.
    fn mean(&self, of: impl Fn(&dyn Engine) -> Result<Tensor>) -> Result<Tensor> {
        let mut sum = of(self.0[0].as_ref())?;
        for engine in &self.0[1..] {
            sum = (sum + of(engine.as_ref())?)?;
        }
        Ok((sum * (1.0 / self.0.len() as f64))?)
    }
}

/// A slope that is known before, whatever an engine says of its own logits.
struct Known(Vec<Vec<f32>>);

impl Loss for Known {
    fn gradient(&self, row: usize, _: &[f32], gradient: &mut [f32]) {
        gradient.copy_from_slice(&self.0[row]);
    }
}

impl Engine for Ensemble {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.mean(|engine| engine.logits(images))
    }

    /// The slope at the mean of the logits is known when all have been asked for theirs: then each is asked again, for its way
    /// back.
    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let logits = self.logits(images)?;
        let slope = |(row, logits): (usize, &Vec<f32>)| {
            let mut slope = vec![0.0; logits.len()];
            loss.gradient(row, logits, &mut slope);
            slope
        };
        let known = Known(down_rows(&logits)?.iter().enumerate().map(slope).collect());
        let gradient = self.mean(|engine| Ok(engine.logits_and_gradient(images, &known)?.1))?;
        Ok((logits, gradient))
    }

    fn logits_of_changes(&self, base: &Tensor, changes: &[Change]) -> Result<Tensor> {
        self.mean(|engine| engine.logits_of_changes(base, changes))
    }

    fn most_images(&self) -> usize {
        self.0.iter().map(|engine| engine.most_images()).min().expect("at least one")
    }

    fn release(&self) {
        self.0.iter().for_each(|engine| engine.release());
    }

    fn shrunk(&self) -> Option<usize> {
        // each is asked, so that none is told of twice
        let shrunk: Vec<usize> = self.0.iter().filter_map(|engine| engine.shrunk()).collect();
        shrunk.into_iter().min()
    }
}
