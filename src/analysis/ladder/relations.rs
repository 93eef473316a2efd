//! The relations themselves: which cells each is about, and what is counted.

use super::row::{Judgement, LOOK, Row, pair, single};
use crate::analysis::groups::grouped;
use crate::analysis::paired::{Counts, Verdict};
use crate::analysis::summary::{AT_REST, Summary};
use crate::analysis::transfers::Transferred;
use crate::digest;
use crate::record::{Cell, PublishedRecord};
use crate::statistics::{GATE, mcnemar, tails, wilson};
use crate::terms::{Budget, Mode, Norm, Through};
use std::collections::{BTreeMap, HashMap};

/// Number of classes of a subset, and of values of its images, by its digest.
pub type Shapes = BTreeMap<String, (usize, usize)>;

/// Share of all-zero gradients that is worth a look.
const A_FEW: f64 = 0.01;
/// Of fewer iterations a half is one, which says nothing about how a loss ends.
const LONG: usize = 4;
/// Attacks that take one step along the gradient, and those that take many; noise; what is fitted, and what is pasted; AutoAttack
/// and its attacks.
const SINGLE_STEP: &str = "fgsm";
const ITERATIVE: &str = "pgd";
const NOISE: &str = "noise";
const PATCH: &str = "patch";
const PASTE: &str = "paste";
const ONE_PIXEL: &str = "one-pixel";
pub const APGD: &str = "apgd";
pub const FAB: &str = "fab";
pub const SQUARE: &str = "square";
pub const AUTOATTACK: &str = "autoattack";
/// Attacks that look for the nearest image in a ball.
const NEAREST: [&str; 5] = ["ddn", "fmn", "deepfool", "cw", "pdpgd"];
/// All of these: a test holds them to the registry of attacks, which this room does not know.
pub const ATTACKS: [&[&str]; 2] =
    [&[SINGLE_STEP, ITERATIVE, NOISE, PATCH, PASTE, ONE_PIXEL, APGD, FAB, SQUARE, AUTOATTACK], &NEAREST];
/// Parameters of which more is not weaker.
pub const MORE: [&str; 6] = ["steps", "restarts", "draws", "queries", "population", "generations"];

/// Whether it has rates that can be held against others.
pub fn labelled(s: &Summary) -> bool {
    s.rates.as_ref().is_some_and(|r| r.n > 0 && r.labelled)
}

pub const FOOLED: Counts = |v| v.fooled;
const TARGET: Counts = |v| v.target;

/// What is the same of cells, as a digest: a description is long, and a run may have very many.
pub type Same = [u8; 32];

/// What two cells share that differ in what `change` wipes out. Smaller budgets that a `within` cell builds on differ with
/// its own.
fn but_for(s: &Summary, change: impl Fn(&mut Cell)) -> Same {
    let mut cell = s.cell.clone();
    if cell.mode.carries() {
        cell.mode = Mode::Within(Vec::new());
    }
    change(&mut cell);
    digest::sha256_bytes(cell.canonical().as_bytes())
}

/// Cells at one place: all but the attack is the same.
pub fn place(s: &Summary) -> Same {
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

pub fn is(s: &Summary, attack: &str) -> bool {
    s.cell.attack.name == attack
}

/// No change is allowed, so nothing may be fooled.
pub fn no_budget(s: &Summary) -> Option<Row> {
    let rates = s.rates.as_ref().filter(|_| eps(s) == 0.0 && s.cell.threat.norm != Norm::Any)?;
    let fooled = rates.clean_correct - rates.robust_correct;
    let verdict = if fooled == 0 { Judgement::Ok } else { Judgement::Violated };
    let why = format!("{fooled} images fooled where no change is allowed");
    Some(single("budget 0 equals clean", s, rates.n, fooled, verdict, why))
}

/// A larger budget allows all that a smaller one does.
pub fn falls_with_the_budget(cells: &[&Summary]) -> Vec<Row> {
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
pub fn more_is_not_weaker(cells: &[&Summary], key: &'static str) -> Vec<Row> {
    let relation = match key {
        "steps" => "more steps are not weaker",
        "restarts" => "more restarts are not weaker",
        "draws" => "more draws are not weaker",
        "queries" => "more queries are not weaker",
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
pub fn kinds_of_attack(cells: &[&Summary]) -> Vec<Row> {
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

/// An attack that goes through a defence against the same that does not know of it: where the blind one finds more, the defence
/// hides gradients from the other, too.
pub fn adaptive(cells: &[&Summary]) -> Vec<Row> {
    let defended: Vec<&Summary> = cells.iter().copied().filter(|s| s.cell.through.is_some()).collect();
    let mut rows = Vec::new();
    for group in grouped(&defended, |s| but_for(s, |cell| (cell.through, cell.eot) = (None, None))) {
        let (blind, knowing): (Vec<&Summary>, Vec<&Summary>) =
            group.into_iter().partition(|s| s.cell.through == Some(Through::Straight));
        for (blind, knowing) in blind.iter().flat_map(|blind| knowing.iter().map(move |knowing| (*blind, *knowing))) {
            let why = "one goes through the defence, the other does not know of it";
            rows.push(pair(
                "an adaptive attack is not weaker than a blind one",
                (blind, knowing),
                &knowing.verdicts,
                FOOLED,
                why,
            ));
        }
    }
    rows
}

/// Whether its images could reach a common grey, as far as the cell alone says.
pub fn may_be_unbounded(s: &Summary) -> bool {
    let climbs = [ITERATIVE, APGD, AUTOATTACK, FAB].iter().chain(&NEAREST).any(|attack| is(s, attack));
    climbs && s.cell.threat.norm.is_ball() && eps(s) >= 0.5
}

/// Within half the width of the box every image can be turned into the same grey, of which a net can only guess (Athalye,
/// Carlini, Wagner 2018): a gradient attack that leaves more than that does not work.
pub fn unbounded(s: &Summary, shapes: &Shapes) -> Option<Row> {
    let rates = s.rates.as_ref().filter(|_| may_be_unbounded(s) && !s.cell.goal.is_targeted())?;
    let (classes, values) = *shapes.get(&s.cell.data.digest)?;
    let enough = match s.cell.threat.norm {
        Norm::Linf => 0.5,
        Norm::L2 => 0.5 * (values as f64).sqrt(),
        _ => 0.5 * values as f64,
    };
    if eps(s) < enough || classes < 2 {
        return None;
    }
    let (left, n) = (rates.robust_correct, rates.n);
    let why = format!("{left} of {n} images stand where all could be turned grey; guessing leaves 1 in {classes}");
    let row = single("an unbounded budget leaves nothing", s, n, left, Judgement::Ok, why);
    // the passes of a minimal threat may end before the search does
    let worst = if s.cell.threat.eps.is_minimal() { Judgement::Suspicious } else { row.worst };
    Some(Row { p: Some(binomial_tail(left, n, 1.0 / classes as f64)), worst, ..row })
}

/// Chance of at least k successes in n trials of probability p.
pub(super) fn binomial_tail(k: usize, n: usize, p: f64) -> f64 {
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
pub fn fitted_here(cells: &[&Summary]) -> Vec<Row> {
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

/// Complete cells by what a transfer to their net is held against.
pub struct WhiteBoxes<'a> {
    cells: &'a [Summary],
    places: HashMap<Same, Vec<usize>>,
}

impl<'a> WhiteBoxes<'a> {
    /// Those of a run.
    pub fn of(cells: &'a [Summary]) -> WhiteBoxes<'a> {
        let mut places: HashMap<Same, Vec<usize>> = HashMap::new();
        for (place, s) in cells.iter().enumerate().filter(|(_, s)| labelled(s)) {
            let (name, weights) = (&s.cell.model.name, &s.cell.model.weights);
            places.entry(on_net(s, name, weights)).or_default().push(place);
        }
        WhiteBoxes { cells, places }
    }

    /// Witnesses made for another net, against the same attack on this one.
    pub fn rows(&self, t: &Transferred) -> Vec<Row> {
        let source = &self.cells[t.cell];
        let own = self.places.get(&on_net(source, &t.model.0, &t.model.1)).into_iter().flatten();
        own.map(|own| {
            let own = &self.cells[*own];
            let seen = Summary { verdicts: t.verdicts.clone(), ..source.clone() };
            let why = format!("witnesses made for {} against those made for it", source.cell.model.name);
            let row = pair("white box is not weaker", (&seen, own), &own.verdicts, FOOLED, &why);
            Row { model: t.model.0.clone(), ..row }
        })
        .collect()
    }
}

/// The same attack on this net.
fn on_net(s: &Summary, name: &str, weights: &str) -> Same {
    but_for(s, |cell| {
        cell.train = None;
        cell.model.network.clear();
        cell.model.name = name.to_string();
        cell.model.weights = weights.to_string();
    })
}

/// A net that says now this and now that of one clean image has a random part, of which attack and judge know nothing.
pub fn clean_predictions(cells: &[&Summary]) -> Vec<Row> {
    let key = |s: &Summary| format!("{} {} {}", s.cell.model.name, s.cell.model.weights, s.cell.data.digest);
    let mut rows = Vec::new();
    for group in grouped(cells, key).iter().filter(|g| g.len() > 1) {
        let mut said: BTreeMap<u32, Verdict> = BTreeMap::new();
        // of cells that say the same, how many predictions differ from the first, and how many of these are far from a tie
        let mut of_same: HashMap<usize, (usize, usize)> = HashMap::new();
        let (mut differ, mut clear, mut other) = (0, 0, None);
        for s in group {
            let counts = of_same.entry(s.verdicts.clean()).or_insert_with(|| {
                let (mut differ, mut clear) = (0, 0);
                for v in s.verdicts.iter() {
                    let first = said.entry(v.example).or_insert(v);
                    if first.clean_prediction != v.clean_prediction {
                        differ += 1;
                        clear += usize::from(!v.near && !first.near);
                    }
                }
                (differ, clear)
            });
            (differ, clear) = (differ + counts.0, clear + counts.1);
            if counts.0 > 0 {
                other.get_or_insert(s.id.clone());
            }
        }
        let n = said.len();
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
pub fn clean_accuracies(cells: &[Summary], published: &[PublishedRecord]) -> Vec<Row> {
    // a goal may drop images, and the others are no sample then
    let whole = |s: &&Summary| labelled(s) && s.verdicts.len() == s.cell.data.take;
    let mut first: HashMap<(&str, &str), &Summary> = HashMap::new();
    for s in cells.iter().filter(whole) {
        first.entry((&s.cell.model.weights, &s.cell.data.digest)).or_insert(s);
    }
    let row = |p: &PublishedRecord| {
        let s = *first.get(&(p.weights.as_str(), p.data.as_str()))?;
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
pub fn zero_gradients(s: &Summary) -> Option<Row> {
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
pub fn short_steps(s: &Summary) -> Option<Row> {
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
pub fn still_rising(s: &Summary) -> Option<Row> {
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
