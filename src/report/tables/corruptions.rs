//! Accuracy on corrupted images, as tables.

use super::readable::share;
use crate::analysis::corruptions::{Suffered, Suffering, cells, images, suffering};
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::figure::FigureRecord;
use crate::report::draw::legend::Legend;
use crate::report::draw::look::Look;
use crate::statistics::wilson;
use crate::table::pages::Stands::{Left, Right};
use crate::table::pages::{Group, NONE, Pages, Row};
use crate::table::{Column, Table, row};

/// Columns of `corruptions.csv`, normative.
const COLUMNS: [Column; 17] = [
    Column::text("cell"),
    Column::text("model"),
    Column::text("dataset"),
    Column::text("corruption"),
    Column::count("severity"),
    Column::text("attack"),
    Column::text("params"),
    Column::text("norm"),
    Column::text("eps"),
    Column::text("goal"),
    Column::count("n"),
    Column::number("clean_accuracy"),
    Column::number("clean_low"),
    Column::number("clean_high"),
    Column::number("robust_accuracy"),
    Column::number("robust_low"),
    Column::number("robust_high"),
];

/// `corruptions.csv`: one row a complete cell of corrupted images.
pub fn table(run: &Run) -> Result<Option<Table>> {
    let row = |(s, suffered): (&Summary, _)| {
        let c = &s.cell;
        let suffered: &crate::record::CorruptionRecord = suffered;
        let rates = s.rates.as_ref().expect("the cell is complete");
        let share = |k: usize| {
            let (low, high) = wilson(k, rates.n);
            row![k as f64 / rates.n as f64, low, high]
        };
        let asked = row![
            s.id.clone(),
            c.model.name.clone(),
            c.data.text(),
            suffered.name.clone(),
            usize::from(suffered.severity),
            c.attack.name.clone(),
            c.params(),
            c.threat.norm.name(),
            c.threat.eps_text(),
            c.goal.name(),
            rates.n,
        ];
        let accuracies = share(rates.clean_correct).into_iter().chain(share(rates.robust_correct));
        asked.into_iter().chain(accuracies).collect::<Vec<_>>()
    };
    Table::of(&COLUMNS, cells(&run.cells).map(row))
}

/// Columns of `corruption-mean.csv`, normative.
const MEAN_COLUMNS: [Column; 20] = [
    Column::text("model"),
    Column::text("dataset"),
    Column::text("images"),
    Column::text("attack"),
    Column::text("params"),
    Column::text("norm"),
    Column::text("eps"),
    Column::text("goal"),
    Column::text("mode"),
    Column::text("witness"),
    Column::text("precision"),
    Column::text("train"),
    Column::count("n"),
    Column::count("corruptions"),
    Column::count("cells"),
    Column::text("whole"),
    Column::number("mean_accuracy"),
    Column::number("mean_low"),
    Column::number("mean_high"),
    Column::number("mce"),
];

/// `corruption-mean.csv`: one row a network, alone or under an attack.
pub fn means(run: &Run) -> Result<Option<Table>> {
    let row = |one: &Suffering| {
        let (c, mean) = (&one.first.cell, one.mean());
        let under = |text: String| one.attacked.then_some(text);
        let whole = if mean.is_whole { "yes" } else { "no" };
        row![
            c.model.name.clone(),
            c.data.name.clone(),
            images(&c.data),
            under(c.attack.name.clone()),
            under(c.params()),
            under(c.threat.norm.name().to_string()),
            under(c.threat.eps_text()),
            under(c.goal.name()),
            under(c.mode.name().to_string()),
            under(c.witness.to_string()),
            under(c.precision.to_string()),
            c.train.as_ref().and_then(|train| under(train.data.text())),
            one.first.n,
            mean.corruptions,
            mean.cells,
            whole,
            mean.accuracy,
            mean.interval.map(|interval| interval.0),
            mean.interval.map(|interval| interval.1),
            mean.mce,
        ]
    };
    Table::of(&MEAN_COLUMNS, suffering(&run.cells).iter().map(row))
}

/// For people: a group a network, alone or under an attack, a row a corruption.
pub fn readable(run: &Run) -> Result<Option<Pages>> {
    let columns = &[
        ("corruption", Left),
        ("1", Right),
        ("2", Right),
        ("3", Right),
        ("4", Right),
        ("5", Right),
        ("mean / %", Right),
    ];
    let note = "What is right on corrupted images, in percent, over severities from 1 to 5. In brackets: 95 % intervals, Wilson's of one \
                cell; of a mean over corruptions, over the images, which are the same in all its cells. The mean weighs all its \
                cells the same. Names that end in -like are made here by the definitions and constants of Hendrycks and Dietterich 2019; \
                their numbers are not those of the published data sets. mCE: mean over corruptions of the error by that of AlexNet.";
    let general = FigureRecord::default();
    let look = Look::new("table", &general, &run.id, &run.name);
    let found = suffering(&run.cells);
    let firsts: Vec<&Summary> = found.iter().map(|one| one.first).collect();
    let legend = Legend::of(&firsts, &look);
    let group = |one: &Suffering| {
        let c = &one.first.cell;
        let attack = || format!(", under {}, {}", legend.names[legend.style(one.first)], one.asked());
        let under = if one.attacked { attack() } else { String::new() };
        let clean = one.clean.map_or(String::new(), |s| {
            let (right, n) = one.right(s);
            format!("; as they are: {} %", share(right, n))
        });
        let title = format!("{}, {}, n = {}{under}{clean}", c.model.name, images(&c.data), one.first.n.unwrap_or(0));
        let mut rows: Vec<Row> = one.corruptions.iter().map(|suffered| line(one, suffered)).collect();
        rows.extend(last_lines(one));
        Group { title, rows }
    };
    let groups: Vec<Group> = found.iter().map(group).collect();
    Ok((!groups.is_empty()).then_some(Pages { columns, groups, note }))
}

/// One corruption.
fn line(one: &Suffering, suffered: &Suffered) -> Row {
    let of = |severity: u8| {
        let right = suffered.cells.get(&severity).map(|s| one.right(s));
        right.map_or(NONE.into(), |(right, n)| share(right, n))
    };
    let cells: Vec<&Summary> = suffered.cells.values().copied().collect();
    let mean = format!("{:.1}", 100.0 * one.mean_of(&cells));
    let fields = [suffered.name.clone()].into_iter().chain((1..=5).map(of)).chain([mean]).collect();
    Row { fields, bold: None }
}

/// The means.
fn last_lines(one: &Suffering) -> Vec<Row> {
    let mean = one.mean();
    let of = |severity: u8| {
        let cells: Vec<&Summary> = one.counted().iter().filter_map(|c| c.cells.get(&severity).copied()).collect();
        if cells.is_empty() { NONE.to_string() } else { format!("{:.1}", 100.0 * one.mean_of(&cells)) }
    };
    let interval =
        mean.interval.map_or(String::new(), |(low, high)| format!(" [{:.1}, {:.1}]", 100.0 * low, 100.0 * high));
    let name = match mean.is_whole {
        true => "mean of the fifteen".to_string(),
        false => format!("mean of {}, {} cells", mean.corruptions, mean.cells),
    };
    let all = format!("{:.1}{interval}", 100.0 * mean.accuracy);
    let fields = [name].into_iter().chain((1..=5).map(of)).chain([all]).collect();
    let mut rows = vec![Row { fields, bold: Some(6) }];
    if let Some(mce) = mean.mce {
        let empty = (1..=5).map(|_| String::new());
        let fields = ["mCE / %".to_string()].into_iter().chain(empty).chain([format!("{:.1}", 100.0 * mce)]).collect();
        rows.push(Row { fields, bold: None });
    }
    rows
}
