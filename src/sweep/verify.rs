//! Checks what a run claims, from witnesses, weights and data alone: no attack code takes part.

use super::afterwards;
use super::claim::{Bench, Claim, Pasted, check_explained, check_map, check_transfer, slice};
use super::runner::Machine;
use crate::data::{self, Choice, Source, Subset, picture};
use crate::error::{Error, Result};
use crate::explain::{Explainer, Map};
use crate::judge::{self};
use crate::kernel::{Engine, Precision};
use crate::model::{self, ModelSource, Portable};
use crate::record::{Cell, DataRecord, Explanation, ModelRecord, Provenance, StoredCell, Witnesses};
use crate::store::Store;
use crate::terms::WitnessKind;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What was checked, and what does not hold.
#[derive(Debug, Default)]
pub struct Findings {
    /// Cells looked at.
    pub cells: usize,
    /// Witnesses predicted again.
    pub witnesses: usize,
    /// Successes among them that hold.
    pub successes: usize,
    /// Rows flagged `boundary` that this machine decides otherwise: their margin is below what binds another machine.
    pub undecided: usize,
    /// What other nets said of witnesses, asked again: one a witness and net.
    pub transfers: usize,
    /// Maps of where a net looked, made again.
    pub maps: usize,
    /// Data subsets whose dataset is not at hand: why, and that their images were taken from the run.
    pub absent: Vec<String>,
    /// Models that came with the run: their names are its word.
    pub brought: usize,
    /// Stored cells that the plan does not name: their bytes are checked, their claims stand in no table.
    pub unplanned: usize,
    /// Cells that could not be checked, for want of a file; each names its cell. That is no claim that is false.
    pub out_of_reach: Vec<String>,
    /// Each names its cell.
    pub problems: Vec<String>,
}

/// Models and subsets that cells share, loaded once.
struct Loaded<'a> {
    store: &'a Store,
    source: &'a Source,
    machine: &'a Machine,
    /// Why a subset was taken from the run, not from its dataset.
    absent: BTreeMap<String, String>,
    /// Folders of the models that came with the run and were asked.
    brought: BTreeSet<PathBuf>,
    /// By the records of both: the net, the images, the net's verdicts on them.
    benches: BTreeMap<String, Bench>,
    /// Nets that several subsets share, by their records and where they were found.
    nets: BTreeMap<String, Net>,
    /// By the same, and a layer.
    explainers: BTreeMap<(String, Option<String>), Known>,
}

/// A net, and what it takes: height and width of images, and classes.
#[derive(Clone)]
struct Net {
    engine: Arc<dyn Engine>,
    size: [usize; 2],
    classes: usize,
}

/// What explains a net, and the maps of clean images that are known, by example.
type Known = (Explainer, BTreeMap<usize, Map>);

/// What to do about a file that is not where the run found it.
fn put_back(provenance: &Provenance) -> String {
    match &provenance.folder {
        Some(folder) => format!("put it back, or run verify from the folder of the run, {folder}"),
        None => "put it back, or run verify from the same folder".into(),
    }
}

/// All that is said of the net and the images of a bench: whoever says something else of them is checked anew.
fn key(model: &ModelRecord, data: &DataRecord) -> String {
    serde_json::to_string(&(model, data)).expect("plain data")
}

/// Checks every cell of the run's plan, and every stored cell besides.
pub fn verify(store: &Store, source: &Source, machine: &Machine) -> Result<Findings> {
    let mut findings = Findings::default();
    let (benches, nets, explainers, absent, brought) = Default::default();
    let mut loaded = Loaded { store, source, machine, absent, brought, benches, nets, explainers };
    let stored = store.ids()?;
    let planned: Vec<String> = match store.read_plan() {
        Ok(plan) => plan.cells.iter().map(Cell::id).collect(),
        Err(problem) => {
            findings.problems.push(format!("all cells: {problem}"));
            stored.clone()
        }
    };
    if planned.is_empty() {
        findings.problems.push("all cells: the plan has none".into());
    }
    for id in &planned {
        findings.cells += 1;
        let checked = match stored.contains(id) {
            true => loaded.check_cell(id, &mut findings),
            false => Err(Error::Store("in the plan, but missing".into())),
        };
        findings.note(id, checked);
    }
    findings.absent = loaded.absent.into_values().collect();
    findings.brought = loaded.brought.len();
    let mut images = BTreeMap::new();
    for id in stored.iter().filter(|id| !planned.contains(id)) {
        findings.unplanned += 1;
        findings.note(id, check_bytes(store, id, &mut images));
    }
    Ok(findings)
}

/// Of a cell that stands in no table: whether all that is stored of it is as it was written. `images` are the sizes, by
/// digest, of those that were looked at before.
fn check_bytes(store: &Store, id: &str, images: &mut BTreeMap<String, [usize; 2]>) -> Result<()> {
    let stored = store.read(id)?;
    if stored.provenance.error.is_some() {
        return Ok(());
    }
    store.read_witnesses(id)?;
    store.transfers_and_provenance(id)?;
    store.read_explanation(id)?;
    store.read_binarised(id)?;
    let digest = &stored.cell.data.digest;
    if !images.contains_key(digest) {
        images.insert(digest.clone(), run_images(store, &stored.cell.data)?.size);
    }
    Pasted::of(store, &stored, images[digest]).map(drop)
}

/// The images that the run keeps, held to the digest in their name.
fn run_images(store: &Store, record: &DataRecord) -> Result<Subset> {
    let own = Subset::of(store.read_inputs(&record.digest)?, record);
    own.ok_or_else(|| {
        Error::Store(format!(
            "inputs/{}.safetensors is not what its name says (hint: it may be older than labels are kept: run the sweep again)",
            record.digest
        ))
    })
}

impl Findings {
    /// Keeps a problem with a cell, under the cell's name.
    fn note(&mut self, id: &str, checked: Result<()>) {
        let Err(problem) = checked else { return };
        let text = problem.to_string();
        let list = if matches!(problem, Error::Absent(_)) { &mut self.out_of_reach } else { &mut self.problems };
        list.push(if text.contains(id) { text } else { format!("cell {id}: {text}") });
    }
}

impl Loaded<'_> {
    fn check_cell(&mut self, id: &str, findings: &mut Findings) -> Result<()> {
        let store = self.store;
        let stored = store.read(id)?;
        if let Some(error) = &stored.provenance.error {
            return Err(Error::Store(format!("cell {id} failed when it was run: {error}")));
        }
        let witnesses = store.read_witnesses(id)?;
        let machine = self.machine;
        let bench = self.bench(&stored, &stored.cell.model, &stored.provenance)?;
        // the stored copy of the clean images, which figures show, is what the cell was computed on
        let inputs = bench.subset.inputs();
        store.check_inputs(&stored.cell.data.digest, &inputs)?;
        let size = bench.subset.size;
        let batch = machine.batch_size(bench.subset.values());
        let count = match &witnesses {
            Witnesses::U8(v) => v.len(),
            Witnesses::F32(v) => v.len(),
        };
        let kind = if matches!(witnesses, Witnesses::U8(_)) { WitnessKind::U8 } else { WitnessKind::F32 };
        if kind != stored.cell.witness {
            return Err(Error::Store(format!("cell {id} claims {} witnesses and stores {kind}", stored.cell.witness)));
        }
        if count != stored.outcomes.len() * bench.subset.values() {
            return Err(Error::Store(format!(
                "cell {id}: {} outcomes, but {count} witness values",
                stored.outcomes.len()
            )));
        }
        let verdicts = judge::predict_stored(bench.engine.as_ref(), &witnesses, size, &machine.device, batch)?;
        let claim = Claim::new(&stored.cell, bench)?;
        claim.check_rows(&stored.outcomes)?;
        let pasted = Pasted::of(store, &stored, size)?;
        for (k, (outcome, verdict)) in stored.outcomes.iter().zip(&verdicts).enumerate() {
            findings.witnesses += 1;
            let image = slice(&witnesses, k, bench.subset.values());
            let checked = claim.check(claim.rows[k], outcome, &image, verdict);
            let clean = bench.subset.image(claim.rows[k]);
            match checked.and_then(|holds| pasted.check(outcome, &image, clean, size).map(|()| holds)) {
                Ok(true) => findings.successes += usize::from(outcome.success == Some(true)),
                Ok(false) => findings.undecided += 1,
                Err(problem) => findings.problems.push(format!("cell {id}, example {}: {problem}", outcome.example)),
            }
        }
        // what the binarisation test found has no witness: it is as it was written, and no more is checked
        store.read_binarised(id)?;
        self.check_transfers(&stored, &witnesses, findings)?;
        self.check_maps(&stored, witnesses, findings)
    }

    /// Whether other nets say of the witnesses what is stored.
    fn check_transfers(&mut self, stored: &StoredCell, witnesses: &Witnesses, findings: &mut Findings) -> Result<()> {
        let (id, machine) = (stored.cell.id(), self.machine);
        for (model, rows, provenance) in self.store.transfers_and_provenance(&id)? {
            let bench = self.bench(stored, &model, &provenance)?;
            let (subset, batch) = (&bench.subset, machine.batch_size(bench.subset.values()));
            let verdicts =
                judge::predict_stored(bench.engine.as_ref(), witnesses, subset.size, &machine.device, batch)?;
            let again = afterwards::transfers(subset, &stored.outcomes, &bench.clean, &verdicts);
            let problem = |example: usize, problem: String| {
                format!("cell {id}, example {example}, asked of `{}`: {problem}", model.name)
            };
            if rows.len() != again.len() {
                let numbers = format!("{} rows, but {} outcomes", rows.len(), again.len());
                return Err(Error::Store(format!("cell {id}, asked of `{}`: {numbers}", model.name)));
            }
            for ((row, again), verdict) in rows.iter().zip(&again).zip(&verdicts) {
                findings.transfers += 1;
                match check_transfer(row, again, verdict) {
                    Ok(true) => {}
                    Ok(false) => findings.undecided += 1,
                    Err(text) => findings.problems.push(problem(row.example, text)),
                }
            }
        }
        Ok(())
    }

    /// Whether the net looks where the stored maps say.
    fn check_maps(&mut self, stored: &StoredCell, witnesses: Witnesses, findings: &mut Findings) -> Result<()> {
        let id = stored.cell.id();
        let Some(explanation) = self.store.read_explanation(&id)? else { return Ok(()) };
        let key = key(&stored.cell.model, &stored.cell.data);
        let at = (key.clone(), explanation.layer.clone());
        if !self.explainers.contains_key(&at) {
            let source = self.model(&stored.cell.model, &stored.provenance)?;
            let explainer = source.explainer(explanation.layer.as_deref());
            let explainer = explainer.map_err(|e| Error::Store(format!("the maps of cell {id}: {e}")))?;
            self.explainers.insert(at.clone(), (explainer, BTreeMap::new()));
        }
        let (explainer, known) = self.explainers.get_mut(&at).expect("put there above");
        let (subset, stop) = (&self.benches[&key].subset, AtomicBool::new(false));
        let made_with = (explainer as &Explainer, &stop);
        let again = afterwards::explained(made_with, subset, &stored.outcomes, witnesses, known)?;
        findings.maps += again.rows.len() * 2;
        let same_rows = explanation.rows.iter().map(|r| r.example).eq(again.rows.iter().map(|r| r.example));
        let lengths = |e: &Explanation| (e.size, e.clean.len(), e.adversarial.len());
        if !same_rows || lengths(&explanation) != lengths(&again) {
            return Err(Error::Store(format!("cell {id}: its maps are not those of its outcomes")));
        }
        let plane = (again.size[0] * again.size[1]).max(1);
        for (k, (row, redone)) in explanation.rows.iter().zip(&again.rows).enumerate() {
            let of = |maps: &[f32]| maps[k * plane..(k + 1) * plane].to_vec();
            let checked = check_map(&of(&explanation.clean), &of(&again.clean))
                .and_then(|()| check_map(&of(&explanation.adversarial), &of(&again.adversarial)))
                .and_then(|()| check_explained(row, redone));
            if let Err(problem) = checked {
                findings.problems.push(format!("cell {id}, example {}, maps: {problem}", row.example));
            }
        }
        Ok(())
    }

    /// The cell's images: those of the dataset, else, where that is not at hand, the run's own, held to the same digest.
    fn subset(&mut self, stored: &StoredCell) -> Result<Subset> {
        let record = &stored.cell.data;
        let name = serde_json::to_string(record).expect("plain data");
        if !self.absent.contains_key(&name) {
            let problem = match self.read_again(stored) {
                Ok(subset) if subset.digest == record.digest => return Ok(subset),
                Ok(_) => {
                    let decoder = match record.prepared.is_empty() || record.prepared.ends_with(picture::DECODER) {
                        true => "",
                        false => " (hint: another decoder read them then)",
                    };
                    let suffered =
                        record.corruption.as_ref().map_or(String::new(), |c| format!(" under `{}`", c.text()));
                    let problem =
                        format!("dataset `{}` has other images{suffered} than the cell's{decoder}", record.name);
                    return Err(Error::Store(problem));
                }
                Err(problem) if problem.is_absence() => problem.to_string(),
                Err(problem) => return Err(problem),
            };
            let subset = run_images(self.store, record).map_err(|of_run| {
                let of_run = of_run.to_string();
                Error::Store(format!(
                    "no images to check it on: in the run, {}; elsewhere, {problem}",
                    of_run.trim_start_matches("store: ")
                ))
            })?;
            self.absent.insert(name, format!("images of {} were taken from the run: {problem}", record.text()));
            return Ok(subset);
        }
        run_images(self.store, record)
    }

    /// The cell's images, read again: from the folder that the sweep named, else from where the dataset lies by default; what
    /// came from the Hub, from the same commit.
    fn read_again(&self, stored: &StoredCell) -> Result<Subset> {
        let record = &stored.cell.data;
        let table = stored.provenance.data_table.as_ref();
        let path = stored.provenance.data_path.as_deref();
        let choice = Choice::of(record, path, table);
        let path = path.or(table.and_then(|t| t.path.as_deref()));
        let mut source = self.source.clone();
        source.hub = source.hub.at(stored.provenance.data_files.first().map(|file| file.commit.as_str()));
        if self.is_own(source.folder()) || path.is_some_and(|path| self.is_own(Path::new(path))) {
            return Err(Error::Absent(format!("what lies in {} proves nothing of it", self.store.dir().display())));
        }
        let found = data::find(&record.name)?.subset(&source, &choice);
        let hint = |path| format!(" (hint: the run read its pictures from `{path}`; {})", put_back(&stored.provenance));
        let hint = path.map_or(String::new(), hint);
        found.map_err(|e| match e.is_absence() {
            true => Error::Absent(format!("{e}{hint}")),
            false => Error::Store(format!("{e}{hint}")),
        })
    }

    /// Whether a file or folder is part of the run that is checked.
    fn is_own(&self, path: &Path) -> bool {
        let whole = |path: &Path| path.canonicalize().ok();
        whole(path).zip(whole(self.store.dir())).is_some_and(|(path, run)| path.starts_with(run))
    }

    /// The net that a record speaks of: from where `provenance` says that it was found, else the one that the run brought.
    fn model(&mut self, record: &ModelRecord, provenance: &Provenance) -> Result<ModelSource> {
        let is_it = |source: ModelSource| match source.record() == *record {
            true => Ok(source),
            false => Err(Error::Store(format!("model `{}` is another one than the cell's", record.name))),
        };
        let name = provenance.model_file.as_deref().unwrap_or(&record.name);
        let hub = self.source.hub.at(provenance.model_commit.as_deref());
        let found = model::find(name, Path::new("."), &hub).map_err(|e| {
            let text = format!("{e} (hint: the run used `{name}`; {})", put_back(provenance));
            if e.is_absence() { Error::Absent(text) } else { Error::Store(text) }
        });
        let found = found.and_then(is_it).and_then(|source| match &source.origin {
            Some(origin) if self.is_own(Path::new(origin)) => {
                Err(Error::Store(format!("model `{}` lies in the run itself", record.name)))
            }
            _ => Ok(source),
        });
        let folder = self.store.model_folder(record);
        match found {
            Err(_) if folder.is_dir() => {
                let brought = Portable::find(&folder, &record.name, &hub).and_then(is_it)?;
                self.brought.insert(folder);
                Ok(brought)
            }
            found => found,
        }
    }

    /// The net that a record speaks of, loaded once however many sets of images it is shown.
    fn net(&mut self, record: &ModelRecord, provenance: &Provenance) -> Result<Net> {
        let at = (record, &provenance.model_file, &provenance.model_commit);
        let at = serde_json::to_string(&at).expect("plain data");
        if !self.nets.contains_key(&at) {
            let source = self.model(record, provenance)?;
            let engine = source.engine(&self.machine.device, Precision::F32)?.into();
            let net = Net { engine, size: source.file.size, classes: source.file.classes };
            self.nets.insert(at.clone(), net);
        }
        Ok(self.nets[&at].clone())
    }

    /// A net and its verdicts on the images of a cell.
    fn bench(&mut self, stored: &StoredCell, model: &ModelRecord, provenance: &Provenance) -> Result<&Bench> {
        let key = key(model, &stored.cell.data);
        if !self.benches.contains_key(&key) {
            let Net { engine, size, classes } = self.net(model, provenance)?;
            let subset = self.subset(stored)?;
            if subset.size != size || subset.labels.iter().any(|label| *label >= classes) {
                let data = stored.cell.data.text();
                return Err(Error::Store(format!(
                    "{data} has images or labels that model `{}` does not take",
                    model.name
                )));
            }
            let batch = self.machine.batch_size(subset.values());
            let pixels = Witnesses::U8(subset.pixels.clone());
            let clean = judge::predict_stored(engine.as_ref(), &pixels, subset.size, &self.machine.device, batch)?;
            self.benches.insert(key.clone(), Bench { engine, subset, clean });
        }
        Ok(&self.benches[&key])
    }
}
