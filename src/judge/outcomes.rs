//! Attacks, and writes down what came out: one outcome and one witness an image.

use super::bench::Bench;
use super::pixels::{Pixels, distances, join, to_floats};
use super::sheet::{Best, OnDevice, Sheet};
use super::trial::Trial;
use super::verdict::{Verdict, is_boundary, is_right_before};
use crate::attack::{Attack, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::goal::Aim;
use crate::oracle::{Memo, Oracle, Spent};
use crate::record::{BOUNDARY, CLEAN_WRONG, NOT_FINITE, Outcome, SHORT_STEP, SPLIT_VOTE, Witnesses, ZERO_GRADIENT};
use crate::terms::WitnessKind;

/// What an attack has found for one image.
#[derive(Debug, Clone)]
struct Found {
    best: Best,
    /// [`Outcome::margin_midway`].
    midway: Option<f32>,
    spent: Spent,
}

impl Trial<'_> {
    /// What the attack is to do with each image; `None` drops it, or leaves it for another time.
    pub fn aims(&self) -> Vec<Option<Aim>> {
        let of =
            |i: usize| self.goal.aim(self.subset.examples[i], self.subset.label(i), &self.clean[i].logits, self.seed);
        let aim = |i: usize| self.images.contains(&i).then(|| of(i)).flatten();
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
            sure: false,
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
        let distances = Some(distances(&best.pixels, self.subset.image(i))).filter(|_| fault.is_none());
        let mut flags: Vec<&str> = fault.into_iter().collect();
        if clean.prediction.is_some() && !right_before {
            flags.push(CLEAN_WRONG);
        }
        if verdict.is_some_and(|v| is_boundary(v, &aim)) {
            flags.push(BOUNDARY);
        }
        if let (Some(of), Some(verdict)) = (self.votes, verdict)
            && verdict.is_split(&aim, of)
        {
            flags.push(SPLIT_VOTE);
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
            linf_255: distances.map(|d| d.linf_255),
            l2: distances.map(|d| d.l2),
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
            l1: distances.map(|d| d.l1),
            l0: distances.map(|d| d.l0),
        }
    }
}
