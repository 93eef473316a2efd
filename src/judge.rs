//! Decides: clean pass, membership in the threat set, 8-bit rounding, adversarial pass, one outcome an image.
//!
//! What is judged is what is stored: an iterate is rounded to 8 bits (or kept as floats, `witness = "f32"`) before the
//! net sees it again. Success is any iterate, the first that succeeds; where none does, the witness is the iterate that
//! came closest. Where the net has been asked at the unrounded iterate anyway, and it stands so firmly that rounding
//! cannot matter, the rounded one is not judged unless it turns out to have come closest ([`Bench::stands_firmly`]).

use crate::attack::{Attack, Task};
use crate::data::{self, Batch, Subset};
use crate::error::Result;
use crate::goal::{Aim, Goal, argmax, margin};
use crate::kernel::{Engine, lend};
use crate::loss::probability;
use crate::oracle::{Memo, Oracle, Place, Proposal, Referee, Ruling, Spent};
use crate::record::{BOUNDARY, CLEAN_WRONG, NOT_FINITE, OUTSIDE, Outcome, Witnesses, ZERO_GRADIENT};
use crate::threat::Threat;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;
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
    /// Which iterates are judged.
    pub judging: Judging,
    /// What a smaller budget left, for cells that go on from there.
    pub earlier: Option<&'a Earlier>,
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
            |i: usize| self.goal.aim(self.subset.examples[i], self.subset.labels[i], &self.clean[i].logits, self.seed);
        (0..self.subset.len()).map(aim).collect()
    }

    /// Images an attack works on: not dropped, right before the attack, and not broken by a smaller budget.
    pub fn attacked(&self) -> Vec<usize> {
        let aims = self.aims();
        let right = |i: &usize| self.clean[*i].prediction == Some(self.subset.labels[*i]);
        (0..self.subset.len()).filter(|i| aims[*i].is_some() && right(i) && self.broken_before(*i).is_none()).collect()
    }

    fn broken_before(&self, i: usize) -> Option<&(Outcome, Pixels)> {
        self.earlier.and_then(|e| e.broken(self.subset.examples[i]))
    }

    /// Attacks and judges: one outcome and one witness for every image that is not dropped, in order. `done` is told
    /// how many images are settled, as they are.
    pub fn run(
        &self,
        attack: &dyn Attack,
        task: &Task,
        memo: &Memo,
        done: &mut dyn FnMut(usize),
    ) -> Result<(Vec<Outcome>, Witnesses)> {
        let aims = self.aims();
        let attacked = self.attacked();
        let mut best: Vec<Option<(Best, Spent)>> = vec![None; self.subset.len()];
        for (i, found) in attacked.iter().zip(self.attack(attack, task, &attacked, &aims, memo, done)?) {
            best[*i] = Some(found);
        }
        let (mut outcomes, mut pixels) = (Vec::new(), Vec::new());
        for (i, aim) in aims.into_iter().enumerate().filter_map(|(i, aim)| aim.map(|a| (i, a))) {
            if let Some((outcome, witness)) = self.broken_before(i) {
                outcomes.push(outcome.carried());
                pixels.push(witness.clone());
                continue;
            }
            let (best, spent) = best[i].take().unwrap_or_else(|| (self.untouched(i), Spent::default()));
            outcomes.push(self.outcome(i, aim, &best, &spent));
            pixels.push(best.pixels);
        }
        Ok((outcomes, join(pixels, self.witness)))
    }

    /// The best proposal for each of `images`, and what it has cost.
    fn attack(
        &self,
        attack: &dyn Attack,
        task: &Task,
        images: &[usize],
        aims: &[Option<Aim>],
        memo: &Memo,
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<(Best, Spent)>> {
        let aims: Vec<Aim> = images.iter().map(|i| aims[*i].expect("an attacked image has an aim")).collect();
        let starts: Option<Vec<Option<Vec<f32>>>> =
            self.earlier.map(|earlier| self.subset.examples.iter().map(|e| earlier.start(*e)).collect());
        let batch = Batch::new(self.subset, images, starts.as_deref(), self.device, self.batch);
        let mut bench = Bench {
            trial: self,
            threat: task.threat,
            aims: &aims,
            clean: images.iter().map(|i| self.subset.image(*i)).collect(),
            best: vec![None; images.len()],
            closest: vec![None; images.len()],
        };
        let mut left = images.len();
        let mut leave = |rows: usize| {
            left -= rows;
            done(rows);
        };
        let mut oracle = Oracle::new(self.engine, &aims, &mut bench, (memo, images), self.stop, &mut leave);
        attack.perturb(&mut oracle, &batch, task)?;
        let mut spent = oracle.spent().to_vec();
        for row in bench.judge_the_closest()? {
            spent[row].forwards += 1;
        }
        if left > 0 {
            done(left);
        }
        let best = bench.best.into_iter().zip(images).map(|(best, i)| best.unwrap_or_else(|| self.untouched(*i)));
        Ok(best.zip(spent).collect())
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

/// The judge at work on one cell.
struct Bench<'a> {
    trial: &'a Trial<'a>,
    threat: Threat,
    aims: &'a [Aim],
    clean: Vec<&'a [u8]>,
    best: Vec<Option<Best>>,
    /// Of the iterates that were not judged, the one whose unrounded form came closest.
    closest: Vec<Option<Candidate>>,
}

/// An iterate that was not judged.
#[derive(Debug, Clone)]
struct Candidate {
    pixels: Pixels,
    /// Of the unrounded iterate.
    distance: f32,
    place: Place,
}

/// What becomes of an iterate.
enum Look {
    /// A start is no proposal.
    Start,
    /// Stands too firmly to be worth a pass.
    Firm(Candidate),
    /// To be judged as it would be stored, or the fault that makes it an error row.
    Judge(std::result::Result<Pixels, &'static str>),
}

/// By how much more than the first order says rounding may move a margin: the loss mixes the margins to all other
/// classes, and is curved. With it no success is lost on the goldens (`skipping_judgements_loses_no_success`).
const FIRST_ORDER_SAFETY: f32 = 2.0;

impl Referee for Bench<'_> {
    fn judge(&mut self, rows: &[usize], proposal: &Proposal) -> Result<Vec<Ruling>> {
        let values = self.trial.subset.values();
        let here = proposal.here.filter(|_| self.trial.judging == Judging::WhereItMatters);
        let looks: Vec<Look> = lend(proposal.images, |images| {
            lend_some(proposal.gradient, |led| {
                lend_some(here.map(|h| &h.gradient), |slopes| {
                    let look = |(k, row): (usize, &usize)| {
                        let image = &images[k * values..(k + 1) * values];
                        let led = led.map(|l| &l[k * values..(k + 1) * values]);
                        let here = here.zip(slopes).map(|(h, s)| (h.logits[k].as_slice(), &s[k * values..][..values]));
                        self.look(*row, image, led, here, proposal.places[k])
                    };
                    rows.par_iter().enumerate().map(look).collect()
                })
            })
        })???;
        let sound = |look: &Look| if let Look::Judge(Ok(pixels)) = look { Some(pixels.clone()) } else { None };
        let mut verdicts = self.verdicts(looks.iter().filter_map(sound).collect())?.into_iter();
        let mut rulings = Vec::new();
        for ((row, look), place) in rows.iter().zip(looks).zip(proposal.places) {
            rulings.push(match look {
                Look::Start => Ruling { judged: false, settled: false },
                Look::Firm(candidate) => {
                    let closest = &mut self.closest[*row];
                    if closest.as_ref().is_none_or(|c| candidate.distance < c.distance) {
                        *closest = Some(candidate);
                    }
                    Ruling { judged: false, settled: false }
                }
                Look::Judge(rounded) => {
                    let verdict = rounded.is_ok().then(|| verdicts.next().expect("one verdict a judged image"));
                    Ruling { judged: true, settled: self.enter(*row, rounded, verdict, *place) }
                }
            });
        }
        Ok(rulings)
    }
}

/// [`lend`] of a tensor that may not be there.
fn lend_some<T>(tensor: Option<&Tensor>, look: impl FnOnce(Option<&[f32]>) -> T) -> Result<T> {
    match tensor {
        Some(tensor) => lend(tensor, |values| look(Some(values))),
        None => Ok(look(None)),
    }
}

impl Bench<'_> {
    /// What becomes of one iterate: `led` is the gradient that led here, `here` logits and gradient of the unrounded
    /// image.
    fn look(
        &self,
        row: usize,
        image: &[f32],
        led: Option<&[f32]>,
        here: Option<(&[f32], &[f32])>,
        place: Place,
    ) -> Look {
        if place.step == 0 {
            return Look::Start;
        }
        match (self.round(row, image, led), here) {
            (Ok(pixels), Some((logits, slope)))
                if !logits.is_empty() && self.stands_firmly(row, logits, slope, image, &pixels) =>
            {
                Look::Firm(Candidate { pixels, distance: self.aims[row].distance(logits), place })
            }
            (rounded, _) => Look::Judge(rounded),
        }
    }

    fn verdicts(&self, images: Vec<Pixels>) -> Result<Vec<Verdict>> {
        let (trial, side) = (self.trial, self.trial.subset.side);
        predict_stored(trial.engine, &join(images, trial.witness), side, trial.device, trial.batch)
    }

    /// Whether rounding cannot decide this iterate: its distance from success, over logits at the unrounded iterate, is
    /// more than rounding by d can move it.
    ///
    /// To first order a distance m moves by |∇m·d| ≤ Σ|∂m||d|. The loss at hand is the cross-entropy of the label (or
    /// target) c, whose gradient is Σ p_j (∇z_j − ∇z_c) over j ≠ c: 1 − p_c times the weighted mean of the slopes of the
    /// distances to all other classes, of which the nearest weighs most. So Σ|g||d| / (1 − p_c) stands for the right
    /// side, times [`FIRST_ORDER_SAFETY`].
    fn stands_firmly(&self, row: usize, logits: &[f32], slope: &[f32], image: &[f32], rounded: &Pixels) -> bool {
        let aim = &self.aims[row];
        let class = aim.target.unwrap_or(aim.label);
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |j: usize| (logits[j] - top).exp();
        let others: f32 = (0..logits.len()).filter(|j| *j != class).map(weight).sum();
        let share = others / (others + weight(class));
        let moved: f32 = match rounded {
            Pixels::U8(v) => {
                let parts = slope.iter().zip(image).zip(v);
                parts.map(|((g, x), q)| (g * (f32::from(*q) / 255.0 - x)).abs()).sum()
            }
            Pixels::F32(_) => 0.0,
        };
        // NaN anywhere compares false: judged
        aim.distance(logits) > FIRST_ORDER_SAFETY * moved / share + BOUNDARY_MARGIN
    }

    /// Judges the iterates that were not, where they came closer than those that were. Returns the rows.
    fn judge_the_closest(&mut self) -> Result<Vec<usize>> {
        let best = |row: usize| self.best[row].as_ref();
        let open = |row: usize| best(row).is_none_or(|b| !b.reached && b.fault.is_none());
        let closer = |row: &usize| {
            let candidate = self.closest[*row].as_ref();
            candidate.is_some_and(|c| open(*row) && best(*row).is_none_or(|b| c.distance < b.distance))
        };
        let rows: Vec<usize> = (0..self.best.len()).filter(closer).collect();
        let candidates: Vec<Candidate> =
            rows.iter().map(|r| self.closest[*r].take().expect("a candidate there")).collect();
        let verdicts = self.verdicts(candidates.iter().map(|c| c.pixels.clone()).collect())?;
        for ((row, candidate), verdict) in rows.iter().zip(candidates).zip(verdicts) {
            self.enter(*row, Ok(candidate.pixels), Some(verdict), candidate.place);
        }
        Ok(rows)
    }

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
        Place { restart, step }: Place,
    ) -> bool {
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
