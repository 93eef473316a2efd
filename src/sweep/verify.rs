//! Checks what a run claims, from witnesses, weights and data alone: no attack code takes part.

use super::run::Machine;
use super::{afterwards, fits};
use crate::data::{self, Choice, Source, Subset, picture};
use crate::error::{Error, Result};
use crate::explain::{Explainer, Map};
use crate::goal::{Aim, Goal};
use crate::judge::{self, BOUNDARY_MARGIN, Verdict};
use crate::kernel::Precision;
use crate::model::{self, ModelSource, Portable};
use crate::placement::{Picture, Placement};
use crate::record::{
    BOUNDARY, CLEAN_WRONG, Cell, DataRecord, Explained, Explanation, ModelRecord, Outcome, Provenance, StoredCell,
    Transfer, Witnesses,
};
use crate::store::Store;
use crate::terms::WitnessKind;
use crate::threat::Threat;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Margins and confidences may differ by this much (relative to 1 + |value|) on another machine.
const TOLERANCE: f32 = 1e-4;

/// Maps, and figures about them, by this much (relative to their maximum): as near as they are to PyTorch's.
const MAP_TOLERANCE: f32 = 1e-3;

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
    /// By the same: what explains the net, and maps of clean images, by example.
    explainers: BTreeMap<String, (Explainer, BTreeMap<usize, Map>)>,
}

struct Bench {
    engine: Box<dyn crate::kernel::Engine>,
    subset: Subset,
    clean: Vec<Verdict>,
}

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
    let (benches, explainers, absent, brought) = Default::default();
    let mut loaded = Loaded { store, source, machine, absent, brought, benches, explainers };
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
    for id in stored.iter().filter(|id| !planned.contains(id)) {
        findings.unplanned += 1;
        findings.note(id, check_bytes(store, id));
    }
    Ok(findings)
}

/// Of a cell that stands in no table: whether it is as it was written.
fn check_bytes(store: &Store, id: &str) -> Result<()> {
    match store.read(id)?.provenance.error {
        Some(_) => Ok(()),
        None => store.read_witnesses(id).map(drop),
    }
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
        let side = bench.subset.side;
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
        let verdicts = judge::predict_stored(bench.engine.as_ref(), &witnesses, side, &machine.device, batch)?;
        let claim = Claim::new(&stored.cell, bench)?;
        claim.check_rows(&stored.outcomes)?;
        let pasted = Pasted::of(store, &stored, side)?;
        for (k, (outcome, verdict)) in stored.outcomes.iter().zip(&verdicts).enumerate() {
            findings.witnesses += 1;
            let image = slice(&witnesses, k, bench.subset.values());
            let checked = claim.check(claim.rows[k], outcome, &image, verdict);
            let clean = bench.subset.image(claim.rows[k]);
            match checked.and_then(|holds| pasted.check(outcome, &image, clean, side).map(|()| holds)) {
                Ok(true) => findings.successes += usize::from(outcome.success == Some(true)),
                Ok(false) => findings.undecided += 1,
                Err(problem) => findings.problems.push(format!("cell {id}, example {}: {problem}", outcome.example)),
            }
        }
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
                judge::predict_stored(bench.engine.as_ref(), witnesses, subset.side, &machine.device, batch)?;
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
        if !self.explainers.contains_key(&key) {
            let source = self.model(&stored.cell.model, &stored.provenance)?;
            self.explainers.insert(key.clone(), (source.explainer(&self.machine.device)?, BTreeMap::new()));
        }
        let (explainer, known) = self.explainers.get_mut(&key).expect("put there above");
        let (subset, stop) = (&self.benches[&key].subset, AtomicBool::new(false));
        let made_with = (explainer as &Explainer, &self.machine.device, &stop);
        let again = afterwards::explained(made_with, subset, &stored.outcomes, witnesses, known)?;
        findings.maps += again.rows.len() * 2;
        let same_rows = explanation.rows.iter().map(|r| r.example).eq(again.rows.iter().map(|r| r.example));
        let lengths = |e: &Explanation| (e.side, e.clean.len(), e.adversarial.len());
        if !same_rows || lengths(&explanation) != lengths(&again) {
            return Err(Error::Store(format!("cell {id}: its maps are not those of its outcomes")));
        }
        let plane = (again.side * again.side).max(1);
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
                    let problem = format!("dataset `{}` has other images than the cell's{decoder}", record.name);
                    return Err(Error::Store(problem));
                }
                Err(problem) if problem.is_absence() => problem.to_string(),
                Err(problem) => return Err(problem),
            };
            self.absent.insert(name, format!("images of {} were taken from the run: {problem}", record.text()));
        }
        let own = Subset::of(self.store.read_inputs(&record.digest)?, record);
        own.ok_or_else(|| {
            Error::Store(format!(
                "inputs/{}.safetensors is not what its name says (hint: it may be older than labels are kept: run the sweep again)",
                record.digest
            ))
        })
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

    /// A net and its verdicts on the images of a cell.
    fn bench(&mut self, stored: &StoredCell, model: &ModelRecord, provenance: &Provenance) -> Result<&Bench> {
        let key = key(model, &stored.cell.data);
        if !self.benches.contains_key(&key) {
            let source = self.model(model, provenance)?;
            let subset = self.subset(stored)?;
            if subset.side != source.file.side || subset.labels.iter().any(|label| *label >= source.file.classes) {
                let data = stored.cell.data.text();
                return Err(Error::Store(format!(
                    "{data} has images or labels that model `{}` does not take",
                    model.name
                )));
            }
            let engine = source.engine(&self.machine.device, Precision::F32)?;
            let batch = self.machine.batch_size(subset.values());
            let pixels = Witnesses::U8(subset.pixels.clone());
            let clean = judge::predict_stored(engine.as_ref(), &pixels, subset.side, &self.machine.device, batch)?;
            self.benches.insert(key.clone(), Bench { engine, subset, clean });
        }
        Ok(&self.benches[&key])
    }
}

/// What a cell claims about its rows.
struct Claim<'a> {
    threat: Threat,
    aims: Vec<Option<Aim>>,
    /// Images that the goal does not drop.
    rows: Vec<usize>,
    bench: &'a Bench,
}

/// The pictures that a cell's attack pasted, if it did.
struct Pasted(Vec<Picture>);

impl Pasted {
    fn of(store: &Store, stored: &StoredCell, side: usize) -> Result<Pasted> {
        if !stored.outcomes.iter().any(|o| Placement::parse(&o.note).is_some()) {
            return Ok(Pasted(Vec::new()));
        }
        Ok(Pasted(fits::restored(&store.read_fit(&stored.cell.fit(side).id())?.1)?))
    }

    /// Whether the witness is the clean image with the noted picture where the note says.
    fn check(&self, outcome: &Outcome, image: &Image, clean: &[u8], side: usize) -> Result<(), String> {
        let Some((placement, which)) = Placement::parse(&outcome.note) else { return Ok(()) };
        let picture = self.0.get(which).ok_or_else(|| format!("no picture {which} is stored with the fit"))?;
        let mut redone = clean.to_vec();
        placement.footprint(side, picture.side).cut_out(picture).paste_u8(&picture.rgb, &mut redone);
        let same = match image {
            Image::U8(v) => *v == redone,
            Image::F32(v) => v.iter().zip(judge::to_floats(&redone)).all(|(a, b)| *a == b),
        };
        if same { Ok(()) } else { Err("the witness is not the noted picture at the noted place".into()) }
    }
}

/// One witness as stored.
enum Image<'a> {
    U8(&'a [u8]),
    F32(&'a [f32]),
}

fn slice(witnesses: &Witnesses, k: usize, values: usize) -> Image<'_> {
    match witnesses {
        Witnesses::U8(v) => Image::U8(&v[k * values..(k + 1) * values]),
        Witnesses::F32(v) => Image::F32(&v[k * values..(k + 1) * values]),
    }
}

impl Claim<'_> {
    fn new<'a>(cell: &Cell, bench: &'a Bench) -> Result<Claim<'a>> {
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
        Ok(Claim { threat, aims, rows, bench })
    }

    /// One row for every image that the goal does not drop, in order.
    fn check_rows(&self, outcomes: &[Outcome]) -> Result<()> {
        let kept = self.rows.iter().map(|i| self.bench.subset.examples[*i]);
        match kept.eq(outcomes.iter().map(|o| o.example)) {
            true => Ok(()),
            false => Err(Error::Store("its rows are not the images of its subset".into())),
        }
    }

    /// Whether everything holds; `false`: it hangs on a margin too thin to bind this machine. How the witness was found (step,
    /// restart, passes, the margin midway) only an attack could say.
    fn check(&self, i: usize, o: &Outcome, image: &Image, verdict: &Verdict) -> Result<bool, String> {
        let (clean, pixels) = (&self.bench.clean[i], self.bench.subset.image(i));
        let aim = self.aims[i].ok_or("the goal drops this image")?;
        let label = self.bench.subset.label(i);
        let right_before = judge::is_right_before(&self.bench.subset, i, clean);
        expect("label", o.label, label)?;
        expect("target", o.target, aim.target)?;
        expect("clean prediction", o.clean_prediction, clean.prediction)?;
        near("clean margin", o.margin_clean, label.and_then(|l| clean.margin(l)))?;
        let (inside, (linf, l2)) = match image {
            Image::U8(v) => (self.threat.contains_u8(v, pixels), judge::distances_u8(v, pixels)),
            Image::F32(v) => (self.threat.contains(v, &judge::to_floats(pixels)), judge::distances_f32(v, pixels)),
        };
        if !inside {
            return Err("the witness lies outside its threat set".into());
        }
        if o.is_error() {
            return Err(format!("an error row: {}", o.flags));
        }
        expect("flag clean-wrong", o.has(CLEAN_WRONG), !right_before)?;
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
        expect("linf_255", o.linf_255, Some(linf))?;
        expect("l2", o.l2, Some(l2))?;
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
fn check_transfer(row: &Transfer, again: &Transfer, verdict: &Verdict) -> Result<bool, String> {
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
fn check_map(stored: &[f32], again: &[f32]) -> Result<(), String> {
    let most = again.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    match stored.iter().zip(again).position(|(a, b)| (a - b).abs().is_nan() || (a - b).abs() > MAP_TOLERANCE * most) {
        None => Ok(()),
        Some(at) => Err(format!("at {at}: stored {}, recomputed {}", stored[at], again[at])),
    }
}

/// Whether the figures about two maps are the same.
fn check_explained(stored: &Explained, again: &Explained) -> Result<(), String> {
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

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, stored: T, found: T) -> Result<(), String> {
    if stored == found { Ok(()) } else { Err(format!("{what}: stored {stored:?}, recomputed {found:?}")) }
}

fn near(what: &str, stored: Option<f32>, found: Option<f32>) -> Result<(), String> {
    match (stored, found) {
        (None, None) => Ok(()),
        (Some(a), Some(b)) if (a - b).abs() <= TOLERANCE * (1.0 + b.abs()) => Ok(()),
        _ => Err(format!("{what}: stored {stored:?}, recomputed {found:?}")),
    }
}
