//! How fast a network is on this machine, and how easily it falls: a few steps of a plain descent on some of its images. It is for
//! estimates of time, and no result.

use super::run::Machine;
use crate::data::{self, Subset};
use crate::error::{Error, Result};
use crate::goal::argmax;
use crate::judge;
use crate::kernel::Engine;
use crate::record::Witnesses;
use crate::terms::Threat;
use candle_core::Tensor;
use std::time::{Duration, Instant};

/// What was found.
pub struct Probed {
    /// Seconds a gradient step of one image.
    pub seconds: f64,
    /// The share of images that stand after [`STEPS`] steps, by threat; threats that there was no time for are missing.
    pub standing: Vec<(Threat, f64)>,
}

impl Probed {
    /// The share of images that stand, where it was found out.
    pub fn standing(&self, threat: Threat) -> Option<f64> {
        self.standing.iter().find(|(known, _)| *known == threat).map(|(_, share)| *share)
    }
}

/// Steps of a descent, and a look at where they end.
pub const STEPS: u32 = 3;

/// Fewer images say nothing of a share.
const FEWEST: usize = 3;

/// A pass forward and back takes about as long as three forward.
const FORWARDS: f64 = 3.0;

/// Asks a network for about so long: at least one step, after a first pass that is not timed.
///
/// # Errors
/// Those of the engine.
pub fn probe(
    engine: &dyn Engine,
    subset: &Subset,
    threats: &[Threat],
    machine: &Machine,
    time: Duration,
) -> Result<Probed> {
    let most = machine.batch_size(subset.values()).min(subset.len()).max(1);
    let pixels = |n: usize| Witnesses::U8(subset.pixels[..n * subset.values()].to_vec());
    let look = |n: usize| judge::predict_stored(engine, &pixels(n), subset.size, &machine.device, n).map(drop);
    look(1)?;
    let began = Instant::now();
    look(most)?;
    let step_of_one = FORWARDS * began.elapsed().as_secs_f64() / most as f64;
    let walks = threats.len().max(1) as f64;
    let fits = (time.as_secs_f64() / (f64::from(STEPS + 1) * walks * step_of_one)) as usize;
    let images = fits.clamp(1, most);
    let x = data::to_tensor(&subset.pixels[..images * subset.values()], subset.size, &machine.device)?;
    let labels = &subset.labels[..images];
    let (began, mut asks, mut standing) = (Instant::now(), Vec::new(), Vec::new());
    let mut timed = |x: &Tensor| {
        let began = Instant::now();
        let answer = ask(engine, x, labels)?;
        asks.push(began.elapsed().as_secs_f64());
        Ok::<_, Error>(answer)
    };
    let walked = if fits >= FEWEST { threats } else { &[] };
    for threat in walked {
        let mut stands = vec![true; images];
        let mut x_adv = x.clone();
        for step in 0..=STEPS {
            let (logits, gradient) = timed(&x_adv)?;
            for ((stands, label), logits) in stands.iter_mut().zip(labels).zip(logits) {
                *stands &= argmax(&logits) == *label;
            }
            if step < STEPS {
                // Madry et al. 2018: 2.5·eps in all
                let step_size = 2.5 * threat.eps.to_f64() / f64::from(STEPS);
                x_adv = threat.step(&x_adv, &gradient, step_size, &x)?;
            }
        }
        standing.push((*threat, stands.iter().filter(|s| **s).count() as f64 / images as f64));
        if began.elapsed() > time {
            break;
        }
    }
    loop {
        timed(&x)?;
        if began.elapsed() > time {
            break;
        }
    }
    // the one in the middle: whatever else the machine does for a moment counts for nothing
    asks.sort_by(f64::total_cmp);
    Ok(Probed { seconds: asks[asks.len() / 2] / images as f64, standing })
}

/// Logits of the images, and the direction in which another class than the true one gains most.
fn ask(engine: &dyn Engine, x: &Tensor, labels: &[usize]) -> Result<(Vec<Vec<f32>>, Tensor)> {
    let loss = |i: usize, logits: &[f32], slope: &mut [f32]| {
        let label = labels[i];
        let others = (0..logits.len()).filter(|class| *class != label);
        if let Some(best) = others.max_by(|a, b| logits[*a].total_cmp(&logits[*b])) {
            (slope[best], slope[label]) = (1.0, -1.0);
        }
    };
    let (logits, gradient) = engine.logits_and_gradient(x, &loss)?;
    Ok((logits.to_vec2()?, gradient))
}
