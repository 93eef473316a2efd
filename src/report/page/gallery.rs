//! The gallery of the page: which pictures it has, and their data. The script lays them out, and computes the differences.
//!
//! Of each cell shown: the first images that were right before the attack, the same for all cells, so that one can switch
//! attack and budget on one image; and the first that were fooled. Cells take turns, line by line, the usual budgets first,
//! until the room is used up. So the choice depends on the run alone.

use super::html::Html;
use super::words::goal;
use crate::analysis::groups::distance_to_usual;
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::record::{Explanation, Inputs, Outcome};
use crate::report::charts::explain::{of_layer, overlaid};
use crate::report::draw::canvas::encode;
use crate::report::draw::sheet::{caption, picture};
use crate::report::draw::titles::with_class_name;
use crate::terms::{Norm, WitnessKind};
use base64::Engine as _;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Pictures on the page, in bytes of text.
const ROOM: usize = 6_000_000;
/// Cells at most.
const MOST_CELLS: usize = 160;
/// Images of a cell: that many of its first, that many fooled ones.
const FIRST: usize = 3;
const FOOLED: usize = 4;
/// Bytes of clean images and witnesses that are read: a cell's are one file, and all of it is checked.
const MOST_READ: usize = 600_000_000;

/// What the script gets. Names are as short as a line of it.
#[derive(Serialize)]
pub struct Data {
    scenes: Vec<Scene>,
    /// PNG in base64.
    pictures: Vec<String>,
}

/// Cells whose images one compares: one net, one set of images, one goal.
#[derive(Serialize)]
struct Scene {
    name: String,
    attacks: Vec<Attack>,
}

#[derive(Serialize)]
struct Attack {
    name: String,
    budgets: Vec<Shown>,
}

/// One cell.
#[derive(Serialize)]
struct Shown {
    name: String,
    cell: String,
    /// Differences are shown so many times as large.
    times: u32,
    /// What its maps are of; empty: it has none.
    layer: String,
    images: Vec<Image>,
}

#[derive(Serialize, Clone)]
struct Image {
    example: usize,
    fooled: bool,
    /// `Image 3, airplane: fooled`; the script adds by what.
    verdict: String,
    /// What stands below: the sizes of the change, and the attack's note.
    text: String,
    clean: usize,
    adversarial: usize,
    /// Where the net looked.
    maps: Option<[usize; 2]>,
    /// What the maps are of.
    #[serde(skip)]
    layer: String,
    captions: [String; 2],
    /// Class, and its probability before and after; empty where it is not stored.
    probabilities: Vec<[String; 3]>,
    /// Largest change in grey levels.
    #[serde(skip)]
    change: Option<f64>,
}

/// The gallery, chosen.
pub struct Gallery {
    /// For the script.
    pub data: Data,
    /// Images shown, and all that could be.
    images: (usize, usize),
    /// Cells that have some.
    of_cells: usize,
    /// Whether some pictures are no squares.
    has_rectangles: bool,
}

/// Pictures of one image, not yet on the page.
struct Candidate {
    image: Image,
    /// Clean, adversarial, and the two maps.
    pictures: Vec<String>,
}

/// Chooses cells and images, and reads the witnesses of these cells alone.
pub fn choose(run: &Run, names: &[String]) -> Result<Gallery> {
    let (mut inputs, mut read, mut chosen) = (BTreeMap::new(), 0, Vec::new());
    for i in in_turns(run, names) {
        let s = &run.cells[i];
        let digest = &s.cell.data.digest;
        if !inputs.contains_key(digest) {
            let subset = run.store.read_inputs(digest)?;
            read += subset.pixels.len();
            inputs.insert(digest.clone(), subset);
        }
        let subset = &inputs[digest];
        let each = if s.cell.witness == WitnessKind::F32 { 4 } else { 1 };
        read += s.n.unwrap_or(0) * 3 * subset.size[0] * subset.size[1] * each;
        // the first cell is always shown
        if chosen.len() == MOST_CELLS || (read > MOST_READ && !chosen.is_empty()) {
            break;
        }
        chosen.push((i, candidates(run, s, subset)?));
    }
    let mut shelf = Shelf::default();
    let mut shown: BTreeMap<usize, Vec<Image>> = BTreeMap::new();
    for turn in 0..FIRST + FOOLED {
        for (i, candidates) in &chosen {
            let Some(candidate) = candidates.get(turn) else { continue };
            if let Some(places) = shelf.put(&candidate.pictures) {
                let maps = (places.len() == 4).then(|| [places[2], places[3]]);
                let image = Image { clean: places[0], adversarial: places[1], maps, ..candidate.image.clone() };
                shown.entry(*i).or_default().push(image);
            }
        }
    }
    let images = shown.values().map(Vec::len).sum();
    let candidates = run.cells.iter().filter(|s| s.rates.is_some());
    Ok(Gallery {
        has_rectangles: inputs.values().any(|subset| subset.size[0] != subset.size[1]),
        images: (images, candidates.clone().filter_map(|s| s.n).sum()),
        of_cells: candidates.count(),
        data: Data { scenes: scenes(run, names, &inputs, shown), pictures: shelf.pictures },
    })
}

/// Cells in the order in which they come to be shown: each line with its most usual budget, then each with the next.
fn in_turns(run: &Run, names: &[String]) -> Vec<usize> {
    let mut lines: BTreeMap<(String, &str, Norm), Vec<usize>> = BTreeMap::new();
    let mut order: Vec<(String, &str, Norm)> = Vec::new();
    for (i, s) in run.cells.iter().enumerate().filter(|(_, s)| s.rates.as_ref().is_some_and(|r| r.n > 0)) {
        let line = (scene_key(s), names[i].as_str(), s.cell.threat.norm);
        lines
            .entry(line.clone())
            .or_insert_with(|| {
                order.push(line);
                Vec::new()
            })
            .push(i);
    }
    let mut turns: Vec<(usize, usize, usize)> = Vec::new();
    for (place, line) in order.iter().enumerate() {
        let mut cells = lines.remove(line).unwrap_or_default();
        cells.sort_by(|a, b| distance_to_usual(&run.cells[*a]).total_cmp(&distance_to_usual(&run.cells[*b])));
        turns.extend(cells.into_iter().enumerate().map(|(turn, i)| (turn, place, i)));
    }
    turns.sort();
    turns.into_iter().map(|(_, _, i)| i).collect()
}

fn scene_key(s: &Summary) -> String {
    let c = &s.cell;
    [&c.model.name, &c.model.weights, &c.data.digest, &goal(c), c.mode.name()].join("\n")
}

/// The images of a cell that may be shown, in the order of their turns.
fn candidates(run: &Run, s: &Summary, inputs: &Inputs) -> Result<Vec<Candidate>> {
    let outcomes = run.store.read(&s.id)?.outcomes;
    let levels = run.store.read_witnesses(&s.id)?.into_levels();
    let explanation = run.store.read_explanation(&s.id)?;
    let values = 3 * inputs.size[0] * inputs.size[1];
    let rows = |test: &dyn Fn(&Outcome) -> bool| -> Vec<usize> {
        (0..outcomes.len()).filter(|k| test(&outcomes[*k])).collect()
    };
    let mut wanted: Vec<usize> = rows(&Outcome::is_right_before).into_iter().take(FIRST).collect();
    let fooled = rows(&|o| o.success == Some(true));
    let more: Vec<usize> = fooled.into_iter().filter(|k| !wanted.contains(k)).take(FOOLED).collect();
    wanted.extend(more);
    if wanted.is_empty() {
        wanted.extend((0..outcomes.len()).take(FIRST));
    }
    let mut found = Vec::new();
    for k in wanted {
        let o = &outcomes[k];
        let at = inputs.examples.iter().position(|e| *e == o.example);
        let clean = at.and_then(|at| inputs.pixels.get(at * values..(at + 1) * values));
        let (Some(clean), Some(adversarial)) = (clean, levels.get(k * values..(k + 1) * values)) else { continue };
        let (clean, adversarial) = (picture(clean, inputs.size), picture(adversarial, inputs.size));
        let mut pictures = vec![clean.clone(), adversarial.clone()];
        if let Some(Explanation { size, clean: before, adversarial: after, .. }) = &explanation {
            let plane = size[0] * size[1];
            let map = |maps: &Vec<f32>| maps.get(k * plane..(k + 1) * plane).map(<[f32]>::to_vec);
            if let (Some(before), Some(after)) = (map(before), map(after)) {
                pictures.extend([overlaid(&clean, &before, *size), overlaid(&adversarial, &after, *size)]);
            }
        }
        let base64 = |image| Ok(base64::engine::general_purpose::STANDARD.encode(encode(image)?));
        let image = Image { layer: explanation.as_ref().map_or(String::new(), of_layer), ..image(inputs, o) };
        found.push(Candidate { image, pictures: pictures.iter().map(base64).collect::<Result<_>>()? });
    }
    Ok(found)
}

/// What is said of an image, its pictures apart.
fn image(inputs: &Inputs, o: &Outcome) -> Image {
    let name = |class: Option<usize>| {
        class.map_or("none".to_string(), |c| inputs.classes.get(c).cloned().unwrap_or_else(|| c.to_string()))
    };
    let percent = |p: Option<f32>| p.map_or(String::new(), |p| format!("{:.1}", 100.0 * p));
    let mut probabilities = Vec::new();
    let mut known: Vec<Option<usize>> = Vec::new();
    let rows = [
        (o.label, "label", o.label_probability_clean, o.label_probability_adversarial),
        (o.target, "target", o.target_probability_clean, o.target_probability_adversarial),
        (o.clean_prediction, "before", o.confidence_clean, None),
        (o.adversarial_prediction, "after", None, o.confidence_adversarial),
    ];
    for (class, role, before, after) in rows {
        if class.is_some() && !known.contains(&class) {
            known.push(class);
            probabilities.push([format!("{} ({role})", name(class)), percent(before), percent(after)]);
        }
    }
    let number = |what: &str, v: Option<f64>| v.map(|v| format!("{what} {v:.3}"));
    let parts = [
        number("Linf in grey levels", o.linf_255),
        number("L2", o.l2),
        Some(o.note.clone()).filter(|n| !n.is_empty() && n.len() < 200),
        Some(o.flags.clone()).filter(|f| !f.is_empty()),
    ];
    let fooled = o.success == Some(true);
    let verdict = match (o.label, fooled) {
        (Some(_), true) => format!("Image {}, {}: fooled", o.example, name(o.label)),
        (Some(_), false) => format!("Image {}, {}: not fooled", o.example, name(o.label)),
        // a canvas shows nothing that one could be mistaken about
        (None, true) => format!("Canvas {}: made a {}", o.example, name(o.target)),
        (None, false) => format!("Canvas {}: not made a {}", o.example, name(o.target)),
    };
    Image {
        example: o.example,
        fooled,
        verdict,
        text: parts.into_iter().flatten().collect::<Vec<_>>().join("; "),
        clean: 0,
        adversarial: 0,
        maps: None,
        layer: String::new(),
        captions: [
            caption(inputs, o.clean_prediction, o.confidence_clean),
            caption(inputs, o.adversarial_prediction, o.confidence_adversarial),
        ],
        probabilities,
        change: o.linf_255,
    }
}

/// Pictures on the page, each once.
#[derive(Default)]
struct Shelf {
    pictures: Vec<String>,
    places: BTreeMap<String, usize>,
    used: usize,
}

impl Shelf {
    /// Places of these pictures; `None` where there is no room for all.
    fn put(&mut self, pictures: &[String]) -> Option<Vec<usize>> {
        let new: BTreeSet<&String> = pictures.iter().filter(|p| !self.places.contains_key(*p)).collect();
        let size: usize = new.iter().map(|p| p.len() + 3).sum();
        if self.used + size > ROOM {
            return None;
        }
        self.used += size;
        let place = |picture: &String| {
            *self.places.entry(picture.clone()).or_insert_with(|| {
                self.pictures.push(picture.clone());
                self.pictures.len() - 1
            })
        };
        Some(pictures.iter().map(place).collect())
    }
}

/// Cells by scene, attack and budget, each in the order of the plan; images by number.
fn scenes(
    run: &Run,
    names: &[String],
    inputs: &BTreeMap<String, Inputs>,
    shown: BTreeMap<usize, Vec<Image>>,
) -> Vec<Scene> {
    let (mut scenes, mut places): (Vec<Scene>, BTreeMap<String, usize>) = Default::default();
    let subsets: BTreeSet<String> = run.cells.iter().map(|s| s.cell.data.text()).collect();
    for (i, mut images) in shown {
        let s = &run.cells[i];
        let place = *places.entry(scene_key(s)).or_insert(scenes.len());
        if place == scenes.len() {
            let aim = with_class_name(goal(&s.cell), &s.cell.goal, &inputs[&s.cell.data.digest].classes);
            let mut name = format!("{}, {aim}", s.cell.model.name);
            if subsets.len() > 1 {
                name += &format!(", {}", s.cell.data.text());
            }
            scenes.push(Scene { name, attacks: Vec::new() });
        }
        let attacks = &mut scenes[place].attacks;
        let attack = match attacks.iter().position(|a| a.name == names[i]) {
            Some(at) => &mut attacks[at],
            None => {
                attacks.push(Attack { name: names[i].clone(), budgets: Vec::new() });
                attacks.last_mut().expect("just pushed")
            }
        };
        images.sort_by_key(|image| image.example);
        // the largest change just stays within the grey levels
        let largest = images.iter().filter_map(|image| image.change).fold(1.0, f64::max);
        let times = (127.0 / largest).floor().max(1.0) as u32;
        let layer = images.iter().find(|i| i.maps.is_some()).map_or(String::new(), |i| i.layer.clone());
        attack.budgets.push(Shown { name: s.cell.budget_text(), cell: s.id.clone(), times, layer, images });
    }
    scenes
}

impl Gallery {
    /// Cells that have pictures.
    pub fn cells(&self) -> BTreeSet<&str> {
        let attacks = self.data.scenes.iter().flat_map(|s| &s.attacks);
        attacks.flat_map(|a| &a.budgets).map(|b| b.cell.as_str()).collect()
    }

    /// The frame that the script fills.
    pub fn write(&self, html: &mut Html) {
        html.raw("<section id=\"gallery\" aria-labelledby=\"gallery-h\"><h2 id=\"gallery-h\">Gallery</h2>");
        let text = format!(
            "{} of {} images are shown, of {} of {} cells: the first that were right before the attack, and the first that \
             were fooled. Witnesses of all stand in cells/.",
            self.images.0,
            self.images.1,
            self.cells().len(),
            self.of_cells
        );
        html.element("p", &[], &text);
        if self.images.0 > 0 {
            html.raw(include_str!("gallery.html"));
            if self.has_rectangles {
                html.raw("<style>.pictures img, .pictures canvas { object-fit: contain; }</style>"); // the boxes are squares
            }
        }
        html.raw("</section>");
    }
}
