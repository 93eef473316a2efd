//! Tables to be read by people, as Markdown and as LaTeX with booktabs: a selection of columns, grouped as the panels of
//! figures are, every rate with its 95 % Wilson interval, rounded by one rule ([`super::rounding`]). Nothing is bold: these
//! tables make no test that would say which row is best.

use super::Run;
use super::look::Look;
use super::robust_accuracy::{Legend, Titles, grouped, panel_key};
use super::rounding::percent;
use super::summary::{Summary, wilson};
use crate::figure::FigureRecord;
use std::collections::BTreeSet;

/// Several tables with the same columns.
pub struct Pages {
    columns: &'static [&'static str],
    groups: Vec<Group>,
}

/// Columns that are text; the others stand to the right.
const TEXTS: usize = 2;

struct Group {
    title: String,
    rows: Vec<Vec<String>>,
}

/// What stands where there is no number.
const NONE: &str = "–";

/// One row a cell, grouped by model, dataset, norm and goal.
pub fn summary(run: &Run) -> Option<Pages> {
    let columns = &["attack", "eps", "robust accuracy / %", "fooled / %", "passes"];
    let row = |s: &Summary, attack: String| {
        let mut row = vec![attack, s.cell.threat.eps.clone()];
        row.extend(match &s.rates {
            None => [s.status, "", ""].map(String::from),
            Some(r) => {
                let robust = if r.labelled { share(r.robust_correct, r.n) } else { NONE.into() };
                let fooled = share(r.clean_correct - r.robust_correct, r.clean_correct);
                let passes = r.forwards.zip(r.backwards).map_or(NONE.into(), |(f, b)| format!("{:.0}", f + b));
                [robust, fooled, passes]
            }
        });
        row
    };
    pages(run, columns, |_| true, row)
}

/// `k` of `n` in percent with its interval.
fn share(k: usize, n: usize) -> String {
    if n == 0 { NONE.into() } else { percent(k as f64 / n as f64, wilson(k, n)) }
}

/// One row a targeted cell: how often the target is predicted.
pub fn targets(run: &Run) -> Option<Pages> {
    let columns = &["attack", "eps", "target before / %", "target after / %", "in the five best after / %"];
    let row = |s: &Summary, attack: String| {
        let (n, t) = (s.n.unwrap_or(0), &s.tally);
        vec![
            attack,
            s.cell.threat.eps.clone(),
            share(t.target[0], n),
            share(t.target[1], n),
            share(t.target_top5[1], n),
        ]
    };
    pages(run, columns, |s| s.cell.goal != "untargeted" && s.rates.is_some(), row)
}

fn pages(
    run: &Run,
    columns: &'static [&'static str],
    wanted: impl Fn(&Summary) -> bool,
    row: impl Fn(&Summary, String) -> Vec<String>,
) -> Option<Pages> {
    let cells: Vec<&Summary> = run.cells.iter().filter(|s| wanted(s)).collect();
    let general = FigureRecord::default();
    let look = Look::new("table", &general, &run.id, &run.name);
    let (legend, titles) = (Legend::of(&cells, &look), Titles::of(&cells, &look));
    let group = |cells: Vec<&Summary>| {
        let clean = cells.iter().find_map(|s| s.rates.as_ref().filter(|r| r.labelled));
        let clean = clean.map_or(String::new(), |r| format!(", clean accuracy {} %", share(r.clean_correct, r.n)));
        let rows = cells.iter().map(|s| row(s, legend.names[legend.style(s)].clone())).collect();
        Group { title: titles.title(cells[0]) + &clean, rows }
    };
    let groups: Vec<Group> = grouped(&cells, panel_key).into_iter().map(group).collect();
    (!groups.is_empty()).then_some(Pages { columns, groups })
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

const INTERVALS: &str = "In brackets: 95 % Wilson intervals. Fooled: of the images that were right. Passes: forward and gradient passes an attacked image.";

impl Pages {
    /// As Markdown.
    pub fn markdown(&self, run: &Run) -> String {
        let line = |fields: &[String]| format!("| {} |\n", fields.join(" | "));
        let mut text = String::new();
        for group in &self.groups {
            text += &format!("### {}\n\n", markdown_text(&group.title));
            text += &line(&self.columns.iter().map(|c| markdown_text(c)).collect::<Vec<_>>());
            let rule = |k: usize| if k < TEXTS { ":---" } else { "---:" };
            text += &line(&(0..self.columns.len()).map(|k| rule(k).to_string()).collect::<Vec<_>>());
            for row in &group.rows {
                text += &line(&row.iter().map(|f| markdown_text(f)).collect::<Vec<_>>());
            }
            text += "\n";
        }
        text + &format!("{INTERVALS}\n\n<!-- {} -->\n", source(run).replace("--", "- -"))
    }

    /// As LaTeX, to be `\input` into a document that uses `booktabs`.
    pub fn latex(&self, run: &Run) -> String {
        let line = |fields: Vec<String>| format!("{} \\\\\n", fields.join(" & "));
        let mut text = format!(
            "% {}\n% needs \\usepackage{{booktabs}}\n\\begingroup\\footnotesize\\setlength{{\\tabcolsep}}{{3.5pt}}\n",
            source(run).replace(['\n', '\r'], " ")
        );
        for group in &self.groups {
            let numbers = "r".repeat(self.columns.len() - TEXTS);
            text += &format!("\\par\\noindent\\textbf{{{}}}\\par\\nobreak\\smallskip\n", latex_text(&group.title));
            text += &format!("\\noindent\\begin{{tabular}}{{@{{}}{}{numbers}@{{}}}}\n\\toprule\n", "l".repeat(TEXTS));
            text += &line(self.columns.iter().map(|c| latex_text(c)).collect());
            text += "\\midrule\n";
            for row in &group.rows {
                text += &line(row.iter().map(|f| latex_text(f)).collect());
            }
            text += "\\bottomrule\n\\end{tabular}\\par\\medskip\n";
        }
        text + &format!("\\noindent {}\\par\\endgroup\n", latex_text(INTERVALS))
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
