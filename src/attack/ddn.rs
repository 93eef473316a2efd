//! Decoupled direction and norm (Rony et al. 2019): a step of length α along the unit gradient, then the change is brought to
//! the length ε, which shrinks by γ after an iterate that is fooled and grows by γ after one that is not. So the iterates
//! circle around the nearest image that is fooled.

use super::{Attack, Entry, Kind, Param, STEPS, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::oracle::{Oracle, Pass, Place, Proposal, select, up};
use crate::terms::Budget;
use crate::threat::{Norm, Threat};
use candle_core::Tensor;

pub const ENTRY: Entry = Entry {
    name: "ddn",
    revision: 1,
    summary: "decoupled direction and norm: the least L2 change that fools (Rony et al. 2019)",
    norms: &[Norm::L2],
    params: &[
        Param { name: STEPS, kind: Kind::Count, default: "100", summary: "iterations (adversarial-library: 100)" },
        Param {
            name: "quantise",
            kind: Kind::Flag,
            default: "true",
            summary: "round every iterate to 8 bits (adversarial-library: levels = 256)",
        },
    ],
    build: |params, _| Ok(Box::new(Ddn { steps: params.count(STEPS), quantise: params.flag("quantise") })),
};

/// ε at the start, and γ (Rony et al. 2019, section 4).
const FIRST_LENGTH: f64 = 1.0;
const GAMMA: f64 = 0.05;

/// α falls from the first to the last as half a cosine (section 4).
const ALPHA: [f64; 2] = [1.0, 0.01];

/// Smallest divisor of a length.
const TINY: f64 = 1e-12;

struct Ddn {
    steps: usize,
    quantise: bool,
}

impl Attack for Ddn {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let all: Vec<usize> = (0..batch.len()).collect();
        all.chunks(batch.window).try_for_each(|rows| self.run(rows, oracle, batch, task))
    }

    fn cost(&self) -> u64 {
        self.steps as u64
    }

    fn iterations(&self) -> Option<usize> {
        Some(self.steps)
    }

    fn seeks_nearest(&self) -> bool {
        true
    }

    fn caveat(&self, threat: &Threat) -> Option<String> {
        let (steps, shortest) = (self.steps, FIRST_LENGTH * (1.0 - GAMMA).powf(self.steps as f64));
        match threat.eps {
            // a pass forward and one back a step
            Budget::Minimal { passes } if passes < 2 * steps as u64 => {
                Some(format!("{steps} steps ask for {} passes, and {passes} are given: it ends before", 2 * steps))
            }
            Budget::Within(eps) if eps.to_f64() < shortest => Some(format!(
                "{steps} steps shorten the change to {shortest:.2} at best, so it cannot come within {eps} (hint: more `steps`)"
            )),
            _ => None,
        }
    }
}

/// The images that are being worked on, N×3×H×W each.
struct Iterates {
    rows: Vec<usize>,
    x: Tensor,
    x_adv: Tensor,
    /// ε of each.
    lengths: Vec<f64>,
    /// ε that no image needs: to the farther end of the box everywhere.
    longest: Vec<f64>,
}

impl Ddn {
    fn run(&self, rows: &[usize], oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let mut iterates = Iterates::begin(rows, batch)?;
        for step in 0..self.steps {
            let places = vec![Place { restart: 0, step }; iterates.rows.len()];
            let at_clean = vec![step == 0; iterates.rows.len()];
            let pass = oracle.pass(&iterates.rows, &iterates.x_adv, &places, &at_clean)?;
            let evidence = Some(pass.evidence());
            let images = &iterates.x_adv;
            let proposal = Proposal { images, gradient: None, evidence, places: &places, notes: &[] };
            let wanted = oracle.propose(&iterates.rows, &proposal)?;
            self.step(&mut iterates, &pass, step, oracle, batch, task)?;
            if iterates.keep(&wanted, oracle)?.is_none() {
                return Ok(());
            }
        }
        let places = vec![Place { restart: 0, step: self.steps }; iterates.rows.len()];
        let images = &iterates.x_adv;
        oracle.propose(
            &iterates.rows,
            &Proposal { images, gradient: None, evidence: None, places: &places, notes: &[] },
        )?;
        oracle.leave(iterates.rows.len());
        Ok(())
    }

    /// δ ← ε · (δ + α·g) / ‖δ + α·g‖, clipped to the box.
    fn step(
        &self,
        iterates: &mut Iterates,
        pass: &Pass,
        step: usize,
        oracle: &Oracle,
        batch: &Batch,
        task: &Task,
    ) -> Result<()> {
        let Iterates { rows, x, x_adv, lengths, longest } = iterates;
        for (k, row) in rows.iter().enumerate() {
            // at the clean image, where logits may not be known, the net is right
            let logits = &pass.logits()[k];
            let is_fooled = !logits.is_empty() && oracle.aim(*row).is_reached(logits);
            let factor = if is_fooled { 1.0 - GAMMA } else { 1.0 + GAMMA };
            lengths[k] = (lengths[k] * factor).min(longest[k]);
        }
        let along = (task.threat.steepest(pass.gradient())? + random_where_flat(pass, rows, step, batch, task)?)?;
        let delta = ((&*x_adv - &*x)? + (along * alpha(step, self.steps))?)?;
        let scale = lengths.iter().zip(l2(&delta)?).map(|(eps, length)| (eps / length.max(TINY)) as f32).collect();
        let scale = up(scale, (rows.len(), 1, 1, 1), x.device())?;
        let moved = (&*x + delta.broadcast_mul(&scale)?)?.clamp(0f32, 1f32)?;
        *x_adv = if self.quantise { ((moved * 255.0)?.round()? / 255.0)? } else { moved };
        Ok(())
    }
}

impl Iterates {
    fn begin(rows: &[usize], batch: &Batch) -> Result<Iterates> {
        let x = batch.images(rows)?;
        let longest = l2(&x.maximum(&x.affine(-1.0, 1.0)?)?)?;
        Ok(Iterates { rows: rows.to_vec(), x_adv: x.clone(), x, lengths: vec![FIRST_LENGTH; rows.len()], longest })
    }

    /// Drops those that are wanted no more; `None`: none is left.
    fn keep(&mut self, wanted: &[usize], oracle: &mut Oracle) -> Result<Option<()>> {
        let kept: Vec<usize> = (0..self.rows.len()).filter(|k| wanted[*k] > 0).collect();
        if kept.len() < self.rows.len() {
            oracle.leave(self.rows.len() - kept.len());
            if kept.is_empty() {
                return Ok(None);
            }
            (self.x, self.x_adv) = (select(&self.x, &kept)?, select(&self.x_adv, &kept)?);
            self.rows = kept.iter().map(|k| self.rows[*k]).collect();
            self.lengths = kept.iter().map(|k| self.lengths[*k]).collect();
            self.longest = kept.iter().map(|k| self.longest[*k]).collect();
        }
        Ok(Some(()))
    }
}

/// α of an iteration.
fn alpha(step: usize, steps: usize) -> f64 {
    let [first, last] = ALPHA;
    let turn = std::f64::consts::PI * step as f64 / steps as f64;
    last + (first - last) * (1.0 + turn.cos()) / 2.0
}

/// Euclidean length of each image of N×3×H×W.
fn l2(delta: &Tensor) -> Result<Vec<f64>> {
    let lengths = delta.sqr()?.flatten_from(1)?.sum(1)?.sqrt()?.to_vec1::<f32>()?;
    Ok(lengths.into_iter().map(f64::from).collect())
}

/// A random direction of length 1 where the gradient is zero everywhere, else 0.
fn random_where_flat(pass: &Pass, rows: &[usize], step: usize, batch: &Batch, task: &Task) -> Result<Tensor> {
    let gradient = pass.gradient();
    let most = gradient.abs()?.flatten_from(1)?.max(1)?.to_vec1::<f32>()?;
    if most.iter().all(|m| *m != 0.0) {
        return Ok(gradient.zeros_like()?);
    }
    let direction = |(row, most): (&usize, &f32)| -> Vec<f32> {
        let values = batch.values();
        if *most != 0.0 {
            return vec![0.0; values];
        }
        let mut stream = task.streams.stream(batch.example(*row), step, "direction");
        let normals: Vec<f64> = (0..values).map(|_| stream.normal()).collect();
        let length = normals.iter().map(|v| v * v).sum::<f64>().sqrt().max(TINY);
        normals.into_iter().map(|v| (v / length) as f32).collect()
    };
    let directions: Vec<f32> = rows.iter().zip(&most).flat_map(direction).collect();
    up(directions, gradient.shape(), gradient.device())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_its_steps_cannot_do_is_told() {
        let ddn = |steps| Ddn { steps, quantise: true };
        let at = |eps| Threat { norm: Norm::L2, eps };
        let within = |eps| at(Budget::Within(Norm::L2.budget(eps).unwrap()));
        assert!(ddn(20).caveat(&within("0.25")).unwrap().contains("0.36"));
        assert_eq!(ddn(100).caveat(&within("0.25")), None);
        assert!(ddn(100).caveat(&at(Budget::Minimal { passes: 199 })).unwrap().contains("200 passes"));
        assert_eq!(ddn(100).caveat(&at(Budget::Minimal { passes: 200 })), None);
    }

    #[test]
    fn a_step_shortens_from_1_to_a_hundredth() {
        assert_eq!(alpha(0, 100), 1.0);
        assert!((alpha(50, 100) - 0.505).abs() < 1e-12);
        assert!((alpha(100, 100) - 0.01).abs() < 1e-12);
    }
}
