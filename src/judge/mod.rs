//! Decides: clean pass, membership in the threat set, 8-bit rounding, adversarial pass, one outcome an image.
//!
//! What is judged is what is stored: an iterate is rounded to 8 bits (or kept as floats, `witness = "f32"`) before the
//! net sees it again. Success is any iterate, the first that succeeds; where none does, the witness is the iterate that
//! came closest. Where the net has been asked at the unrounded iterate anyway, and it stands so firmly that rounding
//! cannot matter, the rounded one is not judged unless it turns out to have come closest ([`Bench::firm`]).

mod bench;
mod on_device;

use crate::attack::{Attack, Task};
use crate::data::{self, Batch, Subset};
use crate::error::Result;
use crate::goal::{Aim, Goal, argmax, margin};
use crate::kernel::bus;
use crate::kernel::{Engine, Precision};
use crate::loss::probability;
use crate::oracle::{Mark, Memo, Oracle, Spent};
use crate::record::{BOUNDARY, CLEAN_WRONG, NOT_FINITE, Outcome, SHORT_STEP, Witnesses, ZERO_GRADIENT};
use bench::{Bench, Best, Sheet};
use candle_core::{Device, Tensor};
use on_device::OnDevice;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

pub use crate::terms::WitnessKind;

/// Below this the margin of a witness is too thin to bind other machines (ATTACKS rule: argmax is flagged `boundary`).
pub const BOUNDARY_MARGIN: f32 = 1e-4;

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

    /// Softmax probability of `class`.
    pub fn probability(&self, class: usize) -> Option<f32> {
        self.prediction.map(|_| probability(&self.logits, class))
    }

    /// Number of classes above `class`.
    pub fn rank(&self, class: usize) -> Option<usize> {
        self.prediction.map(|_| self.logits.iter().filter(|z| **z > self.logits[class]).count())
    }
}

/// The net's verdicts on images N×3×H×W.
pub fn predict(engine: &dyn Engine, images: &Tensor) -> Result<Vec<Verdict>> {
    Ok(bus::down_rows(&engine.logits(images)?)?.into_iter().map(Verdict::new).collect())
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
                verdicts.extend(predict(engine, &bus::up(chunk.to_vec(), shape, device)?)?);
            }
        }
    }
    Ok(verdicts)
}

/// One cell's worth of work for the judge.
pub struct Trial<'a> {
    /// The net.
    pub engine: &'a dyn Engine,
    /// The same net as the attack asks it, and the precision it answers in: `engine` itself, or faster and coarser.
    pub attacked_through: (&'a dyn Engine, Precision),
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
    /// Which iterates are judged.
    pub judging: Judging,
    /// Whether iterates are looked at by kernels, on [`Trial::device`], instead of in this machine's memory.
    pub on_device: bool,
    /// The cells that the attack serves, by ascending number of iterations.
    pub marks: &'a [Mark],
    /// What a smaller budget left, for cells that go on from there.
    pub earlier: Option<&'a Earlier>,
    /// Whether images that are wrong before the attack are changed too ([`Attack::changes_every_image`]).
    pub every_image: bool,
    /// Most images at a time.
    pub batch: usize,
    /// Set by Ctrl-C.
    pub stop: &'a AtomicBool,
}

/// Which iterates cost a forward pass of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judging {
    /// Those whose rounding can matter, and at the end the closest.
    WhereItMatters,
    /// All: what the other is held against.
    Every,
}

/// Outcomes and witnesses of a cell with a smaller budget, by example.
pub struct Earlier(BTreeMap<usize, (Outcome, Pixels)>);

impl Earlier {
    /// From a stored cell.
    pub fn new(outcomes: Vec<Outcome>, witnesses: Witnesses) -> Earlier {
        let n = outcomes.len().max(1);
        let pixels: Vec<Pixels> = match witnesses {
            Witnesses::U8(v) => v.chunks(v.len() / n).map(|p| Pixels::U8(p.to_vec())).collect(),
            Witnesses::F32(v) => v.chunks(v.len() / n).map(|p| Pixels::F32(p.to_vec())).collect(),
        };
        Earlier(outcomes.into_iter().zip(pixels).map(|(o, p)| (o.example, (o, p))).collect())
    }

    /// The row of an image that is broken already.
    fn broken(&self, example: usize) -> Option<&(Outcome, Pixels)> {
        self.0.get(&example).filter(|(o, _)| o.success == Some(true))
    }

    /// The point to go on from.
    fn start(&self, example: usize) -> Option<Vec<f32>> {
        self.0.get(&example).filter(|(o, _)| o.success == Some(false)).map(|(_, pixels)| pixels.floats())
    }
}

/// What an attack has found for one image.
#[derive(Debug, Clone)]
struct Found {
    best: Best,
    /// [`Outcome::margin_midway`].
    midway: Option<f32>,
    spent: Spent,
}

/// One image as it is stored.
#[derive(Debug, Clone, PartialEq)]
enum Pixels {
    U8(Vec<u8>),
    F32(Vec<f32>),
}

impl Pixels {
    fn floats(&self) -> Vec<f32> {
        match self {
            Pixels::U8(v) => to_floats(v),
            Pixels::F32(v) => v.clone(),
        }
    }
}

impl Trial<'_> {
    /// What the attack is to do with each image; `None` drops it.
    pub fn aims(&self) -> Vec<Option<Aim>> {
        let aim =
            |i: usize| self.goal.aim(self.subset.examples[i], self.subset.label(i), &self.clean[i].logits, self.seed);
        (0..self.subset.len()).map(aim).collect()
    }

    /// Images an attack works on: not dropped, right before the attack or all the same, and not broken by a smaller
    /// budget.
    pub fn attacked(&self) -> Vec<usize> {
        let aims = self.aims();
        let wanted = |i: &usize| match self.every_image {
            true => self.clean[*i].prediction.is_some(),
            false => self.is_right_before(*i),
        };
        (0..self.subset.len()).filter(|i| aims[*i].is_some() && wanted(i) && self.broken_before(*i).is_none()).collect()
    }

    /// Whether an attack can succeed on the image: the net is right, or there is no right answer.
    fn is_right_before(&self, i: usize) -> bool {
        is_right_before(self.subset, i, &self.clean[i])
    }

    fn broken_before(&self, i: usize) -> Option<&(Outcome, Pixels)> {
        self.earlier.and_then(|e| e.broken(self.subset.examples[i]))
    }

    /// Attacks and judges: for each mark one outcome and one witness for every image that is not dropped, in order.
    /// `done` is told how many images are settled, as they are.
    pub fn run(
        &self,
        attack: &dyn Attack,
        task: &Task,
        memo: &Memo,
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<(Vec<Outcome>, Witnesses)>> {
        let aims = self.aims();
        let attacked = self.attacked();
        let found = self.attack(attack, task, &attacked, &aims, memo, done)?;
        Ok(found.into_iter().map(|found| self.outcomes(&aims, attacked.iter().copied().zip(found))).collect())
    }

    /// One outcome and one witness for every image that is not dropped, from what was found for those attacked.
    fn outcomes(
        &self,
        aims: &[Option<Aim>],
        attacked: impl Iterator<Item = (usize, Found)>,
    ) -> (Vec<Outcome>, Witnesses) {
        let mut found: Vec<Option<Found>> = vec![None; self.subset.len()];
        attacked.for_each(|(i, of_image)| found[i] = Some(of_image));
        let (mut outcomes, mut pixels) = (Vec::new(), Vec::new());
        for (i, aim) in aims.iter().enumerate().filter_map(|(i, aim)| aim.map(|a| (i, a))) {
            if let Some((outcome, witness)) = self.broken_before(i) {
                outcomes.push(outcome.carried());
                pixels.push(witness.clone());
                continue;
            }
            let untouched = || Found { best: self.untouched(i), midway: None, spent: Spent::default() };
            let found = found[i].take().unwrap_or_else(untouched);
            outcomes.push(self.outcome(i, aim, &found));
            pixels.push(found.best.pixels);
        }
        (outcomes, join(pixels, self.witness))
    }

    /// For each mark what was found for each of `images`.
    fn attack(
        &self,
        attack: &dyn Attack,
        task: &Task,
        images: &[usize],
        aims: &[Option<Aim>],
        memo: &Memo,
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<Found>>> {
        let aims: Vec<Aim> = images.iter().map(|i| aims[*i].expect("an attacked image has an aim")).collect();
        let starts: Option<Vec<Option<Vec<f32>>>> =
            self.earlier.map(|earlier| self.subset.examples.iter().map(|e| earlier.start(*e)).collect());
        let batch = Batch::new(self.subset, images, starts.as_deref(), self.device, self.batch);
        let mut bench = Bench {
            trial: self,
            seeks_nearest: attack.seeks_nearest(),
            aims: &aims,
            clean: images.iter().map(|i| self.subset.image(*i)).collect(),
            sheets: self.marks.iter().map(|mark| vec![Sheet::of(&mark.threat); images.len()]).collect(),
            device: OnDevice::default(),
        };
        let mut left = images.len();
        let mut leave = |rows: usize| {
            left -= rows;
            done(rows);
        };
        let (slots, (engine, _)) = ((memo, images), self.attacked_through);
        let mut oracle = Oracle::new(engine, &aims, &mut bench, slots, self.marks, self.stop, &mut leave);
        attack.perturb(&mut oracle, &batch, task)?;
        let mut spent = oracle.spent().to_vec();
        for (mark, row) in bench.judge_the_closest()? {
            spent[mark][row].forwards += 1;
        }
        if left > 0 {
            done(left);
        }
        let found = |((sheet, i), spent): ((Sheet, &usize), Spent)| {
            let best = sheet.best.unwrap_or_else(|| self.untouched(*i));
            Found { best, midway: sheet.midway, spent }
        };
        let of_mark = |(sheets, spent): (Vec<Sheet>, Vec<Spent>)| {
            sheets.into_iter().zip(images).zip(spent).map(found).collect::<Vec<_>>()
        };
        Ok(bench.sheets.into_iter().zip(spent).map(of_mark).collect())
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
            size: 0.0,
            reached: false,
            step: 0,
            restart: 0,
            note: String::new(),
        }
    }

    fn outcome(&self, i: usize, aim: Aim, Found { best, midway, spent }: &Found) -> Outcome {
        let clean = &self.clean[i];
        let fault = best.fault.or(spent.not_finite.then_some(NOT_FINITE));
        let verdict = best.verdict.as_ref().filter(|_| fault.is_none());
        let right_before = self.is_right_before(i);
        let label = self.subset.label(i);
        let (linf, l2) = distances(&best.pixels, self.subset.image(i));
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
        if spent.faint_gradient {
            flags.push(SHORT_STEP);
        }
        Outcome {
            example: self.subset.examples[i],
            label,
            target: aim.target,
            clean_prediction: clean.prediction,
            adversarial_prediction: verdict.and_then(|v| v.prediction),
            success: fault.is_none().then_some(right_before && best.reached),
            linf_255: fault.is_none().then_some(linf),
            l2: fault.is_none().then_some(l2),
            margin_clean: label.and_then(|l| clean.margin(l)),
            margin_adversarial: label.and_then(|l| verdict.and_then(|v| v.margin(l))),
            confidence_clean: clean.confidence(),
            confidence_adversarial: verdict.and_then(Verdict::confidence),
            label_probability_clean: label.and_then(|l| clean.probability(l)),
            label_probability_adversarial: label.and_then(|l| verdict.and_then(|v| v.probability(l))),
            target_probability_clean: aim.target.and_then(|t| clean.probability(t)),
            target_probability_adversarial: aim.target.and_then(|t| verdict.and_then(|v| v.probability(t))),
            target_logit_adversarial: aim.target.and_then(|t| verdict.map(|v| v.logits[t])),
            target_rank_clean: aim.target.and_then(|t| clean.rank(t)),
            target_rank_adversarial: aim.target.and_then(|t| verdict.and_then(|v| v.rank(t))),
            step: best.step,
            restart: best.restart,
            forwards: spent.forwards,
            backwards: spent.backwards,
            flags: flags.join(" "),
            note: best.note.clone(),
            margin_midway: midway.filter(|_| fault.is_none()),
        }
    }
}

/// Whether the net is right about image `i`, of which it says `clean`, or there is no right answer.
pub fn is_right_before(subset: &Subset, i: usize, clean: &Verdict) -> bool {
    clean.prediction.is_some() && subset.label(i).is_none_or(|label| clean.prediction == Some(label))
}

/// Whether another machine's rounding may decide otherwise on this verdict.
pub fn is_boundary(verdict: &Verdict, aim: &Aim) -> bool {
    aim.distance(&verdict.logits).abs() < BOUNDARY_MARGIN
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
