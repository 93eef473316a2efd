//! What a cell is: everything that may change an outcome, and its id.

use crate::digest;
use crate::terms::{Goal, Mode, Precision, Ratio, Threat, Through, WitnessKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of everything written below `results/`; readers refuse any other.
pub const SCHEMA: u32 = 3;

/// First 16 hexadecimal digits of the SHA-256 of a cell's canonical description.
pub type CellId = String;

/// One measurement: everything that may change an outcome, and nothing else. Device, threads, batch size, paths and
/// time stay out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredCellText", into = "StoredCellText")]
pub struct Cell {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The net under attack.
    pub model: ModelRecord,
    /// The images.
    pub data: DataRecord,
    /// The attack with every parameter filled in.
    pub attack: AttackRecord,
    /// The budget.
    pub threat: Threat,
    /// What the attack wants.
    pub goal: Goal,
    /// Whether it is attacked by itself, or goes on from smaller budgets.
    pub mode: Mode,
    /// What is judged and stored.
    pub witness: WitnessKind,
    /// Number format of the gradients. The judge computes in f32.
    pub precision: Precision,
    /// How the attack meets the defence of the net; `None`: there is none. Not written then.
    pub through: Option<Through>,
    /// Draws of a random defence that a gradient is the mean of; `None`: it asks nothing random. Not written then.
    pub eot: Option<u32>,
    /// Draws of a random defence whose majority is what the net says; `None`: nothing is put to the vote. Not written then.
    pub votes: Option<u32>,
    /// Probability that a success must have for the search to end; `None`: any. Not written then.
    pub confidence: Option<Ratio>,
    /// Seed of every random choice.
    pub seed: u64,
    /// What a universal attack was fitted to; `None`: nothing.
    pub train: Option<TrainRecord>,
}

/// What decides the pictures that an attack pastes, and nothing else: cells of all budgets, images and judged models that
/// share it share the pictures, so a patch is fitted once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitRecord {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The attack with every parameter filled in.
    pub attack: AttackRecord,
    /// What it was fitted to.
    pub train: Option<TrainRecord>,
    /// What the attack wants.
    pub goal: Goal,
    /// Height and width of the images in pixels; stored as one number where they are equal.
    #[serde(rename = "side", with = "crate::size::number_or_pair")]
    pub size: [usize; 2],
    /// Seed of every random choice.
    pub seed: u64,
}

impl FitRecord {
    /// The description as JSON with sorted keys.
    pub fn canonical(&self) -> String {
        canonical(self)
    }

    /// The id: equal descriptions have equal ids.
    pub fn id(&self) -> CellId {
        digest::sha256(self.canonical().as_bytes())[..16].to_string()
    }
}

/// What an attack was fitted to before it met the images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRecord {
    /// One net, or an ensemble.
    pub models: Vec<ModelRecord>,
    /// Images, none of which is attacked.
    pub data: DataRecord,
}

/// Before what a network stands behind, in [`ModelRecord::network`].
pub const DEFENCE: &str = "defence=";

/// A model, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// Name in the registry or of the model file.
    pub name: String,
    /// Everything but the weights that decides a logit: architecture, width, input size, normalisation.
    pub network: String,
    /// SHA-256 of the weight file.
    pub weights: String,
}

/// A subset of a dataset, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecord {
    /// Name in the registry.
    pub name: String,
    /// `train`, `test` or `all`.
    pub split: String,
    /// Index of the first image in the split, or its place in the shuffled one.
    pub first: usize,
    /// Step from one to the next.
    pub every: usize,
    /// Number of images.
    pub take: usize,
    /// Seed of the order; `None`: the split's own. Not written then, so cells without it keep their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<u64>,
    /// Listed indices, in place of `first` and `every`. Not written where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indices: Option<Vec<usize>>,
    /// Names of the pictures, where the command line gave them. Not written where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    /// What the images suffered; `None`: nothing. Not written then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corruption: Option<CorruptionRecord>,
    /// How pictures became images of the network's size, and what decoded them; empty where they are stored in it.
    pub prepared: String,
    /// SHA-256 of indices, labels and pixels.
    pub digest: String,
}

/// A corruption of all images of a subset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorruptionRecord {
    /// Name in the registry; that of a generator ends in `-like`.
    pub name: String,
    /// From 1 to 5.
    pub severity: u8,
    /// Seed of a generator; `None`: the images are published ones. Not written then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl CorruptionRecord {
    /// `fog 3`.
    pub fn text(&self) -> String {
        format!("{} {}", self.name, self.severity)
    }
}

impl DataRecord {
    /// `cifar10:test[0..1000]`, with a stride `imagenet-folder:all[0..100:2]`, shuffled `cifar10:test[0..1000 shuffle=7]`,
    /// listed `cifar10:test[3 14 15]`, given `pictures[banana.jpg]`; with its corruption `cifar10-c:test[0..1000] fog 3`.
    pub fn text(&self) -> String {
        let suffered = self.corruption.as_ref().map_or(String::new(), |c| format!(" {}", c.text()));
        self.chosen() + &suffered
    }

    /// The same images before anything happened to them; its digest is that of the corrupted ones.
    pub fn without_corruption(&self) -> DataRecord {
        DataRecord { corruption: None, ..self.clone() }
    }

    /// Which images of which dataset.
    fn chosen(&self) -> String {
        let DataRecord { name, split, first, every, take, shuffle, indices, files, .. } = self;
        if let Some(files) = files {
            return format!("{name}[{}]", listed(files));
        }
        if let Some(indices) = indices {
            return format!("{name}:{split}[{}]", listed(indices));
        }
        let stride = if *every == 1 { String::new() } else { format!(":{every}") };
        let order = shuffle.map_or(String::new(), |seed| format!(" shuffle={seed}"));
        format!("{name}:{split}[{first}..{}{stride}{order}]", first + take * every)
    }
}

/// Indices or files that are named in tables; the digest and the cell have all.
const MOST_LISTED: usize = 8;

/// The first of them, and how many there are.
fn listed(all: &[impl ToString]) -> String {
    let mut listed: Vec<String> = all.iter().take(MOST_LISTED).map(ToString::to_string).collect();
    if all.len() > MOST_LISTED {
        listed.push(format!("… {} of them", all.len()));
    }
    listed.join(" ")
}

/// An attack with every parameter filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackRecord {
    /// Name in the registry.
    pub name: String,
    /// Raised whenever the same parameters begin to give another result.
    pub revision: u32,
    /// All parameters as text.
    pub params: BTreeMap<String, String>,
}

/// A cell on disk: its mode is told in the units of its norm.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCellText {
    schema: u32,
    model: ModelRecord,
    data: DataRecord,
    attack: AttackRecord,
    threat: Threat,
    goal: Goal,
    mode: String,
    witness: WitnessKind,
    precision: Precision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    through: Option<Through>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eot: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    votes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confidence: Option<String>,
    seed: u64,
    train: Option<TrainRecord>,
}

impl From<Cell> for StoredCellText {
    fn from(cell: Cell) -> StoredCellText {
        let Cell { mode, confidence, .. } = cell;
        StoredCellText {
            schema: cell.schema,
            model: cell.model,
            data: cell.data,
            attack: cell.attack,
            threat: cell.threat,
            goal: cell.goal,
            mode: mode.text(cell.threat.norm),
            witness: cell.witness,
            precision: cell.precision,
            through: cell.through,
            eot: cell.eot,
            votes: cell.votes,
            confidence: confidence.map(|p| p.to_string()),
            seed: cell.seed,
            train: cell.train,
        }
    }
}

impl TryFrom<StoredCellText> for Cell {
    type Error = String;

    fn try_from(text: StoredCellText) -> Result<Cell, String> {
        let mode = Mode::parse(&text.mode).ok_or_else(|| format!("unknown mode `{}`", text.mode))?;
        let parse = |text: String| Ratio::parse(&text).ok_or_else(|| format!("confidence `{text}`"));
        let confidence = text.confidence.map(parse).transpose()?;
        Ok(Cell {
            schema: text.schema,
            model: text.model,
            data: text.data,
            attack: text.attack,
            threat: text.threat,
            goal: text.goal,
            mode,
            witness: text.witness,
            precision: text.precision,
            through: text.through,
            eot: text.eot,
            votes: text.votes,
            confidence,
            seed: text.seed,
            train: text.train,
        })
    }
}

impl Cell {
    /// The description in JSON with sorted keys: what is hashed, and what `cell.json` holds to the byte.
    pub fn canonical(&self) -> String {
        canonical(self)
    }

    /// The id: equal descriptions have equal ids.
    pub fn id(&self) -> CellId {
        digest::sha256(self.canonical().as_bytes())[..16].to_string()
    }

    /// What this cell shares with those that differ in one parameter of the attack alone, or in what pictures are called.
    pub fn family(&self, but_for: &str) -> String {
        let mut same = self.clone();
        same.data.files = None;
        same.attack.params.remove(but_for);
        same.id()
    }

    /// What decides the pictures that its attack pastes onto images of this height and width, if it pastes any.
    pub fn fit(&self, size: [usize; 2]) -> FitRecord {
        FitRecord {
            schema: self.schema,
            attack: self.attack.clone(),
            train: self.train.clone(),
            goal: self.goal,
            size,
            seed: self.seed,
        }
    }

    /// The budget in words: `Linf 8/255, within`.
    pub fn budget_text(&self) -> String {
        self.threat.caption() + if self.mode == Mode::At { "" } else { ", within" }
    }

    /// The same cell, as if nothing stood before the net.
    pub fn without_defence(mut self) -> Cell {
        self.model.network = self.model.network.split(DEFENCE).next().unwrap_or_default().trim_end().to_string();
        (self.through, self.eot, self.votes) = (None, None, None);
        self
    }

    /// All parameters of the attack in one field, how it meets a defence, and how sure a success must be: `steps=10;step_size=2.5*eps/steps`.
    pub fn params(&self) -> String {
        let own = self.attack.params.iter().map(|(k, v)| format!("{k}={v}"));
        let defence = self.through.map(|t| format!("through={}", t.name()));
        let draws = self.eot.map(|k| format!("eot={k}"));
        let sure = self.confidence.map(|p| format!("confidence={p}"));
        let all: Vec<String> = own.chain(defence).chain(draws).chain(sure).collect();
        all.join(";")
    }
}

fn canonical(record: &impl Serialize) -> String {
    let value = serde_json::to_value(record).expect("records are plain data");
    let mut text = String::new();
    write_sorted(&value, 0, &mut text);
    text.push('\n');
    text
}

/// JSON with sorted keys, written by hand: serde_json's own order depends on features other crates switch on.
fn write_sorted(value: &serde_json::Value, depth: usize, out: &mut String) {
    let serde_json::Value::Object(map) = value else {
        return out.push_str(&value.to_string());
    };
    if map.is_empty() {
        return out.push_str("{}");
    }
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    out.push('{');
    for (i, key) in keys.into_iter().enumerate() {
        out.push_str(if i == 0 { "\n" } else { ",\n" });
        out.push_str(&"  ".repeat(depth + 1));
        out.push_str(&serde_json::Value::String(key.clone()).to_string());
        out.push_str(": ");
        write_sorted(&map[key], depth + 1, out);
    }
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
    out.push('}');
}
