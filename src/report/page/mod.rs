//! `report.html`: all of a run on one page that needs nothing but itself. Warnings first, where there are any, then the answer
//! (a card a model), figures, a gallery to click through, tables, and what is known of each cell. No time, path, device or
//! thread count stands on it.

mod cards;
mod cells;
mod gallery;
mod html;
mod tables;
mod words;

use crate::analysis::ladder::{self, Judgement};
use crate::analysis::{Run, Summary};
use crate::digest;
use crate::error::Result;
use base64::Engine as _;
use cells::WARNINGS;
use html::Html;
use std::collections::BTreeSet;
pub use tables::Excerpt;
use words::{attack_names, budget_order, cut, goal, link_to_file, short};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the parts may take in bytes, so that the page stays below 20 MB: figures, tables but that of the results. Cells and the
/// gallery have limits of their own, and what is left is small.
const FIGURES: usize = 5_000_000;
const TABLES: usize = 2_500_000;

/// The page of a run, with the figures among `files`, and with these tables.
pub fn page(run: &Run, files: &[(String, Vec<u8>)], tables: &[(String, Excerpt)]) -> Result<Vec<u8>> {
    let names = attack_names(&run.cells);
    let gallery = gallery::choose(run, &names)?;
    let cells = cells::cells(run, &names, &gallery.cells());
    let page = Page { run, names, shown: cells.shown };
    let mut html = Html::default();
    page.head(&mut html);
    if page.has_warnings() {
        page.warnings(&mut html);
    }
    cards::write(run, &page.names, &|html, id| page.link(html, id, true), &mut html)?;
    figures(&mut html, files);
    gallery.write(&mut html);
    page.summary(&mut html);
    page.tables(&mut html, tables);
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
        html.raw("<nav aria-label=\"Parts of this page\">");
        if self.has_warnings() {
            html.raw("<a href=\"#warnings\">Warnings</a>");
        }
        html.raw(
            "<a href=\"#cards\">At a glance</a><a href=\"#figures\">Figures</a><a href=\"#gallery\">Gallery</a>\
             <a href=\"#summary\">Results</a><a href=\"#tables\">Tables</a><a href=\"#cells\">Cells</a>\
             <a href=\"#commands\">Commands</a></nav>\
             <noscript>Without scripts tables cannot be sorted, and the gallery stays empty.</noscript>\
             </header><main id=\"main\" tabindex=\"-1\">",
        );
    }

    fn has_warnings(&self) -> bool {
        let incomplete = self.run.cells.iter().any(|s| s.status != "ok");
        incomplete || !self.unpinned().is_empty() || !ladder::complaints(&self.run.sanity).is_empty()
    }

    /// What a reader has to know before any number.
    fn warnings(&self, html: &mut Html) {
        html.raw("<section id=\"warnings\" aria-labelledby=\"warnings-h\"><h2 id=\"warnings-h\">Warnings</h2>");
        let complaints = ladder::complaints(&self.run.sanity);
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
        self.ladder(html);
        html.raw("</section>");
    }

    /// How many relations between cells were checked, and what came of it.
    fn ladder(&self, html: &mut Html) {
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
        if !self.has_warnings() {
            self.ladder(html);
        }
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
            html.element("td", &[], &s.cell.data.text());
            html.element("td", &[], name);
            html.element("td", &[("data-v", &budget_order(&s.cell))], &s.cell.budget_text());
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
    fn tables(&self, html: &mut Html, all: &[(String, Excerpt)]) {
        html.raw("<section id=\"tables\" aria-labelledby=\"tables-h\"><h2 id=\"tables-h\">Tables</h2><p>All images: ");
        link_to_file(html, crate::report::tables::images::CSV);
        html.raw(".</p>");
        let mut left = TABLES;
        for (path, table) in all.iter().filter(|(path, _)| path != "tables/summary.csv") {
            html.raw("<details class=\"part\"><summary>");
            html.text(path.trim_start_matches("tables/").trim_end_matches(".csv"));
            html.raw("</summary>");
            let before = html.len();
            let (rows, all) =
                tables::of(html, path, table, left.min(tables::ONE_TABLE), &|html, id| self.link(html, id, true));
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
