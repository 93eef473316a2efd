//! Resolves a sweep file: names through the registries, blocks into their products, all errors at once.

use super::cells::{Plan, PlannedCell};
use super::figures;
use super::resolver::{MOST_CELLS, ResolvedAttack, Resolver};
use super::takes::Takes;
use crate::attack::Attack;
use crate::config::{At, Block, Problems, SweepFile};
use crate::data::{Kept, Source};
use crate::error::{Error, Result};
use crate::record::{AttackRecord, Cell, CellId, SCHEMA};
use crate::store::Store;
use crate::terms::{Budget, Goal, Mode, Precision, Threat, WitnessKind};
use std::collections::BTreeMap;
use std::path::Path;

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
    let name = named(&file.name, source.limit);
    let source = &source.with(kept(&name, source));
    let mut resolver = Resolver::new(&problems, source, beside, file.seed);
    let mut cells: Vec<PlannedCell> = Vec::new();
    let mut places: BTreeMap<CellId, usize> = BTreeMap::new();
    for block in &file.blocks {
        for planned in resolver.block(block) {
            match places.get(&planned.id) {
                Some(place) => {
                    cells[*place].binarise = cells[*place].binarise.max(planned.binarise);
                    cells[*place].explain_too(planned.explain, block.line, &problems);
                }
                None => {
                    places.insert(planned.id.clone(), cells.len());
                    cells.push(planned);
                }
            }
        }
    }
    let Resolver { models, data, notes, .. } = resolver;
    let figures = figures::resolve(&file.figures, &cells, &problems);
    problems.into_result()?;
    let mut notes = notes.into_inner();
    if let Some(limit) = source.limit {
        notes.push(format!("only the first {limit} images of every cell are attacked (--limit): the run is `{name}`"));
    }
    let models = models.into_iter().map(|(_, m)| m).collect();
    Ok(Plan { name, models, data, cells, figures, notes })
}

/// What a run is called.
fn named(name: &str, limit: Option<usize>) -> String {
    limit.map_or(name.to_string(), |limit| format!("{name}-first-{limit}"))
}

/// The images that the run of this name keeps.
fn kept(name: &str, source: &Source) -> Kept {
    let store = source.runs.as_ref().and_then(|runs| Store::open(&runs.join(name)).ok());
    store.map_or(Kept::default(), |store| Kept::by(move |digest| store.read_inputs(digest).ok()))
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

impl Resolver<'_> {
    fn block(&mut self, block: &Block) -> Vec<PlannedCell> {
        let found: Vec<(usize, usize)> =
            block.models.iter().filter_map(|m| self.model(m).map(|index| (index, m.line))).collect();
        let takes: Vec<Takes> = found.iter().map(|(m, _)| Takes::of(&self.models[*m].1.file)).collect();
        let all_data = block.data.as_ref().map_or(Vec::new(), |d| self.all_data(d, &takes, self.source.limit));
        // images that suffer different things are the same images
        let data = all_data.first().copied();
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
        let confidence = self.confidence(block, &threats);
        let precision = self.choose(&block.precision, "precision", Precision::ALL, Precision::name);
        let (through, eot) = (self.through(block), self.eot(block));
        self.refuse_what_has_no_derivative(&through, &models);
        let binarise = self.binarise(block, &threats, &goals, &models);
        if witness == Some(WitnessKind::U8) {
            self.refuse_less_than_a_grey_level(block, &threats);
        }
        self.refuse_more_than_all(block, &threats, &models);
        let (Some(witness), Some(mode), Some(precision)) = (witness, mode, precision) else {
            return Vec::new();
        };
        let within = mode == "within";
        let budgets: usize = threats.iter().map(Vec::len).sum();
        let product = [models.len(), all_data.len(), goals.len(), budgets, attacks.len(), through.len()]
            .iter()
            .try_fold(1usize, |p, n| p.checked_mul(*n));
        if product.is_none_or(|p| p > MOST_CELLS) {
            self.problem(
                block.line,
                format!("this block has more than {MOST_CELLS} cells (hint: several sweep files)"),
            );
            return Vec::new();
        }
        let mut cells = Vec::new();
        for (&model, &data) in models.iter().flat_map(|model| all_data.iter().map(move |data| (model, data))) {
            let explain = block.explain.as_ref().and_then(|e| self.explained_layer(model, e));
            let ways = self.ways(model, &through, eot);
            for At { value: goal, line: goal_line } in &goals {
                for budgets in &threats {
                    for (attack, way) in attacks.iter().flat_map(|a| ways.iter().map(move |way| (a, way))) {
                        let (mut earlier, mut smaller) = (None, Vec::new());
                        for threat in rungs(within, budgets) {
                            match attack.entry.build(&attack.params, &threat) {
                                Ok(built) => {
                                    let refused = match self.check_goal(built.as_ref(), goal, data) {
                                        Err(problem) => Err((*goal_line, problem)),
                                        Ok(()) => built
                                            .check_size(self.models[model].1.file.size)
                                            .map_err(|problem| (attack.line, problem)),
                                    };
                                    if let Err((line, problem)) = refused {
                                        self.problem(line, format!("attack `{}`: {problem}", attack.entry.name));
                                        continue;
                                    }
                                    let of_mode = within.then(|| built.caveat_within()).flatten();
                                    let sighted = way.caveat(built.as_ref());
                                    let unsure = confidence.filter(|_| built.seeks_nearest()).map(|_| {
                                        "it looks for the nearest image, which no network is sure of: `confidence` changes \
                                         nothing"
                                            .to_string()
                                    });
                                    for caveat in [built.caveat(&threat, witness), of_mode, sighted, unsure] {
                                        self.note(caveat.map(|why| format!("attack `{}`: {why}", attack.entry.name)));
                                    }
                                    let mut cell = Cell {
                                        witness,
                                        precision,
                                        confidence,
                                        through: way.through,
                                        eot: way.eot,
                                        votes: way.votes,
                                        ..self.cell(model, data, attack, threat, *goal)
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
                                        explain: explain.clone(),
                                        binarise: binarise.map(|images| images.min(self.data[data].subset.len())),
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

    /// Whether the attack serves the goal on images like these.
    fn check_goal(&self, built: &dyn Attack, goal: &Goal, data: usize) -> Result<(), String> {
        match self.data[data].subset.labelled || !goal.needs_label() {
            true => built.check_goal(goal),
            false => Err("a blank canvas has no label (hint: target:NAME or target:all)".into()),
        }
    }

    fn cell(&self, model: usize, data: usize, attack: &ResolvedAttack, threat: Threat, goal: Goal) -> Cell {
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
            through: None,
            eot: None,
            votes: None,
            confidence: None,
            seed: self.seed,
            train: None,
        }
    }
}
