//! A sweep of one model and one attack, written from options: what `attack` and `dream` run. Everything behind it is a sweep's.

use super::options::Options;
use super::run;
use crate::analysis::Run;
use crate::attack::Entry;
use crate::config::{folder_name, quoted};
use crate::data::Source;
use crate::error::{Error, Result, hint};
use crate::notice::say;
use crate::store::Store;
use crate::sweep::plan;
use crate::sweep::run::Machine;
use std::path::Path;

/// What both take beside their own.
#[derive(clap::Args)]
pub struct Asked {
    /// A parameter of the attack, as steps=40; several times for several (`foolproof attacks NAME` lists them)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
    /// Name of the run, a folder below --out [default: of the first picture or class, and the attack]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Asked {
    /// The name of the run: as asked, else made of these.
    pub fn name(&self, parts: [&str; 2]) -> String {
        self.name.clone().unwrap_or_else(|| folder_name(&parts.join("-"), "picture"))
    }
}

/// The parts of such a sweep, as they are written in a sweep file.
pub struct OneCell {
    /// Of the run.
    pub name: String,
    /// Of every random choice.
    pub seed: u64,
    /// Name of the model.
    pub model: String,
    /// What stands between the braces of `data`.
    pub data: String,
    /// The goals.
    pub goals: Vec<String>,
    /// What stands between the braces of the threat.
    pub threat: String,
    /// What stands between the braces of the attack.
    pub attack: String,
    /// How sure a success must be for the search to end.
    pub confidence: Option<String>,
}

impl OneCell {
    fn text(&self) -> String {
        let OneCell { name, seed, model, data, goals, threat, attack, confidence } = self;
        let sure = confidence.as_ref().map_or_else(String::new, |p| format!("confidence = {}\n", quoted(p)));
        let goals: Vec<String> = goals.iter().map(|goal| quoted(goal)).collect();
        format!(
            "name = {}\nseed = {seed}\n[[sweep]]\nmodels = [{}]\ndata = {{ {data} }}\ngoals = [{}]\nthreats = [{{ {threat} }}]\n\
             attacks = [{{ {attack} }}]\n{sure}",
            quoted(name),
            quoted(model),
            goals.join(", ")
        )
    }

    /// Plans and runs it.
    ///
    /// # Errors
    /// What the plan refuses, without the lines of a file that nobody wrote.
    pub fn compute(&self, source: &Source, machine: &Machine, options: &Options) -> Result<Store> {
        let file = Path::new("command line");
        let plan = plan::parse(file, &self.text(), source).map_err(|problem| without_lines(problem, file))?;
        let there = Store::open(&options.out.join(&plan.name)).and_then(|store| store.read_plan());
        if there.is_ok_and(|there| there.cells != plan.record().cells) {
            say(format_args!(
                "warning: run `{}` was of something else; its tables and figures are replaced (hint: --name)",
                plan.name
            ));
        }
        Ok(run::compute_plan(plan, machine, options)?.0)
    }
}

/// The problems of a plan, without file and line.
fn without_lines(problem: Error, file: &Path) -> Error {
    let Error::Config(lines) = problem else { return problem };
    let before = format!("{}:", file.display());
    let bare = |line: String| match line.strip_prefix(&before).and_then(|rest| rest.split_once(": ")) {
        Some((_, text)) => text.to_string(),
        None => line,
    };
    Error::Config(lines.into_iter().map(bare).collect())
}

/// Parameters of an attack as a sweep file writes them, with a comma before each: its own, then `KEY=VALUE`s.
///
/// # Errors
/// What is no `KEY=VALUE`; a key that the attack has not; several values, which would make several cells.
pub fn params(attack: &Entry, own: &[(&str, String)], set: &[String]) -> Result<String> {
    let mut known: Vec<(&str, String)> = own.to_vec();
    for given in set {
        let (key, value) = given
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .ok_or_else(|| Error::usage(format!("--set `{given}`: expected KEY=VALUE (hint: --set steps=40)")))?;
        if known.iter().any(|(other, _)| *other == key) {
            return Err(Error::usage(format!("--set `{given}`: `{key}` is said twice (hint: once)")));
        }
        if attack.params.iter().all(|param| param.name != key) {
            let known = hint(key, attack.params.iter().map(|param| param.name));
            return Err(Error::usage(format!(
                "--set `{given}`: attack `{}` has no parameter `{key}`{known}",
                attack.name
            )));
        }
        if value.contains(',') {
            let way_out = match value.contains('=') {
                true => format!("--set {}", given.split(',').map(str::trim).collect::<Vec<_>>().join(" --set ")),
                false => "one value; a sweep file takes several, docs/sweep-file.md".into(),
            };
            return Err(Error::usage(format!("--set `{given}`: more than one value (hint: {way_out})")));
        }
        known.push((key, scalar(value)));
    }
    Ok(known.iter().map(|(key, value)| format!(", {key} = {value}")).collect())
}

/// A value: true, false and numbers stand as they are, anything else is a text.
fn scalar(value: &str) -> String {
    let is_number =
        value.parse::<i64>().is_ok() || (value.contains('.') && value.parse::<f64>().is_ok_and(f64::is_finite));
    let stands =
        ["true", "false"].contains(&value) || (is_number && !value.starts_with(['+', '.']) && !value.ends_with('.'));
    if stands { value.to_string() } else { quoted(value) }
}

/// Whether a file of a report is worth naming: pictures, and figures that say something of a few.
fn is_to_look_at(path: &str) -> bool {
    let of_many =
        ["figures/robust-accuracy", "figures/success-", "figures/gallery", "figures/cost", "figures/confusion"];
    (path.ends_with(".png") || path.ends_with(".html")) && !of_many.iter().any(|begin| path.starts_with(begin))
}

/// What a run ends with: the files to look at, complaints of the sanity ladder, and an error where a cell failed.
pub fn finish(store: &Store, run: &Run, files: &[String], options: &Options) -> Result<()> {
    for path in files.iter().filter(|path| !options.quiet && is_to_look_at(path)) {
        say(store.dir().join(path).display());
    }
    run::warn(run, options)?;
    run::fail_if_cells_failed(run)
}
