//! Tables to be read by people, as Markdown and as LaTeX with booktabs: a selection of columns, grouped as the panels of
//! figures are, every rate with its 95 % Wilson interval, rounded by one rule ([`crate::analysis::rounding`]). Bold is what a paired
//! test calls the strongest of its budget ([`crate::analysis::strongest`]).

use crate::analysis::groups::{grouped, panel_key};
use crate::analysis::paired::Counts;
use crate::analysis::rounding::percent;
use crate::analysis::strongest::strongest;
use crate::analysis::transfers::{self, Asked};
use crate::analysis::worst::{ByCell, NAME, WorstCase, worst_cases};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::figure::FigureRecord;
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::report::draw::titles::{Titles, with_target};
use crate::statistics::wilson;
use crate::table::pages::Stands::{Above, Left, Right, Wrapped};
use crate::table::pages::{Column, Group, NONE, Pages, Row};
use crate::terms::Norm;
use std::collections::{BTreeMap, BTreeSet};

/// One row a cell, grouped by model, dataset, norm and goal.
pub fn summary(run: &Run) -> Result<Option<Pages>> {
    let columns = &[
        ("attack", Above),
        ("budget", Left),
        ("robust accuracy / %", Right),
        ("fooled / %", Right),
        ("passes", Right),
    ];
    let row = |s: &Summary| match &s.rates {
        None => [s.status, "", ""].map(String::from).into(),
        Some(r) => {
            let robust = if r.labelled { share(r.robust_correct, r.n) } else { NONE.into() };
            let fooled = share(r.clean_correct - r.robust_correct, r.clean_correct);
            let passes = r.forwards.zip(r.backwards).map_or(NONE.into(), |(f, b)| format!("{:.0}", f + b));
            vec![robust, fooled, passes]
        }
    };
    let note = "In brackets: 95 % Wilson intervals. Fooled: of the images that were right. Passes: forward and gradient \
                passes an attacked image. Bold: the strongest attack of its budget, where McNemar's exact test on the \
                images says so against each other one (5 %, with Holm's correction for the table). Worst case: an image \
                stands if it stands against every attack of that budget.";
    let cells: Vec<&Summary> = run.cells.iter().collect();
    let worst = worst_cases(&cells);
    let taken = ByCell::new(&worst);
    let below = |group: &[&Summary]| taken.of_group(group).into_iter().map(worst_row).collect();
    by_cell(run, (columns, note), &cells, row, below, (2, |v| v.fooled))
}

/// The worst case of a budget, under the names of its attacks.
fn worst_row<'a>(w: &WorstCase<'a>) -> Named<'a> {
    let name = format!("{NAME} of {}", w.over());
    let fields = vec![share(w.robust, w.n), share(w.right - w.robust, w.right), NONE.into()];
    Named { name: Some(name), cell: w.cells[0], row: Row { fields, bold: None } }
}

/// A row under the name of its attack and its budget.
struct Named<'a> {
    /// `None`: that of the cell.
    name: Option<String>,
    cell: &'a Summary,
    row: Row,
}

/// `k` of `n` in percent with its interval.
pub fn share(k: usize, n: usize) -> String {
    if n == 0 { NONE.into() } else { percent(k as f64 / n as f64, wilson(k, n)) }
}

/// One row a targeted cell: how often the target is predicted.
pub fn targets(run: &Run) -> Result<Option<Pages>> {
    let columns =
        &[("attack", Above), ("budget", Left), ("before / %", Right), ("after / %", Right), ("five best / %", Right)];
    let row = |s: &Summary| {
        let (n, t) = (s.n.unwrap_or(0), &s.tally);
        vec![share(t.target[0], n), share(t.target[1], n), share(t.target_top5[1], n)]
    };
    let note = "How often the target is predicted before and after the attack, and is among the five best after it. In \
                brackets: 95 % Wilson intervals. Bold: the attack of its budget that reaches most targets, where McNemar's \
                exact test on the images says so against each other one (5 %, with Holm's correction for the table).";
    let cells: Vec<&Summary> = run.cells.iter().filter(|s| s.cell.goal.is_targeted() && s.rates.is_some()).collect();
    by_cell(run, (columns, note), &cells, row, |_| Vec::new(), (3, |v| v.target))
}

/// One row a cell and other network: what that says of the witnesses.
pub fn transfer(run: &Run) -> Result<Option<Pages>> {
    let columns =
        &[("attack", Above), ("budget", Left), ("asked", Wrapped), ("accuracy / %", Right), ("target / %", Right)];
    let note = "What another network says of the images that were made for the one above: how often it is right, and how often \
                it sees the target. In brackets: 95 % Wilson intervals.";
    let mut asked: BTreeMap<&str, Vec<Asked>> = BTreeMap::new();
    for other in transfers::asked(run.store, &run.cells)? {
        asked.entry(&other.summary.id).or_default().push(other);
    }
    let cells: Vec<&Summary> = run.cells.iter().filter(|s| asked.contains_key(s.id.as_str())).collect();
    let row = |other: &Asked| {
        let number = |k: Option<usize>| k.map_or(NONE.into(), |k| share(k, other.n));
        Row { fields: vec![other.model.clone(), number(other.right), number(other.target)], bold: None }
    };
    pages(run, (columns, note), &cells, |group| {
        let named = |s, other| Named { name: None, cell: s, row: row(other) };
        group.iter().flat_map(|s| asked[s.id.as_str()].iter().map(|other| named(*s, other))).collect()
    })
}

/// One row a cell: its attack, its budget, and what `row` says; below those of a group, what `more` says of it. The field in
/// `column`, which shows what counts, may be bold.
fn by_cell<'a>(
    run: &Run,
    (columns, note): (&'static [Column], &'static str),
    cells: &[&'a Summary],
    row: impl Fn(&Summary) -> Vec<String>,
    more: impl Fn(&[&Summary]) -> Vec<Named<'a>>,
    (column, counts): (usize, Counts),
) -> Result<Option<Pages>> {
    pages(run, (columns, note), cells, |group| {
        let bold = strongest(group, counts).into_iter().map(|bold| bold.then_some(column));
        let named = |(s, bold): (&&'a Summary, _)| Named { name: None, cell: s, row: Row { fields: row(s), bold } };
        group.iter().zip(bold).map(named).chain(more(group)).collect()
    })
}

/// Rows by model, dataset, norm and goal. `rows` makes those of a group, each with the cell that gives its attack and budget.
fn pages<'a>(
    run: &Run,
    (columns, note): (&'static [Column], &'static str),
    cells: &[&'a Summary],
    rows: impl Fn(&[&'a Summary]) -> Vec<Named<'a>>,
) -> Result<Option<Pages>> {
    let general = FigureRecord::default();
    let look = Look::new("table", &general, &run.id, &run.name);
    let (legend, titles) = (Legend::of(cells, &look), Titles::of(cells, &look));
    let group = |cells: Vec<&'a Summary>| {
        let clean = cells.iter().find_map(|s| s.rates.as_ref().filter(|r| r.labelled));
        let clean = clean.map_or(String::new(), |r| format!(", clean accuracy {} %", share(r.clean_correct, r.n)));
        let named = |Named { name, cell, row }: Named| {
            let name = name.unwrap_or_else(|| legend.names[legend.style(cell)].clone());
            Row { fields: [name, budget(cell)].into_iter().chain(row.fields).collect(), ..row }
        };
        let title = with_target(run, cells[0], titles.title(cells[0]))?;
        Ok(Group { title: title + &clean, rows: rows(&cells).into_iter().map(named).collect() })
    };
    let groups = grouped(cells, panel_key).into_iter().map(group).collect::<Result<Vec<Group>>>()?;
    Ok((!groups.is_empty()).then_some(Pages { columns, groups, note }))
}

/// The budget, whose norm stands in the title: `8/255`, `0.5`, `3`, `10 %` of the area; any image is none.
fn budget(s: &Summary) -> String {
    let threat = &s.cell.threat;
    match threat.norm {
        Norm::Patch => threat.percent(),
        Norm::Any => NONE.into(),
        _ => threat.eps_text(),
    }
}

/// `run 0123…, n = 20, seed 0; re-made by …`.
pub fn source(run: &Run) -> String {
    let numbers = |of: &dyn Fn(&Summary) -> Option<String>| {
        let found: BTreeSet<String> = run.cells.iter().filter_map(of).collect();
        found.into_iter().collect::<Vec<_>>().join(", ")
    };
    let (n, seed) = (numbers(&|s| s.n.map(|n| n.to_string())), numbers(&|s| Some(s.cell.seed.to_string())));
    let Run { id, name, .. } = run;
    format!("foolproof run {id} ({name}), n = {n}, seed {seed}; re-made by `foolproof report {name}`")
}
