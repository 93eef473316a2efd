//! The worst case over all attacks of a run at one budget: what RobustBench and AutoAttack call robust accuracy.

use super::request::file_name;
use crate::analysis::ladder::Judgement;
use crate::analysis::{Run, Summary};
use crate::error::{Error, Result};
use crate::record::StoredCell;
use crate::store::Store;
use crate::terms::{Through, WitnessKind};
use std::collections::{BTreeMap, BTreeSet};

/// One net on one set of images at one budget, under all attacks of the run.
pub struct Evaluation<'a> {
    /// `Linf`, `L2`, `L1` or `L0`.
    pub norm: &'static str,
    /// Its cells, in the order of the plan.
    pub cells: Vec<&'a Summary>,
    /// What came out for each image, by number.
    pub images: BTreeMap<usize, Image>,
    /// A relation of the sanity ladder about one of its cells is violated, or an image that stands met a step that was, or may
    /// have been, shorter than asked.
    pub unreliable: bool,
    /// Of its files, without extension; no other evaluation of the run has it.
    pub name: String,
}

/// What came out for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Right before any attack.
    pub right: bool,
    /// The first cell (index into [`Evaluation::cells`]) that made it wrong, and its row there.
    pub broken_by: Option<(usize, usize)>,
    /// A step of some attack on it was, or may have been, shorter than asked.
    pub short_step: bool,
}

impl Image {
    /// Right before any attack, and under all of them.
    pub fn stands(&self) -> bool {
        self.right && self.broken_by.is_none()
    }
}

/// All evaluations of a run, in the order of the plan, and what of the run is part of none. Cells that lack results would
/// make the worst case look better than it is, so they are an error.
pub fn evaluations<'a>(run: &'a Run) -> Result<(Vec<Evaluation<'a>>, Vec<String>)> {
    let (mut groups, mut notes): (Vec<(String, Evaluation)>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut others, mut minimal, mut corrupted) = (0, 0, 0);
    for s in &run.cells {
        if s.cell.data.corruption.is_some() {
            corrupted += 1;
            continue;
        }
        if s.cell.threat.eps.is_minimal() {
            minimal += 1;
            continue;
        }
        let Some(norm) = s.cell.threat.norm.terms().title else {
            others += 1;
            continue;
        };
        if s.status != "ok" {
            return Err(Error::usage(format!(
                "cell {} is {}: a worst case needs every cell (hint: run the sweep again)",
                s.id, s.status
            )));
        }
        let model = &s.cell.model;
        let eps = s.cell.threat.eps_text();
        let key = [&model.name, &model.network, &model.weights, &s.cell.data.digest, norm, &eps];
        let key = key.join("\n");
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, evaluation)) => evaluation.cells.push(s),
            None => groups.push((key, Evaluation::new(norm, s))),
        }
    }
    if minimal > 0 {
        notes.push(format!("{minimal} cells left out: a least distance is no budget"));
    }
    if corrupted > 0 {
        notes.push(format!(
            "{corrupted} cells left out: their images are corrupted (tables/corruption-mean has what is asked of these)"
        ));
    }
    if others > 0 {
        notes.push(format!("{others} cells left out: no norm that they know"));
    }
    let bad: Vec<&str> =
        run.sanity.iter().filter(|r| r.verdict == Judgement::Violated).flat_map(|r| r.cells()).collect();
    let mut kept: Vec<Evaluation> = Vec::new();
    for (_, mut evaluation) in groups {
        let what = evaluation.what();
        let untargeted = evaluation.cells.iter().find(|s| !s.cell.goal.is_targeted());
        if !untargeted.and_then(|s| s.rates.as_ref()).is_some_and(|rates| rates.labelled && rates.n > 0) {
            notes.push(format!("{what} left out: no untargeted attack on images with a true class"));
            continue;
        }
        if evaluation.cells.iter().all(|s| s.cell.through == Some(Through::Straight)) {
            notes.push(format!("{what} left out: no attack of it knows of the defence"));
            continue;
        }
        evaluation.judge(run.store)?;
        let violated = evaluation.cells.iter().any(|s| bad.contains(&s.id.as_str()));
        evaluation.unreliable = violated || evaluation.images.values().any(|i| i.stands() && i.short_step);
        kept.push(evaluation);
    }
    name(&mut kept);
    Ok((kept, notes))
}

/// Gives each a name of its own, `<model>_<dataset>_<norm>_eps-<eps>`, with the subset where the run has several of the dataset.
fn name(evaluations: &mut [Evaluation]) {
    let data = |e: &Evaluation| e.cells[0].cell.data.clone();
    let subsets: BTreeSet<(String, String)> =
        evaluations.iter().map(|e| (data(e).name.clone(), data(e).text())).collect();
    let mut used = BTreeSet::new();
    for evaluation in evaluations {
        let (cell, data) = (&evaluation.cells[0].cell, data(evaluation));
        let one = subsets.iter().filter(|(name, _)| *name == data.name).count() == 1;
        let images = file_name(&if one { data.name } else { data.text() });
        let name = format!("{}_{}_{}", cell.model.name, images.trim_end_matches('_'), evaluation.norm);
        let name = file_name(&format!("{name}_eps-{}", cell.threat.eps_text()));
        let numbered = (2..).map(|k| format!("{name}_{k}"));
        // there are file systems to which `A` is `a`
        let free = [name.clone()].into_iter().chain(numbered).find(|name| used.insert(name.to_lowercase()));
        evaluation.name = free.expect("numbers do not end");
    }
}

impl<'a> Evaluation<'a> {
    fn new(norm: &'static str, first: &'a Summary) -> Evaluation<'a> {
        Evaluation { norm, cells: vec![first], images: BTreeMap::new(), unreliable: false, name: String::new() }
    }

    /// `vgg11-half-cifar10 on cifar10:test[0..1000] in Linf with eps 8/255, 8-bit witnesses`.
    pub fn what(&self) -> String {
        let (cell, witnesses) = (&self.cells[0].cell, self.witnesses());
        let data = cell.data.text();
        format!(
            "{} on {data} in {} with eps {}, {witnesses} witnesses",
            cell.model.name,
            self.norm,
            cell.threat.eps_text()
        )
    }

    /// What was judged: `8-bit`, `float`, or both.
    pub fn witnesses(&self) -> &'static str {
        let are = |kind: WitnessKind| self.cells.iter().any(|s| s.cell.witness == kind);
        match (are(WitnessKind::U8), are(WitnessKind::F32)) {
            (true, true) => "8-bit and float",
            (_, true) => "float",
            _ => "8-bit",
        }
    }

    /// Reads the cells. A targeted attack counts where the witness is wrong, whether it reached its target or not.
    fn judge(&mut self, store: &Store) -> Result<()> {
        for (k, s) in self.cells.iter().enumerate() {
            let StoredCell { outcomes, .. } = store.read(&s.id)?;
            for (row, o) in outcomes.iter().enumerate() {
                let right = o.is_right_before();
                let image = self.images.entry(o.example).or_insert(Image { right, broken_by: None, short_step: false });
                image.short_step |= o.has_short_step();
                if right && image.broken_by.is_none() && o.adversarial_prediction != o.label {
                    image.broken_by = Some((k, row));
                }
            }
        }
        Ok(())
    }

    /// Images right before any attack.
    pub fn clean(&self) -> usize {
        self.images.values().filter(|i| i.right).count()
    }

    /// Images that stand against all attacks.
    pub fn robust(&self) -> usize {
        self.images.values().filter(|i| i.stands()).count()
    }

    /// Names of the attacks, each once: `fgsm`, or with parameters where the same attack runs in several ways.
    pub fn attacks(&self) -> Vec<String> {
        let named = |s: &Summary, with: [bool; 2]| {
            let cell = &s.cell;
            let mut name = cell.attack.name.clone();
            if with[0] && !cell.attack.params.is_empty() {
                name += &format!("({})", cell.params());
            }
            if with[1] && cell.goal.is_targeted() {
                name += &format!("[{}]", cell.goal);
            }
            name
        };
        let same = |a: &Summary, b: &Summary, with| named(a, with) == named(b, with);
        let mut names: Vec<String> = Vec::new();
        for s in &self.cells {
            let alone = |with| self.cells.iter().filter(|other| same(s, other, with)).count() == 1;
            let with = [[false, true], [true, true]].into_iter().find(|with| alone(*with));
            let name = named(s, with.unwrap_or([true, true]));
            let name = if with.is_some() { name } else { format!("{name}#{}", s.id) };
            names.push(name);
        }
        names
    }
}
