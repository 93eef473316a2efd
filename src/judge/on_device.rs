//! The judge's work where the iterates lie, by the kernels of [`crate::kernel::pixels`]: a number or two an image come back, and
//! as bytes the images that are judged. Everything else stays there, also the candidates that wait for the end.

use super::bench::Bench;
use super::pixels::Pixels;
use super::sheet::{Look, Looks, Rounded};
use super::verdict::{Verdict, predict};
use crate::error::Result;
use crate::kernel::bus::{down, select, up};
use crate::kernel::pixels::{self, Place};
use crate::oracle::{Evidence, Proposal};
use crate::record::{NOT_FINITE, OUTSIDE};
use crate::terms::WitnessKind;
use crate::threat::Threat;
use candle_core::Tensor;
use rayon::prelude::*;
use std::collections::BTreeSet;

impl Bench<'_> {
    /// Whether iterates are looked at where they lie: where there are kernels for it.
    pub(super) fn looks_on_device(&self, threat: &Threat) -> bool {
        self.trial.on_device
            && threat.ball().is_some()
            && !threat.eps.is_minimal()
            && self.trial.witness == WitnessKind::U8
    }

    /// Looks at all iterates of a proposal on the device.
    pub(super) fn look_on_device(
        &mut self,
        threat: &Threat,
        rows: &[usize],
        proposal: &Proposal,
        evidence: Option<Evidence>,
    ) -> Result<Looks> {
        // a start is no proposal
        let is_start = |k: usize| proposal.places[k].step == 0;
        if (0..rows.len()).all(is_start) {
            return Ok((rows.iter().map(|_| None).collect(), Rounded::InMemory(vec![None; rows.len()])));
        }
        let (ball, images) = (threat.ball().expect("asked before"), proposal.images);
        let clean = self.clean_on_device(rows)?;
        let rounded = pixels::round_in_ball(images, &clean, ball.most)?;
        let mut found = pixels::membership(images, &clean, &rounded, &ball)?;
        let outside = |k: &usize| found[*k] == Place::RoundedOutside && !is_start(*k);
        let outside: Vec<usize> = (0..rows.len()).filter(outside).collect();
        let rounded = self.shorten(threat, &outside, rows, &rounded, proposal.gradient, &mut found)?;
        let moved = match evidence.map(|e| e.gradient()) {
            Some(Some(gradient)) => pixels::first_order(gradient, images, &rounded)?.into_iter().map(Some).collect(),
            // an image that rounding leaves as it is, is moved by 0
            Some(None) => {
                let any = pixels::first_order(&images.ones_like()?, images, &rounded)?;
                any.into_iter().map(|moved| (moved == 0.0).then_some(0.0)).collect()
            }
            None => vec![None; rows.len()],
        };
        let look = |(k, row): (usize, &usize)| {
            let fault = match found[k] {
                Place::Inside => None,
                Place::NotFinite => Some(NOT_FINITE),
                Place::Outside | Place::RoundedOutside => Some(OUTSIDE),
            };
            let known = evidence.filter(|_| fault.is_none() && !is_start(k));
            let firm = known.and_then(|e| self.firm(*row, &e.logits()[k], moved[k]));
            (!is_start(k)).then_some(Look { fault, firm, size: 0.0 })
        };
        Ok((rows.iter().enumerate().map(look).collect(), Rounded::OnDevice(rounded)))
    }

    /// Brings rounded images that left the ball back into it, in this machine's memory: one grey level after the other. They
    /// are `which` of the proposal, which `led` led to.
    fn shorten(
        &self,
        threat: &Threat,
        which: &[usize],
        rows: &[usize],
        rounded: &Tensor,
        led: Option<&Tensor>,
        found: &mut [Place],
    ) -> Result<Tensor> {
        if which.is_empty() {
            return Ok(rounded.clone());
        }
        let values = self.trial.subset.values();
        let nearest = down::<u8>(&select(rounded, which)?)?;
        let led = led.map(|led| select(led, which).and_then(|led| down::<f32>(&led))).transpose()?;
        let shorter = |(i, k): (usize, &usize)| {
            let led = led.as_ref().map(|led| &led[i * values..][..values]);
            threat.requantise(&nearest[i * values..][..values], self.clean[rows[*k]], led)
        };
        let shorter: Vec<Vec<u8>> = which.par_iter().enumerate().map(shorter).collect();
        for (k, image) in which.iter().zip(&shorter) {
            if threat.contains_u8(image, self.clean[rows[*k]], self.trial.subset.size) {
                found[*k] = Place::Inside;
            }
        }
        let mut index: Vec<usize> = (0..rows.len()).collect();
        which.iter().enumerate().for_each(|(i, k)| index[*k] = rows.len() + i);
        let shorter = up(shorter.concat(), (which.len(), values), rounded.device())?;
        select(&Tensor::cat(&[rounded, &shorter], 0)?, &index)
    }

    /// What is stored of rounded images, and what the net says of them.
    pub(super) fn ask_on_device(&self, rounded: &Tensor, which: &[usize]) -> Result<Vec<(Pixels, Verdict)>> {
        let (trial, subset) = (self.trial, self.trial.subset);
        let mut asked = Vec::new();
        for which in which.chunks(trial.batch) {
            let images = select(rounded, which)?;
            let verdicts = predict(trial.engine, &pixels::to_unit(&images, subset.size)?)?;
            let bytes = down::<u8>(&images)?;
            let stored = bytes.chunks(subset.values()).map(|image| Pixels::U8(image.to_vec()));
            asked.extend(stored.zip(verdicts));
        }
        Ok(asked)
    }

    /// The clean images of rows, N×values, u8. They cross once for as long as they are asked for again and again.
    fn clean_on_device(&mut self, rows: &[usize]) -> Result<Tensor> {
        let most = 2 * self.trial.batch;
        let (mut there, mut images) = match self.device.clean.take() {
            Some((there, images)) => (there, Some(images)),
            None => (Vec::new(), None),
        };
        let missing: Vec<usize> = rows.iter().copied().filter(|row| !there.contains(row)).collect();
        if there.len() + missing.len() > most {
            let wanted: Vec<usize> = (0..there.len()).filter(|i| rows.contains(&there[*i])).collect();
            images = match (images, wanted.len()) {
                (Some(images), 1..) => Some(select(&images, &wanted)?),
                _ => None,
            };
            there = wanted.into_iter().map(|i| there[i]).collect();
        }
        if !missing.is_empty() {
            let new: Vec<u8> = missing.iter().flat_map(|row| self.clean[*row]).copied().collect();
            let new = up(new, (missing.len(), self.trial.subset.values()), self.trial.device)?;
            images = Some(match images {
                Some(images) => Tensor::cat(&[images, new], 0)?,
                None => new,
            });
            there.extend(missing);
        }
        let images = images.expect("a proposal has rows");
        let wanted = match there == rows {
            true => images.clone(),
            false => {
                let place = |row: &usize| there.iter().position(|t| t == row).expect("there now");
                select(&images, &rows.iter().map(place).collect::<Vec<_>>())?
            }
        };
        self.device.clean = Some((there, images));
        Ok(wanted)
    }

    /// Keeps candidates on the device, each for a mark and a row, in the place of the one before it; they are images `k` of a
    /// proposal of `rows`.
    pub(super) fn keep_on_device(
        &mut self,
        images: &Tensor,
        new: &[((usize, usize), usize)],
        rows: &[usize],
    ) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let (holders, kept) = match self.device.kept.take() {
            Some((holders, kept)) => (holders, Some(kept)),
            None => (Vec::new(), None),
        };
        let is_new: BTreeSet<(usize, usize)> = new.iter().map(|(holder, _)| *holder).collect();
        let stays = |i: &usize| {
            let (mark, row) = holders[*i];
            !is_new.contains(&(mark, row)) && !self.sheets[mark][row].is_settled()
        };
        let staying: Vec<usize> = (0..holders.len()).filter(stays).collect();
        let old = match (kept, staying.len()) {
            (Some(kept), 1..) => Some(select(&kept, &staying)?),
            _ => None,
        };
        let images = select(images, &new.iter().map(|(_, k)| *k).collect::<Vec<_>>())?;
        let images = match old {
            Some(old) => Tensor::cat(&[old, images], 0)?,
            None => images,
        };
        let holders: Vec<(usize, usize)> =
            staying.iter().map(|i| holders[*i]).chain(new.iter().map(|(holder, _)| *holder)).collect();
        self.device.kept = Some((holders, images));
        // those whose rows have left wait in this machine's memory instead
        let most = 2 * self.trial.batch * self.sheets.len();
        match self.device.kept.as_ref().is_some_and(|(holders, _)| holders.len() > most) {
            true => self.fetch_kept(|row| !rows.contains(&row)),
            false => Ok(()),
        }
    }

    /// Brings the candidates of some rows to this machine's memory.
    pub(super) fn fetch_kept(&mut self, which: impl Fn(usize) -> bool) -> Result<()> {
        let Some((holders, images)) = self.device.kept.take() else { return Ok(()) };
        // of rows that are settled nothing is wanted any more
        let is_open = |i: &usize| !self.sheets[holders[*i].0][holders[*i].1].is_settled();
        let (gone, stay): (Vec<usize>, Vec<usize>) =
            (0..holders.len()).filter(is_open).partition(|i| which(holders[*i].1));
        if !stay.is_empty() {
            self.device.kept = Some((stay.iter().map(|i| holders[*i]).collect(), select(&images, &stay)?));
        }
        if gone.is_empty() {
            return Ok(());
        }
        let pixels = down::<u8>(&select(&images, &gone)?)?;
        for (i, image) in gone.iter().zip(pixels.chunks(self.trial.subset.values())) {
            let (mark, row) = holders[*i];
            let closest = self.sheets[mark][row].closest.as_mut();
            closest.expect("a candidate waits for its row").pixels = Some(Pixels::U8(image.to_vec()));
        }
        Ok(())
    }
}
