//! The answer of a run: of each norm the worst case over all attacks at the budget that papers report most, and the images
//! that were fooled by the smallest changes.

use super::groups::{Key, grouped, line_key};
use super::summary::{Fooled, Summary};
use crate::error::Result;
use crate::statistics::median;
use crate::store::Store;
use crate::terms::Norm;
use std::collections::BTreeMap;

/// The budgets that papers report most for images from [`LARGE`] on, where they are not those of CIFAR's size: RobustBench's
/// for ImageNet (Croce et al. 2021); Engstrom et al. 2019 and Salman et al. 2020.
const USUAL_OF_LARGE: [(Norm, f64); 2] = [(Norm::Linf, 4.0 / 255.0), (Norm::L2, 3.0)];

/// Pixels along the shorter side from which images count as ImageNet's.
const LARGE: usize = 128;

/// What is counted of an attack alone.
const OF_RIGHT: &str = "fooled, of those right before";

/// One number of a card.
pub struct Answer<'a> {
    /// Budget, goal, and images where the card has several sets of them.
    pub asked: String,
    /// What is counted, in words.
    pub what: &'static str,
    /// Images that count, of how many.
    pub count: (usize, usize),
    /// Where the least change was looked for, the median of it; infinite: half of the images or more stand.
    pub median: Option<f64>,
    /// The cell that set it; of several goals one each.
    pub set_by: Vec<&'a Summary>,
    /// What else one has to know of it.
    pub notes: Vec<String>,
    /// By budget: its size, its text, the counts there; empty: there is no axis.
    pub curve: Vec<(f64, String, (usize, usize))>,
}

/// What cells are compared under: the images, the norm, what is judged, and the goal; where the least change was looked for, how
/// long. Images without a true class have a goal a cell, which belong together.
pub fn question(s: &Summary) -> Key {
    let (c, blank) = (&s.cell, s.rates.as_ref().is_some_and(|r| !r.labelled));
    let goal = if blank { String::new() } else { c.goal.name() };
    let search = if c.threat.eps.is_minimal() { c.threat.eps_text() } else { String::new() };
    vec![c.data.digest.clone(), c.threat.norm.name().to_string(), c.witness.to_string(), goal, search]
}

pub fn labelled(s: &Summary) -> bool {
    s.rates.as_ref().is_some_and(|r| r.labelled)
}

/// Cells by the size of their budgets, the smallest first; `None`: a budget is no number, or there is none.
pub fn by_budget<'a>(cells: &[&'a Summary]) -> Option<Vec<(f64, Vec<&'a Summary>)>> {
    let sized = |group: Vec<&'a Summary>| {
        let eps = group[0].cell.threat.eps.radius()?.to_f64();
        (group[0].cell.threat.norm != Norm::Any).then_some((eps, group))
    };
    let groups = grouped(cells, |s| vec![s.cell.threat.eps_text()]).into_iter();
    let mut groups: Vec<_> = groups.map(sized).collect::<Option<_>>()?;
    groups.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(groups)
}

/// The budget nearest to the usual one, and that in words where it was not run.
pub fn nearest_to_usual(budgets: &[(f64, Vec<&Summary>)], size: [usize; 2]) -> (usize, Option<String>) {
    let norm = budgets[0].1[0].cell.threat.norm;
    let of_large = USUAL_OF_LARGE.iter().find(|(of, _)| *of == norm && size[0].min(size[1]) >= LARGE);
    let usual = of_large.map_or(norm.terms().usual, |(_, usual)| *usual);
    let far = |i: &usize| (budgets[*i].0 - usual).abs();
    let at = (0..budgets.len()).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(0);
    let text = match norm {
        Norm::Linf => format!("{:.0}/255", 255.0 * usual),
        Norm::Patch => format!("{:.0} %", 100.0 * usual),
        _ => usual.to_string(),
    };
    (at, (far(&at) > 1e-9).then_some(text))
}

/// The worst case at the usual budget, and at all others for the curve. Of a patch, the attack that fools most: what else may
/// be pasted is another question, and no image is lost to two patches at once.
pub fn at_usual_budget<'a>(budgets: &[(f64, Vec<&'a Summary>)], size: [usize; 2]) -> Answer<'a> {
    let (at, not_run) = nearest_to_usual(budgets, size);
    let cells = &budgets[at].1;
    let strongest =
        *cells.iter().min_by_key(|s| s.rates.as_ref().map(|r| r.robust_correct)).expect("a budget of a cell");
    let patch = strongest.cell.threat.norm == Norm::Patch;
    let count = |cells: &[&Summary]| if patch { most_fooled(cells) } else { worst_case(cells) };
    let mut notes = Vec::new();
    if cells.len() > 1 {
        let (alone, all) = (count(&[strongest]).0, count(cells).0);
        let others = match cells.len() - 1 {
            1 => "The other attack fools".to_string(),
            others => format!("The {others} other attacks fool"),
        };
        notes.push(match alone - all.min(alone) {
            _ if patch => format!("The most of {} tried.", cells.len()),
            0 => format!("{others} no image more."),
            more => format!("{others} {more} more: alone it leaves {alone}."),
        });
    }
    notes.extend(not_run.map(|usual| format!("The usual budget, {usual}, was not run: this is the nearest.")));
    let text = |cells: &[&Summary]| cells[0].cell.budget_text();
    let curve = budgets.iter().map(|(eps, cells)| (*eps, text(cells), count(cells)));
    let start =
        strongest.rates.as_ref().map_or((0, 0), |r| if patch { (0, r.clean_correct) } else { (r.clean_correct, r.n) });
    Answer {
        asked: String::new(),
        what: if patch { OF_RIGHT } else { "robust" },
        count: count(cells),
        median: None,
        set_by: vec![strongest],
        notes,
        curve: [(0.0, "0".to_string(), start)].into_iter().chain(curve.filter(|(eps, ..)| *eps > 0.0)).collect(),
    }
}

/// Images of all cells, after which they are looked through for those that are listed twice.
const MANY: usize = 1 << 22;

/// Images that were right and that none of these cells fooled, of all. Where the cells differ about what was right before, as those
/// of two machines may, an image has to be right for each.
pub fn worst_case(cells: &[&Summary]) -> (usize, usize) {
    // a run may have millions of verdicts: a sorted list is made faster than a set
    let mut lost: Vec<u32> = Vec::new();
    let tidy = |lost: &mut Vec<u32>| {
        lost.sort_unstable();
        lost.dedup();
    };
    for s in cells {
        lost.extend(s.verdicts.iter().filter(|v| !v.right || v.fooled).map(|v| v.example));
        if lost.len() > MANY {
            tidy(&mut lost);
        }
    }
    tidy(&mut lost);
    let n = cells[0].verdicts.len();
    (n.saturating_sub(lost.len()), n)
}

/// Of the cell that fools most: how many, of those right before.
pub fn most_fooled(cells: &[&Summary]) -> (usize, usize) {
    let counts = cells.iter().filter_map(|s| s.rates.as_ref());
    counts.map(|r| (r.clean_correct - r.robust_correct, r.clean_correct)).max_by_key(|(k, _)| *k).unwrap_or((0, 0))
}

/// Where the least change was looked for: of each image the least that any attack found.
pub fn least_change<'a>(store: &Store, cells: &[&'a Summary]) -> Result<Answer<'a>> {
    let standing = |s: &Summary| s.rates.as_ref().map(|r| r.robust_correct);
    let alone = |s: &&'a Summary| Ok((median_change(&least_changes(store, &[s])?, s), *s));
    let alone = cells.iter().map(alone).collect::<Result<Vec<(f64, &Summary)>>>()?;
    let nearer = |a: &&(f64, &Summary), b: &&(f64, &Summary)| {
        a.0.total_cmp(&b.0).then_with(|| standing(a.1).cmp(&standing(b.1)))
    };
    let (alone, strongest) = *alone.iter().min_by(nearer).expect("a cell of the question");
    let least = least_changes(store, cells)?;
    let all = median_change(&least, cells[0]);
    let right = strongest.rates.as_ref().map_or(0, |r| r.clean_correct);
    let several =
        format!("The least of {} attacks counts; alone it gives {}.", cells.len(), change_text(strongest, alone));
    Ok(Answer {
        asked: String::new(),
        what: OF_RIGHT,
        count: (least.len(), right),
        median: Some(all),
        set_by: vec![strongest],
        notes: (cells.len() > 1).then_some(several).into_iter().collect(),
        curve: Vec::new(),
    })
}

/// Of each image that was fooled, the least change in the norm of the cells.
fn least_changes(store: &Store, cells: &[&Summary]) -> Result<BTreeMap<u32, f32>> {
    let mut least = BTreeMap::new();
    for s in cells {
        for fooled in s.fooled(store)?.iter() {
            let size = fooled.change(s.cell.threat.norm);
            let entry = least.entry(fooled.example).or_insert(size);
            *entry = entry.min(size);
        }
    }
    Ok(least)
}

/// The median of the least changes over the images that were right in cell `s`; one that was not fooled counts as infinitely far.
fn median_change(least: &BTreeMap<u32, f32>, s: &Summary) -> f64 {
    let mut changes: Vec<f64> = least.values().copied().map(f64::from).collect();
    let right = s.rates.as_ref().map_or(0, |r| r.clean_correct);
    changes.resize(right.max(changes.len()), f64::INFINITY);
    median(changes).unwrap_or(f64::INFINITY)
}

/// `1.53/255`, `0.214`.
pub fn change_text(s: &Summary, change: f64) -> String {
    match s.cell.threat.norm {
        _ if change.is_infinite() => "none".to_string(),
        Norm::Linf => format!("{change:.2}/255"),
        _ => format!("{change:.3}"),
    }
}

/// Where there is no budget to compare at, or no true class: the attack that reaches its goal most often, over all goals.
pub fn over_goals<'a>(cells: &[&'a Summary]) -> Answer<'a> {
    let count = |cells: &[&Summary]| match labelled(cells[0]) {
        true => cells.iter().map(|s| most_fooled(&[s])).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        false => cells.iter().fold((0, 0), |a, s| (a.0 + s.tally.target[1], a.1 + s.n.unwrap_or(0))),
    };
    let attack = |s: &Summary| [line_key(s), vec![s.cell.threat.eps_text(), s.cell.seed.to_string()]].concat();
    let attacks = grouped(cells, attack);
    let best = attacks.iter().rev().max_by_key(|cells| count(cells).0).expect("a question of a cell");
    let what = if labelled(cells[0]) { OF_RIGHT } else { "taken for the target" };
    let others = attacks.len() - 1;
    Answer {
        asked: String::new(),
        what,
        count: count(best),
        median: None,
        set_by: best.clone(),
        notes: (others > 0).then(|| format!("The most of {} tried.", attacks.len())).into_iter().collect(),
        curve: Vec::new(),
    }
}

/// The cells whose fooled images stand for a model: those that set the first number with some, else any that fools one.
pub fn shown<'a>(lines: &[Answer<'a>], complete: &[&'a Summary]) -> Vec<&'a Summary> {
    let fools = |s: &&Summary| s.rates.as_ref().is_some_and(|r| r.clean_correct > r.robust_correct);
    let first = lines.iter().map(|line| &line.set_by).find(|cells| cells.iter().any(fools));
    first.cloned().unwrap_or_else(|| complete.iter().copied().find(fools).into_iter().collect())
}

/// Fooled images by the size of the change in the norm of the attack, then the other one, then their numbers.
pub fn nearest<'a>(store: &Store, cells: &[&'a Summary]) -> Result<Vec<(Fooled, &'a Summary)>> {
    let mut all: Vec<(Fooled, &'a Summary)> = Vec::new();
    let size = |(f, s): &(Fooled, &Summary)| match s.cell.threat.norm {
        Norm::Linf => [f.linf_255, f.l2],
        norm => [f.change(norm), f.linf_255],
    };
    for s in cells {
        all.extend(s.fooled(store)?.iter().map(|f| (*f, *s)));
        all.sort_by(|a, b| {
            let (x, y) = (size(a), size(b));
            x[0].total_cmp(&y[0]).then(x[1].total_cmp(&y[1])).then(a.0.example.cmp(&b.0.example))
        });
        all.truncate(PAIRS);
    }
    Ok(all)
}

/// Fooled images of a card.
const PAIRS: usize = 5;
