//! The judge at work on one cell: looks at iterates, has those judged that may count, and keeps the best of each image.

use super::pixels::{Pixels, distances, join, to_floats};
use super::sheet::{Best, Candidate, Look, Looks, OnDevice, Rounded, Sheet};
use super::trial::{Judging, Trial};
use super::verdict::{BOUNDARY_MARGIN, Verdict, predict_stored};
use crate::error::Result;
use crate::goal::Aim;
use crate::kernel::lend;
use crate::oracle::{Evidence, Marks, Place, Proposal, Referee, Ruling};
use crate::record::{NOT_FINITE, OUTSIDE};
use crate::terms::{Budget, Norm, WitnessKind};
use crate::threat::Threat;
use candle_core::Tensor;
use rayon::prelude::*;

/// The judge at work on one cell.
pub(super) struct Bench<'a> {
    pub(super) trial: &'a Trial<'a>,
    /// Whether the attack looks for the nearest image: one outside a budget does not count there, and is no fault.
    pub(super) seeks_nearest: bool,
    pub(super) aims: &'a [Aim],
    pub(super) clean: Vec<&'a [u8]>,
    /// By mark, then by row.
    pub(super) sheets: Vec<Vec<Sheet>>,
    pub(super) device: OnDevice,
}

/// By how much more than the first order says rounding may move a margin: logits are no straight lines, and the slope to the
/// nearest class is known but for those that are mixed with it. With it no success is lost on the goldens
/// (`skipping_judgements_loses_no_success`).
const FIRST_ORDER_SAFETY: f32 = 2.0;

impl Referee for Bench<'_> {
    fn judge(&mut self, rows: &[usize], proposal: &Proposal, marks: &Marks) -> Result<Vec<Vec<Ruling>>> {
        let mut rulings = vec![Vec::new(); rows.len()];
        for threat in marks.threats() {
            let within = self.judge_within(&threat, rows, proposal, marks)?;
            rulings.iter_mut().zip(within).for_each(|(all, within)| all.extend(within));
        }
        Ok(rulings)
    }
}

impl Bench<'_> {
    /// Rules for the marks of one threat: inside it an image is rounded.
    fn judge_within(
        &mut self,
        threat: &Threat,
        rows: &[usize],
        proposal: &Proposal,
        marks: &Marks,
    ) -> Result<Vec<Vec<Ruling>>> {
        let evidence = proposal.evidence.filter(|_| self.trial.judging == Judging::WhereItMatters);
        let (looks, rounded) = match self.looks_on_device(threat) {
            true => self.look_on_device(threat, rows, proposal, evidence)?,
            false => self.look_in_memory(threat, rows, proposal, evidence)?,
        };
        let ahead = |row: usize, step: usize| marks.ahead(row, step).filter(|mark| marks.threat(*mark) == *threat);
        let note = |k: usize| proposal.notes.get(k).cloned().unwrap_or_default();
        // a run that ends here has its last iterate judged, however firmly it stands
        let judged_at = |look: &Look, mark: usize, step: usize| look.firm.is_none() || marks.end(mark) == step;
        // what lies outside a budget that the attack does not keep to, or no nearer than what is found, costs no pass
        let counts = |look: &Look, mark: usize, row: usize| {
            let outside = self.seeks_nearest && !threat.eps.is_minimal() && look.fault == Some(OUTSIDE);
            !outside && (look.fault.is_some() || self.sheets[mark][row].would_count(look.size))
        };
        // the marks for which each image counts
        let waits =
            |mark: usize, step: usize| self.trial.blind && marks.end(mark) != usize::MAX && marks.end(mark) != step;
        let counting = |(k, row): (usize, &usize)| -> Vec<usize> {
            let step = proposal.places[k].step;
            let is_sound = |look: &Look, mark: usize| look.fault.is_some() || !waits(mark, step);
            let counts =
                |mark: &usize| looks[k].as_ref().is_some_and(|look| is_sound(look, *mark) && counts(look, *mark, *row));
            ahead(*row, proposal.places[k].step).filter(counts).collect()
        };
        let counting: Vec<Vec<usize>> = rows.iter().enumerate().map(counting).collect();
        let is_asked = |k: &usize| {
            let sound = looks[*k].as_ref().filter(|look| look.fault.is_none());
            let step = proposal.places[*k].step;
            sound.is_some_and(|look| counting[*k].iter().any(|mark| judged_at(look, *mark, step)))
        };
        let asked: Vec<usize> = (0..rows.len()).filter(is_asked).collect();
        let mut judged: Vec<Option<(Pixels, Verdict)>> = vec![None; rows.len()];
        asked.iter().zip(self.ask(&rounded, &asked)?).for_each(|(k, found)| judged[*k] = Some(found));

        let (mut rulings, mut kept) = (Vec::new(), Vec::new());
        for (k, (look, row)) in looks.iter().zip(rows).enumerate() {
            let (row, place) = (*row, proposal.places[k]);
            let counts = |mark: usize| look.as_ref().filter(|_| counting[k].contains(&mark));
            let rule = |mark: usize| match counts(mark) {
                None => Ruling { mark, judged: false, settled: false },
                Some(look) if judged_at(look, mark, place.step) => {
                    let found = match look.fault {
                        Some(fault) => Err(fault),
                        None => Ok(judged[k].as_ref().expect("sound iterates that are judged were asked about")),
                    };
                    let note = match (threat.eps, found) {
                        // of a least distance the pass that found it is told
                        (Budget::Minimal { .. }, Ok(_)) => found_at(marks.passes(mark, row), note(k)),
                        _ => note(k),
                    };
                    let settled = self.enter(mark, row, found, look.size, place, note);
                    if marks.is_first_half(mark, place.step) && !threat.eps.is_minimal() {
                        let stands = found.ok().filter(|_| !settled);
                        let distance = stands.map(|(_, verdict)| self.aims[row].distance(&verdict.logits));
                        self.sheets[mark][row].pass(distance);
                    }
                    Ruling { mark, judged: true, settled }
                }
                Some(look) => {
                    let sheet = &mut self.sheets[mark][row];
                    let distance = look.firm.expect("not judged, so firm");
                    if sheet.closest.as_ref().is_none_or(|c| distance < c.distance) {
                        let pixels = match &rounded {
                            Rounded::InMemory(images) => images[k].clone(),
                            Rounded::OnDevice(_) => {
                                kept.push(((mark, row), k));
                                None
                            }
                        };
                        sheet.closest = Some(Candidate { pixels, distance, size: look.size, place, note: note(k) });
                    }
                    if marks.is_first_half(mark, place.step) && !threat.eps.is_minimal() {
                        sheet.pass(Some(distance));
                    }
                    Ruling { mark, judged: false, settled: false }
                }
            };
            rulings.push(ahead(row, place.step).map(rule).collect());
        }
        if let Rounded::OnDevice(images) = &rounded {
            self.keep_on_device(images, &kept, rows)?;
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
    /// Looks at all iterates of a proposal in this machine's memory.
    fn look_in_memory(
        &self,
        threat: &Threat,
        rows: &[usize],
        proposal: &Proposal,
        evidence: Option<Evidence>,
    ) -> Result<Looks> {
        let values = self.trial.subset.values();
        // rounding asks for the gradient that led here in the L2 ball alone
        let led = proposal.gradient.filter(|_| threat.spares_gradient());
        let looks: Vec<Option<(Look, Option<Pixels>)>> = lend(proposal.images, |images| {
            lend_some(led, |led| {
                lend_some(evidence.and_then(|e| e.gradient()), |slopes| {
                    let look = |(k, row): (usize, &usize)| {
                        let image = &images[k * values..][..values];
                        let led = led.map(|l| &l[k * values..][..values]);
                        let slope = slopes.map(|s| &s[k * values..][..values]);
                        let known = evidence.map(|e| (e.logits()[k].as_slice(), slope));
                        // a start is no proposal
                        (proposal.places[k].step > 0).then(|| self.look(threat, *row, image, led, known))
                    };
                    rows.par_iter().enumerate().map(look).collect()
                })
            })
        })???;
        let (looks, images) = looks.into_iter().map(Option::unzip).unzip::<_, _, Vec<_>, Vec<_>>();
        Ok((looks, Rounded::InMemory(images.into_iter().map(Option::flatten).collect())))
    }

    /// A look at one iterate: `led` is the gradient that led here, `known` logits and gradient of the unrounded image.
    fn look(
        &self,
        threat: &Threat,
        row: usize,
        image: &[f32],
        led: Option<&[f32]>,
        known: Option<(&[f32], Option<&[f32]>)>,
    ) -> (Look, Option<Pixels>) {
        let pixels = match self.round(threat, row, image, led) {
            Ok(pixels) => pixels,
            Err(fault) => return (Look { fault: Some(fault), firm: None, size: 0.0 }, None),
        };
        let size = if threat.eps.is_minimal() { size(threat.norm, &pixels, self.clean[row]) } else { 0.0 };
        let firm = known.and_then(|(logits, slope)| self.firm(row, logits, moved(image, &pixels, slope)));
        (Look { fault: None, firm, size }, Some(pixels))
    }

    /// What is stored of rounded images, and what the net says of them.
    fn ask(&self, rounded: &Rounded, which: &[usize]) -> Result<Vec<(Pixels, Verdict)>> {
        match rounded {
            Rounded::InMemory(images) => {
                let pixels: Vec<Pixels> =
                    which.iter().map(|k| images[*k].clone().expect("an iterate without fault")).collect();
                let verdicts = self.verdicts(pixels.clone())?;
                Ok(pixels.into_iter().zip(verdicts).collect())
            }
            Rounded::OnDevice(images) => self.ask_on_device(images, which),
        }
    }

    fn verdicts(&self, images: Vec<Pixels>) -> Result<Vec<Verdict>> {
        let (trial, size) = (self.trial, self.trial.subset.size);
        predict_stored(trial.engine, &join(images, trial.witness), size, trial.device, trial.batch)
    }

    /// The distance from success at the unrounded iterate, where rounding cannot decide: it is more than rounding by d can
    /// move it.
    ///
    /// To first order a distance m moves by |∇m·d| ≤ Σ|∂m||d|. For the label (or target) c, m is the least of the leads
    /// m_j = ±(z_c − z_j) over j ≠ c. The gradient at hand is that of the log-odds ([`crate::loss::log_odds`]), which is
    /// exactly ∓Σ q_j ∇m_j, with q the softmax of the other classes alone: the mean of the slopes of all leads, in which that of
    /// the nearest class n weighs most. Two things are assumed: that the others do not cancel it, which gives
    /// q_n·Σ|∂m_n||d| ≤ Σ|g||d|; and that no other class that could come nearest is steeper than that allows. Both hold
    /// exactly with two classes, where q_n = 1. So Σ|g||d| / q_n, over `moved`, stands for the right side, times
    /// [`FIRST_ORDER_SAFETY`]. Both sides grow with the logits alike, and q_n is never below 1/(K − 1), so nothing here
    /// underflows. Where the logits at hand are coarser than the judge's, their error counts on both sides of the distance.
    /// Where nothing is known, `moved` is `None` or `logits` are empty: then nothing is firm.
    pub(super) fn firm(&self, row: usize, logits: &[f32], moved: Option<f32>) -> Option<f32> {
        if logits.is_empty() {
            return None;
        }
        let aim = &self.aims[row];
        let nearest = share_of_nearest(logits, aim.target.unwrap_or(aim.label));
        let largest = logits.iter().fold(0.0f32, |m, z| m.max(z.abs()));
        let coarse = 2.0 * self.trial.attacked_through.1.logit_error() * largest;
        let distance = aim.distance(logits);
        // NaN anywhere compares false: judged
        let stands = |moved: f32| distance > FIRST_ORDER_SAFETY * moved / nearest + BOUNDARY_MARGIN + coarse;
        moved.is_some_and(stands).then_some(distance)
    }

    /// Judges the iterates that were not, where they came closer than those that were. Returns marks and rows.
    pub(super) fn judge_the_closest(&mut self) -> Result<Vec<(usize, usize)>> {
        self.fetch_kept(|_| true)?;
        let mut found = Vec::new();
        for (mark, sheets) in self.sheets.iter_mut().enumerate() {
            for (row, sheet) in sheets.iter_mut().enumerate() {
                let (open, best) = (!sheet.is_settled(), &sheet.best);
                let closer = |c: &Candidate| open && best.as_ref().is_none_or(|b| c.distance < b.distance);
                found.extend(sheet.closest.take().filter(closer).map(|candidate| ((mark, row), candidate)));
            }
        }
        let pixels: Vec<Pixels> =
            found.iter_mut().map(|(_, c)| c.pixels.take().expect("fetched from the device, if it was there")).collect();
        let verdicts = self.verdicts(pixels.clone())?;
        for (((mark, row), candidate), judged) in found.iter().zip(pixels.into_iter().zip(verdicts)) {
            self.enter(*mark, *row, Ok(&judged), candidate.size, candidate.place, candidate.note.clone());
        }
        Ok(found.into_iter().map(|(at, _)| at).collect())
    }

    /// An iterate as it would be stored, or the fault that makes it an error row.
    fn round(
        &self,
        threat: &Threat,
        row: usize,
        image: &[f32],
        gradient: Option<&[f32]>,
    ) -> std::result::Result<Pixels, &'static str> {
        let (clean, size) = (self.clean[row], self.trial.subset.size);
        if image.iter().any(|v| !v.is_finite()) {
            return Err(NOT_FINITE);
        }
        if !threat.contains(image, &to_floats(clean), size) {
            return Err(OUTSIDE);
        }
        match self.trial.witness {
            WitnessKind::F32 => Ok(Pixels::F32(image.to_vec())),
            WitnessKind::U8 => {
                let rounded = threat.quantise(image, clean, gradient);
                if threat.contains_u8(&rounded, clean, size) { Ok(Pixels::U8(rounded)) } else { Err(OUTSIDE) }
            }
        }
    }

    /// Keeps what was judged if it is the mark's best so far; says whether the row is settled there.
    fn enter(
        &mut self,
        mark: usize,
        row: usize,
        judged: std::result::Result<&(Pixels, Verdict), &'static str>,
        size: f64,
        Place { restart, step }: Place,
        note: String,
    ) -> bool {
        let sheet = &mut self.sheets[mark][row];
        if sheet.is_settled() {
            return true; // the first success, or fault, stands
        }
        let finite = judged.and_then(|(pixels, v)| v.prediction.map(|_| (pixels, v)).ok_or(NOT_FINITE));
        let (pixels, verdict) = match finite {
            Ok(found) => found,
            Err(fault) => {
                // nothing outside the threat set is ever stored: an error row keeps the clean image
                let pixels = match self.trial.witness {
                    WitnessKind::U8 => Pixels::U8(self.clean[row].to_vec()),
                    WitnessKind::F32 => Pixels::F32(to_floats(self.clean[row])),
                };
                let (verdict, fault) = (None, Some(fault));
                let (distance, reached, sure) = (0.0, false, false);
                sheet.best = Some(Best { pixels, verdict, distance, size, reached, sure, step, restart, fault, note });
                return true;
            }
        };
        let aim = &self.aims[row];
        let (reached, distance) = (aim.is_reached(&verdict.logits), aim.distance(&verdict.logits));
        let surer = |b: &Best| b.reached && !sheet.minimal && reached && distance < b.distance;
        let better = |b: &Best| if b.reached { surer(b) } else { distance < b.distance };
        let closer = sheet.best.as_ref().is_none_or(better);
        let first = sheet.minimal || sheet.best.as_ref().is_none_or(|b| !b.reached);
        if reached && first && sheet.would_count(size) || closer {
            let sure =
                reached && self.trial.confidence.is_none_or(|least| verdict.confidence().is_some_and(|p| p >= least));
            let (pixels, verdict) = (pixels.clone(), Some(verdict.clone()));
            sheet.best =
                Some(Best { pixels, verdict, distance, size, reached, sure, step, restart, fault: None, note });
        }
        sheet.is_settled()
    }
}

/// The distance of an image as it is stored from its clean image, as rows and `verify` have it.
fn size(norm: Norm, pixels: &Pixels, clean: &[u8]) -> f64 {
    distances(pixels, clean).of(norm)
}

/// What is noted of a least distance: `pass=120`, the passes that were spent when it was found.
fn found_at(passes: u64, note: String) -> String {
    format!("pass={passes} {note}").trim_end().to_string()
}

/// Share of the largest in the softmax of all logits but that of `class`.
fn share_of_nearest(logits: &[f32], class: usize) -> f32 {
    let others = || logits.iter().enumerate().filter(|(j, _)| *j != class).map(|(_, z)| *z);
    let top = others().fold(f32::NEG_INFINITY, f32::max);
    1.0 / others().map(|z| (z - top).exp()).sum::<f32>()
}

/// Σ|g·d| of an image and its rounded form. Without a gradient g only an image that rounding leaves as it is has one.
fn moved(image: &[f32], rounded: &Pixels, slope: Option<&[f32]>) -> Option<f32> {
    match (rounded, slope) {
        (Pixels::U8(v), Some(slope)) => {
            let parts = slope.iter().zip(image).zip(v);
            Some(parts.map(|((g, x), q)| (g * (f32::from(*q) / 255.0 - x)).abs()).sum())
        }
        (Pixels::U8(v), None) if image.iter().zip(v).any(|(x, q)| *x != f32::from(*q) / 255.0) => None,
        _ => Some(0.0),
    }
}
