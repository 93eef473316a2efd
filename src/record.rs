//! Plain data that is stored: what a cell is, what came out for each image, where it was computed.

use crate::digest;
use crate::figure::FigureRecord;
use crate::terms::{Goal, Mode, Precision, Threat, WitnessKind};
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
    /// Height and width of the images in pixels.
    pub side: usize,
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

/// A model, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// Name in the registry or of the model file.
    pub name: String,
    /// Everything but the weights that decides a logit: architecture, width, input side, normalisation.
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
    /// How pictures became images of the network's size, and what decoded them; empty where they are stored in it.
    pub prepared: String,
    /// SHA-256 of indices, labels and pixels.
    pub digest: String,
}

impl DataRecord {
    /// `cifar10:test[0..1000]`, with a stride `imagenet-folder:all[0..100:2]`, shuffled `cifar10:test[0..1000 shuffle=7]`,
    /// listed `cifar10:test[3 14 15]`.
    pub fn text(&self) -> String {
        let DataRecord { name, split, first, every, take, shuffle, indices, .. } = self;
        if let Some(indices) = indices {
            let mut listed: Vec<String> = indices.iter().take(MOST_LISTED).map(usize::to_string).collect();
            if indices.len() > MOST_LISTED {
                listed.push(format!("… {} of them", indices.len()));
            }
            return format!("{name}:{split}[{}]", listed.join(" "));
        }
        let stride = if *every == 1 { String::new() } else { format!(":{every}") };
        let order = shuffle.map_or(String::new(), |seed| format!(" shuffle={seed}"));
        format!("{name}:{split}[{first}..{}{stride}{order}]", first + take * every)
    }
}

/// Indices that are named in tables; the digest and the cell have all.
const MOST_LISTED: usize = 8;

/// Which table a sweep names, for a dataset of parquet files. Where they lie is provenance; the digest says what was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRecord {
    /// A file, or a folder of files, here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `owner/name` of a dataset on the Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Commit, branch or tag; `None`: `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Path of the files, with `*` for anything but `/`; `None`: those of the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// Column of encoded pictures; `None`: `image` or `img`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Column of labels; `None`: `label` or `fine_label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Number of classes of files that do not name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// SHA-256 of the files, in their order; empty: unpinned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sha256: Vec<String>,
}

/// A file of the Hub that a subset was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubFile {
    /// `owner/name`.
    pub repository: String,
    /// Commit.
    pub commit: String,
    /// Path in the repository.
    pub path: String,
    /// Of its bytes.
    pub sha256: String,
    /// Whether that hash was known before the Hub was asked.
    pub pinned: bool,
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
    seed: u64,
    train: Option<TrainRecord>,
}

impl From<Cell> for StoredCellText {
    fn from(cell: Cell) -> StoredCellText {
        let Cell { schema, model, data, attack, threat, goal, mode, witness, precision, seed, train } = cell;
        let mode = mode.text(threat.norm);
        StoredCellText { schema, model, data, attack, threat, goal, mode, witness, precision, seed, train }
    }
}

impl TryFrom<StoredCellText> for Cell {
    type Error = String;

    fn try_from(text: StoredCellText) -> Result<Cell, String> {
        let StoredCellText { schema, model, data, attack, threat, goal, mode, witness, precision, seed, train } = text;
        let mode = Mode::parse(&mode).ok_or_else(|| format!("unknown mode `{mode}`"))?;
        Ok(Cell { schema, model, data, attack, threat, goal, mode, witness, precision, seed, train })
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

    /// What this cell shares with those that differ in one parameter of the attack alone.
    pub fn family(&self, but_for: &str) -> String {
        let mut same = self.clone();
        same.attack.params.remove(but_for);
        same.id()
    }

    /// What decides the pictures that its attack pastes onto images of this side, if it pastes any.
    pub fn fit(&self, side: usize) -> FitRecord {
        FitRecord {
            schema: self.schema,
            attack: self.attack.clone(),
            train: self.train.clone(),
            goal: self.goal,
            side,
            seed: self.seed,
        }
    }

    /// All parameters of the attack in one field: `steps=10;step_size=2.5*eps/steps`.
    pub fn params(&self) -> String {
        let all: Vec<String> = self.attack.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
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

/// Pictures that an attack pastes, as stored: 8-bit colours, and what is transparent.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPictures {
    /// Height and width of each in pixels.
    pub side: usize,
    /// K×3×side×side.
    pub rgb: Vec<u8>,
    /// K×side×side; `None`: all are opaque.
    pub alpha: Option<Vec<u8>>,
    /// Whether they were made along a gradient that was zero everywhere at some step.
    pub blind: bool,
}

/// What is said of the two maps of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explained {
    /// Index of the image in its split.
    pub example: usize,
    /// Largest value of the clean image's map.
    pub maximum_clean: f32,
    /// Largest value of the witness's map.
    pub maximum_adversarial: f32,
    /// Pearson's correlation of the two; `None` where one is constant.
    pub correlation: Option<f64>,
    /// Share of the clean map's mass on the pixels that the attack changed.
    pub share_clean: Option<f64>,
    /// Share of the witness's map's mass on them.
    pub share_adversarial: Option<f64>,
}

/// Maps of where a net looked (Grad-CAM), raw, one an outcome: N×side×side.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// One an outcome.
    pub rows: Vec<Explained>,
    /// Height and width of a map.
    pub side: usize,
    /// Of the class predicted for the clean image, on it.
    pub clean: Vec<f32>,
    /// Of the class predicted for the witness, on it.
    pub adversarial: Vec<f32>,
}

/// What another net says of a witness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Index of the image in its split.
    pub example: usize,
    /// Class predicted for the clean image.
    pub clean_prediction: Option<usize>,
    /// Class predicted for the witness.
    pub prediction: Option<usize>,
    /// Softmax probability of the label, witness.
    pub label_probability: Option<f32>,
    /// Softmax probability of the target, witness.
    pub target_probability: Option<f32>,
    /// Number of classes that score above the target, witness.
    pub target_rank: Option<usize>,
}

/// What came out for one image. Missing values are missing: `None` becomes an empty field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Index of the image in its split.
    pub example: usize,
    /// True class; `None`: there is none, as on a blank canvas.
    pub label: Option<usize>,
    /// Class the attack was to reach; `None` when untargeted.
    pub target: Option<usize>,
    /// Class predicted for the clean image; `None` where its logits are not finite.
    pub clean_prediction: Option<usize>,
    /// Class predicted for the witness; `None` where the image is an error row.
    pub adversarial_prediction: Option<usize>,
    /// Whether the image was right before and fooled after; `None` for an error row.
    pub success: Option<bool>,
    /// Largest absolute change in grey levels, witness against clean image.
    pub linf_255: Option<f64>,
    /// Euclidean distance, witness to clean image, pixels in [0,1].
    pub l2: Option<f64>,
    /// True logit minus best other, clean image.
    pub margin_clean: Option<f32>,
    /// True logit minus best other, witness.
    pub margin_adversarial: Option<f32>,
    /// Softmax probability of the predicted class, clean image.
    pub confidence_clean: Option<f32>,
    /// Softmax probability of the predicted class, witness.
    pub confidence_adversarial: Option<f32>,
    /// Softmax probability of the label, clean image.
    pub label_probability_clean: Option<f32>,
    /// Softmax probability of the label, witness.
    pub label_probability_adversarial: Option<f32>,
    /// Softmax probability of the target, clean image.
    pub target_probability_clean: Option<f32>,
    /// Softmax probability of the target, witness.
    pub target_probability_adversarial: Option<f32>,
    /// Logit of the target, witness.
    pub target_logit_adversarial: Option<f32>,
    /// Number of classes that score above the target, clean image (0: the target is predicted).
    pub target_rank_clean: Option<usize>,
    /// Number of classes that score above the target, witness.
    pub target_rank_adversarial: Option<usize>,
    /// Iteration that gave the witness, from 1; 0: the clean image stands.
    pub step: usize,
    /// Restart that gave the witness, from 0.
    pub restart: usize,
    /// Forward passes spent on the image, those of the judge's tests included.
    pub forwards: u64,
    /// Input gradients spent on the image.
    pub backwards: u64,
    /// Space-separated: `clean-wrong`, `boundary`, `zero-gradient`, `short-step`, `carried`, `nan`, `outside`.
    pub flags: String,
    /// What the attack says of how the witness was made: where a patch lies, how an objective rose.
    pub note: String,
    /// Least distance to the aim over the first half of the iterations of each run: true logit minus best other, of a
    /// target the best other minus its own. Of the unrounded iterate where the rounded one was not judged. `None`: the
    /// attack counts no iterations or has one, or the image was settled in a first half, or is an error row or carried.
    #[serde(default)]
    pub margin_midway: Option<f32>,
}

/// Flag: wrong before any attack, so not attacked.
pub const CLEAN_WRONG: &str = "clean-wrong";
/// Flag: the witness's margin is below 1e-4, so another machine may decide otherwise.
pub const BOUNDARY: &str = "boundary";
/// Flag: at least one input gradient was zero everywhere.
pub const ZERO_GRADIENT: &str = "zero-gradient";
/// Flag: at least one input gradient was so small that f32 may have lost values of it; a step along it may be shorter than
/// asked.
pub const SHORT_STEP: &str = "short-step";
/// Flag: NaN or Inf in an image, its logits or its gradient; an error row.
pub const NOT_FINITE: &str = "nan";
/// Flag: broken at a smaller budget already; row and witness are that cell's, and cost nothing here.
pub const CARRIED: &str = "carried";
/// Flag: the attack proposed an image outside its threat set; an error row.
pub const OUTSIDE: &str = "outside";

impl Outcome {
    /// Names of its fields, in the order of `outcomes.csv`.
    pub const COLUMNS: &[&str] = &[
        "example",
        "label",
        "target",
        "clean_prediction",
        "adversarial_prediction",
        "success",
        "linf_255",
        "l2",
        "margin_clean",
        "margin_adversarial",
        "confidence_clean",
        "confidence_adversarial",
        "label_probability_clean",
        "label_probability_adversarial",
        "target_probability_clean",
        "target_probability_adversarial",
        "target_logit_adversarial",
        "target_rank_clean",
        "target_rank_adversarial",
        "step",
        "restart",
        "forwards",
        "backwards",
        "flags",
        "note",
        "margin_midway",
    ];

    /// Whether `flag` is set.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.split(' ').any(|f| f == flag)
    }

    /// Whether a step was, or may have been, shorter than the attack asked for: then that the image stands says less.
    pub fn has_short_step(&self) -> bool {
        self.has(ZERO_GRADIENT) || self.has(SHORT_STEP)
    }

    /// The same row in the cell of a larger budget.
    pub fn carried(&self) -> Outcome {
        let mut row = Outcome { forwards: 0, backwards: 0, margin_midway: None, ..self.clone() };
        if !row.has(CARRIED) {
            row.flags = format!("{} {CARRIED}", row.flags).trim_start().to_string();
        }
        row
    }

    /// Whether an attack could succeed: the net was right, or there is no right answer.
    pub fn is_right_before(&self) -> bool {
        self.clean_prediction.is_some() && self.label.is_none_or(|l| self.clean_prediction == Some(l))
    }

    /// Whether this row reports a fault instead of a result.
    pub fn is_error(&self) -> bool {
        self.success.is_none()
    }
}

/// Where and how a cell was computed, and the digests of its files. Nothing here is a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `None`: the cell is complete. Otherwise why it failed, and there are no outcomes.
    pub error: Option<String>,
    /// File name to SHA-256 for the other files of the cell.
    pub files: BTreeMap<String, String>,
    /// Version of foolproof.
    pub version: String,
    /// Path of the model file, or `hub:owner/name@commit`; `None`: the model is found by its name.
    pub model_file: Option<String>,
    /// Commit of the Hub that the weights, and a description there, came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_commit: Option<String>,
    /// How the weights were read, where there was a choice: what was left out of names, which of several state dicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model_notes: Vec<String>,
    /// Folder that the run was made in; `None`: no path of it counts from there, or it is older than this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Folder of the pictures where the sweep named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_path: Option<String>,
    /// Files that the sweep named, for a dataset of parquet files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_table: Option<TableRecord>,
    /// Files of the Hub that the images were read from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_files: Vec<HubFile>,
    /// What was said of the input: what lies among the pictures and was not read, pictures that were enlarged a lot, paths of
    /// the sweep file that lead to two places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// Kind of machine: architecture, system and processor. The search is the same to the bit on machines of one kind
    /// only, and so is speed. `None`: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Threads of the CPU kernels.
    pub threads: usize,
    /// Images a batch.
    pub batch: usize,
    /// Seconds from the first attack step to the last judgement.
    pub time_s: f64,
    /// The cell with more iterations whose run passed here on its way: `time_s` is that of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<CellId>,
    /// Seconds since 1970-01-01 UTC when the cell was finished.
    pub finished_unix_s: u64,
}

/// One stored cell, as read back.
#[derive(Debug, Clone)]
pub struct StoredCell {
    /// Its description.
    pub cell: Cell,
    /// Where it was computed, or why it failed.
    pub provenance: Provenance,
    /// One row an image; empty where the cell failed.
    pub outcomes: Vec<Outcome>,
}

/// The plan of a run as stored: cells in the order of tables and charts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRecord {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the sweep.
    pub name: String,
    /// Cells in order.
    pub cells: Vec<Cell>,
    /// Models whose weights no description names by their SHA-256. The cells name what they were computed with all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpinned: Vec<String>,
    /// Digests of data subsets that were read from files whose SHA-256 nothing names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpinned_data: Vec<String>,
    /// What is published of the clean accuracy of its models on the populations that its data is from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<PublishedRecord>,
    /// What its figures look like; decides no cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<FigureRecord>,
}

/// A published clean accuracy that a subset of the same population is held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedRecord {
    /// Weights of the model.
    pub weights: String,
    /// Digest of the subset.
    pub data: String,
    /// Correct images of the publication.
    pub correct: u64,
    /// Of so many.
    pub of: u64,
    /// Who measured it.
    pub source: String,
}

impl PlanRecord {
    /// The id of the run: equal cells in equal order have equal ids, whatever the run is called.
    pub fn run_id(&self) -> String {
        let ids: String = self.cells.iter().map(|cell| cell.id() + "\n").collect();
        digest::sha256(ids.as_bytes())[..16].to_string()
    }

    /// Whether a description names the weights of every model that decides the cell.
    pub fn weights_pinned(&self, cell: &Cell) -> bool {
        let trained = cell.train.iter().flat_map(|t| &t.models);
        !trained.chain([&cell.model]).any(|m| self.unpinned.contains(&m.name))
    }

    /// The same of the files of all data that decides the cell.
    pub fn data_pinned(&self, cell: &Cell) -> bool {
        let trained = cell.train.iter().map(|t| &t.data);
        !trained.chain([&cell.data]).any(|d| self.unpinned_data.contains(&d.digest))
    }
}

/// 8-bit or float images of a cell, N×3×side×side, in the order of its outcomes.
#[derive(Debug, Clone, PartialEq)]
pub enum Witnesses {
    /// Judged as stored.
    U8(Vec<u8>),
    /// Judged as stored, pixels in [0,1].
    F32(Vec<f32>),
}

impl Witnesses {
    /// Grey levels, for pictures of them: floats to the nearest.
    pub fn into_levels(self) -> Vec<u8> {
        match self {
            Witnesses::U8(v) => v,
            Witnesses::F32(v) => v.into_iter().map(|v| (v * 255.0).round() as u8).collect(),
        }
    }
}

/// The clean images that cells refer to, kept once a run so that a report needs nothing but the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Index of each image in its split.
    pub examples: Vec<usize>,
    /// True classes; empty in a run that was written before they were kept.
    pub labels: Vec<usize>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Height and width of an image in pixels.
    pub side: usize,
    /// N×3×side×side.
    pub pixels: Vec<u8>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::terms::Norm;
    use crate::terms::Ratio;

    pub(crate) fn cell() -> Cell {
        Cell {
            schema: SCHEMA,
            model: ModelRecord { name: "m".into(), network: "vgg11_bn".into(), weights: "00".into() },
            data: DataRecord {
                name: "d".into(),
                split: "test".into(),
                first: 0,
                every: 1,
                take: 2,
                shuffle: None,
                indices: None,
                prepared: String::new(),
                digest: "11".into(),
            },
            attack: AttackRecord {
                name: "pgd".into(),
                revision: 1,
                params: [("steps", "10"), ("restarts", "1")].map(|(k, v)| (k.into(), v.into())).into(),
            },
            threat: Threat::within(Norm::Linf, Ratio::parse("8/255").unwrap()),
            goal: Goal::Untargeted,
            mode: Mode::At,
            witness: WitnessKind::U8,
            precision: Precision::F32,
            seed: 0,
            train: None,
        }
    }

    #[test]
    fn the_id_of_a_cell_never_changes() {
        assert_eq!(cell().id(), "094467c832debccf");
        assert_eq!(serde_json::from_str::<Cell>(&cell().canonical()).unwrap(), cell());
    }

    /// A store from before `margin_midway`, the last column, is read as it stands.
    #[test]
    fn older_rows_are_read() {
        let row = "1,0,,0,0,false,8,0.5,2,1,0.9,0.8,0.9,0.8,,,,,,3,0,4,3,,";
        let heading = "example,label,target,clean_prediction,adversarial_prediction,success,linf_255,l2,margin_clean,\
                       margin_adversarial,confidence_clean,confidence_adversarial,label_probability_clean,\
                       label_probability_adversarial,target_probability_clean,target_probability_adversarial,\
                       target_logit_adversarial,target_rank_clean,target_rank_adversarial,step,restart,forwards,backwards,\
                       flags,note";
        let read = |text: String| -> Outcome {
            csv::Reader::from_reader(text.as_bytes()).deserialize().next().unwrap().unwrap()
        };
        let old = read(format!("{heading}\n{row}\n"));
        let new = read(format!("{heading},margin_midway\n{row},1.5\n"));
        assert_eq!((old.margin_midway, new.margin_midway), (None, Some(1.5)));
        assert_eq!(Outcome { margin_midway: None, ..new.clone() }, old);
        let mut written = csv::Writer::from_writer(Vec::new());
        written.serialize(&new).unwrap();
        assert!(written.into_inner().unwrap().starts_with(format!("{heading},margin_midway\n").as_bytes()));
    }

    #[test]
    fn columns_are_the_fields_of_an_outcome() {
        let fields: Vec<String> = Outcome::COLUMNS
            .iter()
            .map(|name| match *name {
                "example" | "step" | "restart" | "forwards" | "backwards" => format!("\"{name}\": 0"),
                "flags" | "note" => format!("\"{name}\": \"\""),
                _ => format!("\"{name}\": null"),
            })
            .collect();
        let outcome: Outcome = serde_json::from_str(&format!("{{{}}}", fields.join(","))).unwrap();
        let mut table = csv::Writer::from_writer(Vec::new());
        table.serialize(outcome).unwrap();
        let text = String::from_utf8(table.into_inner().unwrap()).unwrap();
        assert_eq!(text.lines().next().unwrap(), Outcome::COLUMNS.join(","));
    }

    #[test]
    fn a_subset_is_named_by_its_range() {
        let data = cell().data;
        assert_eq!(data.text(), "d:test[0..2]");
        assert_eq!(DataRecord { first: 1, every: 2, take: 50, ..data.clone() }.text(), "d:test[1..101:2]");
        assert_eq!(DataRecord { shuffle: Some(7), ..data.clone() }.text(), "d:test[0..2 shuffle=7]");
        let listed = |n: usize| DataRecord { indices: Some((0..n).collect()), ..data.clone() }.text();
        assert_eq!((listed(2), listed(12)), ("d:test[0 1]".into(), "d:test[0 1 2 3 4 5 6 7 … 12 of them]".into()));
    }

    #[test]
    fn everything_in_a_cell_changes_its_id() {
        let mut other = cell();
        other.attack.params.insert("steps".into(), "11".into());
        assert_ne!(other.id(), cell().id());
        let mut other = cell();
        other.seed = 1;
        assert_ne!(other.id(), cell().id());
        let mut other = cell();
        other.data.shuffle = Some(0);
        assert_ne!(other.id(), cell().id());
    }
}
