//! The comparison as JUnit XML: one test case a cell, a clean accuracy, a speed, a bench. A case fails where it would alarm;
//! what ends the program with another status is `--fail-on` alone.

use super::view::{self, Labels};
use super::{Comparison, Pace, Verdict};

/// One test case.
struct Case {
    class: String,
    name: String,
    /// Element and type of what is wrong, with a message; and more lines.
    problem: Option<(&'static str, &'static str, Vec<String>)>,
}

/// What `--junit` writes.
pub fn junit(c: &Comparison) -> String {
    let labels = Labels::of(&c.cells);
    let cells = c.cells.iter().map(|cell| {
        let mut lines = vec![view::cell_row(cell, &labels.label(&cell.cell)).join("  ")];
        lines.extend(view::cell_details(cell));
        Case {
            class: format!("{} {}", cell.cell.model.name, cell.cell.data.text()),
            name: format!("{} ({})", labels.label(&cell.cell), cell.id),
            problem: problem(cell.verdict, lines),
        }
    });
    let clean = c.clean.iter().map(|clean| {
        let mut lines = vec![view::clean_row(clean).join("  ")];
        lines.extend(view::clean_details(clean));
        Case {
            class: "clean accuracy".into(),
            name: format!("{}, {}", clean.model, clean.data),
            problem: problem(clean.verdict, lines),
        }
    });
    let speed = c.speed.iter().map(|s| {
        let line = format!("{:.3} times as long; {}", s.ratio, s.note.clone().unwrap_or_default());
        Case { class: "speed".into(), name: s.what.clone(), problem: problem_of_pace(s.pace, line) }
    });
    let benches = c.benches.iter().map(|b| {
        let line = b.ratio.map_or(String::new(), |ratio| format!("{ratio:.3} times as long"));
        Case { class: "bench".into(), name: b.name.clone(), problem: problem_of_pace(b.pace, line) }
    });
    let suites: [(&str, Vec<Case>); 4] = [
        ("cells", cells.collect()),
        ("clean accuracy", clean.collect()),
        ("speed", speed.collect()),
        ("benches", benches.collect()),
    ];
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let all: Vec<&Case> = suites.iter().flat_map(|(_, cases)| cases).collect();
    out += &format!("<testsuites name=\"{}\"{}>\n", escaped(&c.run.name), totals(&all));
    for (name, cases) in suites.iter().filter(|(_, cases)| !cases.is_empty()) {
        out += &format!("  <testsuite name=\"{name}\"{}>\n", totals(&cases.iter().collect::<Vec<_>>()));
        cases.iter().for_each(|case| out += &case.text());
        out += "  </testsuite>\n";
    }
    out + "</testsuites>\n"
}

fn problem(verdict: Verdict, lines: Vec<String>) -> Option<(&'static str, &'static str, Vec<String>)> {
    match verdict {
        Verdict::Same | Verdict::Steady | Verdict::Recovered => None,
        Verdict::New | Verdict::StillFailed => Some(("skipped", verdict.name(), lines)),
        Verdict::Failed | Verdict::Missing => Some(("error", verdict.name(), lines)),
        Verdict::Regressed | Verdict::Weakened | Verdict::Improved | Verdict::Changed => {
            Some(("failure", verdict.name(), lines))
        }
    }
}

fn problem_of_pace(pace: Pace, line: String) -> Option<(&'static str, &'static str, Vec<String>)> {
    match pace {
        Pace::Steady | Pace::Faster => None,
        Pace::Slower => Some(("failure", pace.name(), vec![line])),
        Pace::Inconclusive | Pace::Missing | Pace::New => Some(("skipped", pace.name(), vec![line])),
    }
}

fn totals(cases: &[&Case]) -> String {
    let count = |element: &str| cases.iter().filter(|c| c.problem.as_ref().is_some_and(|p| p.0 == element)).count();
    format!(
        " tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"",
        cases.len(),
        count("failure"),
        count("error"),
        count("skipped")
    )
}

impl Case {
    fn text(&self) -> String {
        let head = format!("    <testcase classname=\"{}\" name=\"{}\"", escaped(&self.class), escaped(&self.name));
        let Some((element, kind, lines)) = &self.problem else {
            return format!("{head}/>\n");
        };
        let message = format!("{kind}: {}", lines.first().map_or("", |line| line));
        // `skipped` may carry a message alone
        let body = match *element {
            "skipped" => format!("<skipped message=\"{}\"/>", escaped(&message)),
            _ => format!(
                "<{element} type=\"{kind}\" message=\"{}\">{}</{element}>",
                escaped(&message),
                escaped(&lines.join("\n"))
            ),
        };
        format!("{head}>\n      {body}\n    </testcase>\n")
    }
}

/// A text as content or attribute; characters that XML 1.0 does not allow become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' => out += "&#10;",
            '\t' | '\r' => out.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
