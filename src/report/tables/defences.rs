//! Defended networks beside the same without a defence, as tables.

use super::readable::share;
use crate::analysis::binarised::{Tested, tested};
use crate::analysis::defences::{Compared, Defended, compared, defended, left};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::figure::FigureRecord;
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::statistics::wilson;
use crate::table::pages::Stands::{Left, Right, Wrapped};
use crate::table::pages::{Group, NONE, Pages, Row};
use crate::table::{Column, Table, row};
use crate::terms::Through;

/// Columns of `defences.csv`, normative.
const COLUMNS: [Column; 26] = [
    Column::text("cell"),
    Column::text("model"),
    Column::text("defence"),
    Column::text("dataset"),
    Column::text("attack"),
    Column::text("params"),
    Column::text("norm"),
    Column::text("eps"),
    Column::text("goal"),
    Column::text("through"),
    Column::count("eot"),
    Column::count("votes"),
    Column::count("split_votes"),
    Column::count("n"),
    Column::count("robust_correct"),
    Column::number("clean_accuracy"),
    Column::number("robust_accuracy"),
    Column::number("robust_low"),
    Column::number("robust_high"),
    Column::text("bare_model"),
    Column::text("bare_cell"),
    Column::number("bare_robust_accuracy"),
    Column::number("left_over_bare"),
    Column::count("binarised"),
    Column::count("binarised_fooled"),
    Column::count("binarised_guessed"),
];

/// `defences.csv`: one row a complete cell of a defended network.
pub fn table(run: &Run) -> Result<Option<Table>> {
    let row = |(d, test): (Defended, Option<Tested>)| {
        let c = &d.cell.cell;
        let rates = d.cell.rates.as_ref().expect("the cell is complete");
        let share = |k: usize| k as f64 / rates.n as f64;
        let (low, high) = wilson(rates.robust_correct, rates.n);
        let own = c.clone().without_defence();
        let over = d.bare.and_then(|bare| Some((left(d.cell)? - left(bare)?) / 100.0));
        let asked = row![
            d.cell.id.clone(),
            c.model.name.clone(),
            d.defence.to_string(),
            c.data.text(),
            c.attack.name.clone(),
            own.params(),
            c.threat.norm.name(),
            c.threat.eps_text(),
            c.goal.name(),
            c.through.map(Through::name),
            c.eot.map(|k| k as usize),
            c.votes.map(|k| k as usize),
            c.votes.map(|_| d.cell.indicators.split_votes),
        ];
        let counts =
            row![rates.n, rates.robust_correct, share(rates.clean_correct), share(rates.robust_correct), low, high];
        let bare = row![
            d.bare.map(|b| b.cell.model.name.clone()),
            d.bare.map(|b| b.id.clone()),
            d.bare.and_then(left).map(|percent| percent / 100.0),
            over,
            test.map(|t| t.separated),
            test.map(|t| t.fooled),
            test.map(|t| t.guessed),
        ];
        asked.into_iter().chain(counts).chain(bare).collect::<Vec<_>>()
    };
    let mut rows = Vec::new();
    for defended in defended(&run.cells) {
        let test = tested(run.store, defended.cell)?;
        rows.push((defended, test));
    }
    Table::of(&COLUMNS, rows.into_iter().map(row))
}

/// For people: a group an attack, a row a defence.
pub fn readable(run: &Run) -> Result<Option<Pages>> {
    let columns = &[
        ("model", Left),
        ("defence", Wrapped),
        ("clean / %", Right),
        ("blind / %", Right),
        ("adaptive / %", Right),
        ("tested / %", Right),
        ("what is left over the bare network", Left),
    ];
    let note = "What a defended network has right, in percent; in brackets: 95 % Wilson intervals. Blind: the attack asks the network \
                without its defence, as in the papers that proposed it; of attacks that count no iterations, such as Square, FAB \
                and noise, each candidate is tried on the defended network all the same. Adaptive: the attack goes through the \
                defence; of several ways the one that leaves least. A defence falls where that leaves at most 5 points more than \
                is left of the network alone, and fools more than half of what was right. Tested: how often the blind and the adaptive \
                attack find what the binarisation test has hidden; the lower, the less they prove.";
    let general = FigureRecord::default();
    let look = Look::new("table", &general, &run.id, &run.name);
    let cells: Vec<&Summary> = run.cells.iter().collect();
    let legend = Legend::of(&cells, &look);
    let group = |rows: Vec<Compared>| -> Result<Group> {
        let any = rows.iter().find_map(|c| c.bare.or(c.blind).or(c.adaptive)).expect("a row is of a cell");
        let bare = rows.iter().find_map(|c| c.bare);
        let alone = bare.map_or("the network alone is not in this run".into(), |s| {
            format!("{} alone: {} %", s.cell.model.name, robust(Some(s)))
        });
        let attack = bare.map_or(any.cell.attack.name.clone(), |s| legend.names[legend.style(s)].clone());
        let title = format!("{attack}, {}, n = {}; {alone}", any.cell.budget_text(), any.n.unwrap_or(0));
        Ok(Group { title, rows: rows.iter().map(|row| line(run, row)).collect::<Result<_>>()? })
    };
    let groups: Vec<Group> = compared(&run.cells).into_iter().map(group).collect::<Result<_>>()?;
    Ok((!groups.is_empty()).then_some(Pages { columns, groups, note }))
}

fn line(run: &Run, c: &Compared) -> Result<Row> {
    let rates = c.adaptive.or(c.blind).and_then(|s| s.rates.as_ref());
    let clean = rates.map_or(NONE.into(), |r| share(r.clean_correct, r.n));
    let said = c.over().map_or(NONE.into(), |over| {
        let verdict = if c.falls() { ": it falls" } else { "" };
        format!("{over:.1} points{verdict}")
    });
    let tests = [binarised(run, c.blind)?, binarised(run, c.adaptive)?].join(", ");
    let fields = vec![c.model.into(), c.defence.into(), clean, robust(c.blind), robust(c.adaptive), tests, said];
    Ok(Row { fields, bold: None })
}

/// How often an attack finds what the binarisation test has hidden.
fn binarised(run: &Run, s: Option<&Summary>) -> Result<String> {
    let test = s.map(|s| tested(run.store, s)).transpose()?.flatten().filter(|test| test.separated > 0);
    Ok(test.map_or(NONE.into(), |t| format!("{:.0}", 100.0 * t.fooled as f64 / t.separated as f64)))
}

fn robust(s: Option<&Summary>) -> String {
    s.and_then(|s| s.rates.as_ref()).map_or(NONE.into(), |r| share(r.robust_correct, r.n))
}
