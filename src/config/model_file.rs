//! The model file: one network with the place and digest of its weights.

use super::asked::Asked;
use super::class_names::{self, ClassNames};
use super::reader::{self, At, Problems, Table};
use crate::error::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A model file as written.
#[derive(Debug, Clone)]
pub struct ModelFile {
    /// Architecture: `vgg16_bn`, `resnet50`; [`ONNX`] of a file that is the network.
    pub family: String,
    /// Keys that only some families have, as given: see [`FamilyKey`].
    pub own: BTreeMap<&'static str, KeyValue>,
    /// Number of classes.
    pub classes: usize,
    /// What they are called.
    pub class_names: Option<ClassNames>,
    /// Height and width of the images in pixels: `side`, or `size`.
    pub size: [usize; 2],
    /// Length that the short side of what is cut from a picture has before the cut; not given: the sweep's default.
    pub resize: Option<usize>,
    /// Whether pictures are resized by bicubic interpolation, else bilinear: `interpolation`.
    pub bicubic: bool,
    /// Subtracted from each channel of an image in [0,1].
    pub mean: [f64; 3],
    /// Divides each channel after that.
    pub std: [f64; 3],
    /// Whose names the tensors have: `timm`, `torchvision` and others; not given: as the file shows.
    pub keys: Option<String>,
    /// Key of the state dict in a weight file of PyTorch's that holds several; not given: one of the usual names.
    pub state_dict: Option<String>,
    /// Where the weights are.
    pub place: Place,
    /// SHA-256 of the weight file; `None`: unpinned, any file is taken.
    pub sha256: Option<String>,
    /// Clean accuracy others have measured.
    pub published: Option<PublishedSpec>,
    /// Accuracy under attack others have measured.
    pub robust: Option<RobustSpec>,
    /// What stands before it.
    pub defence: DefenceSpec,
    /// How it was trained, as `foolproof train` notes it: keys and values, for people.
    pub training: Vec<(String, String)>,
}

/// A key that only some families have; a family's registry line declares its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FamilyKey {
    /// As it is written.
    pub name: &'static str,
    /// What it takes.
    pub kind: KeyKind,
    /// One line.
    pub summary: &'static str,
}

/// `defence`, with `votes` and `draws`.
#[derive(Debug, Clone, Default)]
pub struct DefenceSpec {
    /// In the order in which an image passes them.
    pub stages: Vec<StageSpec>,
    /// Draws whose majority decides, where one is random.
    pub votes: Option<u32>,
    /// Seed of the draws.
    pub draws: Option<u64>,
}

/// `{ name, … }`, or the name alone.
#[derive(Debug, Clone)]
pub struct StageSpec {
    /// Name in the registry.
    pub name: String,
    /// Everything else, values as text.
    pub values: Vec<(String, String)>,
}

impl DefenceSpec {
    fn read(top: &Table) -> DefenceSpec {
        let mut stages = Vec::new();
        if top.has("defence") {
            let named = |name: &At<String>| StageSpec { name: name.value.clone(), values: Vec::new() };
            let described = |t: &Table| {
                let name = t.required_text("name");
                let mut values = Vec::new();
                for (key, texts) in t.rest() {
                    match texts.as_slice() {
                        [value] => values.push((key.value, value.clone())),
                        _ => t.problem(
                            key.line,
                            format!(
                                "`{}` in `defence`: one value, not a list (hint: a model file for each)",
                                key.value
                            ),
                        ),
                    }
                }
                t.leave_rest();
                name.map(|name| StageSpec { name: name.value, values })
            };
            stages = top.texts_or_tables("defence", named, described);
        }
        let (votes, draws) = (top.count("votes"), top.count("draws"));
        top.range("votes", 1, MOST_VOTES);
        for (key, given) in [("votes", &votes), ("draws", &draws)] {
            if let Some(given) = given.as_ref().filter(|_| !top.has("defence")) {
                top.problem(given.line, format!("`{key}` belongs to `defence`, and there is none (hint: remove it)"));
            }
        }
        if let Some(votes) = votes.as_ref().filter(|v| !(1..=MOST_VOTES).contains(&v.value)) {
            top.problem(
                votes.line,
                format!("`votes`: expected a whole number from 1 to {MOST_VOTES}, found {}", votes.value),
            );
        }
        let votes = votes.map(|v| v.value.clamp(1, MOST_VOTES) as u32);
        DefenceSpec { stages, votes, draws: draws.map(|d| d.value) }
    }
}

/// So many as Cohen et al. 2019 take to certify a radius.
const MOST_VOTES: u64 = 100_000;

/// What a [`FamilyKey`] takes, and what counts where it is not given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeyKind {
    /// A number; the family says which.
    Number {
        /// Where it is not given.
        default: f64,
    },
    /// One of these words.
    Choice {
        /// Where it is not given.
        default: &'static str,
        /// All of them.
        known: &'static [&'static str],
    },
}

/// A value of a [`FamilyKey`]; as text it stands in cells.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyValue {
    /// Of [`KeyKind::Number`].
    Number(f64),
    /// Of [`KeyKind::Choice`], known or not.
    Word(String),
}

impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            KeyValue::Number(number) => number.fmt(f),
            KeyValue::Word(word) => word.fmt(f),
        }
    }
}

/// What a model file may be.
#[derive(Debug, Clone)]
pub enum ModelText {
    /// The network is described.
    Whole(Box<ModelFile>),
    /// It is described by the repository's own `config.json`.
    Repository(Box<RepositorySpec>),
}

/// A repository of the Hub that describes its network itself.
#[derive(Debug, Clone)]
pub struct RepositorySpec {
    /// `owner/name`.
    pub repository: String,
    /// A commit, branch or tag.
    pub revision: String,
    /// Weight file; not given: the one that is there.
    pub file: Option<String>,
    /// Of the weight file; `None`: unpinned.
    pub sha256: Option<String>,
    /// Key of the state dict in the weight file.
    pub state_dict: Option<String>,
    /// What its classes are called.
    pub class_names: Option<ClassNames>,
    /// Clean accuracy others have measured.
    pub published: Option<PublishedSpec>,
    /// What stands before it.
    pub defence: DefenceSpec,
}

impl RepositorySpec {
    /// From `owner/name` or `owner/name@revision`.
    pub fn parse(text: &str) -> Option<RepositorySpec> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let (repository, revision) = (repository.to_string(), revision.to_string());
        let sound = is_repository(&repository) && !revision.is_empty();
        let spec = RepositorySpec {
            repository,
            revision,
            file: None,
            sha256: None,
            state_dict: None,
            class_names: None,
            published: None,
            defence: DefenceSpec::default(),
        };
        sound.then_some(spec)
    }
}

/// Where weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file, relative to the model file, else to `models/` in the folder of the data.
    File(String),
    /// In a repository of the Hub.
    Hub {
        /// `owner/name`.
        repository: String,
        /// A commit, branch or tag.
        revision: String,
        /// Path inside the repository.
        file: String,
    },
}

/// `[clean_accuracy]`.
#[derive(Debug, Clone)]
pub struct PublishedSpec {
    /// Which images: `cifar10-test`.
    pub population: String,
    /// Correct images.
    pub correct: u64,
    /// Of so many.
    pub of: u64,
    /// Who measured it.
    pub source: String,
}

/// `[robust_accuracy]`.
#[derive(Debug, Clone)]
pub struct RobustSpec {
    /// `autoattack`.
    pub attack: String,
    /// `linf`.
    pub norm: String,
    /// As it is written: `8/255`.
    pub eps: String,
    /// What is left, of which images, by whom.
    pub accuracy: PublishedSpec,
}

impl ModelText {
    /// Reads a model file, with the keys that families declare; all its problems at once.
    pub fn parse(path: &Path, text: &str, own: &[FamilyKey]) -> Result<ModelText> {
        let problems = Problems::new(path, text);
        let describes_itself = |top: &Table| top.has("hub") && !top.has("family") && !names_onnx(top);
        let read = reader::read(&problems, |top| match describes_itself(top) {
            true => repository(top).map(|spec| ModelText::Repository(Box::new(spec))),
            false => model(top, own).map(|file| ModelText::Whole(Box::new(file))),
        });
        problems.into_result()?;
        Ok(read.expect("without problems every required key is there"))
    }
}

impl ModelFile {
    /// Reads a model file that describes the network, with the keys that families declare; all its problems at once.
    pub fn parse(path: &Path, text: &str, own: &[FamilyKey]) -> Result<ModelFile> {
        let problems = Problems::new(path, text);
        let file = reader::read(&problems, |top| model(top, own));
        problems.into_result()?;
        Ok(file.expect("without problems every required key is there"))
    }

    /// The value of a family's key: as given, else its default.
    pub fn value(&self, key: &FamilyKey) -> KeyValue {
        let default = || match key.kind {
            KeyKind::Number { default } => KeyValue::Number(default),
            KeyKind::Choice { default, .. } => KeyValue::Word(default.into()),
        };
        self.own.get(key.name).cloned().unwrap_or_else(default)
    }

    /// The value of a key declared as a number.
    pub fn number(&self, key: &FamilyKey) -> f64 {
        match self.value(key) {
            KeyValue::Number(number) => number,
            KeyValue::Word(_) => unreachable!("`{}` is no number", key.name),
        }
    }

    /// The value of a key declared as a choice.
    pub fn word(&self, key: &FamilyKey) -> String {
        self.value(key).to_string()
    }
}

fn model(top: &Table, own: &[FamilyKey]) -> Option<ModelFile> {
    let network = network(top, own);
    let state_dict = top.text("state_dict").map(|key| key.value);
    let place = place(top);
    let sha256 = sha256(top);
    let (published, robust) = (published(top), robust(top));
    let training = top.table("training", |t| {
        let noted = t.rest().into_iter().map(|(key, values)| (key.value, values.join(", "))).collect();
        t.leave_rest();
        noted
    });
    let training = training.unwrap_or_default();
    let defence = DefenceSpec::read(top);
    Some(ModelFile { state_dict, place: place?, sha256, published, robust, defence, training, ..network? })
}

/// The network that a model file describes, without its weights.
pub(super) fn network(top: &Table, own: &[FamilyKey]) -> Option<ModelFile> {
    let family = match names_onnx(top) && !top.has("family") {
        true => Some(ONNX.to_string()),
        false => top.required_text("family").map(|family| family.value),
    };
    let own = own_values(top, own);
    let (classes, resize) = (top.count("classes"), top.count("resize"));
    top.needs("classes");
    let class_names = class_names::read(top, classes.as_ref().map(|n| n.value));
    top.needs("mean");
    let size = size(top);
    let interpolation = top.word("interpolation", &INTERPOLATIONS);
    let bicubic = interpolation.is_some_and(|i| i.value == BICUBIC);
    let is_onnx = family.as_deref() == Some(ONNX);
    if top.is_asking() {
        inside(top);
    }
    let (mean, std) = match top.peek("mean") {
        Some(_) if is_onnx => inside(top),
        _ => (triple(top, "mean"), triple(top, "std")),
    };
    if std.iter().any(|s| *s < f64::from(f32::MIN_POSITIVE)) {
        top.problem(top.line, "`std`: every channel must be above 0");
    }
    if mean.iter().any(|m| *m > 1.0) {
        let of_255 = mean.map(|m| (m / 255.0 * 1000.0).round() / 1000.0);
        top.problem(
            top.line,
            format!(
                "`mean` {mean:?}: images are numbers from 0 to 1 (hint: of 0 to 255, {of_255:?}, and `std` likewise)"
            ),
        );
    }
    let keys = top.word("keys", &KEYS);
    let (classes, resize) =
        (whole(top, "classes", classes, 100_000), resize.map(|r| whole(top, "resize", Some(r), MOST_SIDE)));
    Some(ModelFile {
        classes,
        class_names,
        size,
        bicubic,
        resize,
        family: family?,
        own,
        mean,
        std,
        keys: keys.map(|k| k.value),
        state_dict: None,
        place: Place::File(String::new()),
        sha256: None,
        published: None,
        robust: None,
        defence: DefenceSpec::default(),
        training: Vec::new(),
    })
}

/// All that a model file may say that describes its network, with the keys that families declare.
pub fn asked(own: &[FamilyKey]) -> Asked {
    reader::ask(|top| drop(model(top, own)))
}

/// A number from 1 to `most`; a problem where it is none.
fn whole(top: &Table, key: &'static str, found: Option<At<u64>>, most: u64) -> usize {
    top.range(key, 1, most);
    let value = found.as_ref().map_or(0, |v| v.value);
    if value == 0 || value > most {
        let line = found.map_or(top.line, |v| v.line);
        top.problem(line, format!("`{key}`: expected a whole number from 1 to {most}"));
    }
    value as usize
}

/// `side`, or `size` where height and width differ: one of the two.
fn size(top: &Table) -> [usize; 2] {
    if !top.has_one_of(&["side", "size"]) {
        top.problem(top.line, "missing key `side` (or, where height and width differ, `size`, as [224, 192])");
        return [1; 2];
    }
    if !top.has("size") || top.is_asking() {
        let side = [whole(top, "side", top.count("side"), MOST_SIDE); 2];
        if !top.is_asking() {
            return side;
        }
    }
    let sizes = top.numbers("size");
    let line = sizes.as_ref().map_or(top.line, |s| s.line);
    if top.count("side").is_some() {
        top.problem(line, "`size` beside `side`: one of the two (`side` where images are squares)");
    }
    let is_side = |s: &f64| s.fract() == 0.0 && (1.0..=MOST_SIDE as f64).contains(s);
    let pair = sizes.and_then(|s| <[f64; 2]>::try_from(s.value).ok()).filter(|pair| pair.iter().all(is_side));
    if pair.is_none() {
        top.problem(
            line,
            format!("`size`: expected height and width, whole numbers from 1 to {MOST_SIDE} (as [224, 192])"),
        );
    }
    pair.unwrap_or([1.0; 2]).map(|side| side as usize)
}

/// Those of the families' keys that are given.
fn own_values(top: &Table, own: &[FamilyKey]) -> BTreeMap<&'static str, KeyValue> {
    let value = |key: &FamilyKey| match key.kind {
        KeyKind::Number { .. } => top.number(key.name).map(|n| KeyValue::Number(n.value)),
        KeyKind::Choice { .. } => top.text(key.name).map(|t| KeyValue::Word(t.value)),
    };
    own.iter().filter_map(|key| Some((key.name, value(key)?))).collect()
}

fn repository(top: &Table) -> Option<RepositorySpec> {
    let (repository, revision, file) = (hub(top), top.text("revision"), top.text("file"));
    let state_dict = top.text("state_dict").map(|key| key.value);
    let (sha256, published, class_names) = (sha256(top), published(top), class_names::read(top, None));
    let revision = revision.map_or(MAIN.into(), |r| r.value);
    let (file, defence) = (file.map(|f| f.value), DefenceSpec::read(top));
    Some(RepositorySpec {
        repository: repository?,
        revision,
        file,
        sha256,
        state_dict,
        class_names,
        published,
        defence,
    })
}

/// Whether the weight file is named as ONNX files are.
fn names_onnx(top: &Table) -> bool {
    ["weights", "file"].iter().any(|key| top.peek(key).is_some_and(|name| name.ends_with(".onnx")))
}

/// `mean = "inside"`: the network normalises images itself.
fn inside(top: &Table) -> ([f64; 3], [f64; 3]) {
    if let Some(mean) = top.text("mean").filter(|mean| mean.value != INSIDE) {
        top.problem(mean.line, format!("`mean`: expected three numbers or \"{INSIDE}\", found \"{}\"", mean.value));
    }
    if let Some(std) = top.numbers("std") {
        top.problem(
            std.line,
            format!("`std` beside `mean = \"{INSIDE}\"`: the file normalises images itself (hint: remove `std`)"),
        );
    }
    ([0.0; 3], [1.0; 3])
}

fn triple(top: &Table, key: &'static str) -> [f64; 3] {
    if !top.has(key) {
        let or = if key == "mean" {
            format!(", or \"{INSIDE}\" where an ONNX file normalises images itself")
        } else {
            String::new()
        };
        top.problem(
            top.line,
            format!("missing key `{key}`: three numbers, one a channel (as [0.485, 0.456, 0.406]){or}"),
        );
        return [1.0; 3];
    }
    let numbers = top.numbers(key);
    let line = numbers.as_ref().map_or(top.line, |n| n.line);
    numbers.and_then(|n| n.value.try_into().ok()).unwrap_or_else(|| {
        top.problem(line, format!("`{key}`: expected three numbers, one a channel (as [0.485, 0.456, 0.406])"));
        [1.0; 3]
    })
}

fn sha256(top: &Table) -> Option<String> {
    let sha256 = top.text("sha256").filter(|s| s.value != UNPINNED)?;
    if !is_sha256(&sha256.value) {
        top.problem(sha256.line, "`sha256`: expected 64 lower-case hexadecimal digits, or \"unpinned\"");
    }
    Some(sha256.value)
}

fn published(top: &Table) -> Option<PublishedSpec> {
    top.table("clean_accuracy", |t| accuracy(t, "clean_accuracy")).flatten()
}

fn robust(top: &Table) -> Option<RobustSpec> {
    let robust = top.table("robust_accuracy", |t| {
        let (attack, norm, eps) = (t.required_text("attack"), t.required_text("norm"), t.required_text("eps"));
        let accuracy = accuracy(t, "robust_accuracy");
        Some(RobustSpec { attack: attack?.value, norm: norm?.value, eps: eps?.value, accuracy: accuracy? })
    });
    robust.flatten()
}

/// How many of which images, by whom.
fn accuracy(t: &Table, name: &str) -> Option<PublishedSpec> {
    let (population, source) = (t.required_text("population"), t.required_text("source"));
    let (correct, of) = (t.count("correct"), t.count("of"));
    t.needs("correct");
    t.needs("of");
    t.range("of", 1, MOST_IMAGES);
    let sound = correct
        .as_ref()
        .zip(of.as_ref())
        .is_some_and(|(c, n)| (1..=MOST_IMAGES).contains(&n.value) && c.value <= n.value);
    if !sound {
        t.problem(t.line, format!("`{name}`: expected `correct` and `of`, whole numbers with correct ≤ of ≤ 10000000"));
    }
    Some(PublishedSpec { population: population?.value, correct: correct?.value, of: of?.value, source: source?.value })
}

/// `hub`, if it is there.
fn hub(top: &Table) -> Option<String> {
    let hub = top.text("hub")?;
    if !is_repository(&hub.value) {
        top.problem(hub.line, format!("`hub`: expected \"owner/name\", found \"{}\"", hub.value));
    }
    Some(hub.value)
}

/// `weights`, or `hub` with `revision` and `file`.
fn place(top: &Table) -> Option<Place> {
    top.has_one_of(&["weights", "hub"]);
    let (weights, repository) = (top.text("weights"), hub(top));
    let (revision, file) = (top.text("revision"), top.text("file"));
    match (weights, repository) {
        (Some(weights), None) => {
            for (key, given) in [("revision", revision), ("file", file)] {
                if let Some(given) = given {
                    top.problem(given.line, format!("`{key}` belongs to `hub`, not to `weights` (hint: remove it)"));
                }
            }
            Some(Place::File(weights.value))
        }
        (None, Some(repository)) => Some(Place::Hub {
            repository,
            revision: revision.map_or(MAIN.into(), |r| r.value),
            file: file.map_or(SAFETENSORS.into(), |f| f.value),
        }),
        (Some(weights), Some(_)) => {
            top.problem(weights.line, "weights are in one place: `weights` (a file) or `hub` (\"owner/name\")");
            None
        }
        (None, None) => {
            top.problem(top.line, "missing key `weights` (a file) or `hub` (\"owner/name\")");
            None
        }
    }
}

/// Family of a network that is described by its weight file itself, in the format of that name.
pub const ONNX: &str = "onnx";

/// What `mean` says where an ONNX file normalises images itself.
const INSIDE: &str = "inside";

/// The Hub's usual branch.
const MAIN: &str = "main";

/// What weights are usually called.
pub const SAFETENSORS: &str = "model.safetensors";

/// A larger side is a slip of the pen.
const MOST_SIDE: u64 = 4096;

/// How pictures may be resized.
pub const INTERPOLATIONS: [&str; 2] = ["bilinear", BICUBIC];

/// As timm resizes for most of its newer networks.
pub const BICUBIC: &str = "bicubic";

/// Namings of tensors.
const KEYS: [&str; 5] = ["deepmind", "pytorch-cifar", "timm", "torchvision", "trades"];

/// What `sha256` says where it is not known yet.
pub const UNPINNED: &str = "unpinned";

/// `owner/name` as the Hub allows it.
pub fn is_repository(text: &str) -> bool {
    let is_name = |part: &str| {
        part.len() <= 96
            && part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !part.contains("..")
    };
    text.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name))
}

/// No test set is larger, and the exact test on the counts takes memory in proportion.
const MOST_IMAGES: u64 = 10_000_000;

pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
