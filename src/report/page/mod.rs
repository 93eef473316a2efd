//! `report.html`: all of a run on one page that needs nothing but itself. Warnings first, then the cells, figures, a gallery
//! to click through, tables, and what is known of each cell. No time, path, device or thread count stands on it.

mod gallery;
mod html;
mod tables;

use super::Run;
use super::robust_accuracy::{Ensembles, in_words};
use super::sanity::{self, Judgement};
use super::summary::Summary;
use super::tables::dataset;
use crate::digest;
use crate::error::Result;
use crate::record::Cell;
use crate::terms::{Mode, Precision, WitnessKind};
use base64::Engine as _;
use html::Html;
use std::collections::{BTreeMap, BTreeSet};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the parts may take in bytes, so that the page stays below 20 MB: figures, cells, other tables. The gallery has its
/// own limit, and what is left is small.
const FIGURES: usize = 5_000_000;
const CELLS: usize = 5_000_000;
const TABLES: usize = 2_500_000;
/// Of these, one table.
const ONE_TABLE: usize = 600_000;
/// Warnings of one kind that are listed; the rest are counted.
const WARNINGS: usize = 100;
/// An error message may quote anything.
const LONGEST: usize = 500;

/// The page of a run, with the figures and tables among `files`.
pub fn page(run: &Run, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let names = attack_names(&run.cells);
    let gallery = gallery::choose(run, &names)?;
    let cells = cells(run, &names, &gallery.cells());
    let page = Page { run, names, shown: cells.shown };
    let mut html = Html::default();
    page.head(&mut html);
    page.warnings(&mut html);
    page.summary(&mut html);
    figures(&mut html, files);
    gallery.write(&mut html);
    page.tables(&mut html, files);
    html.append(cells.html);
    page.commands(&mut html);
    html.raw("</main>");
    html.json("gallery-data", &gallery.data);
    html.raw("<script>");
    html.raw(SCRIPT);
    html.raw("</script></body></html>\n");
    Ok(html.finish())
}

struct Page<'a> {
    run: &'a Run<'a>,
    /// Of the attack of each cell.
    names: Vec<String>,
    /// Ids of the cells that have a place on the page.
    shown: BTreeSet<&'a str>,
}

impl Page<'_> {
    fn head(&self, html: &mut Html) {
        // the digest lets this one script run, and no other
        let script = base64::engine::general_purpose::STANDARD.encode(digest::sha256_bytes(SCRIPT.as_bytes()));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; img-src data:; font-src data:; \
             base-uri 'none'; form-action 'none'"
        );
        html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
        html.open("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy)]);
        html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
        html.raw("<meta name=\"color-scheme\" content=\"light dark\">");
        html.element("title", &[], &format!("{} - foolproof", self.run.name));
        html.raw("<style>");
        html.raw(STYLE);
        html.raw("</style></head><body><a class=\"skip\" href=\"#main\">Skip to the content</a><header>");
        html.element("h1", &[], &self.run.name);
        let cells = &self.run.cells;
        let count = |status: &str| cells.iter().filter(|s| s.status == status).count();
        let models: BTreeSet<&str> = cells.iter().map(|s| s.cell.model.name.as_str()).collect();
        let images: usize = cells.iter().filter_map(|s| s.n).sum();
        html.element(
            "p",
            &[],
            &format!(
                "{} cells: {} complete, {} failed, {} missing; {} models; {} outcomes. Measured by foolproof: every success \
                 is an 8-bit image (or, where a cell says so, a float one) that is stored and can be checked again.",
                cells.len(),
                count("ok"),
                count("failed"),
                count("missing"),
                models.len(),
                images
            ),
        );
        html.raw(
            "<nav aria-label=\"Parts of this page\"><a href=\"#warnings\">Warnings</a><a href=\"#summary\">Results</a>\
             <a href=\"#figures\">Figures</a><a href=\"#gallery\">Gallery</a><a href=\"#tables\">Tables</a>\
             <a href=\"#cells\">Cells</a><a href=\"#commands\">Commands</a></nav>\
             <noscript>Without scripts tables cannot be sorted, and the gallery stays empty.</noscript>\
             </header><main id=\"main\" tabindex=\"-1\">",
        );
    }

    /// What a reader has to know before any number.
    fn warnings(&self, html: &mut Html) {
        html.raw("<section id=\"warnings\" aria-labelledby=\"warnings-h\"><h2 id=\"warnings-h\">Warnings</h2>");
        let complaints = sanity::complaints(&self.run.sanity);
        let failed: Vec<&Summary> = self.run.cells.iter().filter(|s| s.status == "failed").collect();
        let missing = self.run.cells.iter().filter(|s| s.status == "missing").count();
        html.raw("<ul class=\"warnings\">");
        for text in self.unpinned() {
            html.element("li", &[("class", "suspicious")], &text);
        }
        if missing > 0 {
            let text = format!("{missing} cells of the plan are not computed yet: the tables are incomplete.");
            html.element("li", &[("class", "suspicious")], &text);
        }
        for s in failed.iter().take(WARNINGS) {
            html.raw("<li class=\"violated\"><strong>failed</strong> ");
            self.link(html, &s.id, true);
            html.text(&format!(" {}: {}", s.cell.model.name, cut(s.error.as_deref().unwrap_or_default())));
            html.raw("</li>");
        }
        for row in complaints.iter().take(WARNINGS) {
            html.open("li", &[("class", row.verdict.name())]);
            html.element("strong", &[], row.verdict.name());
            html.text(&format!(" {}: {} (", row.relation, cut(&row.why)));
            self.link(html, &row.cell, true);
            if let Some(against) = &row.against {
                html.text(" and ");
                self.link(html, against, true);
            }
            html.text(&format!(", {})", row.model));
            html.raw("</li>");
        }
        html.raw("</ul>");
        let more = failed.len().saturating_sub(WARNINGS) + complaints.len().saturating_sub(WARNINGS);
        if more > 0 {
            html.raw("<p>And more, which ");
            link_to_file(html, "tables/sanity.csv");
            html.raw(" and ");
            link_to_file(html, "tables/summary.csv");
            html.element("span", &[], &format!(" name: {more}."));
            html.raw("</p>");
        }
        let checked = self.run.sanity.len();
        let at = |verdict| self.run.sanity.iter().filter(|r| r.verdict == verdict).count();
        let text = format!(
            "{checked} relations of the sanity ladder apply: {} ok, {} suspicious, {} violated. Suspicious is worth a look; \
             violated is beyond chance: an attack is broken, or the net hides its gradients.",
            at(Judgement::Ok),
            at(Judgement::Suspicious),
            at(Judgement::Violated)
        );
        html.element("p", &[], &text);
        html.raw("</section>");
    }

    /// What another machine, or tomorrow's download, might not be the same of.
    fn unpinned(&self) -> Vec<String> {
        let run = self.run;
        let meaning = "The cells name what they were computed with; another machine may load other bytes under the same name, and \
                       then computes other cells. `foolproof fetch SWEEP.toml` prints the lines that pin.";
        let weights = run.unpinned.iter().map(|model| {
            format!("Weights of model `{model}` are not pinned by their SHA-256 (`weights_pinned` = no). {meaning}")
        });
        let data = run.unpinned_data.iter().map(|digest| {
            let trained = run.cells.iter().flat_map(|s| s.cell.train.iter().map(|t| &t.data));
            let named = run.cells.iter().map(|s| &s.cell.data).chain(trained).find(|data| data.digest == *digest);
            let name = named.map_or_else(|| digest.clone(), |data| data.text());
            format!("Files of dataset `{name}` are not pinned by their SHA-256 (`data_pinned` = no). {meaning}")
        });
        weights.chain(data).collect()
    }

    /// The rates of the cells.
    fn summary(&self, html: &mut Html) {
        html.raw("<section id=\"summary\" aria-labelledby=\"summary-h\"><h2 id=\"summary-h\">Results</h2>");
        html.raw(
            "<p>Percent. Robust: right before the attack and not fooled, with its 95 % interval (Wilson). Fooled: of ",
        );
        html.raw(
            "those right before. Wrong: after the attack, whatever it was before. Passes: forward and backward, a ",
        );
        html.raw("mean over attacked images. Every number leads to its cell.</p>");
        self.trimmed(html, self.shown.len(), self.run.cells.len(), "cells", "tables/summary.csv");
        let columns = [
            "cell",
            "model",
            "images",
            "attack",
            "budget",
            "goal",
            "n",
            "clean",
            "robust",
            "robust low",
            "robust high",
            "fooled",
            "wrong",
            "forward",
            "backward",
            "status",
        ];
        tables::begin(html, "Results", &columns);
        for (s, name) in self.run.cells.iter().zip(&self.names).filter(|(s, _)| self.shown.contains(s.id.as_str())) {
            html.raw("<tr><th scope=\"row\">");
            self.link(html, &s.id, true);
            html.raw("</th>");
            html.element("td", &[], &s.cell.model.name);
            html.element("td", &[], &dataset(&s.cell));
            html.element("td", &[], name);
            html.element("td", &[("data-v", &budget_order(&s.cell))], &budget(&s.cell));
            html.element("td", &[], &goal(&s.cell));
            let number = |html: &mut Html, text: Option<String>| {
                html.raw("<td class=\"number\">");
                if let Some(text) = text {
                    let target = format!("#cell-{}", s.id);
                    html.element("a", &[("href", &target), ("tabindex", "-1")], &text);
                }
                html.raw("</td>");
            };
            let rates = s.rates.as_ref();
            let percent = |share: Option<f64>| share.map(|v| format!("{:.1}", 100.0 * v));
            let passes = |mean: Option<f64>| mean.map(|v| format!("{v:.1}"));
            number(html, s.n.map(|n| n.to_string()));
            number(html, percent(rates.and_then(|r| r.clean_accuracy())));
            number(html, percent(rates.and_then(|r| r.robust_accuracy())));
            number(html, percent(rates.and_then(|r| r.robust_interval).map(|i| i.0)));
            number(html, percent(rates.and_then(|r| r.robust_interval).map(|i| i.1)));
            number(html, percent(rates.and_then(|r| r.attack_success_rate())));
            number(html, percent(rates.and_then(|r| r.error_rate())));
            number(html, passes(rates.and_then(|r| r.forwards)));
            number(html, passes(rates.and_then(|r| r.backwards)));
            html.element("td", &[("class", s.status)], s.status);
            html.raw("</tr>");
        }
        tables::end(html);
        html.raw("</section>");
    }

    /// Every other table of the run.
    fn tables(&self, html: &mut Html, files: &[(String, Vec<u8>)]) {
        html.raw("<section id=\"tables\" aria-labelledby=\"tables-h\"><h2 id=\"tables-h\">Tables</h2><p>All images: ");
        link_to_file(html, super::images::CSV);
        html.raw(".</p>");
        let mut left = TABLES;
        for (path, bytes) in files {
            let table = path.starts_with("tables/") && path.ends_with(".csv");
            if !table || path == "tables/summary.csv" {
                continue;
            }
            html.raw("<details class=\"part\"><summary>");
            html.text(path.trim_start_matches("tables/").trim_end_matches(".csv"));
            html.raw("</summary>");
            let before = html.len();
            let (rows, all) =
                tables::of_csv(html, path, bytes, left.min(ONE_TABLE), &|html, id| self.link(html, id, true));
            left = left.saturating_sub(html.len() - before);
            self.trimmed(html, rows, all, "rows", path);
            html.raw("</details>");
        }
        html.raw("</section>");
    }

    /// Says so where not all is shown, and names the file that has it.
    fn trimmed(&self, html: &mut Html, shown: usize, all: usize, what: &'static str, file: &str) {
        html.raw("<p>");
        if shown < all {
            html.element("strong", &[], &format!("{shown} of {all} {what} are shown. "));
        }
        html.raw("All of it: ");
        link_to_file(html, file);
        html.raw("</p>");
    }

    /// How all of it is made again.
    fn commands(&self, html: &mut Html) {
        html.raw("<section id=\"commands\" aria-labelledby=\"commands-h\"><h2 id=\"commands-h\">Commands</h2><dl>");
        let name = &self.run.name;
        for (command, what) in [
            (format!("foolproof verify {name}"), "checks every claim again, from witnesses, weights and data alone"),
            (format!("foolproof report {name}"), "makes this page, tables and figures again, to the byte"),
            (
                format!("foolproof report {name} --strict"),
                "ends with exit status 3 where the sanity ladder is violated",
            ),
            ("foolproof list SWEEP.toml".into(), "prints the cells of a sweep file by their ids, and which are stored"),
            ("foolproof --config SWEEP.toml".into(), "computes the cells that are not stored"),
        ] {
            html.raw("<dt><code>");
            html.text(&command);
            html.raw("</code></dt>");
            html.element("dd", &[], what);
        }
        html.raw("</dl><p>SWEEP.toml is the sweep file with ");
        html.element("code", &[], &format!("name = \"{name}\""));
        html.raw(". Where and how long a cell was computed, its <code>provenance.json</code> says.</p></section>");
    }

    /// A cell, as a link where it has a place on the page.
    fn link(&self, html: &mut Html, id: &str, reachable: bool) {
        if self.shown.contains(id) {
            let target = format!("#cell-{id}");
            let attributes = [("href", target.as_str()), ("class", "id"), ("tabindex", "-1")];
            html.element("a", &attributes[..if reachable { 2 } else { 3 }], short(id));
        } else {
            html.element("code", &[], id);
        }
    }
}

/// The head of an id.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

fn link_to_file(html: &mut Html, path: &str) {
    html.element("a", &[("href", path)], path);
}

/// Every figure, on white: the charts are drawn for paper.
fn figures(html: &mut Html, files: &[(String, Vec<u8>)]) {
    html.raw("<section id=\"figures\" aria-labelledby=\"figures-h\"><h2 id=\"figures-h\">Figures</h2>");
    let mut left = FIGURES;
    for (path, bytes) in files.iter().filter(|(path, _)| path.ends_with(".svg")) {
        let name = path.trim_start_matches("figures/").trim_end_matches(".svg").replace('-', " ");
        html.raw("<figure class=\"chart\">");
        match std::str::from_utf8(bytes) {
            Ok(figure) if bytes.len() <= left => {
                left -= bytes.len();
                html.raw("<div class=\"card\" tabindex=\"0\" role=\"group\" aria-label=\"Figure\">");
                html.svg(figure, &name);
                html.raw("</div>");
            }
            _ => html.raw("<p>Too large for this page.</p>"),
        }
        html.raw("<figcaption>");
        html.text(&name);
        html.raw(" &mdash; ");
        link_to_file(html, path);
        for end in ["pdf", "csv"] {
            html.raw(" ");
            link_to_file(html, &path.replace(".svg", &format!(".{end}")));
        }
        html.raw("</figcaption></figure>");
    }
    html.raw("</section>");
}

/// What is known of each cell.
struct Cells<'a> {
    html: Html,
    shown: BTreeSet<&'a str>,
}

/// As many cells as there is room for: those that something is said of, then the others in the order of the plan.
fn cells<'a>(run: &'a Run, names: &[String], gallery: &BTreeSet<&str>) -> Cells<'a> {
    let complaints = sanity::complaints(&run.sanity);
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
        if size > CELLS {
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
    html.text(&format!(" {} · {name} · {} · {}", s.cell.model.name, budget(&s.cell), goal(&s.cell)));
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

/// `Linf 8/255`, `3 pixels`, `10 % of the area`.
fn budget(cell: &Cell) -> String {
    cell.threat.caption() + if cell.mode == Mode::At { "" } else { ", within" }
}

/// Budgets sort by norm, then by size.
fn budget_order(cell: &Cell) -> String {
    format!("{} {:018.9}", cell.threat.norm.name(), cell.threat.eps.to_f64())
}

/// The goal, and what else tells cells apart.
fn goal(cell: &Cell) -> String {
    let mut text = cell.goal.name();
    if cell.witness != WitnessKind::U8 {
        text += &format!(", {} witness", cell.witness);
    }
    if cell.precision != Precision::F32 {
        text += &format!(", {} gradients", cell.precision);
    }
    if cell.seed != 0 {
        text += &format!(", seed {}", cell.seed);
    }
    text
}

/// Of each cell the attack, with the parameters in which attacks of that name differ.
fn attack_names(cells: &[Summary]) -> Vec<String> {
    let mut values: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for s in cells {
        for (key, value) in &s.cell.attack.params {
            values.entry((&s.cell.attack.name, key)).or_default().insert(value);
        }
    }
    let ensembles = Ensembles::of(cells);
    let name = |s: &Summary| {
        let attack = &s.cell.attack;
        let differs = |key: &str| values.get(&(attack.name.as_str(), key)).is_some_and(|v| v.len() > 1);
        let words = attack.params.iter().filter(|(key, value)| differs(key) && !value.is_empty());
        let words = words.map(|(key, value)| in_words(&key.replace('_', " "), value));
        [attack.name.clone()].into_iter().chain(words).chain(ensembles.fitted_to(s)).collect::<Vec<_>>().join(", ")
    };
    cells.iter().map(name).collect()
}
