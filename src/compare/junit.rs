//! The comparison as JUnit XML: one test case a cell, a clean accuracy, a speed, a bench. A case fails where it would alarm;
//! what ends the program with another status is `--fail-on` alone.

use super::view::{self, Labels};
use super::{Comparison, Pace, Verdict};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// What `--junit` writes.
pub fn junit(c: &Comparison) -> String {
    let labels = Labels::of(&c.cells);
    let cells = c.cells.iter().map(|cell| {
        let mut lines = vec![view::cell_row(cell, &labels.label(&cell.cell)).join("  ")];
        lines.extend(view::cell_details(cell));
        let class = format!("{} {}", cell.cell.model.name, cell.cell.data.text());
        let name = format!("{} ({})", labels.label(&cell.cell), cell.id);
        case(&class, &name, status(cell.verdict, &lines))
    });
    let clean = c.clean.iter().map(|clean| {
        let mut lines = vec![view::clean_row(clean).join("  ")];
        lines.extend(view::clean_details(clean));
        let name = format!("{}, {}", clean.model, clean.data);
        case("clean accuracy", &name, status(clean.verdict, &lines))
    });
    let speed = c.speed.iter().map(|s| {
        let line = format!("{:.3} times as long; {}", s.ratio, s.note.clone().unwrap_or_default());
        case("speed", &s.what, status_of_pace(s.pace, line))
    });
    let benches = c.benches.iter().map(|b| {
        let line = b.ratio.map_or(String::new(), |ratio| format!("{ratio:.3} times as long"));
        case("bench", &b.name, status_of_pace(b.pace, line))
    });
    let mut report = Report::new(line(&c.run.name));
    for (name, cases) in [
        ("cells", cells.collect::<Vec<_>>()),
        ("clean accuracy", clean.collect()),
        ("speed", speed.collect()),
        ("benches", benches.collect()),
    ] {
        if !cases.is_empty() {
            report.add_test_suite(suite(name, cases));
        }
    }
    report.to_string().expect("a string can be written to")
}

fn suite(name: &str, cases: Vec<TestCase>) -> TestSuite {
    let mut suite = TestSuite::new(name);
    let skipped = cases.iter().filter(|case| matches!(case.status, TestCaseStatus::Skipped { .. })).count();
    suite.add_test_cases(cases);
    // the crate counts them as `disabled` alone; most readers know this name
    suite.extra.insert("skipped".into(), skipped.to_string().into());
    suite
}

fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(line(name), status);
    case.set_classname(line(class));
    case
}

fn status(verdict: Verdict, lines: &[String]) -> TestCaseStatus {
    let (kind, first) = (verdict.name(), lines.first().map_or("", |line| line));
    match verdict {
        Verdict::Same | Verdict::Steady | Verdict::Recovered => TestCaseStatus::success(),
        Verdict::New | Verdict::StillFailed => skipped(kind, first),
        Verdict::Failed | Verdict::Missing => alarm(NonSuccessKind::Error, kind, lines),
        Verdict::Regressed | Verdict::Weakened | Verdict::Improved | Verdict::Changed => {
            alarm(NonSuccessKind::Failure, kind, lines)
        }
    }
}

fn status_of_pace(pace: Pace, line: String) -> TestCaseStatus {
    match pace {
        Pace::Steady | Pace::Faster => TestCaseStatus::success(),
        Pace::Slower => alarm(NonSuccessKind::Failure, pace.name(), &[line]),
        Pace::Inconclusive | Pace::Missing | Pace::New => skipped(pace.name(), &line),
    }
}

/// `skipped` may carry a message alone.
fn skipped(kind: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(line(&format!("{kind}: {message}")));
    status
}

fn alarm(element: NonSuccessKind, kind: &str, lines: &[String]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(element);
    status.set_message(line(&format!("{kind}: {}", lines.first().map_or("", |first| first))));
    status.set_type(kind).set_description(text(&lines.join("\n")));
    status
}

/// What XML 1.0 does not allow becomes U+FFFD; the crate would drop some of it, and leave the rest.
fn text(text: &str) -> String {
    let readable = |c: char| match c {
        '\t' | '\r' => ' ',
        '\n' => c,
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(readable).collect()
}

/// [`text`] in an attribute, where a reader takes the end of a line for a space.
fn line(line: &str) -> String {
    text(line).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nasty_text_reads_back() {
        let nasty = "<a> & \"b\" 'c'\u{1b}[1m\u{1}\u{ffff} é ]]>\nsecond";
        let expected = "<a> & \"b\" 'c'\u{fffd}[1m\u{fffd}\u{fffd} é ]]>\nsecond";
        let in_a_line = expected.replace('\n', " ");
        let in_a_line = in_a_line.as_str();
        let lines = [nasty.to_string()];
        let cases = vec![case(nasty, nasty, status(Verdict::Changed, &lines)), case("c", "n", skipped("new", nasty))];
        let mut report = Report::new(line(nasty));
        report.add_test_suite(suite("cells", cases));
        let xml = report.to_string().unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap();
        let of = |element: &str| document.descendants().find(|n| n.has_tag_name(element)).unwrap();
        let attributes = |element: &str, names: &[&str]| -> Vec<String> {
            names.iter().map(|name| of(element).attribute(*name).unwrap_or("none").to_string()).collect()
        };
        assert_eq!(attributes("testsuites", &["name", "tests", "failures", "errors"]), [in_a_line, "2", "1", "0"]);
        assert_eq!(attributes("testsuite", &["tests", "failures", "errors", "skipped"]), ["2", "1", "0", "1"]);
        assert_eq!(attributes("testcase", &["classname", "name"]), [in_a_line, in_a_line]);
        let message = format!("changed: {in_a_line}");
        assert_eq!(attributes("failure", &["type", "message"]), ["changed", &message]);
        assert_eq!(of("failure").text(), Some(expected));
        assert_eq!(attributes("skipped", &["message", "type"]), [&format!("new: {in_a_line}"), "none"]);
    }
}
