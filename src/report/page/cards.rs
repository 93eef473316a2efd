//! The answer, first on the page: a card a model. Of each norm the worst case over all attacks at the budget that papers
//! report most, with its interval and the attack that set it; clean accuracy; the same over all budgets as a small curve; and
//! some fooled images. Everything comes from the summaries of the cells; a card reads the witnesses of those it shows.

use super::html::Html;
use super::words::{budget, cut};
use crate::analysis::summary::Fooled;
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::{Inputs, ModelRecord, Outcome};
use crate::report::draw::canvas::encode;
use crate::report::draw::groups::{Key, grouped};
use crate::report::draw::legend::line_key;
use crate::report::draw::sheet::{caption, picture};
use crate::report::draw::titles::with_class_name;
use crate::statistics::{median, wilson};
use crate::terms::{Goal, Norm, WitnessKind};
use base64::Engine as _;
use image::{RgbImage, imageops};
use std::collections::{BTreeMap, BTreeSet};

/// The budgets that papers report most for images from [`LARGE`] on, where they are not those of CIFAR's size: RobustBench's
/// for ImageNet (Croce et al. 2021); Engstrom et al. 2019 and Salman et al. 2020.
const USUAL_OF_LARGE: [(Norm, f64); 2] = [(Norm::Linf, 4.0 / 255.0), (Norm::L2, 3.0)];
/// Pixels a side from which images count as ImageNet's.
const LARGE: usize = 128;
/// Models that have a card.
const MOST_CARDS: usize = 40;
/// Numbers of a card.
const MOST_LINES: usize = 6;
/// Fooled images of a card.
const PAIRS: usize = 5;
/// Larger pictures are made smaller, to this side.
const THUMBNAIL: u32 = 96;
/// All pictures of all cards in bytes of text; each card has its share.
const ROOM: usize = 700_000;

/// What is counted of an attack alone.
const OF_RIGHT: &str = "fooled, of those right before";

/// One number of a card.
struct Line<'a> {
    /// Budget, goal, and images where the card has several sets of them.
    asked: String,
    /// What is counted, in words.
    what: &'static str,
    /// Images that count, of how many.
    count: (usize, usize),
    /// Where the least change was looked for, the median of it; infinite: half of the images or more stand.
    median: Option<f64>,
    /// The cell that set it; of several goals one each.
    set_by: Vec<&'a Summary>,
    /// What else one has to know of it.
    notes: Vec<String>,
    /// By budget: its size, its text, the counts there; empty: there is no axis.
    curve: Vec<(f64, String, (usize, usize))>,
}

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
}

/// Writes the section with all cards.
pub fn write(run: &Run, names: &[String], link: Link, html: &mut Html) -> Result<()> {
    let names = run.cells.iter().zip(names).map(|(s, name)| (s.id.as_str(), name.as_str())).collect();
    let mut cards = Cards { run, link, names, inputs: BTreeMap::new() };
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

impl<'a> Cards<'a> {
    /// The card of one model, of all its cells.
    fn card(&mut self, html: &mut Html, name: &str, cells: &[&'a Summary], room: usize) -> Result<()> {
        html.raw("<article class=\"answer\">");
        html.element("h3", &[], name);
        incomplete(html, cells);
        let complete: Vec<&Summary> =
            cells.iter().copied().filter(|s| s.rates.as_ref().is_some_and(|r| r.n > 0)).collect();
        if let Some(first) = complete.first() {
            html.element("p", &[("class", "quiet")], &format!("on {}", first.cell.data.text()));
        }
        let questions = grouped(&complete, question);
        let mut lines = Vec::new();
        for question in questions.iter().take(MOST_LINES) {
            lines.push(self.line(question, cells, complete[0])?);
        }
        html.raw("<dl>");
        clean(html, &complete);
        lines.iter().for_each(|line| self.number(html, line));
        html.raw("</dl>");
        if questions.len() > MOST_LINES {
            let text = format!("{MOST_LINES} of {} settings are shown. The others: Results, below.", questions.len());
            html.element("p", &[], &text);
        }
        match complete.is_empty() {
            true => html.raw("<p>No cell of this model is complete: there is no number yet.</p>"),
            false => self.pairs(html, &shown(&lines, &complete), room)?,
        }
        html.raw("</article>");
        Ok(())
    }

    fn inputs(&mut self, digest: &str) -> Result<&Inputs> {
        if !self.inputs.contains_key(digest) {
            self.inputs.insert(digest.to_string(), self.run.store.read_inputs(digest)?);
        }
        Ok(&self.inputs[digest])
    }

    /// What complete cells of one question say; `all` are those of the model, the failed ones too. Images that are not those of
    /// cell `usual` are named.
    fn line(&mut self, cells: &[&'a Summary], all: &[&Summary], usual: &Summary) -> Result<Line<'a>> {
        let first = cells[0];
        let inputs = self.inputs(&first.cell.data.digest)?;
        let side = inputs.side;
        let mut line = match by_budget(cells) {
            _ if first.cell.threat.eps.is_minimal() => least_change(cells),
            Some(budgets) if labelled(first) => at_usual_budget(&budgets, side),
            _ => over_goals(cells),
        };
        let set_by = line.set_by[0];
        let mut asked = vec![budget(&set_by.cell)];
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
    fn number(&self, html: &mut Html, line: &Line) {
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
        let nearest = nearest(cells);
        let Some((_, first)) = nearest.first() else {
            html.raw("<p>No image was fooled.</p>");
            return Ok(());
        };
        let name = cut(self.names.get(first.id.as_str()).copied().unwrap_or_default());
        let done = if labelled(first) { "Fooled" } else { "Made" };
        html.element("p", &[], &format!("{done} by {name} ({}), the smallest changes first:", budget(&first.cell)));
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

/// What cells are compared under: the images, the norm, what is judged, and the goal; where the least change was looked for, how
/// long. Images without a true class have a goal a cell, which belong together.
fn question(s: &Summary) -> Key {
    let (c, blank) = (&s.cell, s.rates.as_ref().is_some_and(|r| !r.labelled));
    let goal = if blank { String::new() } else { c.goal.name() };
    let search = if c.threat.eps.is_minimal() { c.threat.eps_text() } else { String::new() };
    vec![c.data.digest.clone(), c.threat.norm.name().to_string(), c.witness.to_string(), goal, search]
}

/// The images of a cell by name, where they are not those of the other.
fn other_images(s: &Summary, usual: &Summary) -> Option<String> {
    (s.cell.data.digest != usual.cell.data.digest).then(|| s.cell.data.text())
}

fn labelled(s: &Summary) -> bool {
    s.rates.as_ref().is_some_and(|r| r.labelled)
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

/// Cells by the size of their budgets, the smallest first; `None`: a budget is no number, or there is none.
fn by_budget<'a>(cells: &[&'a Summary]) -> Option<Vec<(f64, Vec<&'a Summary>)>> {
    let sized = |group: Vec<&'a Summary>| {
        let eps = group[0].cell.threat.eps.radius()?.to_f64();
        (group[0].cell.threat.norm != Norm::Any).then_some((eps, group))
    };
    let groups = grouped(cells, |s| vec![s.cell.threat.eps_text()]).into_iter();
    let mut groups: Vec<_> = groups.map(sized).collect::<Option<_>>()?;
    groups.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(groups)
}

/// The budget nearest to the usual one, and that in words where it was not run.
fn nearest_to_usual(budgets: &[(f64, Vec<&Summary>)], side: usize) -> (usize, Option<String>) {
    let norm = budgets[0].1[0].cell.threat.norm;
    let of_large = USUAL_OF_LARGE.iter().find(|(of, _)| *of == norm && side >= LARGE);
    let usual = of_large.map_or(norm.terms().usual, |(_, usual)| *usual);
    let far = |i: &usize| (budgets[*i].0 - usual).abs();
    let at = (0..budgets.len()).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(0);
    let text = match norm {
        Norm::Linf => format!("{:.0}/255", 255.0 * usual),
        Norm::Patch => format!("{:.0} %", 100.0 * usual),
        _ => usual.to_string(),
    };
    (at, (far(&at) > 1e-9).then_some(text))
}

/// The worst case at the usual budget, and at all others for the curve. Of a patch, the attack that fools most: what else may
/// be pasted is another question, and no image is lost to two patches at once.
fn at_usual_budget<'a>(budgets: &[(f64, Vec<&'a Summary>)], side: usize) -> Line<'a> {
    let (at, not_run) = nearest_to_usual(budgets, side);
    let cells = &budgets[at].1;
    let strongest =
        *cells.iter().min_by_key(|s| s.rates.as_ref().map(|r| r.robust_correct)).expect("a budget of a cell");
    let patch = strongest.cell.threat.norm == Norm::Patch;
    let count = |cells: &[&Summary]| if patch { most_fooled(cells) } else { worst_case(cells) };
    let mut notes = Vec::new();
    if cells.len() > 1 {
        let (alone, all) = (count(&[strongest]).0, count(cells).0);
        let others = match cells.len() - 1 {
            1 => "The other attack fools".to_string(),
            others => format!("The {others} other attacks fool"),
        };
        notes.push(match alone - all.min(alone) {
            _ if patch => format!("The most of {} tried.", cells.len()),
            0 => format!("{others} no image more."),
            more => format!("{others} {more} more: alone it leaves {alone}."),
        });
    }
    notes.extend(not_run.map(|usual| format!("The usual budget, {usual}, was not run: this is the nearest.")));
    let text = |cells: &[&Summary]| budget(&cells[0].cell);
    let curve = budgets.iter().map(|(eps, cells)| (*eps, text(cells), count(cells)));
    let start =
        strongest.rates.as_ref().map_or((0, 0), |r| if patch { (0, r.clean_correct) } else { (r.clean_correct, r.n) });
    Line {
        asked: String::new(),
        what: if patch { OF_RIGHT } else { "robust" },
        count: count(cells),
        median: None,
        set_by: vec![strongest],
        notes,
        curve: [(0.0, "0".to_string(), start)].into_iter().chain(curve.filter(|(eps, ..)| *eps > 0.0)).collect(),
    }
}

/// Images that were right and that none of these cells fooled, of all.
fn worst_case(cells: &[&Summary]) -> (usize, usize) {
    let fooled: BTreeSet<u32> =
        cells.iter().flat_map(|s| &s.verdicts).filter(|v| v.fooled).map(|v| v.example).collect();
    let rates = cells[0].rates.as_ref();
    rates.map_or((0, 0), |r| (r.clean_correct.saturating_sub(fooled.len()), r.n))
}

/// Of the cell that fools most: how many, of those right before.
fn most_fooled(cells: &[&Summary]) -> (usize, usize) {
    let counts = cells.iter().filter_map(|s| s.rates.as_ref());
    counts.map(|r| (r.clean_correct - r.robust_correct, r.clean_correct)).max_by_key(|(k, _)| *k).unwrap_or((0, 0))
}

/// Where the least change was looked for: of each image the least that any attack found.
fn least_change<'a>(cells: &[&'a Summary]) -> Line<'a> {
    let standing = |s: &Summary| s.rates.as_ref().map(|r| r.robust_correct);
    let nearer = |a: &&&Summary, b: &&&Summary| {
        median_change(&[a]).total_cmp(&median_change(&[b])).then_with(|| standing(a).cmp(&standing(b)))
    };
    let strongest = *cells.iter().min_by(nearer).expect("a cell of the question");
    let (alone, all) = (median_change(&[strongest]), median_change(cells));
    let right = strongest.rates.as_ref().map_or(0, |r| r.clean_correct);
    let several =
        format!("The least of {} attacks counts; alone it gives {}.", cells.len(), change_text(strongest, alone));
    Line {
        asked: String::new(),
        what: OF_RIGHT,
        count: (least_changes(cells).len(), right),
        median: Some(all),
        set_by: vec![strongest],
        notes: (cells.len() > 1).then_some(several).into_iter().collect(),
        curve: Vec::new(),
    }
}

/// Of each image that was fooled, the least change in the norm of the cells.
fn least_changes(cells: &[&Summary]) -> BTreeMap<u32, f32> {
    let mut least = BTreeMap::new();
    for (s, fooled) in cells.iter().flat_map(|s| s.tally.fooled.iter().map(move |f| (s, f))) {
        let size = if s.cell.threat.norm == Norm::Linf { fooled.linf_255 } else { fooled.l2 };
        let entry = least.entry(fooled.example).or_insert(size);
        *entry = entry.min(size);
    }
    least
}

/// The median over the images that were right; one that was not fooled counts as infinitely far.
fn median_change(cells: &[&Summary]) -> f64 {
    let mut changes: Vec<f64> = least_changes(cells).into_values().map(f64::from).collect();
    let right = cells[0].rates.as_ref().map_or(0, |r| r.clean_correct);
    changes.resize(right.max(changes.len()), f64::INFINITY);
    median(changes).unwrap_or(f64::INFINITY)
}

/// `1.53/255`, `0.214`.
fn change_text(s: &Summary, change: f64) -> String {
    match s.cell.threat.norm {
        _ if change.is_infinite() => "none".to_string(),
        Norm::Linf => format!("{change:.2}/255"),
        _ => format!("{change:.3}"),
    }
}

/// `0.214 is the median of the least changes (19 of 20 fooled, of those right before)`.
fn change(html: &mut Html, line: &Line, median: f64) {
    let (fooled, right) = line.count;
    if right == 0 {
        return html.text("no image was right before");
    }
    html.element("strong", &[], &change_text(line.set_by[0], median));
    let is =
        if median.is_finite() { " is the median of the least changes" } else { ": half of the images or more stand" };
    html.text(&format!("{is} ({fooled} of {right} {})", line.what));
}

/// Where there is no budget to compare at, or no true class: the attack that reaches its goal most often, over all goals.
fn over_goals<'a>(cells: &[&'a Summary]) -> Line<'a> {
    let count = |cells: &[&Summary]| match labelled(cells[0]) {
        true => cells.iter().map(|s| most_fooled(&[s])).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        false => cells.iter().fold((0, 0), |a, s| (a.0 + s.tally.target[1], a.1 + s.n.unwrap_or(0))),
    };
    let attack = |s: &Summary| [line_key(s), vec![s.cell.threat.eps_text(), s.cell.seed.to_string()]].concat();
    let attacks = grouped(cells, attack);
    let best = attacks.iter().rev().max_by_key(|cells| count(cells).0).expect("a question of a cell");
    let what = if labelled(cells[0]) { OF_RIGHT } else { "taken for the target" };
    let others = attacks.len() - 1;
    Line {
        asked: String::new(),
        what,
        count: count(best),
        median: None,
        set_by: best.clone(),
        notes: (others > 0).then(|| format!("The most of {} tried.", attacks.len())).into_iter().collect(),
        curve: Vec::new(),
    }
}

/// The cells whose fooled images stand for a model: those that set the first number with some, else any that fools one.
fn shown<'a>(lines: &[Line<'a>], complete: &[&'a Summary]) -> Vec<&'a Summary> {
    let fools = |s: &&Summary| !s.tally.fooled.is_empty();
    let first = lines.iter().map(|line| &line.set_by).find(|cells| cells.iter().any(fools));
    first.cloned().unwrap_or_else(|| complete.iter().copied().find(fools).into_iter().collect())
}

/// Fooled images by the size of the change in the norm of the attack, then the other one, then their numbers.
fn nearest<'a>(cells: &[&'a Summary]) -> Vec<(Fooled, &'a Summary)> {
    let of = |s: &&'a Summary| {
        let s: &'a Summary = s;
        s.tally.fooled.iter().map(move |f| (*f, s))
    };
    let mut all: Vec<(Fooled, &Summary)> = cells.iter().flat_map(of).collect();
    let size = |(f, s): &(Fooled, &Summary)| match s.cell.threat.norm {
        Norm::Linf => [f.linf_255, f.l2],
        _ => [f.l2, f.linf_255],
    };
    all.sort_by(|a, b| {
        let (x, y) = (size(a), size(b));
        x[0].total_cmp(&y[0]).then(x[1].total_cmp(&y[1])).then(a.0.example.cmp(&b.0.example))
    });
    all.truncate(PAIRS);
    all
}

/// One image, clean and fooled, with what the net says of both.
fn pair(inputs: &Inputs, outcomes: &[Outcome], levels: &[u8], example: u32) -> Result<Option<Html>> {
    let values = 3 * inputs.side * inputs.side;
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
        html.open("img", &[("class", "thumb"), ("alt", &alt), ("src", &thumbnail(&picture(&pixels, inputs.side))?)]);
    }
    html.element("figcaption", &[], &says.join(" → "));
    html.raw("</figure>");
    Ok(Some(html))
}

/// A picture as a `data:` address, no larger than a thumbnail.
fn thumbnail(picture: &RgbImage) -> Result<String> {
    let bytes = match picture.width() > THUMBNAIL {
        true => encode(&imageops::resize(picture, THUMBNAIL, THUMBNAIL, imageops::FilterType::Triangle))?,
        false => encode(picture)?,
    };
    Ok(format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes)))
}

/// Shares over budgets, from 0 to 100 %, the number of the card as the larger dot.
fn curve(html: &mut Html, line: &Line) {
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
