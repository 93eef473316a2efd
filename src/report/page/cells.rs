//! What is known of each cell.

use super::html::Html;
use super::words::{cut, goal};
use crate::analysis::{Run, Summary, ladder};
use std::collections::{BTreeMap, BTreeSet};

/// What the cells may take in bytes, with their rows in the table of results.
const ROOM: usize = 5_000_000;
/// Warnings of one kind that are listed; the rest are counted.
pub const WARNINGS: usize = 100;

/// What is known of each cell.
pub struct Cells<'a> {
    /// The section.
    pub html: Html,
    /// Ids of those that have a place on the page.
    pub shown: BTreeSet<&'a str>,
}

/// As many cells as there is room for: those that something is said of, then the others in the order of the plan.
pub fn cells<'a>(run: &'a Run, names: &[String], gallery: &BTreeSet<&str>) -> Cells<'a> {
    let complaints = ladder::complaints(&run.sanity);
    let mut first: BTreeSet<&str> = gallery.clone();
    for row in complaints.iter().take(WARNINGS) {
        first.insert(&row.cell);
        first.extend(row.against.as_deref());
    }
    first.extend(run.cells.iter().filter(|s| s.status == "failed").take(WARNINGS).map(|s| s.id.as_str()));
    let (mut order, rest): (Vec<usize>, Vec<usize>) =
        (0..run.cells.len()).partition(|i| first.contains(run.cells[*i].id.as_str()));
    order.extend(rest);
    let (mut parts, mut size) = (BTreeMap::new(), 0);
    for i in order {
        let part = details(run, &run.cells[i], &names[i]);
        // its row in the table of results takes about as much again
        size += 2 * part.len();
        if size > ROOM {
            break;
        }
        parts.insert(i, part);
    }
    let shown = parts.keys().map(|i| run.cells[*i].id.as_str()).collect();
    let mut html = Html::default();
    html.raw(
        "<section id=\"cells\" aria-labelledby=\"cells-h\"><h2 id=\"cells-h\">Cells</h2><p>A cell is one model, one ",
    );
    html.raw(
        "set of images, one attack with all its parameters, one budget, one goal and one seed. Its id is the head of ",
    );
    html.raw("the SHA-256 of this description.</p>");
    parts.into_values().for_each(|part| html.append(part));
    html.raw("</section>");
    Cells { html, shown }
}

/// One cell: its figures in full, its description, its files, and how it is made again.
fn details(run: &Run, s: &Summary, name: &str) -> Html {
    let mut html = Html::default();
    html.open("details", &[("id", &format!("cell-{}", s.id)), ("class", "cell")]);
    html.raw("<summary>");
    html.element("code", &[], &s.id);
    html.text(&format!(" {} · {name} · {} · {}", s.cell.model.name, s.cell.budget_text(), goal(&s.cell)));
    html.raw("</summary><dl>");
    let mut row = |what: &'static str, text: String| {
        html.element("dt", &[], what);
        html.element("dd", &[], &text);
    };
    row("status", [s.status, &cut(s.error.as_deref().unwrap_or_default())].join(" ").trim().to_string());
    if let Some(r) = &s.rates {
        let percent = |share: Option<f64>| share.map_or("none".into(), |v| format!("{:.2} %", 100.0 * v));
        let interval = r.robust_interval.map_or(String::new(), |(low, high)| {
            format!(", 95 % interval {:.2} to {:.2} % (Wilson)", 100.0 * low, 100.0 * high)
        });
        row("clean accuracy", format!("{} of {}, {}", r.clean_correct, r.n, percent(r.clean_accuracy())));
        row("robust accuracy", format!("{} of {}, {}{interval}", r.robust_correct, r.n, percent(r.robust_accuracy())));
        let fooled = r.clean_correct - r.robust_correct;
        row("attack success rate", format!("{fooled} of {}, {}", r.clean_correct, percent(r.attack_success_rate())));
        row("error rate", format!("{} of {}, {}", r.wrong, r.n, percent(r.error_rate())));
    }
    html.raw("<dt>files</dt><dd>");
    let kept = ["cell.json", "outcomes.csv", "witnesses.safetensors", "provenance.json"];
    let files: &[&str] = match s.status {
        "missing" => &[],
        _ if s.n.is_none() => &[kept[0], kept[3]],
        _ => &kept,
    };
    files.iter().for_each(|file| file_of(&mut html, &format!("cells/{}/{file}", s.id), file));
    if run.store.has_explanation(&s.id) {
        file_of(&mut html, &format!("explanations/{}/maps.safetensors", s.id), "maps.safetensors");
    }
    html.raw("</dd><dt>check it</dt><dd><code>");
    html.text(&format!("foolproof verify {}", run.name));
    html.raw("</code></dd><dt>make it again</dt><dd>delete <code>");
    html.text(&format!("cells/{}", s.id));
    html.raw("</code>, then <code>foolproof --config SWEEP.toml</code> with the sweep file of this name; <code>");
    html.raw("foolproof list SWEEP.toml</code> names its cells</dd></dl>");
    html.raw("<details class=\"description\"><summary>full description</summary><pre tabindex=\"0\">");
    html.text(s.cell.canonical().trim_end());
    html.raw("</pre></details></details>");
    html
}

fn file_of(html: &mut Html, path: &str, name: &str) {
    html.element("a", &[("href", path)], name);
    html.raw(" ");
}
