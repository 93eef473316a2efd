//! What is claimed of an image, held against what is computed again.

use super::fits;
use crate::data::Subset;
use crate::error::{Error, Result};
use crate::goal::{Aim, Goal};
use crate::judge::{self, BOUNDARY_MARGIN, Verdict};
use crate::placement::{Picture, Placement};
use crate::record::{BOUNDARY, CLEAN_WRONG, Cell, Explained, Outcome, SPLIT_VOTE, StoredCell, Transfer, Witnesses};
use crate::store::Store;
use crate::threat::Threat;
use std::sync::Arc;

/// Margins and confidences may differ by this much (relative to 1 + |value|) on another machine.
pub(super) const TOLERANCE: f32 = 1e-4;

/// Maps, and figures about them, by this much (relative to their maximum): as near as they are to PyTorch's.
pub(super) const MAP_TOLERANCE: f32 = 1e-3;

pub(super) struct Bench {
    pub(super) engine: Arc<dyn crate::kernel::Engine>,
    pub(super) subset: Subset,
    pub(super) clean: Vec<Verdict>,
}

/// What a cell claims about its rows.
pub(super) struct Claim<'a> {
    pub(super) threat: Threat,
    pub(super) aims: Vec<Option<Aim>>,
    /// Images that the goal does not drop.
    pub(super) rows: Vec<usize>,
    pub(super) bench: &'a Bench,
    /// Draws that were put to the vote.
    votes: Option<u32>,
}

/// The pictures that a cell's attack pasted, if it did.
pub(super) struct Pasted(Vec<Picture>);

impl Pasted {
    pub(super) fn of(store: &Store, stored: &StoredCell, size: [usize; 2]) -> Result<Pasted> {
        if !stored.outcomes.iter().any(|o| Placement::parse(&o.note).is_some()) {
            return Ok(Pasted(Vec::new()));
        }
        Ok(Pasted(fits::restored(&store.read_fit(&stored.cell.fit(size).id())?.1)?))
    }

    /// Whether the witness is the clean image with the noted picture where the note says.
    pub(super) fn check(&self, outcome: &Outcome, image: &Image, clean: &[u8], size: [usize; 2]) -> Result<(), String> {
        let Some((placement, which)) = Placement::parse(&outcome.note) else { return Ok(()) };
        let picture = self.0.get(which).ok_or_else(|| format!("no picture {which} is stored with the fit"))?;
        let mut redone = clean.to_vec();
        placement.footprint(size, picture.side).cut_out(picture).paste_u8(&picture.rgb, &mut redone);
        let same = match image {
            Image::U8(v) => *v == redone,
            Image::F32(v) => v.iter().zip(judge::to_floats(&redone)).all(|(a, b)| *a == b),
        };
        if same { Ok(()) } else { Err("the witness is not the noted picture at the noted place".into()) }
    }
}

/// One witness as stored.
pub(super) enum Image<'a> {
    U8(&'a [u8]),
    F32(&'a [f32]),
}

pub(super) fn slice(witnesses: &Witnesses, k: usize, values: usize) -> Image<'_> {
    match witnesses {
        Witnesses::U8(v) => Image::U8(&v[k * values..(k + 1) * values]),
        Witnesses::F32(v) => Image::F32(&v[k * values..(k + 1) * values]),
    }
}

impl Claim<'_> {
    pub(super) fn new<'a>(cell: &Cell, bench: &'a Bench) -> Result<Claim<'a>> {
        let (threat, goal) = (cell.threat, cell.goal);
        let (subset, classes) = (&bench.subset, bench.clean.first().map_or(0, |v| v.logits.len()));
        if let Goal::Class(class) = goal
            && class >= classes
        {
            return Err(Error::Store(format!("goal {} of a net of {classes} classes", cell.goal)));
        }
        let aim = |i: usize| goal.aim(subset.examples[i], subset.label(i), &bench.clean[i].logits, cell.seed);
        let aims: Vec<Option<Aim>> = (0..subset.len()).map(aim).collect();
        let rows = (0..aims.len()).filter(|i| aims[*i].is_some()).collect();
        Ok(Claim { threat, aims, rows, bench, votes: cell.votes })
    }

    /// One row for every image that the goal does not drop, in order.
    pub(super) fn check_rows(&self, outcomes: &[Outcome]) -> Result<()> {
        let kept = self.rows.iter().map(|i| self.bench.subset.examples[*i]);
        match kept.eq(outcomes.iter().map(|o| o.example)) {
            true => Ok(()),
            false => Err(Error::Store("its rows are not the images of its subset".into())),
        }
    }

    /// Whether everything holds; `false`: it hangs on a margin too thin to bind this machine. How the witness was found (step,
    /// restart, passes, the margin midway) only an attack could say.
    pub(super) fn check(&self, i: usize, o: &Outcome, image: &Image, verdict: &Verdict) -> Result<bool, String> {
        let (clean, pixels) = (&self.bench.clean[i], self.bench.subset.image(i));
        let aim = self.aims[i].ok_or("the goal drops this image")?;
        let (label, size) = (self.bench.subset.label(i), self.bench.subset.size);
        let right_before = judge::is_right_before(&self.bench.subset, i, clean);
        expect("label", o.label, label)?;
        expect("target", o.target, aim.target)?;
        expect("clean prediction", o.clean_prediction, clean.prediction)?;
        near("clean margin", o.margin_clean, label.and_then(|l| clean.margin(l)))?;
        let (inside, distances) = match image {
            Image::U8(v) => (self.threat.contains_u8(v, pixels, size), judge::distances_u8(v, pixels)),
            Image::F32(v) => {
                (self.threat.contains(v, &judge::to_floats(pixels), size), judge::distances_f32(v, pixels))
            }
        };
        if !inside {
            return Err("the witness lies outside its threat set".into());
        }
        if o.is_error() {
            return Err(format!("an error row: {}", o.flags));
        }
        expect("flag clean-wrong", o.has(CLEAN_WRONG), !right_before)?;
        let split = self.votes.is_some_and(|of| verdict.is_split(&aim, of));
        expect("flag split-vote", o.has(SPLIT_VOTE), split)?;
        near("margin of the witness", o.margin_adversarial, label.and_then(|l| verdict.margin(l)))?;
        let target = aim.target;
        for (what, stored, found) in [
            ("clean probability of the label", o.label_probability_clean, label.and_then(|l| clean.probability(l))),
            ("probability of the label", o.label_probability_adversarial, label.and_then(|l| verdict.probability(l))),
            ("clean probability of the target", o.target_probability_clean, target.and_then(|t| clean.probability(t))),
            (
                "probability of the target",
                o.target_probability_adversarial,
                target.and_then(|t| verdict.probability(t)),
            ),
            ("logit of the target", o.target_logit_adversarial, target.map(|t| verdict.logits[t])),
        ] {
            near(what, stored, found)?;
        }
        near("clean confidence", o.confidence_clean, clean.confidence())?;
        near("confidence on the witness", o.confidence_adversarial, verdict.confidence())?;
        expect("clean rank of the target", o.target_rank_clean, aim.target.and_then(|t| clean.rank(t)))?;
        expect("linf_255", o.linf_255, Some(distances.linf_255))?;
        expect("l2", o.l2, Some(distances.l2))?;
        // stores from before these columns have none
        for (what, stored, found) in [("l1", o.l1, distances.l1), ("l0", o.l0, distances.l0)] {
            expect(what, stored, stored.map(|_| found))?;
        }
        let decided = o.adversarial_prediction == verdict.prediction;
        let distance = aim.distance(&verdict.logits).abs();
        if !decided && o.has(BOUNDARY) && distance <= BOUNDARY_MARGIN + TOLERANCE * (1.0 + distance) {
            return Ok(false);
        }
        expect("prediction on the witness", o.adversarial_prediction, verdict.prediction)?;
        expect("success", o.success, Some(right_before && aim.is_reached(&verdict.logits)))?;
        expect("rank of the target", o.target_rank_adversarial, aim.target.and_then(|t| verdict.rank(t)))?;
        Ok(true)
    }
}

/// Whether another net says this of a witness; `false`: two classes score too nearly the same to bind this machine.
pub(super) fn check_transfer(row: &Transfer, again: &Transfer, verdict: &Verdict) -> Result<bool, String> {
    expect("example", row.example, again.example)?;
    expect("clean prediction", row.clean_prediction, again.clean_prediction)?;
    near("probability of the label", row.label_probability, again.label_probability)?;
    near("probability of the target", row.target_probability, again.target_probability)?;
    let scale = verdict.logits.iter().fold(1.0f32, |most, z| most.max(z.abs()));
    let gap = |class: Option<usize>| class.and_then(|c| verdict.margin(c)).map(f32::abs);
    let thin = gap(row.prediction).is_some_and(|gap| gap <= TOLERANCE * scale);
    if row.prediction != again.prediction && thin {
        return Ok(false);
    }
    expect("prediction", row.prediction, again.prediction)?;
    expect("rank of the target", row.target_rank, again.target_rank)?;
    Ok(true)
}

/// Whether two maps are the same, in parts of their maximum.
pub(super) fn check_map(stored: &[f32], again: &[f32]) -> Result<(), String> {
    let most = again.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    match stored.iter().zip(again).position(|(a, b)| (a - b).abs().is_nan() || (a - b).abs() > MAP_TOLERANCE * most) {
        None => Ok(()),
        Some(at) => Err(format!("at {at}: stored {}, recomputed {}", stored[at], again[at])),
    }
}

/// Whether the figures about two maps are the same.
pub(super) fn check_explained(stored: &Explained, again: &Explained) -> Result<(), String> {
    let number = |v: Option<f64>| v.map(|v| v as f32);
    for (what, stored, again) in [
        ("correlation", number(stored.correlation), number(again.correlation)),
        ("share inside, clean", number(stored.share_clean), number(again.share_clean)),
        ("share inside", number(stored.share_adversarial), number(again.share_adversarial)),
        ("maximum, clean", Some(stored.maximum_clean), Some(again.maximum_clean)),
        ("maximum", Some(stored.maximum_adversarial), Some(again.maximum_adversarial)),
    ] {
        match (stored, again) {
            (Some(a), Some(b)) if (a - b).abs() <= MAP_TOLERANCE * (1.0 + b.abs()) => {}
            _ => expect(what, stored, again)?,
        }
    }
    Ok(())
}

pub(super) fn expect<T: PartialEq + std::fmt::Debug>(what: &str, stored: T, found: T) -> Result<(), String> {
    if stored == found { Ok(()) } else { Err(format!("{what}: stored {stored:?}, recomputed {found:?}")) }
}

pub(super) fn near(what: &str, stored: Option<f32>, found: Option<f32>) -> Result<(), String> {
    match (stored, found) {
        (None, None) => Ok(()),
        (Some(a), Some(b)) if (a - b).abs() <= TOLERANCE * (1.0 + b.abs()) => Ok(()),
        _ => Err(format!("{what}: stored {stored:?}, recomputed {found:?}")),
    }
}
