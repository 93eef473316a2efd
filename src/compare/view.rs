//! What people read of a comparison, shared by the table on stdout and the Markdown page.

use super::{Bits, Clean, Compared, Comparison, Pace, Paired, Verdict, counts};
use crate::record::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Numbers of images shown in one line.
const IMAGES: usize = 20;

/// Cells shown; the JSON has all.
pub const CELLS: usize = 100;

/// Reasons shown.
const REASONS: usize = 20;

/// Characters shown of a value.
const VALUE: usize = 40;

/// Columns of [`cell_row`].
pub const CELL_COLUMNS: [&str; 8] = ["verdict", "cell", "what", "n", "before", "after", "lost, won", "p"];

/// Columns of [`clean_row`].
pub const CLEAN_COLUMNS: [&str; 7] = ["verdict", "clean accuracy of", "n", "before", "after", "lost, won", "p"];

/// Columns of [`speed_rows`].
pub const SPEED_COLUMNS: [&str; 5] = ["pace", "speed of", "time ratio", "95 % interval or p", "note"];

/// `2 regressed, 38 same`.
pub fn cell_counts(c: &Comparison) -> String {
    counts(&c.cells.iter().map(|cell| cell.verdict).collect::<Vec<_>>())
}

/// Cells that are not just as they were, the gravest first, with what to call them.
pub fn noteworthy(c: &Comparison) -> Vec<(&Compared, String)> {
    let labels = Labels::of(&c.cells);
    let unmoved = |cell: &Compared| {
        let flips = cell.robust.as_ref().is_some_and(|r| !r.lost.is_empty() || !r.won.is_empty());
        cell.verdict == Verdict::Same || (cell.verdict == Verdict::Steady && !flips)
    };
    let mut cells: Vec<&Compared> = c.cells.iter().filter(|cell| !unmoved(cell)).collect();
    cells.sort_by_key(|cell| cell.verdict);
    cells.into_iter().map(|cell| (cell, labels.label(&cell.cell))).collect()
}

/// Clean accuracies that moved.
pub fn moved(c: &Comparison) -> impl Iterator<Item = &Clean> {
    c.clean.iter().filter(|clean| clean.verdict != Verdict::Same)
}

/// Speeds of cells, and benches that are not steady.
pub fn speed_rows(c: &Comparison) -> Vec<[String; 5]> {
    let cells = c.speed.iter().map(|s| {
        let interval = s.interval.map_or(String::new(), |(low, high)| format!("{low:.3} to {high:.3}"));
        let ratio = format!("{:.3}", s.ratio);
        let note = s.note.clone().unwrap_or_default();
        [s.pace.name().into(), format!("{} ({} cells)", s.what, s.cells), ratio, interval, note]
    });
    let benches = c.benches.iter().filter(|b| b.pace != Pace::Steady).map(|b| {
        let number = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.3}"));
        let p = b.p.map_or(String::new(), |p| format!("p = {}", p_text(p)));
        [b.pace.name().into(), format!("bench {}", b.name), number(b.ratio), p, bench_note(b.nanoseconds)]
    });
    cells.chain(benches).collect()
}

/// How many benches there are, and how many of them are steady; `None` without benches.
pub fn bench_counts(c: &Comparison) -> Option<String> {
    let steady = c.benches.iter().filter(|b| b.pace == Pace::Steady).count();
    (!c.benches.is_empty()).then(|| format!("{steady} of {} steady", c.benches.len()))
}

fn bench_note(nanoseconds: (Option<f64>, Option<f64>)) -> String {
    let time = |ns: Option<f64>| ns.map_or("none".to_string(), |ns| format!("{:.4} ms", ns / 1e6));
    format!("{}, then {}", time(nanoseconds.0), time(nanoseconds.1))
}

/// One row of the table of cells.
pub fn cell_row(cell: &Compared, label: &str) -> [String; 8] {
    let [n, before, after, flips, p] = numbers(cell.robust.as_ref());
    [cell.verdict.name().into(), cell.id.clone(), label.into(), n, before, after, flips, p]
}

/// One row of the table of clean accuracies.
pub fn clean_row(clean: &Clean) -> [String; 7] {
    let [n, before, after, flips, p] = numbers(Some(&clean.right));
    [clean.verdict.name().into(), format!("{}, {}", clean.model, clean.data), n, before, after, flips, p]
}

fn numbers(test: Option<&Paired>) -> [String; 5] {
    let Some(t) = test else {
        return Default::default();
    };
    let percent = |k: usize| format!("{:.1} %", 100.0 * k as f64 / t.n as f64);
    let flips = format!("{}, {}", t.lost.len(), t.won.len());
    [t.n.to_string(), percent(t.before), percent(t.after), flips, p_text(t.p_holm)]
}

/// Three digits, or an exponent.
pub fn p_text(p: f64) -> String {
    if p >= 0.001 { format!("{p:.3}") } else { format!("{p:.1e}") }
}

/// What else there is to say of a cell that did not stay as it was, a line each.
pub fn cell_details(cell: &Compared) -> Vec<String> {
    let mut lines: Vec<String> = cell.note.iter().cloned().collect();
    if cell.verdict == Verdict::Steady {
        return lines;
    }
    lines.extend(cell.robust.iter().flat_map(paired_details));
    if cell.bits == Some(Bits::Differ) {
        lines.push(match cell.changed.len() {
            0 => "the bits differ in no image that could be named".to_string(),
            _ => images("rows or witnesses differ", &cell.changed),
        });
    }
    lines
}

/// What a clean accuracy that moved lost and won.
pub fn clean_details(clean: &Clean) -> Vec<String> {
    if clean.verdict == Verdict::Steady { Vec::new() } else { paired_details(&clean.right) }
}

/// Why ids differ, each reason once: `9 cells: model.weights was af83…, is 2697…`.
pub fn reasons(c: &Comparison) -> Vec<String> {
    let mut cells: BTreeMap<String, usize> = BTreeMap::new();
    for difference in c.cells.iter().flat_map(|cell| &cell.differences) {
        let (was, is) = apart(&difference.baseline, &difference.run);
        *cells.entry(format!("{} was {was}, is {is}", difference.key)).or_default() += 1;
    }
    let mut lines: Vec<String> = cells.iter().take(REASONS).map(|(why, n)| format!("{n} cells: {why}")).collect();
    if cells.len() > REASONS {
        lines.push(format!("and {} reasons more (the JSON has all)", cells.len() - REASONS));
    }
    lines
}

/// Two values without the words they begin and end with alike, cut off where they are long.
fn apart(a: &str, b: &str) -> (String, String) {
    let (mut a, mut b): (Vec<&str>, Vec<&str>) = (a.split(' ').collect(), b.split(' ').collect());
    while a.len() > 1 && b.len() > 1 && a.last() == b.last() {
        a.pop();
        b.pop();
    }
    let alike = a.iter().zip(&b).take(a.len().min(b.len()) - 1).take_while(|(a, b)| a == b).count();
    let text = |words: &[&str]| match words.join(" ") {
        value if value.is_empty() => "nothing".to_string(),
        value if value.chars().count() > VALUE => value.chars().take(VALUE).chain(['…']).collect(),
        value => value,
    };
    (text(&a[alike..]), text(&b[alike..]))
}

/// The flipped images, and how many could not be paired.
fn paired_details(test: &Paired) -> Vec<String> {
    let mut lines = Vec::new();
    if !test.lost.is_empty() {
        lines.push(images("lost", &test.lost));
    }
    if !test.won.is_empty() {
        lines.push(images("won", &test.won));
    }
    if test.unpaired > 0 {
        lines.push(format!("{} images are on one side only", test.unpaired));
    }
    lines
}

/// `lost: images 3, 17 and 12 more`.
fn images(what: &str, numbers: &[usize]) -> String {
    let shown: Vec<String> = numbers.iter().take(IMAGES).map(usize::to_string).collect();
    let more = numbers.len().saturating_sub(IMAGES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{what}: images {}{more}", shown.join(", "))
}

/// Short names of cells: model, attack and budget, and whatever else differs among them.
pub struct Labels {
    /// Values of each part over all cells.
    values: Vec<BTreeSet<String>>,
    /// Attack, parameter and value, as far as there are several values for an attack.
    params: BTreeSet<(String, String)>,
}

/// Parts of a description that a label names only where they vary.
const PARTS: [fn(&Cell) -> String; 6] = [
    |c| c.data.text(),
    |c| c.goal.name(),
    |c| c.mode.name().to_string(),
    |c| format!("{} witness", c.witness),
    |c| format!("{} gradients", c.precision),
    |c| format!("seed {}", c.seed),
];

impl Labels {
    /// For these cells.
    pub fn of(cells: &[Compared]) -> Labels {
        let values = PARTS.iter().map(|part| cells.iter().map(|c| part(&c.cell)).collect()).collect();
        let all: BTreeSet<(String, String, String)> = cells
            .iter()
            .flat_map(|c| c.cell.attack.params.iter().map(|(k, v)| (c.cell.attack.name.clone(), k.clone(), v.clone())))
            .collect();
        let several = all.iter().zip(all.iter().skip(1)).filter(|(a, b)| (&a.0, &a.1) == (&b.0, &b.1));
        Labels { values, params: several.map(|(a, _)| (a.0.clone(), a.1.clone())).collect() }
    }

    /// `vgg11-half-cifar10, pgd steps 40, linf 8/255`.
    pub fn label(&self, cell: &Cell) -> String {
        let attack = &cell.attack;
        let mut words = vec![attack.name.clone()];
        let varies = |key: &String| self.params.contains(&(attack.name.clone(), key.clone()));
        let params = attack.params.iter().filter(|(key, value)| varies(key) && !value.is_empty());
        words.extend(params.map(|(key, value)| format!("{} {value}", key.replace('_', " "))));
        let mut parts = vec![
            cell.model.name.clone(),
            words.join(" "),
            format!("{} {}", cell.threat.norm.name(), cell.threat.eps_text()),
        ];
        let more = PARTS.iter().zip(&self.values).filter(|(_, values)| values.len() > 1);
        parts.extend(more.map(|(part, _)| part(cell)));
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::apart;

    #[test]
    fn values_are_shown_where_they_differ() {
        let shown = |a, b| apart(a, b);
        assert_eq!(shown("1", "2"), ("1".into(), "2".into()));
        assert_eq!(shown("", "0"), ("nothing".into(), "0".into()));
        assert_eq!(shown("a std=[1, 2] z", "a std=[3, 2] z"), ("std=[1,".into(), "std=[3,".into()));
        assert_eq!(shown("a b", "a b c"), ("b".into(), "b c".into()));
        assert_eq!(shown(&"f".repeat(64), "0").0, format!("{}…", "f".repeat(40)));
    }
}
