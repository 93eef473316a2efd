//! A network behind a defence, as an engine: what it says, and the gradient that an attack that knows of the defence has.
//!
//! A random defence draws anew for each image, and draw j of an image is a function of the seed, of what it is drawn for and of
//! the image's own values. So what a defended network says of an image depends on no other image, on no order and on no batch;
//! who knows image and seed can draw the same again, which is what makes a witness verifiable; and an attack, which draws for
//! itself, does not know the judge's draws.

use super::Defence;
use crate::digest;
use crate::error::Result;
use crate::kernel::{Engine, Loss, bus, lend};
use crate::rng::{Stream, Streams};
use candle_core::Tensor;
use rayon::prelude::*;
use std::sync::Arc;

/// A network behind a defence.
pub struct Defended {
    engine: Box<dyn Engine>,
    defence: Arc<Defence>,
    draws: Draws,
}

/// Which draws of a random defence are made, and what is made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draws {
    /// So many votes, by this seed: the logits are ln((nᵢ + p̄ᵢ)/(k + 1)), with nᵢ of k votes for class i and p̄ᵢ its mean
    /// probability. The largest is that of the class with the most votes, of as many the one that is more probable; the softmax
    /// is the share of the votes, the mean counting as one more.
    Votes(u32, u64),
    /// The means of the logits, and of the gradients, of so many draws by this seed: expectation over transformation (Athalye et
    /// al. 2018).
    Mean(u32, u64),
}

/// What a draw is made for: those of one are no help in foreseeing those of the other.
const FOR_VOTES: &str = "votes";
const FOR_ATTACK: &str = "attack";

/// Values of images that are changed at a time.
const VALUES_AT_ONCE: usize = 1 << 23;
/// More images at once are no faster.
const MOST_AT_ONCE: usize = 256;

/// A draw of an image.
struct Job {
    row: usize,
    draw: usize,
}

/// What the stages made of an image, the image itself first.
type Trace = Vec<Vec<f32>>;

/// The loss of the rows that jobs are about.
struct OfJobs<'a> {
    loss: &'a dyn Loss,
    jobs: &'a [Job],
}

impl Loss for OfJobs<'_> {
    fn gradient(&self, job: usize, logits: &[f32], gradient: &mut [f32]) {
        self.loss.gradient(self.jobs[job].row, logits, gradient);
    }
}

impl Defended {
    /// `engine` behind `defence`. Where the defence is not random there is one draw, and no vote.
    pub fn new(engine: Box<dyn Engine>, defence: Arc<Defence>, draws: Draws) -> Defended {
        Defended { engine, defence, draws }
    }

    fn each(&self) -> usize {
        match (self.defence.vote(), self.draws) {
            (None, _) => 1,
            (Some(_), Draws::Votes(n, _) | Draws::Mean(n, _)) => n as usize,
        }
    }

    /// A stream an image that its draws come from; none where nothing is random.
    fn streams(&self, images: &[f32], values: usize) -> Vec<Option<Streams>> {
        let (seed, purpose) = match self.draws {
            Draws::Votes(_, seed) => (seed, FOR_VOTES),
            Draws::Mean(_, seed) => (seed, FOR_ATTACK),
        };
        let of = |image: &[f32]| {
            let bytes: Vec<u8> = image.iter().flat_map(|x| x.to_le_bytes()).collect();
            Streams::new(seed, format!("{purpose} {}", digest::sha256(&bytes)))
        };
        images.par_chunks_exact(values).map(|image| self.defence.vote().map(|_| of(image))).collect()
    }

    /// Stage by stage, what becomes of an image.
    fn trace(&self, image: &[f32], streams: Option<&Streams>, draw: usize) -> Trace {
        let mut trace = vec![image.to_vec()];
        for (i, placed) in self.defence.stages.iter().enumerate() {
            let next = placed.stage.apply(&trace[i], &mut chance(streams, draw, i));
            trace.push(next);
        }
        trace
    }

    /// The gradient of an image, from that of what the stages made of it.
    fn back(&self, trace: &Trace, slope: &[f32], streams: Option<&Streams>, draw: usize) -> Vec<f32> {
        let mut slope = slope.to_vec();
        for (i, placed) in self.defence.stages.iter().enumerate().rev() {
            slope = placed.stage.back(&trace[i], slope, &mut chance(streams, draw, i));
        }
        slope
    }

    /// Calls `ask` for all draws of all images, some at a time, in order: what became of them, which draws these are, the
    /// streams of all images, and the traces.
    fn all_draws(
        &self,
        images: &Tensor,
        mut ask: impl FnMut(&Tensor, &[Job], &[Option<Streams>], &[Trace]) -> Result<()>,
    ) -> Result<()> {
        let (n, channels, height, width) = images.dims4()?;
        let values = channels * height * width;
        let here = lend(images, <[f32]>::to_vec)?;
        let streams = self.streams(&here, values);
        let each = self.each();
        let jobs: Vec<Job> = (0..n).flat_map(|row| (0..each).map(move |draw| Job { row, draw })).collect();
        for jobs in jobs.chunks((VALUES_AT_ONCE / values).clamp(1, MOST_AT_ONCE)) {
            let trace =
                |job: &Job| self.trace(&here[job.row * values..][..values], streams[job.row].as_ref(), job.draw);
            let traces: Vec<Trace> = jobs.par_iter().map(trace).collect();
            let last: Vec<f32> = traces.iter().flat_map(|t| t.last().expect("the image itself")).copied().collect();
            let moved = bus::up(last, (jobs.len(), channels, height, width), images.device())?;
            ask(&moved, jobs, &streams, &traces)?;
        }
        Ok(())
    }

    /// What is said of each image, from what was said of each of its draws, in order.
    fn together(&self, said: &[Vec<f32>]) -> Vec<f32> {
        let each = self.each();
        let image = |of: &[Vec<f32>]| match (of, self.defence.vote(), self.draws) {
            ([only], None, _) => only.clone(),
            (_, Some(_), Draws::Votes(..)) => voted(of),
            _ => mean(of),
        };
        said.chunks_exact(each).flat_map(image).collect()
    }
}

/// The chance of one stage at one draw.
fn chance(streams: Option<&Streams>, draw: usize, stage: usize) -> Stream {
    match streams {
        Some(streams) => streams.stream(draw, stage, "defence"),
        None => Streams::new(0, "").stream(0, 0, "nothing is drawn"),
    }
}

/// [`Draws::Votes`]; NaN where a logit is not finite.
fn voted(of: &[Vec<f32>]) -> Vec<f32> {
    let classes = of[0].len();
    if of.iter().flatten().any(|z| !z.is_finite()) {
        return vec![f32::NAN; classes];
    }
    let mut shares = vec![0.0f64; classes];
    for logits in of {
        let top = logits.iter().fold(f32::NEG_INFINITY, |m, z| m.max(*z));
        let odds: Vec<f64> = logits.iter().map(|z| f64::from(z - top).exp()).collect();
        let sum: f64 = odds.iter().sum::<f64>() * of.len() as f64;
        shares.iter_mut().zip(&odds).for_each(|(share, odds)| *share += odds / sum);
        let first = logits.iter().position(|z| *z == top).expect("one of them is the largest");
        shares[first] += 1.0;
    }
    // a probability may be too small for a number
    shares.iter().map(|share| (share / (of.len() as f64 + 1.0)).max(f64::MIN_POSITIVE).ln() as f32).collect()
}

fn mean(of: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0f32; of[0].len()];
    of.iter().for_each(|values| sum.iter_mut().zip(values).for_each(|(sum, v)| *sum += v));
    sum.iter().map(|sum| sum / of.len() as f32).collect()
}

impl Engine for Defended {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let mut said = Vec::new();
        self.all_draws(images, |moved, _, _, _| {
            said.extend(bus::down_rows(&self.engine.logits(moved)?)?);
            Ok(())
        })?;
        let rows = images.dim(0)?;
        bus::up(self.together(&said), (rows, said.first().map_or(0, Vec::len)), images.device())
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let (mut said, mut slopes) = (Vec::new(), Vec::new());
        self.all_draws(images, |moved, jobs, streams, traces| {
            let (logits, gradient) = self.engine.logits_and_gradient(moved, &OfJobs { loss, jobs })?;
            said.extend(bus::down_rows(&logits)?);
            let gradient = lend(&gradient, <[f32]>::to_vec)?;
            let parts = jobs.par_iter().zip(traces).zip(gradient.par_chunks_exact(gradient.len() / jobs.len()));
            let back = |((job, trace), slope): ((&Job, &Trace), &[f32])| {
                self.back(trace, slope, streams[job.row].as_ref(), job.draw)
            };
            slopes.extend(parts.map(back).collect::<Vec<_>>());
            Ok(())
        })?;
        let classes = said.first().map_or(0, Vec::len);
        let logits = bus::up(self.together(&said), (images.dim(0)?, classes), images.device())?;
        let slopes: Vec<f32> = slopes.chunks_exact(self.each()).flat_map(mean).collect();
        Ok((logits, bus::up(slopes, images.shape(), images.device())?))
    }

    fn most_images(&self) -> usize {
        self.engine.most_images()
    }

    fn release(&self) {
        self.engine.release();
    }

    fn shrunk(&self) -> Option<usize> {
        self.engine.shrunk()
    }
}
