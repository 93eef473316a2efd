//! What is made of stored cells: what other nets say of their witnesses, where a net looked, whether an attack finds what is there
//! to be found. No outcome depends on it.

use super::binarised::Features;
use super::plan::PlannedCell;
use super::runner::{Event, Runner};
use crate::data::Subset;
use crate::error::{Error, Result};
use crate::explain::{Explainer, Map, correlation};
use crate::judge::{self, Verdict};
use crate::kernel::{Engine, Precision};
use crate::record::{Explained, Explanation, Outcome, Provenance, Transfer, Witnesses};
use crate::store::State;
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What is needed to make it, kept from cell to cell.
pub struct Afterwards<'a, 'r> {
    runner: &'r Runner<'a>,
    engines: BTreeMap<usize, Box<dyn Engine>>,
    /// By model and images.
    cleans: BTreeMap<(usize, usize), Vec<Verdict>>,
    /// By model and layer.
    explainers: BTreeMap<(usize, &'a str), Explainer>,
    /// Maps of the clean images, which many cells share, by example.
    known: BTreeMap<(usize, usize, &'a str), BTreeMap<usize, Map>>,
}

/// Makes it of every complete cell.
pub fn all(runner: &Runner, tell: &mut dyn FnMut(Event)) -> Result<()> {
    let judged = complete(runner, |cell| !cell.transfer_to.is_empty())?;
    let mut afterwards = Afterwards::new(runner);
    for (done, cell) in judged.iter().enumerate() {
        tell(Event::After { what: "transfers", done, of: judged.len() });
        afterwards.transfer(cell, tell)?;
    }
    let mut afterwards = Afterwards::new(runner); // nets are not needed any more
    let tested = complete(runner, |cell| cell.binarise.is_some())?;
    for (done, cell) in tested.iter().enumerate() {
        tell(Event::After { what: "binarisation tests", done, of: tested.len() });
        afterwards.binarise(cell)?;
    }
    let mut afterwards = Afterwards::new(runner);
    let explained = complete(runner, |cell| cell.explain.is_some())?;
    for (done, cell) in explained.iter().enumerate() {
        tell(Event::After { what: "maps", done, of: explained.len() });
        afterwards.explain(cell)?;
    }
    Ok(())
}

impl<'a, 'r> Afterwards<'a, 'r> {
    /// Nothing is loaded yet.
    pub fn new(runner: &'r Runner<'a>) -> Afterwards<'a, 'r> {
        let (engines, cleans) = (BTreeMap::new(), BTreeMap::new());
        Afterwards { runner, engines, cleans, explainers: BTreeMap::new(), known: BTreeMap::new() }
    }

    /// Whether all is there that the plan asks of a stored cell. Of a failed one nothing is made.
    pub fn is_done(&self, cell: &PlannedCell) -> Result<bool> {
        let (runner, store) = (self.runner, self.runner.store);
        let judged = |model: &usize| store.has_transfer(&cell.id, &runner.plan.models[*model].record());
        let explained = store.explained_layer(&cell.id)? == cell.explain;
        if cell.transfer_to.iter().all(judged) && explained && self.is_binarised(cell)? {
            return Ok(true);
        }
        Ok(store.state(&cell.id)? == State::Failed)
    }

    /// Asks the other nets that the plan names about the witnesses of a complete cell.
    pub fn transfer(&mut self, cell: &PlannedCell, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let runner = self.runner;
        for model in &cell.transfer_to {
            let record = runner.plan.models[*model].record();
            if runner.store.has_transfer(&cell.id, &record) {
                continue;
            }
            runner.check_stop()?;
            let began = Instant::now();
            let device = &runner.machine.device;
            self.ask_of_clean_images(*model, cell.data)?;
            runner.tell_notes(*model, tell);
            let (engine, clean) = (self.engines[model].as_ref(), &self.cleans[&(*model, cell.data)]);
            let subset = &runner.plan.data[cell.data].subset;
            let (batch, witnesses) =
                (runner.machine.batch_size(subset.values()), runner.store.read_witnesses(&cell.id)?);
            let verdicts = judge::predict_stored(engine, &witnesses, subset.size, device, batch)?;
            let rows = transfers(subset, &runner.store.read(&cell.id)?.outcomes, clean, &verdicts);
            let asked = &runner.plan.models[*model];
            let provenance = Provenance {
                model_file: asked.origin.clone(),
                model_commit: asked.commit.clone(),
                model_notes: asked.notes(),
                folder: runner.folder(*model, cell.data),
                ..runner.provenance(cell, began, None)
            };
            runner.store.put_transfer(&cell.id, &record, &rows, provenance)?;
        }
        Ok(())
    }

    /// Has the verdicts of a model on the clean images of a subset in `cleans`, and its engine in `engines`.
    fn ask_of_clean_images(&mut self, model: usize, data: usize) -> Result<()> {
        let (runner, device) = (self.runner, &self.runner.machine.device);
        let engine = match self.engines.entry(model) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(runner.plan.models[model].engine(device, Precision::F32)?),
        };
        if let Entry::Vacant(new) = self.cleans.entry((model, data)) {
            let subset = &runner.plan.data[data].subset;
            let (batch, images) = (runner.machine.batch_size(subset.values()), Witnesses::U8(subset.pixels.clone()));
            new.insert(judge::predict_stored(engine.as_ref(), &images, subset.size, device, batch)?);
        }
        Ok(())
    }

    /// Whether the attack of a cell was put to the binarisation test on as many images as the plan asks for.
    fn is_binarised(&self, cell: &PlannedCell) -> Result<bool> {
        let Some(wanted) = cell.binarise else { return Ok(true) };
        Ok(self.runner.store.read_binarised(&cell.id)?.len() >= wanted)
    }

    /// Puts the attack of a complete cell to the binarisation test, if the plan wants it.
    pub fn binarise(&mut self, cell: &PlannedCell) -> Result<()> {
        let (runner, Some(wanted)) = (self.runner, cell.binarise) else { return Ok(()) };
        if self.is_binarised(cell)? {
            return Ok(());
        }
        let began = Instant::now();
        self.ask_of_clean_images(cell.model, cell.data)?;
        let clean = &self.cleans[&(cell.model, cell.data)];
        let features = Features::load(runner, cell)?;
        let mut rows = Vec::new();
        for (image, verdict) in clean.iter().enumerate().take(wanted) {
            runner.check_stop()?;
            rows.push(features.test(runner, cell, image, verdict)?);
        }
        runner.store.put_binarised(&cell.id, &rows, runner.provenance(cell, began, None))
    }

    /// Maps of the class predicted for each clean image and each witness of a complete cell (Grad-CAM), if the plan wants it
    /// explained.
    pub fn explain(&mut self, cell: &'a PlannedCell) -> Result<()> {
        let (runner, Some(layer)) = (self.runner, cell.explain.as_deref()) else { return Ok(()) };
        if runner.store.explained_layer(&cell.id)?.as_deref() == Some(layer) {
            return Ok(());
        }
        runner.check_stop()?;
        let began = Instant::now();
        let model = &runner.plan.models[cell.model];
        let explainer = match self.explainers.entry((cell.model, layer)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(model.explainer(Some(layer))?),
        };
        let known = self.known.entry((cell.model, cell.data, layer)).or_default();
        let subset = &runner.plan.data[cell.data].subset;
        let (outcomes, witnesses) = (runner.store.read(&cell.id)?.outcomes, runner.store.read_witnesses(&cell.id)?);
        let made_with = (explainer as &Explainer, runner.stop);
        let mut explanation = explained(made_with, subset, &outcomes, witnesses, known)?;
        explanation.layer = Some(layer.to_string());
        runner.store.put_explanation(&cell.id, &explanation, runner.provenance(cell, began, None))
    }
}

/// What another net's verdicts on the images of a subset and on a cell's witnesses say: one row an outcome.
pub(super) fn transfers(
    subset: &Subset,
    outcomes: &[Outcome],
    clean: &[Verdict],
    witnesses: &[Verdict],
) -> Vec<Transfer> {
    let row = |((o, at), v): ((&Outcome, usize), &Verdict)| Transfer {
        example: o.example,
        clean_prediction: clean[at].prediction,
        prediction: v.prediction,
        label_probability: o.label.and_then(|l| v.probability(l)),
        target_probability: o.target.and_then(|t| v.probability(t)),
        target_rank: o.target.and_then(|t| v.rank(t)),
    };
    outcomes.iter().zip(positions(subset, outcomes)).zip(witnesses).map(row).collect()
}

/// Where the images of the outcomes lie in their subset: in its order, those that the goal drops left out.
fn positions(subset: &Subset, outcomes: &[Outcome]) -> Vec<usize> {
    let mut images = subset.examples.iter().enumerate();
    let mut next = |o: &Outcome| images.find(|(_, e)| **e == o.example).expect("a row is of an image of the subset").0;
    outcomes.iter().map(&mut next).collect()
}

/// What explains, and until when.
type MadeWith<'a> = (&'a Explainer, &'a AtomicBool);

/// The maps of the outcomes of one cell, their layer yet to be named; those of clean images are kept in `known`, by example.
pub(super) fn explained(
    made_with: MadeWith,
    subset: &Subset,
    outcomes: &[Outcome],
    witnesses: Witnesses,
    known: &mut BTreeMap<usize, Map>,
) -> Result<Explanation> {
    let witnesses = match witnesses {
        Witnesses::U8(v) => judge::to_floats(&v),
        Witnesses::F32(v) => v,
    };
    let clean: Vec<f32> =
        positions(subset, outcomes).into_iter().flat_map(|at| judge::to_floats(subset.image(at))).collect();
    // an error row has no prediction, and so no map: that of class 0 is never shown
    let class = |prediction: Option<usize>| prediction.unwrap_or(0);
    let (values, plane) = (subset.values(), subset.size[0] * subset.size[1]);
    let missing: Vec<usize> = (0..outcomes.len()).filter(|k| !known.contains_key(&outcomes[*k].example)).collect();
    let images: Vec<f32> = missing.iter().flat_map(|k| &clean[k * values..][..values]).copied().collect();
    let classes: Vec<usize> = missing.iter().map(|k| class(outcomes[*k].clean_prediction)).collect();
    let made = maps(made_with, &images, &classes, subset.size)?;
    known.extend(missing.iter().map(|k| outcomes[*k].example).zip(made));
    let maps_before: Vec<Map> = outcomes.iter().map(|o| known[&o.example].clone()).collect();
    let after: Vec<usize> = outcomes.iter().map(|o| class(o.adversarial_prediction)).collect();
    let maps_after = maps(made_with, &witnesses, &after, subset.size)?;
    let row = |(k, o): (usize, &Outcome)| {
        let (clean, witness) = (&clean[k * values..][..values], &witnesses[k * values..][..values]);
        let changed: Vec<bool> =
            (0..plane).map(|p| (0..3).any(|c| clean[c * plane + p] != witness[c * plane + p])).collect();
        let (before, after) = (&maps_before[k], &maps_after[k]);
        Explained {
            example: o.example,
            maximum_clean: before.maximum(),
            maximum_adversarial: after.maximum(),
            correlation: correlation(before, after),
            share_clean: before.share_inside(&changed, subset.size),
            share_adversarial: after.share_inside(&changed, subset.size),
        }
    };
    let rows = outcomes.iter().enumerate().map(row).collect();
    let size = maps_before.first().map_or([0; 2], |m| m.size);
    let values = |maps: Vec<Map>| maps.into_iter().flat_map(|m| m.values).collect();
    Ok(Explanation { rows, layer: None, size, clean: values(maps_before), adversarial: values(maps_after) })
}

/// Images that are explained at a time: every value of each is kept.
const TOGETHER: usize = 16;

fn maps(
    (explainer, stop): MadeWith,
    images: &[f32],
    classes: &[usize],
    [height, width]: [usize; 2],
) -> Result<Vec<Map>> {
    let mut maps = Vec::new();
    for (images, classes) in images.chunks(TOGETHER * 3 * height * width).zip(classes.chunks(TOGETHER)) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let shape = (classes.len(), 3, height, width);
        maps.extend(explainer.maps(&Tensor::from_slice(images, shape, &Device::Cpu)?, classes)?);
    }
    Ok(maps)
}

/// Complete cells of which something is `wanted`; the store is not asked about others.
fn complete<'a>(runner: &Runner<'a>, wanted: impl Fn(&PlannedCell) -> bool) -> Result<Vec<&'a PlannedCell>> {
    let mut cells = Vec::new();
    for cell in runner.plan.cells.iter().filter(|c| wanted(c)) {
        if runner.store.state(&cell.id)? == State::Done {
            cells.push(cell);
        }
    }
    Ok(cells)
}
