//! Resolves a sweep file: names through the registries, blocks into their products, all errors at once.

use super::figures;
use crate::attack::{self, Attack, Kind, Params, Training};
use crate::config::{At, AttackSpec, Block, DataSpec, Problems, SweepFile, ThreatSpec, TrainSpec};
use crate::data::{self, Choice, DATASETS, Dataset, Preparation, Source, Subset};
use crate::error::{Error, Result, hint};
use crate::figure::FigureRecord;
use crate::model::{self, ModelSource};
use crate::placement::Picture;
use crate::record::{
    AttackRecord, Cell, CellId, DataRecord, FitRecord, HubFile, ModelRecord, PlanRecord, PublishedRecord, SCHEMA,
    TableRecord, TrainRecord,
};
use crate::terms::{Budget, Goal, Mode, Norm, Precision, Ratio, Threat, WitnessKind};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

/// Every cell of a sweep, with what is needed to compute it.
pub struct Plan {
    /// Name of the sweep.
    pub name: String,
    /// Models that cells refer to.
    pub models: Vec<ModelSource>,
    /// Data subsets that cells refer to.
    pub data: Vec<LoadedData>,
    /// In the order of tables and charts.
    pub cells: Vec<PlannedCell>,
    /// What its figures look like.
    pub figures: Vec<FigureRecord>,
    /// What has to be said of the paths in its file: those that lead to two places.
    pub notes: Vec<String>,
}

/// A subset with its dataset.
pub struct LoadedData {
    /// The dataset.
    pub dataset: &'static Dataset,
    /// Which of its images.
    pub choice: Choice,
    /// The images.
    pub subset: Subset,
}

/// A cell with what is needed to compute it.
pub struct PlannedCell {
    /// What is stored.
    pub cell: Cell,
    /// Its id.
    pub id: CellId,
    /// Index into [`Plan::models`].
    pub model: usize,
    /// Index into [`Plan::data`].
    pub data: usize,
    /// The attack at this budget.
    pub attack: Box<dyn Attack>,
    /// The cell with the next smaller budget that this one goes on from.
    pub earlier: Option<CellId>,
    /// The pictures that the attack pastes, if it pastes any.
    pub fit: Option<Fitting>,
    /// Models that judge the witnesses too: indices into [`Plan::models`].
    pub transfer_to: Vec<usize>,
    /// Whether predictions are explained by maps.
    pub explain: bool,
}

/// What the pictures of an attack are made from.
#[derive(Clone)]
pub struct Fitting {
    /// What decides them.
    pub record: FitRecord,
    /// Nets that they are fitted to: indices into [`Plan::models`].
    pub models: Vec<usize>,
    /// Training images: index into [`Plan::data`].
    pub data: Option<usize>,
    /// A picture that the sweep names.
    pub given: Option<Picture>,
}

/// Length of the short side of pictures where neither sweep nor model names one: torchvision's before it cuts 224.
const RESIZE: usize = 256;

/// No model file has more.
const MOST_CLASSES: u64 = 100_000;

/// The pictures that a model takes.
#[derive(Clone, Copy)]
struct Takes {
    side: usize,
    /// Length that the short side is brought to before the square is cut.
    resize: usize,
}

impl Takes {
    fn of(model: &ModelSource) -> Takes {
        Takes { side: model.file.side, resize: model.file.resize.unwrap_or(RESIZE) }
    }
}

/// More cells than this are a slip of the pen, and are refused before anything is allocated.
const MOST_CELLS: usize = 100_000;

/// Reads and resolves a sweep file, which may be a pipe (`<(…)`, `/dev/stdin`): it is read once, and its relative paths count from
/// the current folder alone. The error holds all its problems.
pub fn load(path: &Path, source: &Source) -> Result<Plan> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    parse(path, &text, source)
}

/// [`load`] from text; `path` is for messages and for model files beside it.
pub fn parse(path: &Path, text: &str, source: &Source) -> Result<Plan> {
    let problems = Problems::new(path, text);
    let file = SweepFile::parse(&problems);
    // nothing lies beside a pipe
    let pipe = path.exists() && !path.is_file();
    let beside = path.parent().filter(|_| !pipe).unwrap_or(Path::new("."));
    let (models, data, notes) = Default::default();
    let mut resolver = Resolver { problems: &problems, source, beside, models, data, notes };
    let mut cells = Vec::new();
    let mut seen = BTreeSet::new();
    for block in &file.blocks {
        for planned in resolver.block(block, file.seed) {
            if seen.insert(planned.id.clone()) {
                cells.push(planned);
            }
        }
    }
    let Resolver { models, data, notes, .. } = resolver;
    let figures = figures::resolve(&file.figures, &cells, &problems);
    problems.into_result()?;
    let models = models.into_iter().map(|(_, m)| m).collect();
    Ok(Plan { name: file.name, models, data, cells, figures, notes: notes.into_inner() })
}

impl Plan {
    /// What was dropped or bent without being asked for: everything that has to be said of the input.
    pub fn warnings(&self) -> Vec<&str> {
        let of_data = self.data.iter().flat_map(|data| &data.subset.notes);
        self.notes.iter().chain(of_data).map(String::as_str).collect()
    }

    /// The same of the input of one cell, its training images among it.
    pub fn notes_of(&self, cell: &PlannedCell) -> Vec<String> {
        let data = [Some(cell.data), cell.fit.as_ref().and_then(|fit| fit.data)];
        let of_data = data.iter().flatten().flat_map(|data| &self.data[*data].subset.notes);
        self.notes.iter().chain(of_data).cloned().collect()
    }

    /// What is not as sure as it could be: files of data that no hash pins, each with the hash it has now.
    pub fn unpinned_data(&self) -> Vec<String> {
        let of = |data: &LoadedData| {
            let unpinned = data.subset.sources.iter().filter(|file| !file.pinned);
            let line = |file: &HubFile| {
                let HubFile { repository, commit, path, sha256, .. } = file;
                format!(
                    "dataset `{}`: {path} of {repository} at {commit} is unpinned: SHA-256 {sha256}",
                    data.dataset.name
                )
            };
            unpinned.map(line).collect::<Vec<_>>()
        };
        self.data.iter().flat_map(of).collect()
    }

    /// What is published of each model and the population of the images that it is attacked on.
    fn published(&self) -> Vec<PublishedRecord> {
        let pairs: BTreeSet<(usize, usize)> = self.cells.iter().map(|c| (c.model, c.data)).collect();
        let record = |(model, data): (usize, usize)| {
            let (model, data) = (&self.models[model], &self.data[data]);
            let published = model.published(data.population())?;
            Some(PublishedRecord {
                weights: model.digest.clone(),
                data: data.subset.digest.clone(),
                correct: published.correct,
                of: published.of,
                source: published.source.clone(),
            })
        };
        pairs.into_iter().filter_map(record).collect()
    }

    /// The plan as it is stored.
    pub fn record(&self) -> PlanRecord {
        let cells = self.cells.iter().map(|c| c.cell.clone()).collect();
        let unpinned = self.models.iter().filter(|m| !m.is_pinned()).map(|m| m.name.clone()).collect();
        let loose = self.data.iter().map(|d| &d.subset).filter(|s| s.sources.iter().any(|file| !file.pinned));
        let unpinned_data = loose.map(|subset| subset.digest.clone()).collect();
        PlanRecord {
            schema: SCHEMA,
            name: self.name.clone(),
            cells,
            unpinned,
            unpinned_data,
            published: self.published(),
            figures: self.figures.clone(),
        }
    }
}

impl LoadedData {
    /// Which published clean accuracies speak of these images. Those that were picked one by one are no sample of anything.
    pub fn population(&self) -> Option<&'static str> {
        (self.dataset.population)(&self.choice.split).filter(|_| self.choice.indices.is_none())
    }
}

/// Budgets in the order in which they are attacked.
fn rungs(within: bool, budgets: &[Threat]) -> Vec<Threat> {
    let mut rungs = budgets.to_vec();
    if within {
        rungs.sort_by(|a, b| a.eps.to_f64().total_cmp(&b.eps.to_f64()));
        rungs.dedup();
    }
    rungs
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// The goal to reach the class of this name. `Err`: what follows the goal's name in a message.
fn goal_named(class: &str, names: &[String]) -> Result<Goal, String> {
    data::find_class(names, class).map(Goal::Class).map_err(|problem| match problem {
        Some(problem) => format!(": {problem}"),
        None => hint(class, names.iter().map(String::as_str)),
    })
}

/// What has to be said of a number that another class has as its name, as folders may.
fn number_and_name(goal: Goal, wanted: &str, names: &[String]) -> Option<String> {
    let Goal::Class(class) = goal else { return None };
    let (own, other) = (names.get(class)?, names.iter().position(|name| name == wanted)?);
    let is_number = wanted.parse() == Ok(class) && own != wanted;
    is_number.then(|| format!("`target:{wanted}` is class {class}, `{own}`; class `{wanted}` is target:{other}"))
}

/// What has to be said of a radius that somebody rounded: 8-bit images inside it change by a grey level less than was meant.
fn just_below_a_grey_level(eps: Ratio) -> Option<String> {
    let levels = eps.to_f64() * 255.0;
    let meant = levels.ceil();
    let short = meant - levels;
    // a radius that was meant as a whole number of grey levels is nearer to it than this, as 0.0314 or 0.03137
    (short > 0.0 && short < 0.01 && 255 % eps.den() != 0).then(|| {
        format!(
            "eps {eps} is a little less than {meant}/255, so no 8-bit image inside it changes by {meant} grey levels \
             (hint: \"{meant}/255\")"
        )
    })
}

/// What is wrong with parameters, each with the index into those given.
type ParamProblems = Vec<(usize, String)>;

struct Resolver<'a> {
    problems: &'a Problems,
    source: &'a Source,
    beside: &'a Path,
    models: Vec<(String, ModelSource)>,
    data: Vec<LoadedData>,
    notes: RefCell<Vec<String>>,
}

/// An attack of a block: its registry line, complete parameters, line in the file.
struct ResolvedAttack {
    entry: &'static attack::Entry,
    params: Params,
    line: usize,
    /// The picture that its parameters name.
    given: Option<Picture>,
}

/// What a block says of training.
struct ResolvedTrain {
    /// Empty: the attacked net itself.
    models: Vec<usize>,
    data: usize,
}

impl Resolver<'_> {
    fn problem(&self, line: usize, problem: impl Into<String>) {
        self.problems.add(line, problem);
    }

    /// Keeps what has to be said of a path, once.
    fn note(&self, note: Option<String>) {
        let mut notes = self.notes.borrow_mut();
        let new = note.filter(|note| !notes.contains(note));
        notes.extend(new);
    }

    fn block(&mut self, block: &Block, seed: u64) -> Vec<PlannedCell> {
        let found: Vec<(usize, usize)> =
            block.models.iter().filter_map(|m| self.model(m).map(|index| (index, m.line))).collect();
        let takes: Vec<Takes> = found.iter().map(|(m, _)| Takes::of(&self.models[*m].1)).collect();
        let data = block.data.as_ref().and_then(|d| self.data(d, &takes));
        // where there is no data, that is reported where it stands
        let fits = |(model, line): &(usize, usize)| data.is_none_or(|d| self.fits(*model, d, *line));
        let models: Vec<usize> = found.iter().filter(|f| fits(f)).map(|(model, _)| *model).collect();
        let classes = models.iter().map(|m| self.models[*m].1.file.classes).min().unwrap_or(usize::MAX);
        let names = data.map_or(&[][..], |d| &self.data[d].subset.classes);
        let goals: Vec<At<Goal>> = block.goals.iter().flat_map(|g| self.goals(g, classes, names)).collect();
        let threats = self.threats(block);
        let attacks: Vec<ResolvedAttack> = block.attacks.iter().flat_map(|a| self.attacks(a)).collect();
        let train = block.train.as_ref().and_then(|t| self.train(t, &takes, data));
        let transfer_to = self.transfer_to(block, data);
        let mode = self.choose(&block.mode, "mode", Mode::NAMES, |name| name);
        let witness = self.choose(&block.witness, "witness", WitnessKind::ALL, WitnessKind::name);
        let precision = self.choose(&block.precision, "precision", Precision::ALL, Precision::name);
        if witness == Some(WitnessKind::U8) {
            self.refuse_less_than_a_grey_level(block, &threats);
        }
        for (model, line) in &found {
            let refused = precision.and_then(|p| self.models[*model].1.computes_in(p).err());
            refused.into_iter().for_each(|problem| self.problem(*line, problem));
        }
        let (Some(data), Some(witness), Some(mode), Some(precision)) = (data, witness, mode, precision) else {
            return Vec::new();
        };
        let within = mode == "within";
        let budgets: usize = threats.iter().map(Vec::len).sum();
        let product =
            [models.len(), goals.len(), budgets, attacks.len()].iter().try_fold(1usize, |p, n| p.checked_mul(*n));
        if product.is_none_or(|p| p > MOST_CELLS) {
            self.problem(block.line, format!("this block has more than {MOST_CELLS} cells"));
            return Vec::new();
        }
        let mut cells = Vec::new();
        for &model in &models {
            for At { value: goal, line: goal_line } in &goals {
                for budgets in &threats {
                    for attack in &attacks {
                        let (mut earlier, mut smaller) = (None, Vec::new());
                        for threat in rungs(within, budgets) {
                            match attack.entry.build(&attack.params, &threat) {
                                Ok(built) => {
                                    let labelled = self.data[data].subset.labelled;
                                    let fits = match labelled || !goal.needs_label() {
                                        true => built.check_goal(goal),
                                        false => {
                                            Err("a blank canvas has no label (hint: target:NAME or target:all)".into())
                                        }
                                    };
                                    if let Err(problem) = fits {
                                        self.problem(*goal_line, format!("attack `{}`: {problem}", attack.entry.name));
                                        continue;
                                    }
                                    if let Err(problem) = built.check_side(self.models[model].1.file.side) {
                                        self.problem(attack.line, format!("attack `{}`: {problem}", attack.entry.name));
                                        continue;
                                    }
                                    let mut cell = Cell {
                                        witness,
                                        precision,
                                        ..self.cell(model, data, attack, threat, *goal, seed)
                                    };
                                    let Some(fit) =
                                        self.fitting(&mut cell, built.as_ref(), attack, train.as_ref(), model)
                                    else {
                                        continue;
                                    };
                                    if within {
                                        cell.mode = Mode::Within(smaller.clone());
                                    }
                                    let id = cell.id();
                                    let before = earlier.clone();
                                    if within {
                                        smaller.extend(threat.eps.radius());
                                        // where nothing may change there were no runs to go on from
                                        earlier = Some(id.clone()).filter(|_| threat.eps != Budget::ZERO);
                                    }
                                    cells.push(PlannedCell {
                                        cell,
                                        id,
                                        model,
                                        data,
                                        attack: built,
                                        earlier: before,
                                        fit,
                                        transfer_to: transfer_to.clone(),
                                        explain: block.explain,
                                    });
                                }
                                Err(problem) => self.problem(attack.line, problem),
                            }
                        }
                    }
                }
            }
        }
        cells
    }

    #[allow(clippy::too_many_arguments)] // one a field of the cell
    fn cell(&self, model: usize, data: usize, attack: &ResolvedAttack, threat: Threat, goal: Goal, seed: u64) -> Cell {
        Cell {
            schema: SCHEMA,
            model: self.model_record(model),
            data: self.data_record(data),
            attack: AttackRecord {
                name: attack.entry.name.to_string(),
                revision: attack.entry.revision,
                params: attack.params.all().clone(),
            },
            threat,
            goal,
            mode: Mode::At,
            witness: WitnessKind::U8,
            precision: Precision::F32,
            seed,
            train: None,
        }
    }

    fn model_record(&self, model: usize) -> ModelRecord {
        self.models[model].1.record()
    }

    fn data_record(&self, data: usize) -> DataRecord {
        let data = &self.data[data];
        DataRecord {
            name: data.dataset.name.to_string(),
            split: data.choice.split.clone(),
            first: data.choice.first,
            every: data.choice.every,
            take: data.subset.len(),
            shuffle: data.choice.shuffle,
            indices: data.choice.indices.clone(),
            prepared: match (data.subset.preparation, data.dataset.prepared) {
                (Some(p), true) => p.text(),
                (Some(p), false) => p.side_text(),
                (None, _) => String::new(),
            },
            digest: data.subset.digest.clone(),
        }
    }

    /// What the attack's pictures are made from, which becomes part of the cell; `None` after a problem.
    fn fitting(
        &self,
        cell: &mut Cell,
        built: &dyn Attack,
        attack: &ResolvedAttack,
        train: Option<&ResolvedTrain>,
        model: usize,
    ) -> Option<Option<Fitting>> {
        if !built.pastes() {
            return Some(None);
        }
        let wanted = built.training();
        let (mut models, mut data) = (Vec::new(), None);
        if wanted != Training::Nothing {
            let Some(train) = train else {
                self.problem(
                    attack.line,
                    format!(
                        "attack `{}` needs training images (hint: in this [[sweep]], \
                         train = {{ name = …, first = …, take = … }}, none of them attacked)",
                        attack.entry.name
                    ),
                );
                return None;
            };
            data = Some(train.data);
            if wanted == Training::ImagesAndNets {
                models = if train.models.is_empty() { vec![model] } else { train.models.clone() };
            }
            cell.train = Some(TrainRecord {
                models: models.iter().map(|m| self.model_record(*m)).collect(),
                data: self.data_record(train.data),
            });
        }
        let side = self.models[model].1.file.side;
        Some(Some(Fitting { record: cell.fit(side), models, data, given: attack.given.clone() }))
    }

    /// The training images and nets of a block; no image of `attacked` may be among them.
    fn train(&mut self, spec: &TrainSpec, takes: &[Takes], attacked: Option<usize>) -> Option<ResolvedTrain> {
        let data = self.data(&spec.data, takes)?;
        let models: Vec<usize> =
            spec.models.iter().filter_map(|m| self.model(m).filter(|i| self.fits(*i, data, m.line))).collect();
        let (train, attacked) = (&self.data[data], &self.data[attacked?]);
        let same = train.dataset.name == attacked.dataset.name
            && (&train.choice.split, &train.choice.path, &train.choice.table)
                == (&attacked.choice.split, &attacked.choice.path, &attacked.choice.table);
        let shared = train.subset.examples.iter().filter(|e| same && attacked.subset.examples.contains(e)).count();
        if shared > 0 {
            let hint = "hint: another `split`, or `first` and `every` that keep them apart, in the same order";
            self.problem(spec.line, format!("{shared} training images are attacked too ({hint})"));
            return None;
        }
        Some(ResolvedTrain { models, data })
    }

    /// Models that judge the witnesses too.
    fn transfer_to(&mut self, block: &Block, data: Option<usize>) -> Vec<usize> {
        let mut models = Vec::new();
        for name in &block.transfer_to {
            models.extend(self.model(name).filter(|m| data.is_none_or(|d| self.fits(*m, d, name.line))));
        }
        models
    }

    /// The images, for models that take these pictures.
    fn data(&mut self, spec: &DataSpec, takes: &[Takes]) -> Option<usize> {
        let line = spec.name.line;
        let dataset = self.or_problem(line, data::find(&spec.name.value))?;
        let split = spec.split.as_ref().map_or(dataset.default_split(), |s| s.value.as_str());
        let mut choice = Choice {
            every: spec.every,
            shuffle: spec.shuffle,
            indices: spec.indices.clone(),
            allow_empty: spec.allow_empty.as_ref().is_some_and(|a| a.value),
            ..Choice::new(split, spec.first, spec.take)
        };
        self.refuse_keys_of_others(spec, dataset);
        if dataset.prepared {
            choice.preparation = Some(self.preparation(spec, takes)?);
        } else if dataset.side.is_none() {
            let side = takes.first()?.side; // else no model was found, which is reported there
            choice.preparation = self.or_problem(line, Preparation::new(side, side).map_err(Error::usage));
            // one canvas, if nothing is said
            choice.take = choice.take.or(Some(1));
        }
        if let Some(path) = spec.path.as_ref().filter(|_| dataset.folder.is_some()) {
            let found = data::find_folder(&path.value, self.beside, self.source);
            let found = self.or_problem(path.line, found)?;
            self.note(found.note);
            choice.path = Some(found.path);
        }
        if dataset.table {
            choice.table = Some(self.table(spec)?);
        }
        let same = |d: &LoadedData| d.dataset.name == dataset.name && d.choice == choice;
        if let Some(known) = self.data.iter().position(same) {
            return Some(known);
        }
        let subset = self.or_problem(line, dataset.subset(self.source, &choice))?;
        self.data.push(LoadedData { dataset, subset, choice });
        Some(self.data.len() - 1)
    }

    /// Keys that this dataset has not.
    fn refuse_keys_of_others(&self, spec: &DataSpec, dataset: &Dataset) {
        let refuse = |key: &str, line: usize, has: fn(&Dataset) -> bool| {
            if !has(dataset) {
                let with: Vec<&str> = DATASETS.iter().filter(|d| has(d)).map(|d| d.name).collect();
                self.problem(
                    line,
                    format!("dataset `{}` has no `{key}` (hint: that is for {})", dataset.name, listed(&with)),
                );
            }
        };
        spec.path.iter().for_each(|path| refuse("path", path.line, |d| d.folder.is_some() || d.table));
        spec.allow_empty.iter().for_each(|empty| refuse("allow_empty", empty.line, |d| d.folder.is_some()));
        spec.resize.iter().for_each(|resize| refuse("resize", resize.line, |d| d.prepared));
        spec.table.given().into_iter().for_each(|(key, line)| refuse(key, line, |d| d.table));
    }

    /// The parquet files that a sweep names.
    fn table(&self, spec: &DataSpec) -> Option<TableRecord> {
        let text = |text: &Option<At<String>>| text.as_ref().map(|t| t.value.clone());
        let path = match &spec.path {
            Some(path) => {
                let found = self.or_problem(path.line, data::find_path(&path.value, self.beside, self.source))?;
                self.note(found.note);
                Some(found.path.display().to_string())
            }
            None => None,
        };
        if let Some(classes) = spec.table.classes.as_ref().filter(|c| c.value > MOST_CLASSES) {
            self.problem(classes.line, format!("`classes` is {}, more than {MOST_CLASSES}", classes.value));
            return None;
        }
        Some(TableRecord {
            path,
            repository: text(&spec.table.repository),
            revision: text(&spec.table.revision),
            files: text(&spec.table.files),
            image: text(&spec.table.image),
            label: text(&spec.table.label),
            classes: spec.table.classes.as_ref().map(|c| c.value as usize),
            sha256: spec.table.sha256.iter().map(|s| s.value.clone()).collect(),
        })
    }

    /// Pictures are cut to the side of the models, so there must be one; and resized as the models say, unless the sweep
    /// says otherwise, or they have that side already.
    fn preparation(&self, spec: &DataSpec, takes: &[Takes]) -> Option<Preparation> {
        let Takes { side, resize } = *takes.first()?; // else no model was found, which is reported there
        let line = spec.name.line;
        if let Some(other) = takes.iter().find(|t| t.side != side) {
            self.problem(
                line,
                format!(
                    "pictures are cut to the side of the models, and these take {side} and {} (hint: a [[sweep]] for each)",
                    other.side
                ),
            );
            return None;
        }
        if let (None, Some(other)) = (&spec.resize, takes.iter().find(|t| t.resize != resize)) {
            self.problem(
                line,
                format!(
                    "pictures are resized as the models say, and these say {resize} and {} (hint: `resize` here, or a \
                     [[sweep]] for each)",
                    other.resize
                ),
            );
            return None;
        }
        let (made, line) = match &spec.resize {
            Some(asked) => (Preparation::new(asked.value, side), asked.line),
            None => (Preparation::usual(resize, side), line),
        };
        made.map_err(|problem| self.problem(line, problem)).ok()
    }

    fn model(&mut self, name: &At<String>) -> Option<usize> {
        if let Some(known) = self.models.iter().position(|(n, _)| *n == name.value) {
            return Some(known);
        }
        let named = self.model_file(name)?;
        let model = self.or_problem(name.line, model::find(&named, self.beside, &self.source.hub))?;
        if model.file.classes < 2 {
            let hint = "hint: attacks ask for a wrong class, so there must be two";
            self.problem(name.line, format!("model `{}` has {} class ({hint})", model.name, model.file.classes));
            return None;
        }
        if self.models.iter().any(|(_, m)| m.name == model.name) {
            self.problem(name.line, format!("two models are named `{}`: rename a model file", model.name));
        }
        self.models.push((name.value.clone(), model));
        Some(self.models.len() - 1)
    }

    /// The path of the model file that is named, if one is; else the name of the model.
    fn model_file(&self, name: &At<String>) -> Option<String> {
        if !name.value.ends_with(".toml") {
            return Some(name.value.clone());
        }
        let found = self.or_problem(name.line, data::find_model_file(&name.value, self.beside))?;
        let Some(found) = found else { return Some(name.value.clone()) };
        self.note(found.note);
        Some(found.path.to_str().map_or_else(|| name.value.clone(), String::from))
    }

    /// Whether the model takes these images and knows their classes; a problem where it does not.
    fn fits(&self, model: usize, data: usize, line: usize) -> bool {
        let ((name, model), data) = (&self.models[model], &self.data[data]);
        let (file, subset) = (&model.file, &data.subset);
        let fits = file.side == subset.side && file.classes == subset.classes.len();
        if !fits {
            self.problem(
                line,
                format!(
                    "model `{name}` takes side {} and has {} classes, dataset `{}` has side {} and {} classes",
                    file.side,
                    file.classes,
                    data.dataset.name,
                    subset.side,
                    subset.classes.len()
                ),
            );
        }
        fits
    }

    /// The goal of this name; `target:all` stands for one a class, and a class may be given by its name.
    fn goals(&self, text: &At<String>, classes: usize, names: &[String]) -> Vec<At<Goal>> {
        let at = |value: Goal| At { value, line: text.line };
        let wanted = text.value.strip_prefix("target:");
        if wanted == Some("all") {
            return (0..classes.min(names.len())).map(|class| at(Goal::Class(class))).collect();
        }
        let goal = Goal::parse(&text.value).ok_or(wanted);
        match goal.or_else(|wanted| wanted.ok_or_else(String::new).and_then(|class| goal_named(class, names))) {
            // without data no class has a name, and why there is none is said already
            Err(_) if wanted.is_some() && names.is_empty() => Vec::new(),
            Err(problem) => {
                let rules =
                    ["untargeted", "target:all", "target:next", "target:least-likely", "target:random", "target:0"];
                let problem = if wanted.is_some() { problem } else { hint(&text.value, rules) };
                self.problem(text.line, format!("unknown goal `{}`{problem}", text.value));
                Vec::new()
            }
            Ok(Goal::Class(class)) if class >= classes => {
                self.problem(text.line, format!("goal `{}`: the classes are 0 to {}", text.value, classes - 1));
                Vec::new()
            }
            Ok(goal) => {
                self.note(wanted.and_then(|wanted| number_and_name(goal, wanted, names)));
                vec![at(goal)]
            }
        }
    }

    fn threats(&self, block: &Block) -> Vec<Vec<Threat>> {
        let mut threats = Vec::new();
        for spec in &block.threats {
            let Some(norm) = self.choose(&spec.norm, "norm", Norm::all(), Norm::name) else {
                // budgets that are wrong under any norm are named too
                for text in spec.budgets.iter().filter(|(key, _)| *key == "eps").flat_map(|(_, texts)| texts) {
                    self.budget(Norm::Linf, text);
                }
                continue;
            };
            let name = norm.name();
            if let Some(minimal) = &spec.minimal {
                threats.extend(self.minimal(norm, spec, minimal, &block.mode).map(|threat| vec![threat]));
                continue;
            }
            match (&spec.budgets, norm.budget_key()) {
                (Some((given, texts)), Some(key)) if *given == key => {
                    let radii = texts.iter().filter_map(|text| self.budget(norm, text));
                    threats.push(radii.map(|radius| Threat::within(norm, radius)).collect());
                }
                (None, None) => threats.extend(Ratio::new(1, 1).map(|all| vec![Threat::within(norm, all)])),
                (_, Some(key)) => self.problem(spec.norm.line, format!("threat `{name}`: missing key `{key}`")),
                (Some((given, _)), None) => {
                    self.problem(spec.norm.line, format!("threat `{name}` allows every image: it has no `{given}`"));
                }
            }
        }
        threats
    }

    /// An 8-bit image cannot change by less than a grey level: every attack would look weak, none would be.
    fn refuse_less_than_a_grey_level(&self, block: &Block, threats: &[Vec<Threat>]) {
        for eps in threats.iter().flatten().filter(|t| t.norm.is_ball()).filter_map(|t| t.eps.radius()) {
            if eps.num() > 0 && eps.to_f64() * 255.0 < 1.0 {
                let text = format!("eps {eps} is less than one grey level, 1/255 (hint: `witness = \"f32\"`)");
                self.problem(block.threats.first().map_or(block.line, |t| t.norm.line), text);
            }
        }
    }

    /// A threat without a radius, of a norm that measures a distance.
    fn minimal(&self, norm: Norm, spec: &ThreatSpec, passes: &At<u64>, mode: &At<String>) -> Option<Threat> {
        let problem = match &spec.budgets {
            Some((key, _)) => format!("a minimal threat has no `{key}`: what counts is the least distance"),
            None if !norm.is_ball() => format!("threat `{}` measures no distance that could be minimal", norm.name()),
            None if mode.value != Mode::At.name() => "a minimal threat has no smaller budgets to go on from".into(),
            None => return Some(Threat { norm, eps: Budget::Minimal { passes: passes.value } }),
        };
        self.problem(spec.norm.line, problem);
        None
    }

    fn budget(&self, norm: Norm, text: &At<String>) -> Option<Ratio> {
        let (key, value) = (norm.budget_key().unwrap_or("eps"), &text.value);
        let budget = norm.budget(value).map_err(|expected| {
            let number = value.trim_end().strip_suffix('%').unwrap_or(value);
            let problem = Ratio::refusal(number).unwrap_or_else(|| format!("expected {expected}"));
            self.problem(text.line, format!("{key} `{value}`: {problem}"));
        });
        let budget = budget.ok()?;
        if norm == Norm::Linf {
            self.note(just_below_a_grey_level(budget));
        }
        Some(budget)
    }

    /// The attack with every combination of its parameters' values, the last parameter's running fastest.
    fn attacks(&self, spec: &AttackSpec) -> Vec<ResolvedAttack> {
        let Some(entry) = self.or_problem(spec.name.line, attack::find(&spec.name.value)) else { return Vec::new() };
        let combinations = spec.params.iter().try_fold(1usize, |n, (_, values)| n.checked_mul(values.len()));
        if combinations.is_none_or(|n| n > MOST_CELLS) {
            self.problem(spec.name.line, format!("attack `{}` has more than {MOST_CELLS} combinations", entry.name));
            return Vec::new();
        }
        let mut given: Vec<Vec<(&str, &str)>> = vec![Vec::new()];
        for (key, values) in &spec.params {
            let mut longer = Vec::new();
            for start in &given {
                longer.extend(values.iter().map(|v| [start.as_slice(), &[(key.value.as_str(), v.as_str())]].concat()));
            }
            given = longer;
        }
        let resolve = |given: Vec<(&str, &str)>| match self.resolve(entry, &given) {
            Ok((params, given)) => Some(ResolvedAttack { entry, params, line: spec.name.line, given }),
            Err(problems) => {
                for (i, problem) in problems {
                    self.problem(spec.params[i].0.line, format!("attack `{}`: {problem}", entry.name));
                }
                None
            }
        };
        given.into_iter().filter_map(resolve).collect()
    }

    /// Complete parameters, and the picture that one of them names: in a cell the digest of its file stands for it.
    fn resolve(
        &self,
        entry: &attack::Entry,
        given: &[(&str, &str)],
    ) -> Result<(Params, Option<Picture>), ParamProblems> {
        let names_a_picture = |key: &str| entry.params.iter().any(|p| p.name == key && p.kind == Kind::Picture);
        let Some(i) = given.iter().position(|(key, path)| names_a_picture(key) && !path.is_empty()) else {
            return Ok((Params::resolve(entry.params, given)?, None));
        };
        let (digest, picture, note) =
            data::find_picture(given[i].1, self.beside, self.source).map_err(|e| vec![(i, e.to_string())])?;
        self.note(note);
        let mut given = given.to_vec();
        given[i].1 = &digest;
        Ok((Params::resolve(entry.params, &given)?, Some(picture)))
    }

    fn choose<T: Copy>(
        &self,
        text: &At<String>,
        what: &str,
        known: impl IntoIterator<Item = T>,
        name: fn(T) -> &'static str,
    ) -> Option<T> {
        let known: Vec<T> = known.into_iter().collect();
        let found = known.iter().copied().find(|value| name(*value) == text.value);
        if found.is_none() {
            let hint = hint(&text.value, known.iter().map(|value| name(*value)));
            self.problem(text.line, format!("unknown {what} `{}`{hint}", text.value));
        }
        found
    }

    fn or_problem<T>(&self, line: usize, result: Result<T>) -> Option<T> {
        result.map_err(|e| self.problem(line, e.to_string())).ok()
    }
}
