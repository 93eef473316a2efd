//! Tables to be read by people, as Markdown and as LaTeX with booktabs: a selection of columns, grouped as the panels of
//! figures are, every rate with its 95 % Wilson interval, rounded by one rule ([`super::rounding`]). Bold is what a paired
//! test calls the strongest of its budget ([`super::strongest`]).

use super::Run;
use super::look::Look;
use super::patch_area::with_target;
use super::robust_accuracy::{Legend, Titles, grouped, panel_key};
use super::rounding::percent;
use super::strongest::strongest;
use super::summary::{Counts, Summary, wilson};
use super::tables::{self, Asked};
use crate::error::Result;
use crate::figure::FigureRecord;
use crate::terms::Norm;
use std::collections::{BTreeMap, BTreeSet};

/// Several tables with the same columns.
pub struct Pages {
    /// From left to right.
    pub columns: &'static [Column],
    /// In order.
    pub groups: Vec<Group>,
    /// What stands below.
    pub note: &'static str,
}

/// What stands above a column, and how its fields stand.
pub type Column = (&'static str, Stands);

/// How the fields of a column stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// To the left. In LaTeX, where it may be the first alone, in a line of its own above the rows that share it: the names of
    /// attacks are long, and lines are short.
    Above,
    /// To the left; what does not fit goes on in another line.
    Wrapped,
    /// To the left.
    Left,
    /// To the right.
    Right,
}
use Stands::{Above, Left, Right, Wrapped};

/// One table.
pub struct Group {
    /// Stands above.
    pub title: String,
    /// None: the title says it all.
    pub rows: Vec<Row>,
}

/// One line of a table.
pub struct Row {
    /// One a column.
    pub fields: Vec<String>,
    /// The field that is bold.
    pub bold: Option<usize>,
}

/// What stands where there is no number.
pub const NONE: &str = "–";

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
                images says so against each other one (5 %, with Holm's correction for the table).";
    let cells: Vec<&Summary> = run.cells.iter().collect();
    by_cell(run, (columns, note), &cells, row, (2, |v| v.fooled))
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
    by_cell(run, (columns, note), &cells, row, (3, |v| v.target))
}

/// One row a cell and other network: what that says of the witnesses.
pub fn transfer(run: &Run) -> Result<Option<Pages>> {
    let columns =
        &[("attack", Above), ("budget", Left), ("asked", Wrapped), ("accuracy / %", Right), ("target / %", Right)];
    let note = "What another network says of the images that were made for the one above: how often it is right, and how often \
                it sees the target. In brackets: 95 % Wilson intervals.";
    let mut asked: BTreeMap<&str, Vec<Asked>> = BTreeMap::new();
    for other in tables::asked(run)? {
        asked.entry(&other.summary.id).or_default().push(other);
    }
    let cells: Vec<&Summary> = run.cells.iter().filter(|s| asked.contains_key(s.id.as_str())).collect();
    let row = |other: &Asked| {
        let number = |k: Option<usize>| k.map_or(NONE.into(), |k| share(k, other.n));
        Row { fields: vec![other.model.clone(), number(other.right), number(other.target)], bold: None }
    };
    pages(run, (columns, note), &cells, |group| {
        group.iter().flat_map(|s| asked[s.id.as_str()].iter().map(|other| (*s, row(other)))).collect()
    })
}

/// One row a cell: its attack, its budget, and what `row` says. The field in `column`, which shows what counts, may be bold.
fn by_cell(
    run: &Run,
    (columns, note): (&'static [Column], &'static str),
    cells: &[&Summary],
    row: impl Fn(&Summary) -> Vec<String>,
    (column, counts): (usize, Counts),
) -> Result<Option<Pages>> {
    pages(run, (columns, note), cells, |group| {
        let bold = strongest(group, counts).into_iter().map(|bold| bold.then_some(column));
        group.iter().zip(bold).map(|(s, bold)| (*s, Row { fields: row(s), bold })).collect()
    })
}

/// Rows by model, dataset, norm and goal. `rows` makes those of a group, each with the cell that gives its attack and budget.
fn pages<'a>(
    run: &Run,
    (columns, note): (&'static [Column], &'static str),
    cells: &[&'a Summary],
    rows: impl Fn(&[&'a Summary]) -> Vec<(&'a Summary, Row)>,
) -> Result<Option<Pages>> {
    let general = FigureRecord::default();
    let look = Look::new("table", &general, &run.id, &run.name);
    let (legend, titles) = (Legend::of(cells, &look), Titles::of(cells, &look));
    let group = |cells: Vec<&'a Summary>| {
        let clean = cells.iter().find_map(|s| s.rates.as_ref().filter(|r| r.labelled));
        let clean = clean.map_or(String::new(), |r| format!(", clean accuracy {} %", share(r.clean_correct, r.n)));
        let named = |(s, row): (&Summary, Row)| {
            let names = [legend.names[legend.style(s)].clone(), budget(s)];
            Row { fields: names.into_iter().chain(row.fields).collect(), ..row }
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
fn source(run: &Run) -> String {
    let numbers = |of: &dyn Fn(&Summary) -> Option<String>| {
        let found: BTreeSet<String> = run.cells.iter().filter_map(of).collect();
        found.into_iter().collect::<Vec<_>>().join(", ")
    };
    let (n, seed) = (numbers(&|s| s.n.map(|n| n.to_string())), numbers(&|s| Some(s.cell.seed.to_string())));
    let Run { id, name, .. } = run;
    format!("foolproof run {id} ({name}), n = {n}, seed {seed}; re-made by `foolproof report {name}`")
}

/// Width of a letter of a table in em: digits have half of one, bold ones a little more.
const LETTER_EM: f64 = 0.55;

impl Pages {
    /// As Markdown.
    pub fn markdown(&self, run: &Run) -> String {
        let line = |fields: Vec<String>| format!("| {} |\n", fields.join(" | "));
        let mut text = String::new();
        for Group { title, rows } in &self.groups {
            text += &format!("### {}\n\n", markdown_text(title));
            if rows.is_empty() {
                continue;
            }
            text += &line(self.columns.iter().map(|(name, _)| markdown_text(name)).collect());
            let rule = |stands: Stands| if stands == Right { "---:" } else { ":---" };
            text += &line(self.columns.iter().map(|(_, stands)| rule(*stands).to_string()).collect());
            for row in rows {
                text += &line(row.set(markdown_text, |field| format!("**{field}**")));
            }
            text += "\n";
        }
        text + &format!("{}\n\n<!-- {} -->\n", markdown_text(self.note), source(run).replace("--", "- -"))
    }

    /// As LaTeX, to be `\input` into a document that uses `booktabs`.
    pub fn latex(&self, run: &Run) -> String {
        let mut text = format!(
            "% {}\n% needs \\usepackage{{booktabs}}\n\\begingroup\\footnotesize\\raggedright\\parskip0pt\\relax\\setlength{{\\tabcolsep}}{{3.5pt}}\n",
            source(run).replace(['\n', '\r'], " ")
        );
        for Group { title, rows } in &self.groups {
            for (k, part) in self.parts(rows).into_iter().enumerate() {
                let more = if k > 0 { " (continued)" } else { "" };
                text += &format!(
                    "\\par{{\\interlinepenalty10000\\noindent\\textbf{{{}{more}}}\\par}}\\nobreak\\vskip3pt\\relax\n",
                    latex_text(title)
                );
                if !part.is_empty() {
                    text += &self.latex_table(part);
                }
            }
        }
        text + &format!("\\noindent {}\\par\\endgroup\n", latex_text(self.note))
    }

    /// The rows in parts that fit a page: `tabular` does not break. What is above rows stays with them where that is possible.
    fn parts<'a>(&self, rows: &'a [Row]) -> Vec<&'a [Row]> {
        let names = self.columns[0].1 == Above;
        let begins = |k: usize| names && (k == 0 || rows[k].fields[0] != rows[k - 1].fields[0]);
        let (mut parts, mut from, mut lines) = (Vec::new(), 0, 0.0);
        for k in 0..rows.len() {
            let height = if begins(k) { 2.5 } else { 1.0 };
            let enough = if begins(k) { PART_LINES } else { PAGE_LINES };
            if k > from && lines + height > enough {
                parts.push(&rows[from..k]);
                (from, lines) = (k, 1.5);
            }
            lines += height;
        }
        parts.push(&rows[from..]);
        parts
    }

    fn latex_table(&self, rows: &[Row]) -> String {
        // the name above stands in no column
        let first = usize::from(self.columns[0].1 == Above);
        let columns = &self.columns[first..];
        // what begins ragged takes the usual end of a row for a new line
        let last_wraps = columns.last().is_some_and(|(_, stands)| *stands == Wrapped);
        let end = if last_wraps { "\\tabularnewline" } else { "\\\\" };
        let line = |fields: Vec<String>| format!("{} {end}\n", fields.join(" & "));
        let widths = latex_columns(columns, &|k| rows.iter().map(|row| row.fields[first + k].chars().count()).max());
        let mut text = format!("\\noindent\\begin{{tabular}}{{@{{}}{widths}@{{}}}}\n\\toprule\n");
        text += &line(columns.iter().map(|(name, _)| latex_text(name)).collect());
        text += "\\midrule\n";
        let mut above = None;
        for row in rows {
            let mut fields = row.set(latex_text, |field| format!("\\textbf{{{field}}}"));
            if let Some(name) = (first > 0).then(|| fields.remove(0)).filter(|name| above.as_ref() != Some(name)) {
                // of no width, so that no column grows by it
                let rest = columns.len();
                let space = if above.is_some() { "\\addlinespace\n" } else { "" };
                text += &format!(
                    "{space}\\multicolumn{{{rest}}}{{@{{}}l@{{}}}}{{\\rlap{{\\parbox[t]{{\\linewidth}}{{\\raggedright\\strut \
                     {name}\\strut}}}}}} \\\\*\n"
                );
                above = Some(name);
            }
            let ragged = |(field, (_, stands)): (String, &Column)| match stands {
                Wrapped => format!("\\raggedright {field}"),
                _ => field,
            };
            text += &line(fields.into_iter().zip(columns).map(ragged).collect());
        }
        text + "\\bottomrule\n\\end{tabular}\\par\\medskip\n"
    }
}

/// Lines of a table after which it ends with an attack, and after which it ends anyway: a page of the class `article` at 10 pt has
/// 54 lines of this size.
const PART_LINES: f64 = 36.0;
const PAGE_LINES: f64 = 46.0;

/// What the columns are to LaTeX: those that wrap share what the others leave of the line. `letters` says how many the longest
/// field of a column has.
fn latex_columns(columns: &[Column], letters: &dyn Fn(usize) -> Option<usize>) -> String {
    let (mut em, mut wrapped) = (0.0, 0);
    for (k, (name, stands)) in columns.iter().enumerate() {
        match stands {
            Wrapped => wrapped += 1,
            _ => em += LETTER_EM * letters(k).unwrap_or(0).max(name.chars().count()) as f64,
        }
    }
    let gaps = 2 * (columns.len() - 1);
    let column = |(_, stands): &Column| match stands {
        Wrapped => format!("p{{\\dimexpr(\\linewidth-{gaps}\\tabcolsep-{em:.1}em)/{wrapped}\\relax}}"),
        Above | Left => "l".into(),
        Right => "r".into(),
    };
    columns.iter().map(column).collect()
}

impl Row {
    /// Its fields as `escape` writes them, and what is bold as `embolden` does.
    fn set(&self, escape: impl Fn(&str) -> String, embolden: impl Fn(String) -> String) -> Vec<String> {
        let field = |(k, text): (usize, &String)| match self.bold == Some(k) {
            true => embolden(escape(text)),
            false => escape(text),
        };
        self.fields.iter().enumerate().map(field).collect()
    }
}

/// Text in a field of a Markdown table.
fn markdown_text(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => out.push(' '),
            '\\' | '|' | '*' | '_' | '`' | '<' | '#' | '~' => out.extend(['\\', letter]),
            _ => out.push(letter),
        }
    }
    out
}

/// Text that LaTeX sets as it stands, with nothing but its usual fonts; letters that those lack are given by number.
fn latex_text(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', letter]),
            '<' => out.push_str("$<$"),
            '>' => out.push_str("$>$"),
            '|' => out.push_str("$|$"),
            '"' => out.push_str("''"),
            '-' => out.push_str("-{}"), // two would become a dash
            '[' => out.push_str("{[}"), // after \\ it would be an option
            '–' => out.push_str("--"),
            '×' => out.push_str("$\\times$"),
            '→' => out.push_str("$\\to$"),
            '½' => out.push_str("$\\frac12$"),
            ' '..='~' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ÿ' => out.push(letter),
            '\n' | '\r' | '\t' => out.push(' '),
            other => out.push_str(&format!("(U+{:04X})", other as u32)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_with_a_meaning_are_escaped() {
        assert_eq!(latex_text("a_b & 5 % {x}"), "a\\_b \\& 5 \\% \\{x\\}");
        assert_eq!(latex_text("\\~^ é 猫"), "\\textbackslash{}\\textasciitilde{}\\textasciicircum{} é (U+732B)");
        assert_eq!(markdown_text("a|b\n*c*"), "a\\|b \\*c\\*");
    }
}
