//! Decides: clean pass, membership in the threat set, 8-bit rounding, adversarial pass, one outcome an image.
//!
//! What is judged is what is stored: an iterate is rounded to 8 bits (or kept as floats, `witness = "f32"`) before the
//! net sees it again. Success is any iterate, the first that succeeds; where none does, the witness is the iterate that
//! came closest.

use crate::attack::{Attack, Task};
use crate::data::{self, Batch, Subset};
use crate::error::Result;
use crate::goal::{Aim, Goal, argmax, margin};
use crate::kernel::Engine;
use crate::loss::probability;
use crate::oracle::{Memo, Oracle, Proposal, Referee, Spent};
use crate::record::{BOUNDARY, CLEAN_WRONG, NOT_FINITE, OUTSIDE, Outcome, Witnesses, ZERO_GRADIENT};
use crate::threat::Threat;
use candle_core::{Device, Tensor};
use std::sync::atomic::AtomicBool;

/// Below this the margin of a witness is too thin to bind other machines (ATTACKS rule: argmax is flagged `boundary`).
pub const BOUNDARY_MARGIN: f32 = 1e-4;

/// What is stored and judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WitnessKind {
    /// 8-bit images, exact membership.
    U8,
    /// Float images, membership up to 1e-6.
    F32,
}

/// Names of witness kinds in sweep files.
pub const WITNESS_KINDS: &[(&str, WitnessKind)] = &[("u8", WitnessKind::U8), ("f32", WitnessKind::F32)];

/// What the net says of one image.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// One a class.
    pub logits: Vec<f32>,
    /// First largest logit; `None` where a logit is NaN or infinite.
    pub prediction: Option<usize>,
}

impl Verdict {
    fn new(logits: Vec<f32>) -> Verdict {
        let prediction = logits.iter().all(|z| z.is_finite()).then(|| argmax(&logits));
        Verdict { logits, prediction }
    }

    /// Softmax probability of the prediction.
    pub fn confidence(&self) -> Option<f32> {
        self.prediction.map(|p| probability(&self.logits, p))
    }

    /// Logit of `class` minus best other.
    pub fn margin(&self, class: usize) -> Option<f32> {
        self.prediction.map(|_| margin(&self.logits, class))
    }

    /// Number of classes above `class`.
    pub fn rank(&self, class: usize) -> Option<usize> {
        self.prediction.map(|_| self.logits.iter().filter(|z| **z > self.logits[class]).count())
    }
}

/// The net's verdicts on images N×3×H×W.
pub fn predict(engine: &dyn Engine, images: &Tensor) -> Result<Vec<Verdict>> {
    Ok(engine.logits(images)?.to_vec2::<f32>()?.into_iter().map(Verdict::new).collect())
}

/// The net's verdicts on stored images, `batch` at a time.
pub fn predict_stored(
    engine: &dyn Engine,
    images: &Witnesses,
    side: usize,
    device: &Device,
    batch: usize,
) -> Result<Vec<Verdict>> {
    let values = 3 * side * side;
    let mut verdicts = Vec::new();
    match images {
        Witnesses::U8(pixels) => {
            for chunk in pixels.chunks(batch * values) {
                verdicts.extend(predict(engine, &data::to_tensor(chunk, side, device)?)?);
            }
        }
        Witnesses::F32(pixels) => {
            for chunk in pixels.chunks(batch * values) {
                let shape = (chunk.len() / values, 3, side, side);
                verdicts.extend(predict(engine, &Tensor::from_slice(chunk, shape, &Device::Cpu)?.to_device(device)?)?);
            }
        }
    }
    Ok(verdicts)
}

/// One cell's worth of work for the judge.
pub struct Trial<'a> {
    /// The net.
    pub engine: &'a dyn Engine,
    /// Where tensors live.
    pub device: &'a Device,
    /// The images.
    pub subset: &'a Subset,
    /// The net's verdicts on them.
    pub clean: &'a [Verdict],
    /// What the attack wants.
    pub goal: Goal,
    /// Seed of random targets.
    pub seed: u64,
    /// What is stored.
    pub witness: WitnessKind,
    /// Images a batch.
    pub batch: usize,
    /// Set by Ctrl-C.
    pub stop: &'a AtomicBool,
}

/// Best proposal so far for one image.
#[derive(Debug, Clone)]
struct Best {
    pixels: Pixels,
    verdict: Option<Verdict>,
    distance: f32,
    reached: bool,
    step: usize,
    restart: usize,
    fault: Option<&'static str>,
}

/// One image as it is stored.
#[derive(Debug, Clone, PartialEq)]
enum Pixels {
    U8(Vec<u8>),
    F32(Vec<f32>),
}

impl Trial<'_> {
    /// What the attack is to do with each image; `None` drops it.
    pub fn aims(&self) -> Vec<Option<Aim>> {
        let aim =
            |i: usize| self.goal.aim(self.subset.examples[i], self.subset.labels[i], &self.clean[i].logits, self.seed);
        (0..self.subset.len()).map(aim).collect()
    }

    /// Images an attack works on: not dropped, and right before the attack.
    pub fn attacked(&self) -> Vec<usize> {
        let aims = self.aims();
        (0..self.subset.len())
            .filter(|i| aims[*i].is_some() && self.clean[*i].prediction == Some(self.subset.labels[*i]))
            .collect()
    }

    /// Attacks and judges: one outcome and one witness for every image that is not dropped, in order. `done` is told
    /// how many images each batch has settled.
    pub fn run(
        &self,
        attack: &dyn Attack,
        task: &Task,
        memo: &Memo,
        done: &mut dyn FnMut(usize),
    ) -> Result<(Vec<Outcome>, Witnesses)> {
        let aims = self.aims();
        let mut best: Vec<Option<(Best, Spent)>> = vec![None; self.subset.len()];
        for (b, images) in self.attacked().chunks(self.batch).enumerate() {
            let aims: Vec<Aim> = images.iter().map(|i| aims[*i].expect("an attacked image has an aim")).collect();
            let (found, spent) = self.run_batch(attack, task, images, &aims, memo, b)?;
            for ((i, found), spent) in images.iter().zip(found).zip(spent) {
                best[*i] = Some((found, spent));
            }
            done(images.len());
        }
        let kept: Vec<usize> = (0..self.subset.len()).filter(|i| aims[*i].is_some()).collect();
        let mut outcomes = Vec::new();
        let mut pixels = Vec::new();
        for i in kept {
            let (best, spent) = best[i].take().unwrap_or_else(|| (self.untouched(i), Spent::default()));
            outcomes.push(self.outcome(i, aims[i].expect("kept"), &best, &spent));
            pixels.push(best.pixels);
        }
        Ok((outcomes, join(pixels, self.witness)))
    }

    fn run_batch(
        &self,
        attack: &dyn Attack,
        task: &Task,
        images: &[usize],
        aims: &[Aim],
        memo: &Memo,
        b: usize,
    ) -> Result<(Vec<Best>, Vec<Spent>)> {
        let clean: Vec<u8> = images.iter().flat_map(|i| self.subset.image(*i).iter().copied()).collect();
        let batch = Batch {
            images: data::to_tensor(&clean, self.subset.side, self.device)?,
            examples: images.iter().map(|i| self.subset.examples[*i]).collect(),
        };
        let mut bench = Bench {
            trial: self,
            threat: task.threat,
            aims,
            clean: images.iter().map(|i| self.subset.image(*i)).collect(),
            best: vec![None; images.len()],
        };
        let mut oracle = Oracle::new(self.engine, aims, &mut bench, memo.slot(b), self.stop);
        attack.perturb(&mut oracle, &batch, task)?;
        let spent = oracle.spent().to_vec();
        let proposed = bench.best.into_iter().zip(images);
        Ok((proposed.map(|(best, i)| best.unwrap_or_else(|| self.untouched(*i))).collect(), spent))
    }

    /// The clean image as its own witness.
    fn untouched(&self, i: usize) -> Best {
        let clean = self.subset.image(i);
        let verdict = self.clean[i].clone();
        Best {
            pixels: match self.witness {
                WitnessKind::U8 => Pixels::U8(clean.to_vec()),
                WitnessKind::F32 => Pixels::F32(to_floats(clean)),
            },
            fault: verdict.prediction.is_none().then_some(NOT_FINITE),
            verdict: Some(verdict),
            distance: f32::INFINITY,
            reached: false,
            step: 0,
            restart: 0,
        }
    }

    fn outcome(&self, i: usize, aim: Aim, best: &Best, spent: &Spent) -> Outcome {
        let clean = &self.clean[i];
        let fault = best.fault.or(spent.not_finite.then_some(NOT_FINITE));
        let verdict = best.verdict.as_ref().filter(|_| fault.is_none());
        let right_before = clean.prediction == Some(aim.label);
        let (linf, l2) = distances(&best.pixels, self.subset.image(i));
        let margin_adversarial = verdict.and_then(|v| v.margin(aim.label));
        let mut flags: Vec<&str> = fault.into_iter().collect();
        if clean.prediction.is_some() && !right_before {
            flags.push(CLEAN_WRONG);
        }
        if verdict.is_some_and(|v| is_boundary(v, &aim)) {
            flags.push(BOUNDARY);
        }
        if spent.zero_gradient {
            flags.push(ZERO_GRADIENT);
        }
        Outcome {
            example: self.subset.examples[i],
            label: aim.label,
            target: aim.target,
            clean_prediction: clean.prediction,
            adversarial_prediction: verdict.and_then(|v| v.prediction),
            success: fault.is_none().then_some(right_before && best.reached),
            linf_255: fault.is_none().then_some(linf),
            l2: fault.is_none().then_some(l2),
            margin_clean: clean.margin(aim.label),
            margin_adversarial,
            confidence_clean: clean.confidence(),
            confidence_adversarial: verdict.and_then(Verdict::confidence),
            target_rank_clean: aim.target.and_then(|t| clean.rank(t)),
            target_rank_adversarial: aim.target.and_then(|t| verdict.and_then(|v| v.rank(t))),
            step: best.step,
            restart: best.restart,
            forwards: spent.forwards,
            backwards: spent.backwards,
            flags: flags.join(" "),
        }
    }
}

/// Whether another machine's rounding may decide otherwise on this verdict.
pub fn is_boundary(verdict: &Verdict, aim: &Aim) -> bool {
    aim.distance(&verdict.logits).abs() < BOUNDARY_MARGIN
}

/// The judge at work on one batch.
struct Bench<'a> {
    trial: &'a Trial<'a>,
    threat: Threat,
    aims: &'a [Aim],
    clean: Vec<&'a [u8]>,
    best: Vec<Option<Best>>,
}

impl Referee for Bench<'_> {
    fn judge(&mut self, rows: &[usize], proposal: &Proposal) -> Result<Vec<bool>> {
        let values = self.trial.subset.values();
        let floats = proposal.images.flatten_all()?.to_vec1::<f32>()?;
        let gradients = match (proposal.gradient, self.trial.witness) {
            (Some(g), WitnessKind::U8) => Some(g.flatten_all()?.to_vec1::<f32>()?),
            _ => None,
        };
        let mut judged = Vec::new();
        for (k, row) in rows.iter().enumerate() {
            let image = &floats[k * values..(k + 1) * values];
            let gradient = gradients.as_ref().map(|g| &g[k * values..(k + 1) * values]);
            judged.push(self.round(*row, image, gradient));
        }
        let sound: Vec<Pixels> = judged.iter().filter_map(|j| j.as_ref().ok().cloned()).collect();
        let (side, device) = (self.trial.subset.side, self.trial.device);
        let stored = join(sound, self.trial.witness);
        let mut verdicts = predict_stored(self.trial.engine, &stored, side, device, rows.len().max(1))?.into_iter();
        let mut settled = Vec::new();
        for (row, judged) in rows.iter().zip(judged) {
            let verdict = judged.is_ok().then(|| verdicts.next().expect("one verdict a judged image"));
            settled.push(self.enter(*row, judged, verdict, proposal));
        }
        Ok(settled)
    }
}

impl Bench<'_> {
    /// The image as it would be stored, or the fault that makes it an error row.
    fn round(&self, row: usize, image: &[f32], gradient: Option<&[f32]>) -> std::result::Result<Pixels, &'static str> {
        let clean = self.clean[row];
        if image.iter().any(|v| !v.is_finite()) {
            return Err(NOT_FINITE);
        }
        if !self.threat.contains(image, &to_floats(clean)) {
            return Err(OUTSIDE);
        }
        match self.trial.witness {
            WitnessKind::F32 => Ok(Pixels::F32(image.to_vec())),
            WitnessKind::U8 => {
                let rounded = self.threat.quantise(image, clean, gradient);
                if self.threat.contains_u8(&rounded, clean) { Ok(Pixels::U8(rounded)) } else { Err(OUTSIDE) }
            }
        }
    }

    /// Keeps the proposal if it is the best so far; says whether the row is settled.
    fn enter(
        &mut self,
        row: usize,
        judged: std::result::Result<Pixels, &'static str>,
        verdict: Option<Verdict>,
        proposal: &Proposal,
    ) -> bool {
        let (step, restart) = (proposal.step, proposal.restart);
        let best = &mut self.best[row];
        if best.as_ref().is_some_and(|b| b.reached || b.fault.is_some()) {
            return true; // the first success, or fault, stands
        }
        let fault = judged
            .as_ref()
            .err()
            .copied()
            .or_else(|| verdict.as_ref().is_some_and(|v| v.prediction.is_none()).then_some(NOT_FINITE));
        if let Some(fault) = fault {
            // nothing outside the threat set is ever stored: an error row keeps the clean image
            let pixels = match self.trial.witness {
                WitnessKind::U8 => Pixels::U8(self.clean[row].to_vec()),
                WitnessKind::F32 => Pixels::F32(to_floats(self.clean[row])),
            };
            *best =
                Some(Best { pixels, verdict: None, distance: 0.0, reached: false, step, restart, fault: Some(fault) });
            return true;
        }
        let (pixels, verdict) = (judged.expect("no fault"), verdict.expect("no fault"));
        let aim = &self.aims[row];
        let (reached, distance) = (aim.is_reached(&verdict.logits), aim.distance(&verdict.logits));
        if reached || best.as_ref().is_none_or(|b| distance < b.distance) {
            *best = Some(Best { pixels, verdict: Some(verdict), distance, reached, step, restart, fault: None });
        }
        reached
    }
}

/// 8-bit pixels as the floats that nets see.
pub fn to_floats(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|v| f32::from(*v) / 255.0).collect()
}

fn join(images: Vec<Pixels>, kind: WitnessKind) -> Witnesses {
    match kind {
        WitnessKind::U8 => {
            Witnesses::U8(images.into_iter().flat_map(|p| if let Pixels::U8(v) = p { v } else { vec![] }).collect())
        }
        WitnessKind::F32 => {
            Witnesses::F32(images.into_iter().flat_map(|p| if let Pixels::F32(v) = p { v } else { vec![] }).collect())
        }
    }
}

/// Largest change in grey levels, and Euclidean distance with pixels in [0,1].
fn distances(pixels: &Pixels, clean: &[u8]) -> (f64, f64) {
    match pixels {
        Pixels::U8(v) => distances_u8(v, clean),
        Pixels::F32(v) => distances_f32(v, clean),
    }
}

/// [`distances`] of an 8-bit witness: exact integers, one division and one root.
pub fn distances_u8(pixels: &[u8], clean: &[u8]) -> (f64, f64) {
    let changes = pixels.iter().zip(clean).map(|(a, b)| u64::from(a.abs_diff(*b)));
    let most = changes.clone().max().unwrap_or(0);
    let square: u64 = changes.map(|d| d * d).sum();
    (most as f64, (square as f64).sqrt() / 255.0)
}

/// [`distances`] of a float witness.
pub fn distances_f32(pixels: &[f32], clean: &[u8]) -> (f64, f64) {
    let changes = pixels.iter().zip(clean).map(|(a, b)| (f64::from(*a) - f64::from(f32::from(*b) / 255.0)).abs());
    (changes.clone().fold(0.0, f64::max) * 255.0, changes.map(|d| d * d).sum::<f64>().sqrt())
}
