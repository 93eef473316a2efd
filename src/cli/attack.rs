//! `attack PICTURE…`: a sweep of one cell, without a sweep file.

use super::aligned::{self, Field};
use super::completions::NameOf;
use super::one_cell::{self, Asked, OneCell};
use super::options::Options;
use super::predict::Shown;
use super::registries;
use super::verify::plain;
use crate::analysis::Run;
use crate::attack;
use crate::config::quoted;
use crate::data::Given;
use crate::error::{Error, Result, hint};
use crate::record::Outcome;
use crate::report;
use crate::terms::{NORMS, Norm};

/// `attack`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    shown: Shown,
    /// The attack [default: pgd; with --pixels one-pixel]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["patch", "paste"], value_parser = NameOf(registries::names_of_attacks), hide_possible_values = true)]
    attack: Option<String>,
    /// Largest change, as 8/255 [default: what papers report most of the norm]
    #[arg(long, value_name = "EPS", allow_hyphen_values = true, conflicts_with_all = ["pixels", "patch", "paste", "minimal"])]
    eps: Option<String>,
    /// How the change is measured: linf, l2, l1 or l0 [default: the first of these that the attack serves]
    #[arg(long, value_name = "NORM", conflicts_with_all = ["pixels", "patch", "paste"])]
    norm: Option<String>,
    /// Look for the least change, in 2000 passes of the network
    #[arg(long, conflicts_with_all = ["pixels", "patch", "paste"])]
    minimal: bool,
    /// Change so many pixels, whatever happens to them
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, conflicts_with_all = ["patch", "paste"])]
    pixels: Option<u32>,
    /// Lay a patch on the picture, made for it
    #[arg(long, conflicts_with = "paste")]
    patch: bool,
    /// Lay this picture on it
    #[arg(long, value_name = "FILE")]
    paste: Option<String>,
    /// Share of the picture that the patch covers [default: 10 %]
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    area: Option<String>,
    /// Class that is to be reached, by name or number; `next`, `least-likely` or `random` [default: any other class]
    #[arg(long, value_name = "CLASS", allow_hyphen_values = true)]
    target: Option<String>,
    /// Go on after a success until the network is so sure of its answer, as 90 %
    #[arg(long, value_name = "PROBABILITY", allow_hyphen_values = true, conflicts_with = "minimal")]
    confidence: Option<String>,
    #[command(flatten)]
    asked: Asked,
}

/// The attack, its own parameters as TOML has them, and the threat: what the options say.
struct Chosen {
    attack: &'static attack::Entry,
    params: Vec<(&'static str, String)>,
    threat: String,
}

/// Attacks pictures, prints what the network says before and after, and stores the run.
pub fn attack(arguments: &Arguments, options: &Options) -> Result<()> {
    let chosen = arguments.chosen()?;
    let params = one_cell::params(chosen.attack, &chosen.params, &arguments.asked.set)?;
    let machine = options.machine()?;
    let (model, seen) = arguments.shown.look(&machine, options)?;
    let network = &arguments.shown.network;
    let given = seen.source.given.clone().expect("the pictures that were looked at");
    let resize = network.resize(&model).map_or(String::new(), |resize| format!(", resize = {resize}"));
    let first = given.files[0].file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let goal = arguments.target.as_ref().map_or("untargeted".into(), |target| format!("target:{}", target.trim()));
    let confidence = arguments.confidence.clone();
    let cell = OneCell {
        confidence,
        name: arguments.asked.name([&first, chosen.attack.name]),
        seed: arguments.asked.seed,
        model: network.model.clone(),
        data: format!("name = \"pictures\"{resize}"),
        goals: vec![goal],
        threat: chosen.threat,
        attack: format!("name = {}{params}", quoted(chosen.attack.name)),
    };
    let store = cell.compute(&seen.source, &machine, options)?;
    let (run, files) = report::write(&store)?;
    print_table(&run, &given)?;
    one_cell::finish(&store, &run, &files, options)
}

impl Arguments {
    fn chosen(&self) -> Result<Chosen> {
        let threat = |norm: &str, key: &str, value: &str| format!("norm = \"{norm}\", {key} = [{}]", quoted(value));
        if self.area.is_some() && !self.patch && self.paste.is_none() {
            return Err(Error::usage("--area is the size of a patch (hint: beside --patch, or --paste FILE)"));
        }
        // where no budget is given, the one that papers report most
        let area = self.area.as_deref().unwrap_or(Norm::Patch.terms().example);
        if self.patch {
            let params = vec![("fit", quoted("per-image"))];
            return Ok(Chosen { attack: attack::find("patch")?, params, threat: threat("patch", "area", area) });
        }
        if let Some(file) = &self.paste {
            let params = vec![("content", quoted("picture")), ("picture", quoted(file))];
            return Ok(Chosen { attack: attack::find("paste")?, params, threat: threat("patch", "area", area) });
        }
        if let Some(count) = self.pixels {
            let attack = attack::find(self.attack.as_deref().unwrap_or("one-pixel"))?;
            return Ok(Chosen { attack, params: Vec::new(), threat: threat("pixels", "count", &count.to_string()) });
        }
        let attack = attack::find(self.attack.as_deref().unwrap_or("pgd"))?;
        let serves = |name: &str| attack.norms.iter().any(|norm| norm.name() == name);
        let mut distances = NORMS.iter().filter(|norm| norm.distance.is_some());
        let norm = match &self.norm {
            Some(asked) => distances.clone().find(|norm| norm.name == asked).ok_or_else(|| {
                Error::usage(format!(
                    "--norm `{asked}`{} (--pixels and --patch are norms of their own)",
                    hint(asked, distances.clone().map(|norm| norm.name))
                ))
            })?,
            None => distances.find(|norm| serves(norm.name)).ok_or_else(|| {
                let way_out = match attack.norms.first().map(|norm| norm.name()) {
                    Some("pixels") => "--pixels COUNT",
                    Some("patch") => "--patch, or --paste FILE",
                    _ => "foolproof dream CLASS",
                };
                Error::usage(format!("attack `{}` does not bound a change by a norm (hint: {way_out})", attack.name))
            })?,
        };
        let threat = match self.minimal {
            true => format!("norm = \"{}\", minimal = true", norm.name),
            false => {
                let key = norm.budget_key.expect("a norm that measures distances has budgets");
                threat(norm.name, key, self.eps.as_deref().unwrap_or(norm.example))
            }
        };
        Ok(Chosen { attack, params: Vec::new(), threat })
    }
}

/// What the network said of each picture, and says now.
fn print_table(run: &Run, given: &Given) -> Result<()> {
    let heading = ["picture", "before", "after", "fooled", "change"].map(Field::text);
    let mut rows = vec![Vec::from(heading)];
    for summary in run.cells.iter().filter(|summary| summary.rates.is_some()) {
        let outcomes = run.store.read(&summary.id)?.outcomes;
        let says = |class: Option<usize>, probability| match class {
            Some(class) => Field::with_probability(&given.classes[class], probability),
            None => Field::text("no answer"),
        };
        // two pictures of one name are told apart by their folders
        let names = given.names();
        let shown = |i: usize| match names.iter().filter(|name| **name == names[i]).count() {
            1 => plain(&names[i]),
            _ => plain(&given.files[i].display().to_string()),
        };
        for example in 0..names.len() {
            let row = match outcomes.iter().find(|o| o.example == example) {
                // the goal leaves it out
                None => [&given.classes[given.labels[example]], "is so already", "-", "-"].map(Field::text).into(),
                Some(o) => vec![
                    says(o.clean_prediction, o.confidence_clean),
                    says(o.adversarial_prediction, o.confidence_adversarial),
                    Field::text(fooled(o, summary.cell.confidence.map(|asked| asked.to_f64()))),
                    Field::text(change(summary.cell.threat.norm.name(), o)),
                ],
            };
            rows.push([vec![Field::text(shown(example))], row].concat());
        }
    }
    aligned::print_rows(&rows)
}

/// Whether it is fooled, and not as surely as asked.
fn fooled(o: &Outcome, asked: Option<f64>) -> String {
    let sure = |asked: f64| o.confidence_adversarial.is_some_and(|p| f64::from(p) >= asked);
    match (o.success, asked) {
        (None, _) => "error".into(),
        (Some(false), _) => "no".into(),
        (Some(true), Some(asked)) if !sure(asked) => format!("yes, below {} %", (1e4 * asked).round() / 100.0),
        (Some(true), _) => "yes".into(),
    }
}

/// How far the witness is from the picture, in the norm that bounds it; else Euclidean.
fn change(norm: &str, o: &Outcome) -> String {
    let number =
        |value: Option<f64>, unit: &str| value.map_or_else(|| o.flags.clone(), |value| format!("{unit}{value:.3}"));
    match norm {
        "linf" => {
            o.linf_255.map_or_else(|| o.flags.clone(), |levels| format!("{}/255", (levels * 100.0).round() / 100.0))
        }
        "l1" => number(o.l1, "L1 "),
        "l0" => o.l0.map_or_else(|| o.flags.clone(), |count| format!("L0 {count}")),
        _ => number(o.l2, "L2 "),
    }
}
