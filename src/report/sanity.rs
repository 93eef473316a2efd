//! The sanity ladder: what must hold between the cells of a run unless an attack is broken or a net hides its gradients
//! (`docs/methodology.md` has each relation with its test and source). Nothing here looks at an image again.

use super::Run;
use super::readable::{self, Group, Pages, Stands};
use super::summary::{AT_REST, Counts, Paired, Summary, Verdict};
use super::tables::csv;
use crate::error::{Error, Result};

use crate::record::{Cell, Outcome, PublishedRecord, Transfer};
use crate::statistics::{GATE, holm, mcnemar, tails, wilson};
use crate::terms::{Budget, Mode, Norm};
use std::collections::BTreeMap;

/// Columns of `sanity.csv`, normative.
const COLUMNS: [&str; 13] = [
    "relation",
    "verdict",
    "model",
    "cell",
    "against",
    "n",
    "count",
    "against_count",
    "only",
    "only_against",
    "p",
    "p_holm",
    "why",
];

/// What is said of a relation, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// It holds, or misses by what chance explains.
    Ok,
    /// Worth a look.
    Suspicious,
    /// Beyond chance: a bug, or gradients that are hidden.
    Violated,
}

impl Judgement {
    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Judgement::Ok => "ok",
            Judgement::Suspicious => "suspicious",
            Judgement::Violated => "violated",
        }
    }
}

/// One relation, held against the cells of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub relation: &'static str,
    /// What came of it.
    pub verdict: Judgement,
    /// The attacked net.
    pub model: String,
    /// The cell that is to be no stronger, or the one that is looked at.
    pub cell: String,
    /// The cell that is to be no weaker; `None`: the relation is about one cell.
    pub against: Option<String>,
    /// Images compared.
    pub n: usize,
    /// Of these, fooled (or, of a patch, taken for the target; or counted) in `cell`.
    pub count: usize,
    /// The same in `against`.
    pub against_count: Option<usize>,
    /// Images that count in `cell` alone, and in `against` alone.
    pub only: Option<(usize, usize)>,
    /// Chance of so bad a result where the relation just holds; `None`: no chance is involved.
    pub p: Option<f64>,
    /// The same, corrected for all relations of the run (Holm 1979).
    pub p_holm: Option<f64>,
    /// One sentence.
    pub why: String,
    /// The worst that may be said, whatever the figures.
    worst: Judgement,
}

/// Without a correction: what is worth a look.
const LOOK: f64 = 0.05;
/// After Holm's correction: one run in a hundred without a fault has a relation that is called violated.
const BEYOND_CHANCE: f64 = 0.01;
/// Share of all-zero gradients that is worth a look.
const A_FEW: f64 = 0.01;
/// Of fewer iterations a half is one, which says nothing about how a loss ends.
const LONG: usize = 4;
/// Attacks that take one step along the gradient, and those that take many; noise; what is fitted, and what is pasted.
const SINGLE_STEP: &str = "fgsm";
const ITERATIVE: &str = "pgd";
const NOISE: &str = "noise";
const PATCH: &str = "patch";
const PASTE: &str = "paste";
const ONE_PIXEL: &str = "one-pixel";
/// Parameters of which more is not weaker.
const MORE: [&str; 5] = ["steps", "restarts", "draws", "population", "generations"];

/// What another net says of the witnesses of a cell.
pub struct Transferred {
    /// Index of the cell.
    pub cell: usize,
    /// Name and weights of the other net.
    pub model: (String, String),
    /// By number of the image.
    pub verdicts: Vec<Verdict>,
}

/// Number of classes and side of the images of a subset, by its digest.
pub type Shapes = BTreeMap<String, (usize, usize)>;

/// The ladder of a run: relations in order, the cells of each in the order of the plan.
pub fn ladder(run: &Run) -> Result<Vec<Row>> {
    let mut shapes = Shapes::new();
    for s in run.cells.iter().filter(|s| s.rates.is_some() && may_be_unbounded(s)) {
        if !shapes.contains_key(&s.cell.data.digest) {
            let inputs = run.store.read_inputs(&s.cell.data.digest)?;
            shapes.insert(s.cell.data.digest.clone(), (inputs.classes.len(), inputs.side));
        }
    }
    let mut transfers = Vec::new();
    for (cell, s) in run.cells.iter().enumerate().filter(|(_, s)| labelled(s)) {
        for (model, rows) in run.store.read_transfers(&s.id)? {
            if model.weights != s.cell.model.weights {
                let verdicts = transferred(&run.store.read(&s.id)?.outcomes, &rows);
                transfers.push(Transferred { cell, model: (model.name, model.weights), verdicts });
            }
        }
    }
    let mut rows = rows(&run.cells, &shapes, &transfers);
    rows.extend(clean_accuracies(&run.cells, &run.published));
    Ok(rows)
}

fn transferred(outcomes: &[Outcome], rows: &[Transfer]) -> Vec<Verdict> {
    let verdict = |(o, t): (&Outcome, &Transfer)| {
        let right = t.clean_prediction.is_some() && t.clean_prediction == o.label;
        let reached = match o.target {
            Some(_) => t.target_rank == Some(0),
            None => t.prediction != o.label,
        };
        Verdict { example: o.example as u32, fooled: right && reached, ..Verdict::default() }
    };
    outcomes.iter().zip(rows).map(verdict).collect()
}

/// The ladder of some cells.
pub fn rows(cells: &[Summary], shapes: &Shapes, transfers: &[Transferred]) -> Vec<Row> {
    let complete: Vec<&Summary> = cells.iter().filter(|s| labelled(s)).collect();
    let mut rows = Vec::new();
    rows.extend(complete.iter().filter_map(|s| no_budget(s)));
    rows.extend(falls_with_the_budget(&complete));
    rows.extend(MORE.iter().flat_map(|key| more_is_not_weaker(&complete, key)));
    rows.extend(kinds_of_attack(&complete));
    rows.extend(complete.iter().filter_map(|s| unbounded(s, shapes)));
    rows.extend(fitted_here(&complete));
    rows.extend(transfers.iter().flat_map(|t| white_box(t, cells, &complete)));
    rows.extend(clean_predictions(&complete));
    rows.extend(complete.iter().filter_map(|s| zero_gradients(s)));
    rows.extend(complete.iter().filter_map(|s| short_steps(s)));
    rows.extend(complete.iter().filter_map(|s| still_rising(s)));
    judge(rows)
}

/// The verdicts that depend on chance: Holm's correction needs all of them.
fn judge(mut rows: Vec<Row>) -> Vec<Row> {
    let tested: Vec<usize> = (0..rows.len()).filter(|i| rows[*i].p.is_some()).collect();
    let p: Vec<f64> = tested.iter().map(|i| rows[*i].p.expect("filtered")).collect();
    for (i, corrected) in tested.into_iter().zip(holm(&p)) {
        let row = &mut rows[i];
        row.p_holm = Some(corrected);
        let found = match row.p {
            _ if corrected <= BEYOND_CHANCE => Judgement::Violated,
            Some(p) if p <= LOOK => Judgement::Suspicious,
            _ => Judgement::Ok,
        };
        row.verdict = row.verdict.max(found).min(row.worst);
    }
    rows
}

fn labelled(s: &Summary) -> bool {
    s.rates.as_ref().is_some_and(|r| r.n > 0 && r.labelled)
}

const FOOLED: Counts = |v| v.fooled;
const TARGET: Counts = |v| v.target;

/// Two cells on the images they share, the first of which is to be no stronger. Where nothing but chance parts them, each image
/// on which they differ falls to either side as likely as to the
/// other: the exact one-sided test of McNemar (1947).
fn pair(
    relation: &'static str,
    (weaker, stronger): (&Summary, &Summary),
    against: &[Verdict],
    counts: Counts,
    why: &str,
) -> Row {
    let Paired { n, both, only } = Paired::of(&weaker.verdicts, against, counts);
    let p = if only.0 > only.1 { mcnemar(only.0, only.1) / 2.0 } else { 1.0 };
    Row {
        relation,
        verdict: Judgement::Ok,
        model: weaker.cell.model.name.clone(),
        cell: weaker.id.clone(),
        against: Some(stronger.id.clone()),
        n,
        count: both + only.0,
        against_count: Some(both + only.1),
        only: Some(only),
        p: Some(p),
        p_holm: None,
        why: format!("{} alone against {} alone: {why}", only.0, only.1),
        worst: Judgement::Violated,
    }
}

/// A relation about one cell in which chance plays no part.
fn single(relation: &'static str, s: &Summary, n: usize, count: usize, verdict: Judgement, why: String) -> Row {
    Row {
        relation,
        verdict,
        model: s.cell.model.name.clone(),
        cell: s.id.clone(),
        against: None,
        n,
        count,
        against_count: None,
        only: None,
        p: None,
        p_holm: None,
        why,
        worst: Judgement::Violated,
    }
}

/// Items of equal keys, by key; inside a group in order.
fn grouped<'a>(cells: &[&'a Summary], key: impl Fn(&Summary) -> String) -> Vec<Vec<&'a Summary>> {
    let mut groups: Vec<Vec<&Summary>> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for s in cells {
        let place = *places.entry(key(s)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(s),
            None => groups.push(vec![s]),
        }
    }
    groups
}

/// What two cells share that differ in what `change` wipes out. Smaller budgets that a `within` cell builds on differ with
/// its own.
fn but_for(s: &Summary, change: impl Fn(&mut Cell)) -> String {
    let mut cell = s.cell.clone();
    if cell.mode.carries() {
        cell.mode = Mode::Within(Vec::new());
    }
    change(&mut cell);
    cell.canonical()
}

/// Cells at one place: all but the attack is the same.
fn place(s: &Summary) -> String {
    but_for(s, |cell| {
        cell.attack.name.clear();
        cell.attack.revision = 0;
        cell.attack.params.clear();
        cell.train = None;
    })
}

fn eps(s: &Summary) -> f64 {
    s.cell.threat.eps.to_f64()
}

fn param<'a>(s: &'a Summary, name: &str) -> &'a str {
    s.cell.attack.params.get(name).map_or("", String::as_str)
}

fn is(s: &Summary, attack: &str) -> bool {
    s.cell.attack.name == attack
}

/// No change is allowed, so nothing may be fooled.
fn no_budget(s: &Summary) -> Option<Row> {
    let rates = s.rates.as_ref().filter(|_| eps(s) == 0.0 && s.cell.threat.norm != Norm::Any)?;
    let fooled = rates.clean_correct - rates.robust_correct;
    let verdict = if fooled == 0 { Judgement::Ok } else { Judgement::Violated };
    let why = format!("{fooled} images fooled where no change is allowed");
    Some(single("budget 0 equals clean", s, rates.n, fooled, verdict, why))
}

/// A larger budget allows all that a smaller one does.
fn falls_with_the_budget(cells: &[&Summary]) -> Vec<Row> {
    let mut rows = Vec::new();
    for mut group in grouped(cells, |s| but_for(s, |cell| cell.threat.eps = Budget::ZERO)) {
        group.retain(|s| s.cell.threat.norm != Norm::Any && !is(s, PASTE));
        group.sort_by(|a, b| eps(a).total_cmp(&eps(b)));
        for two in group.windows(2) {
            let why = format!(
                "what fools within {} is allowed within {}",
                two[0].cell.threat.eps_text(),
                two[1].cell.threat.eps_text()
            );
            let mut row =
                pair("robust accuracy falls with the budget", (two[0], two[1]), &two[1].verdicts, FOOLED, &why);
            if two[1].cell.mode != Mode::At && row.only.is_some_and(|only| only.0 > 0) {
                // a broken image is carried on, so no chance is involved
                row.verdict = Judgement::Violated;
            }
            rows.push(row);
        }
    }
    rows
}

/// More steps, restarts, draws, candidates or generations search more.
fn more_is_not_weaker(cells: &[&Summary], key: &'static str) -> Vec<Row> {
    let relation = match key {
        "steps" => "more steps are not weaker",
        "restarts" => "more restarts are not weaker",
        "draws" => "more draws are not weaker",
        "population" => "a larger population is not weaker",
        _ => "more generations are not weaker",
    };
    let amount = |s: &Summary| param(s, key).parse::<u64>().ok();
    let with: Vec<&Summary> = cells.iter().copied().filter(|s| amount(s).is_some()).collect();
    let mut rows = Vec::new();
    for mut group in grouped(&with, |s| but_for(s, |cell| drop(cell.attack.params.remove(key)))) {
        group.sort_by_key(|s| amount(s));
        for two in group.windows(2) {
            let why = format!("{key} {} and {}", param(two[0], key), param(two[1], key));
            let mut row = pair(relation, (two[0], two[1]), &two[1].verdicts, FOOLED, &why);
            // the shorter run is the beginning of the longer one; only another device could part them
            let nested = key == "steps"
                && is(two[0], ITERATIVE)
                && two[0].cell.mode == Mode::At
                && !param(two[0], "step_size").contains("steps");
            if nested && row.only.is_some_and(|only| only.0 > 0) {
                row.verdict = Judgement::Suspicious;
            }
            rows.push(row);
        }
    }
    rows
}

/// Attacks that know less against those that know more, at the same budget.
fn kinds_of_attack(cells: &[&Summary]) -> Vec<Row> {
    let mut rows = Vec::new();
    let groups = grouped(cells, place);
    let pairs = |weaker: &dyn Fn(&Summary) -> bool, stronger: &dyn Fn(&Summary) -> bool| {
        let mut found: Vec<(&Summary, &Summary)> = Vec::new();
        for group in &groups {
            for w in group.iter().filter(|s| weaker(s)) {
                found.extend(group.iter().filter(|s| stronger(s)).map(|s| (*w, *s)));
            }
        }
        found
    };
    let many_steps = |s: &Summary| is(s, ITERATIVE) && param(s, "steps").parse::<u64>().is_ok_and(|n| n > 1);
    for two in pairs(&|s| is(s, NOISE), &|s| !is(s, NOISE)) {
        let why = format!("{} asks the net, noise does not", two.1.cell.attack.name);
        rows.push(pair("noise is not stronger", two, &two.1.verdicts, FOOLED, &why));
    }
    for two in pairs(&|s| is(s, SINGLE_STEP), &many_steps) {
        rows.push(pair(
            "iterations are not weaker than one step",
            two,
            &two.1.verdicts,
            FOOLED,
            "many steps against one",
        ));
    }
    let pixel =
        |scan: bool| move |s: &Summary| is(s, ONE_PIXEL) && eps(s) == 1.0 && (param(s, "variant") == "scan") == scan;
    for two in pairs(&pixel(false), &pixel(true)) {
        if param(two.0, "objective") == param(two.1, "objective") {
            let why = "every place with 8 colours against a search with all";
            let row = pair("a scan is not weaker than evolution", two, &two.1.verdicts, FOOLED, why);
            rows.push(Row { worst: Judgement::Suspicious, ..row });
        }
    }
    for two in pairs(&|s| is(s, PASTE), &|s| is(s, PATCH)) {
        let counts = if two.0.cell.goal.is_targeted() { TARGET } else { FOOLED };
        let why = format!("the patch was made for it, `{}` was not", param(two.0, "content"));
        rows.push(pair("a patch is not weaker than its controls", two, &two.1.verdicts, counts, &why));
    }
    let content = |name: &'static str| move |s: &Summary| is(s, PASTE) && param(s, "content") == name;
    for two in pairs(&content("mean"), &content("grey")) {
        let mut row = pair("mean colour is like occlusion", two, &two.1.verdicts, FOOLED, "both only cover");
        row.p = row.only.map(|(b, c)| mcnemar(b, c));
        rows.push(Row { worst: Judgement::Suspicious, ..row });
    }
    rows
}

/// Whether its images could reach a common grey, as far as the cell alone says.
fn may_be_unbounded(s: &Summary) -> bool {
    is(s, ITERATIVE) && s.cell.threat.norm.is_ball() && eps(s) >= 0.5
}

/// Within half the width of the box every image can be turned into the same grey, of which a net can only guess (Athalye,
/// Carlini, Wagner 2018): a gradient attack that leaves more than that does not work.
fn unbounded(s: &Summary, shapes: &Shapes) -> Option<Row> {
    let rates = s.rates.as_ref().filter(|_| may_be_unbounded(s) && !s.cell.goal.is_targeted())?;
    let (classes, side) = *shapes.get(&s.cell.data.digest)?;
    let enough = if s.cell.threat.norm == Norm::Linf { 0.5 } else { 0.5 * ((3 * side * side) as f64).sqrt() };
    if eps(s) < enough || classes < 2 {
        return None;
    }
    let (left, n) = (rates.robust_correct, rates.n);
    let why = format!("{left} of {n} images stand where all could be turned grey; guessing leaves 1 in {classes}");
    let row = single("an unbounded budget leaves nothing", s, n, left, Judgement::Ok, why);
    Some(Row { p: Some(binomial_tail(left, n, 1.0 / classes as f64)), ..row })
}

/// Chance of at least k successes in n trials of probability p.
fn binomial_tail(k: usize, n: usize, p: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    let ln_choose: f64 = (1..=k).map(|i| ((n - k + i) as f64 / i as f64).ln()).sum();
    let mut term = (ln_choose + k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p()).exp();
    let mut sum = 0.0;
    for i in k..=n {
        sum += term;
        term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
    }
    sum.min(1.0)
}

/// A patch fitted to the attacked net against the same fitted to others.
fn fitted_here(cells: &[&Summary]) -> Vec<Row> {
    let nets =
        |s: &Summary| s.cell.train.as_ref().map(|t| t.models.iter().map(|m| m.weights.clone()).collect::<Vec<_>>());
    let fitted: Vec<&Summary> = cells.iter().copied().filter(|s| is(s, PATCH) && nets(s).is_some()).collect();
    let mut rows = Vec::new();
    let key = |s: &Summary| but_for(s, |cell| cell.train.iter_mut().for_each(|t| t.models.clear()));
    for group in grouped(&fitted, key) {
        let own = |s: &&&Summary| nets(s) == Some(vec![s.cell.model.weights.clone()]);
        let elsewhere = |s: &&&Summary| nets(s).is_some_and(|nets| !nets.contains(&s.cell.model.weights));
        for weaker in group.iter().filter(elsewhere) {
            for stronger in group.iter().filter(own) {
                let counts = if weaker.cell.goal.is_targeted() { TARGET } else { FOOLED };
                let why = "fitted to another net against fitted to this one";
                rows.push(pair("white box is not weaker", (weaker, stronger), &stronger.verdicts, counts, why));
            }
        }
    }
    rows
}

/// Witnesses made for another net, against the same attack on this one.
fn white_box(t: &Transferred, cells: &[Summary], complete: &[&Summary]) -> Vec<Row> {
    let source = &cells[t.cell];
    let key = |s: &Summary, name: &str, weights: &str| {
        but_for(s, |cell| {
            cell.train = None;
            cell.model.network.clear();
            cell.model.name = name.to_string();
            cell.model.weights = weights.to_string();
        })
    };
    let wanted = key(source, &t.model.0, &t.model.1);
    let same_net = complete.iter().filter(|s| s.cell.model.weights == t.model.1);
    let own = same_net
        .filter(|s| s.cell.attack == source.cell.attack && key(s, &s.cell.model.name, &s.cell.model.weights) == wanted);
    own.map(|own| {
        let seen = Summary { verdicts: t.verdicts.clone(), ..(*source).clone() };
        let why = format!("witnesses made for {} against those made for it", source.cell.model.name);
        let row = pair("white box is not weaker", (&seen, own), &own.verdicts, FOOLED, &why);
        Row { model: t.model.0.clone(), ..row }
    })
    .collect()
}

/// A net that says now this and now that of one clean image has a random part, of which attack and judge know nothing.
fn clean_predictions(cells: &[&Summary]) -> Vec<Row> {
    let key = |s: &Summary| format!("{} {} {}", s.cell.model.name, s.cell.model.weights, s.cell.data.digest);
    let mut rows = Vec::new();
    for group in grouped(cells, key).iter().filter(|g| g.len() > 1) {
        let mut said: BTreeMap<u32, (&Verdict, &Summary)> = BTreeMap::new();
        let (mut n, mut differ, mut clear, mut other) = (0, 0, 0, None);
        for s in group {
            for v in &s.verdicts {
                let Some((first, _)) = said.get(&v.example) else {
                    said.insert(v.example, (v, s));
                    n += 1;
                    continue;
                };
                if first.clean_prediction != v.clean_prediction {
                    differ += 1;
                    clear += usize::from(!v.near && !first.near);
                    other.get_or_insert(s.id.clone());
                }
            }
        }
        let verdict = match (differ, clear) {
            (0, _) => Judgement::Ok,
            (_, 0) => Judgement::Suspicious,
            _ => Judgement::Violated,
        };
        let why = format!(
            "{differ} clean predictions of {} cells differ from the first, {clear} of them far from a tie",
            group.len()
        );
        let row = single("one net says one thing of a clean image", group[0], n, differ, verdict, why);
        rows.push(Row { against: other, ..row });
    }
    rows
}

/// No test set is larger, and the exact test takes memory in proportion; model files say no more, a plan from elsewhere might.
const MOST_PUBLISHED: u64 = 10_000_000;

/// The clean accuracy against the published one: Fisher's exact test (1935), by itself, because it says nothing of an attack. A
/// run that the gate before it let through is not violated.
fn clean_accuracies(cells: &[Summary], published: &[PublishedRecord]) -> Vec<Row> {
    let row = |p: &PublishedRecord| {
        // a goal may drop images, and the others are no sample then
        let whole = |s: &&Summary| labelled(s) && s.verdicts.len() == s.cell.data.take;
        let of = |s: &&Summary| s.cell.model.weights == p.weights && s.cell.data.digest == p.data;
        let s = cells.iter().filter(of).find(whole)?;
        let rates = s.rates.as_ref()?;
        let (right, n) = (rates.clean_correct, rates.n);
        let (low, high) = tails(right as u64, n as u64, p.correct, p.of);
        let chance = (2.0 * low.min(high)).min(1.0);
        let verdict = match chance {
            _ if low.min(high) < GATE => Judgement::Violated,
            chance if chance <= LOOK => Judgement::Suspicious,
            _ => Judgement::Ok,
        };
        let why = format!("{right} of {n} here, {} of {} published ({})", p.correct, p.of, p.source);
        let row = single("clean accuracy is the published one", s, n, right, verdict, why);
        Some(Row { p: Some(chance), ..row })
    };
    published.iter().filter(|p| p.correct <= p.of && p.of <= MOST_PUBLISHED).filter_map(row).collect()
}

/// A gradient of zero tells nothing: the attack was blind there.
fn zero_gradients(s: &Summary) -> Option<Row> {
    let seen = &s.indicators;
    if seen.with_gradient == 0 {
        return None;
    }
    let (k, n) = (seen.zero_gradient, seen.with_gradient);
    let verdict = match k as f64 / n as f64 {
        share if share < A_FEW => Judgement::Ok,
        _ if wilson(k, n).0 > 0.5 => Judgement::Violated,
        _ => Judgement::Suspicious,
    };
    let why = format!("{k} of {n} attacked images met a gradient of zero everywhere");
    Some(single("gradients are not zero", s, n, k, verdict, why))
}

/// A step that is shorter than asked makes an attack weaker than its parameters say. A row where one may have been.
fn short_steps(s: &Summary) -> Option<Row> {
    let (k, n) = (s.indicators.short_step, s.indicators.with_gradient);
    if k == 0 {
        return None;
    }
    let verdict = if wilson(k, n).0 > 0.5 { Judgement::Violated } else { Judgement::Suspicious };
    let why =
        format!("{k} of {n} attacked images met a gradient that f32 hardly holds: steps may be shorter than asked");
    Some(single("steps are as long as asked", s, n, k, verdict, why))
}

/// Where the second half of the iterations still brought much of what was gained, more of them would bring more.
fn still_rising(s: &Summary) -> Option<Row> {
    let steps = param(s, "steps").parse::<usize>().ok().filter(|n| *n >= LONG)?;
    if s.cell.mode.carries() {
        return None; // it goes on from smaller budgets: of what was gained there, a short run's share is small anyway
    }
    let (k, n) = (s.indicators.rising, s.indicators.standing);
    let median = f64::from(s.indicators.late_gain?);
    // the median, beyond chance
    let verdict = if wilson(k, n).0 > 0.5 { Judgement::Suspicious } else { Judgement::Ok };
    let why = format!(
        "the second half of {steps} steps brought {:.0} % of the gain (median of {n} images that stand, {k} of them above {:.0} %)",
        100.0 * median,
        100.0 * AT_REST
    );
    Some(single("the loss has come to rest", s, n, k, verdict, why))
}

/// `sanity.csv`: one row a relation and pair of cells.
pub fn table(run: &Run) -> Result<Option<Vec<u8>>> {
    if run.sanity.is_empty() {
        return Ok(None);
    }
    let number = |n: Option<usize>| n.map_or(String::new(), |n| n.to_string());
    let chance = |p: Option<f64>| p.map_or(String::new(), |p| format!("{p:.3e}"));
    let rows = run.sanity.iter().map(|r| {
        vec![
            r.relation.to_string(),
            r.verdict.name().to_string(),
            r.model.clone(),
            r.cell.clone(),
            r.against.clone().unwrap_or_default(),
            r.n.to_string(),
            r.count.to_string(),
            number(r.against_count),
            number(r.only.map(|o| o.0)),
            number(r.only.map(|o| o.1)),
            chance(r.p),
            chance(r.p_holm),
            r.why.clone(),
        ]
    });
    csv(&COLUMNS, rows).map(Some)
}

/// For people: what is not ok, the worst first, under a line that says how many are.
pub fn readable(run: &Run) -> Result<Option<Pages>> {
    if run.sanity.is_empty() {
        return Ok(None);
    }
    let complaints = complaints(&run.sanity);
    let all = run.sanity.len();
    let title = format!("{} of {all} relations of the sanity ladder are ok", all - complaints.len());
    let row = |r: &&Row| {
        let cells = [Some(&r.cell), r.against.as_ref()].into_iter().flatten();
        let cells = cells.map(|id| id.get(..8).unwrap_or(id)).collect::<Vec<_>>().join(" ");
        let why = format!("{}: {}", r.model, r.why);
        let fields = vec![r.relation.into(), r.verdict.name().into(), cells, why];
        readable::Row { fields, bold: None }
    };
    let columns =
        &[("relation", Stands::Above), ("verdict", Stands::Left), ("cells", Stands::Left), ("why", Stands::Wrapped)];
    let note = "Suspicious is worth a look; violated is beyond chance: an attack is broken, or the network hides its gradients.";
    let groups = vec![Group { title, rows: complaints.iter().map(row).collect() }];
    Ok(Some(Pages { columns, groups, note }))
}

/// What is not ok, the worst first.
pub fn complaints(rows: &[Row]) -> Vec<&Row> {
    let mut bad: Vec<&Row> = rows.iter().filter(|r| r.verdict != Judgement::Ok).collect();
    bad.sort_by_key(|r| std::cmp::Reverse(r.verdict));
    bad
}

impl Row {
    /// Ids of the cells that it is about.
    pub fn cells(&self) -> impl Iterator<Item = &str> {
        [Some(self.cell.as_str()), self.against.as_deref()].into_iter().flatten()
    }

    /// `violated: gradients are not zero: 12 of 12 attacked … (cell 0123456789abcdef, net)`.
    pub fn line(&self) -> String {
        let cells = match &self.against {
            Some(against) => format!("cells {} and {against}", self.cell),
            None => format!("cell {}", self.cell),
        };
        format!("{}: {}: {} ({cells}, {})", self.verdict.name(), self.relation, self.why, self.model)
    }
}

/// Exit status 3 where a relation is violated.
pub fn strict(rows: &[Row]) -> Result<()> {
    let violated: Vec<&Row> = rows.iter().filter(|r| r.verdict == Judgement::Violated).collect();
    match violated.first() {
        None => Ok(()),
        Some(first) => Err(Error::Gate(format!(
            "{} relations of the sanity ladder are violated, first: {} (hint: `tables/sanity.csv` has all; an attack is \
             broken or the net hides its gradients)",
            violated.len(),
            first.line()
        ))),
    }
}

#[cfg(test)]
pub(super) mod tests;
