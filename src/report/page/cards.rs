//! The answer, first on the page: a card a model. Of each norm the worst case over all attacks at the budget that papers
//! report most, with its interval and the attack that set it; clean accuracy; the same over all budgets as a small curve; and
//! some fooled images. Everything comes from the summaries of the cells; a card reads the witnesses of those it shows.

use super::html::Html;
use super::words::cut;
use crate::analysis::answer::{
    Answer, at_usual_budget, by_budget, change_text, labelled, least_change, nearest, over_goals, question, shown,
};
use crate::analysis::corruptions::{Suffering, images, suffering};
use crate::analysis::groups::grouped;
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::{Inputs, ModelRecord, Outcome};
use crate::report::draw::canvas::encode;
use crate::report::draw::sheet::{caption, picture};
use crate::report::draw::titles::with_class_name;
use crate::statistics::wilson;
use crate::terms::{Goal, WitnessKind};
use base64::Engine as _;
use image::{RgbImage, imageops};
use std::collections::BTreeMap;

/// Models that have a card.
const MOST_CARDS: usize = 40;
/// Numbers of a card.
const MOST_LINES: usize = 6;
/// Larger pictures are made smaller, to this side.
const THUMBNAIL: u32 = 96;
/// All pictures of all cards in bytes of text; each card has its share.
const ROOM: usize = 700_000;

/// Writes the way to the cell of an id.
type Link<'a> = &'a dyn Fn(&mut Html, &str);

/// Cards under construction.
struct Cards<'a> {
    run: &'a Run<'a>,
    /// Writes the way to a cell.
    link: Link<'a>,
    /// Of the attacks, by the cells' ids.
    names: BTreeMap<&'a str, &'a str>,
    /// Sets of images, by digest.
    inputs: BTreeMap<String, Inputs>,
    /// Networks on corrupted images.
    suffering: Vec<Suffering<'a>>,
}

/// Writes the section with all cards.
pub fn write(run: &Run, names: &[String], link: Link, html: &mut Html) -> Result<()> {
    let names = run.cells.iter().zip(names).map(|(s, name)| (s.id.as_str(), name.as_str())).collect();
    let suffering = suffering(&run.cells);
    let mut cards = Cards { run, link, names, inputs: BTreeMap::new(), suffering };
    let cells: Vec<&Summary> = run.cells.iter().collect();
    let model = |s: &Summary| [&s.cell.model.name, &s.cell.model.network, &s.cell.model.weights].map(String::clone);
    let models = grouped(&cells, |s| model(s).to_vec());
    html.raw("<section id=\"cards\" aria-labelledby=\"cards-h\"><h2 id=\"cards-h\">At a glance</h2>");
    html.raw(
        "<p>Worst case: an image is robust if it was right before, and no attack of this run fooled it within the ",
    );
    html.raw("budget. Intervals are of 95 % (Wilson). Curves go from no change to the largest budget, between lines at 0 and ");
    html.raw("100 %; the larger dot is the number above.</p><div class=\"answers\">");
    let room = ROOM / models.len().clamp(1, MOST_CARDS);
    for cells in models.iter().take(MOST_CARDS) {
        let ModelRecord { name, weights, .. } = &cells[0].cell.model;
        let alone = models.iter().filter(|other| other[0].cell.model.name == *name).count() == 1;
        let own = if alone { name.clone() } else { format!("{name}, weights {:.8}", weights) };
        cards.card(html, &own, cells, room)?;
    }
    html.raw("</div>");
    if models.len() > MOST_CARDS {
        let text = format!("{} of {} models have a card. The others: Results, below.", MOST_CARDS, models.len());
        html.element("p", &[], &text);
    }
    html.raw("</section>");
    Ok(())
}

/// Which images, and whose word their labels are.
fn on(summary: &Summary) -> String {
    let labels = if summary.cell.data.files.is_some() {
        "; right is what the network says of a picture before the attack"
    } else {
        ""
    };
    match summary.cell.data.corruption {
        Some(_) => format!("on corrupted images of {}", images(&summary.cell.data)),
        None => format!("on {}{labels}", summary.cell.data.text()),
    }
}

impl<'a> Cards<'a> {
    /// The card of one model, of all its cells.
    fn card(&mut self, html: &mut Html, name: &str, cells: &[&'a Summary], room: usize) -> Result<()> {
        html.raw("<article class=\"answer\">");
        html.element("h3", &[], name);
        incomplete(html, cells);
        let complete: Vec<&Summary> =
            cells.iter().copied().filter(|s| s.rates.as_ref().is_some_and(|r| r.n > 0)).collect();
        // of corrupted images the means are asked for
        let as_they_are: Vec<&Summary> =
            complete.iter().copied().filter(|s| s.cell.data.corruption.is_none()).collect();
        if let Some(first) = as_they_are.first().or(complete.first()) {
            html.element("p", &[("class", "quiet")], &on(first));
        }
        let questions = grouped(&as_they_are, question);
        let mut lines = Vec::new();
        for question in questions.iter().take(MOST_LINES) {
            lines.push(self.line(question, cells, as_they_are[0])?);
        }
        html.raw("<dl>");
        clean(html, &as_they_are);
        self.means(html, cells);
        lines.iter().for_each(|line| self.number(html, line));
        html.raw("</dl>");
        if questions.len() > MOST_LINES {
            let text = format!("{MOST_LINES} of {} settings are shown. The others: Results, below.", questions.len());
            html.element("p", &[], &text);
        }
        match complete.is_empty() {
            true => html.raw("<p>No cell of this model is complete: there is no number yet.</p>"),
            false if as_they_are.is_empty() => {}
            false => self.pairs(html, &shown(&lines, &as_they_are), room)?,
        }
        html.raw("</article>");
        Ok(())
    }

    /// What a model has right on corrupted images, in the mean.
    fn means(&self, html: &mut Html, cells: &[&Summary]) {
        let own = |one: &&Suffering| cells.iter().any(|s| s.id == one.first.id);
        for one in self.suffering.iter().filter(own) {
            let mean = one.mean();
            let budget = if one.attacked { format!(", {}", one.asked()) } else { String::new() };
            let several = if mean.corruptions == 1 { "" } else { "s" };
            html.element("dt", &[], &format!("{} corruption{several}{budget}", mean.corruptions));
            html.raw("<dd>");
            html.element("strong", &[], &format!("{:.1} %", 100.0 * mean.accuracy));
            let done = if one.attacked { "robust" } else { "right" };
            html.text(&format!(" {done}, mean of {} cells on {}", mean.cells, images(&one.first.cell.data)));
            if let Some((low, high)) = mean.interval {
                html.text(&format!(", interval {:.1} to {:.1} %", 100.0 * low, 100.0 * high));
            }
            if one.attacked {
                let name = cut(self.names.get(one.first.id.as_str()).copied().unwrap_or_default());
                html.text(&format!(". Attack: {name}"));
            }
            html.text(".");
            html.raw("</dd>");
        }
    }

    fn inputs(&mut self, digest: &str) -> Result<&Inputs> {
        if !self.inputs.contains_key(digest) {
            self.inputs.insert(digest.to_string(), self.run.store.read_inputs(digest)?);
        }
        Ok(&self.inputs[digest])
    }

    /// What complete cells of one question say; `all` are those of the model, the failed ones too. Images that are not those of
    /// cell `usual` are named.
    fn line(&mut self, cells: &[&'a Summary], all: &[&Summary], usual: &Summary) -> Result<Answer<'a>> {
        let first = cells[0];
        let store = self.run.store;
        let inputs = self.inputs(&first.cell.data.digest)?;
        let size = inputs.size;
        let mut line = match by_budget(cells) {
            _ if first.cell.threat.eps.is_minimal() => least_change(store, cells)?,
            Some(budgets) if labelled(first) => at_usual_budget(&budgets, size),
            _ => over_goals(cells),
        };
        let set_by = line.set_by[0];
        let mut asked = vec![set_by.cell.budget_text()];
        match (set_by.cell.goal, line.set_by.len()) {
            (Goal::Untargeted, 1) => {}
            (goal, 1) => asked.push(with_class_name(goal.name(), &goal, &inputs.classes)),
            (_, goals) => asked.push(format!("{goals} targets")),
        }
        asked.extend((first.cell.witness != WitnessKind::U8).then(|| format!("{} witness", first.cell.witness)));
        asked.extend(other_images(first, usual));
        line.asked = asked.join(", ");
        let of = |s: &Summary| (question(s)[..3].to_vec(), s.cell.threat.eps);
        let one_goal = |s: &Summary| !labelled(set_by) || s.cell.goal == set_by.cell.goal;
        let same = |s: &&&Summary| of(s) == of(set_by) && one_goal(s);
        let lacking = all.iter().filter(|s| s.rates.is_none()).filter(same).count();
        if lacking > 0 {
            line.notes
                .push(format!("{lacking} of the attacks here failed or are missing: the net may be weaker than this."));
        }
        Ok(line)
    }

    /// Name and number, how it came about, and the curve.
    fn number(&self, html: &mut Html, line: &Answer) {
        html.element("dt", &[], &line.asked);
        html.raw("<dd>");
        match line.median {
            Some(median) => change(html, line, median),
            None => rate(html, line.what, line.count),
        }
        let id = &line.set_by[0].id;
        html.text(&format!(". Set by {} (", cut(self.names.get(id.as_str()).copied().unwrap_or_default())));
        (self.link)(html, id);
        html.raw(").");
        line.notes.iter().for_each(|note| html.text(&format!(" {note}")));
        if !line.curve.is_empty() {
            curve(html, line);
        }
        html.raw("</dd>");
    }

    /// The images of these cells that were fooled by the smallest changes: clean, and as they were fooled.
    fn pairs(&mut self, html: &mut Html, cells: &[&'a Summary], room: usize) -> Result<()> {
        let nearest = nearest(self.run.store, cells)?;
        let Some((_, first)) = nearest.first() else {
            html.raw("<p>No image was fooled.</p>");
            return Ok(());
        };
        let name = cut(self.names.get(first.id.as_str()).copied().unwrap_or_default());
        let done = if labelled(first) { "Fooled" } else { "Made" };
        html.element(
            "p",
            &[],
            &format!("{done} by {name} ({}), the smallest changes first:", first.cell.budget_text()),
        );
        html.raw("<div class=\"pairs\">");
        let (mut read, mut left, mut shown) = (BTreeMap::new(), room, 0);
        for (fooled, s) in &nearest {
            if !read.contains_key(&s.id) {
                let levels = self.run.store.read_witnesses(&s.id)?.into_levels();
                read.insert(&s.id, (self.run.store.read(&s.id)?.outcomes, levels));
            }
            let (outcomes, levels) = &read[&s.id];
            let Some(pair) = pair(self.inputs(&s.cell.data.digest)?, outcomes, levels, fooled.example)? else {
                continue;
            };
            if pair.len() > left {
                break;
            }
            left -= pair.len();
            shown += 1;
            html.append(pair);
        }
        html.raw("</div>");
        if shown < nearest.len() {
            html.element("p", &[], &format!("{shown} of {} pictures find room here.", nearest.len()));
        }
        Ok(())
    }
}

/// The images of a cell by name, where they are not those of the other.
fn other_images(s: &Summary, usual: &Summary) -> Option<String> {
    (s.cell.data.digest != usual.cell.data.digest).then(|| s.cell.data.text())
}

/// Says what of a model is missing from its numbers.
fn incomplete(html: &mut Html, cells: &[&Summary]) {
    let failed: Vec<&&Summary> = cells.iter().filter(|s| s.status == "failed").collect();
    if let Some(first) = failed.first() {
        let why = cut(first.error.as_deref().unwrap_or_default());
        let text =
            format!("{} of {} cells failed, and are in no number here. The first: {why}", failed.len(), cells.len());
        html.element("p", &[("class", "violated")], &text);
    }
    let missing = cells.iter().filter(|s| s.status == "missing").count();
    if missing > 0 {
        let text = format!("{missing} of {} cells are not computed yet.", cells.len());
        html.element("p", &[("class", "suspicious")], &text);
    }
}

/// Clean accuracy, on each set of images that has labels. A goal may leave images out: so where there are untargeted cells
/// only these count, and of those of one set the one with most images.
fn clean(html: &mut Html, complete: &[&Summary]) {
    let mut labelled: Vec<&Summary> = complete.iter().copied().filter(|s| labelled(s)).collect();
    let untargeted = |s: &&Summary| s.cell.goal == Goal::Untargeted;
    if labelled.iter().any(untargeted) {
        labelled.retain(untargeted);
    }
    for set in grouped(&labelled, |s| vec![s.cell.data.digest.clone()]).iter().take(MOST_LINES) {
        let Some((s, r)) = set.iter().filter_map(|s| Some((s, s.rates.as_ref()?))).rev().max_by_key(|(_, r)| r.n)
        else {
            continue;
        };
        let name: Vec<String> = ["clean".to_string()].into_iter().chain(other_images(s, complete[0])).collect();
        let name = name.join(", ");
        html.element("dt", &[], &name);
        html.raw("<dd>");
        rate(html, "right", (r.clean_correct, r.n));
        html.raw("</dd>");
    }
}

/// `95.0 % right (19 of 20), interval 76.4 to 99.1 %`.
fn rate(html: &mut Html, what: &str, (count, of): (usize, usize)) {
    if of == 0 {
        return html.text("no image was right before");
    }
    let (low, high) = wilson(count, of);
    html.element("strong", &[], &format!("{:.1} %", 100.0 * count as f64 / of as f64));
    html.text(&format!(" {what} ({count} of {of}), interval {:.1} to {:.1} %", 100.0 * low, 100.0 * high));
}

/// `0.214 is the median of the least changes (19 of 20 fooled, of those right before)`.
fn change(html: &mut Html, line: &Answer, median: f64) {
    let (fooled, right) = line.count;
    if right == 0 {
        return html.text("no image was right before");
    }
    html.element("strong", &[], &change_text(line.set_by[0], median));
    let is =
        if median.is_finite() { " is the median of the least changes" } else { ": half of the images or more stand" };
    html.text(&format!("{is} ({fooled} of {right} {})", line.what));
}

/// One image, clean and fooled, with what the net says of both.
fn pair(inputs: &Inputs, outcomes: &[Outcome], levels: &[u8], example: u32) -> Result<Option<Html>> {
    let values = 3 * inputs.size[0] * inputs.size[1];
    let row = outcomes.iter().position(|o| o.example == example as usize);
    let at = inputs.examples.iter().position(|e| *e == example as usize);
    let of = |pixels: &[u8], k: Option<usize>| Some(pixels.get(k? * values..(k? + 1) * values)?.to_vec());
    let (Some(k), Some(clean), Some(fooled)) = (row, of(&inputs.pixels, at), of(levels, row)) else { return Ok(None) };
    let o = &outcomes[k];
    let says = [
        caption(inputs, o.clean_prediction, o.confidence_clean),
        caption(inputs, o.adversarial_prediction, o.confidence_adversarial),
    ];
    let mut html = Html::default();
    html.raw("<figure>");
    for (pixels, what, says) in [(clean, "clean", &says[0]), (fooled, "adversarial", &says[1])] {
        let alt = format!("{what} image {example}, predicted {says}");
        let source = thumbnail(&picture(&pixels, inputs.size))?;
        let mut attributes = vec![("class", "thumb"), ("alt", &alt), ("src", &source)];
        // the box is a square
        attributes.extend((inputs.size[0] != inputs.size[1]).then_some(("style", "object-fit:contain")));
        html.open("img", &attributes);
    }
    html.element("figcaption", &[], &says.join(" → "));
    html.raw("</figure>");
    Ok(Some(html))
}

/// A picture as a `data:` address, no larger than a thumbnail.
fn thumbnail(picture: &RgbImage) -> Result<String> {
    let (width, height) = picture.dimensions();
    let long = width.max(height);
    let smaller = |side: u32| (side * THUMBNAIL / long).max(1);
    let bytes = match long > THUMBNAIL {
        true => encode(&imageops::resize(picture, smaller(width), smaller(height), imageops::FilterType::Triangle))?,
        false => encode(picture)?,
    };
    Ok(format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes)))
}

/// Shares over budgets, from 0 to 100 %, the number of the card as the larger dot.
fn curve(html: &mut Html, line: &Answer) {
    let most = line.curve.iter().map(|(eps, ..)| *eps).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let share = |(count, of): (usize, usize)| if of == 0 { 0.0 } else { count as f64 / of as f64 };
    let places = line.curve.iter().map(|(eps, _, count)| (6.0 + 148.0 * eps / most, 42.0 - 36.0 * share(*count)));
    let places: Vec<(String, String)> = places.map(|(x, y)| (format!("{x:.1}"), format!("{y:.1}"))).collect();
    let said = line.curve.iter().map(|(_, text, count)| format!("{text}: {:.1} %", 100.0 * share(*count)));
    let name = format!("Percent {} over the budget: {}", line.what, said.collect::<Vec<_>>().join("; "));
    html.open("svg", &[("class", "curve"), ("viewBox", "0 0 160 48"), ("role", "img"), ("aria-label", &name)]);
    for y in ["6", "42"] {
        html.open("line", &[("x1", "0"), ("x2", "160"), ("y1", y), ("y2", y)]);
        html.close("line");
    }
    let joined: Vec<String> = places.iter().map(|(x, y)| format!("{x},{y}")).collect();
    html.open("polyline", &[("points", &joined.join(" "))]);
    html.close("polyline");
    let own = line.set_by[0].cell.threat.eps.to_f64();
    for ((x, y), (eps, ..)) in places.iter().zip(&line.curve) {
        html.open("circle", &[("cx", x), ("cy", y), ("r", if *eps == own { "4" } else { "2" })]);
        html.close("circle");
    }
    html.close("svg");
    let last = line.curve.last().map_or("", |(_, text, _)| text);
    html.element("small", &[], &format!("{} from 0 to {last}", line.what));
}
