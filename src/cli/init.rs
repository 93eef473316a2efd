//! `init WEIGHTS`.

use super::completions::NameOf;
use super::options::Options;
use super::price::{say_price, time};
use super::registries::{self, print};
use super::schema::{self, Kind};
use crate::error::{Error, Result};
use crate::init::{self, Answers, MODEL_SCHEMA, Request, SWEEP_SCHEMA};
use crate::notice::say;
use crate::store::Store;
use crate::sweep::class_names;
use crate::sweep::plan::{self, Plan};
use crate::sweep::run::Machine;
use std::io::{BufReader, IsTerminal, stderr, stdin};
use std::path::{Path, PathBuf};

/// What `init` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Weight file (safetensors, .pth, .onnx), or hub:owner/name
    pub weights: String,
    /// Labelled images to try the usual normalisations on: name of a dataset, or a folder of pictures, one folder a class
    #[arg(long, value_name = "DATA", value_parser = NameOf(registries::names_of_datasets), hide_possible_values = true)]
    pub data: Option<String>,
    /// How many of the images
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub take: u32,
    /// Names of the classes: cifar10, cifar100, imagenet, or a file with a name a line [default: those of the images]
    #[arg(long, value_name = "NAMES")]
    pub classes: Option<String>,
    /// Folder of the files that are written [default: that of the weights]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Write over files that are there
    #[arg(long)]
    pub force: bool,
    /// Ask nothing, and take what is usual where nothing tells
    #[arg(long)]
    pub yes: bool,
}

/// Looks into the weights, and writes a model file and a first sweep, and beside them what editors check them by; prints their names.
pub fn init(arguments: &Arguments, options: &Options) -> Result<()> {
    let Arguments { weights, data, take, classes, to, force, yes } = arguments;
    let (weights, data, to) = (weights.clone(), data.clone(), to.clone());
    let class_names = classes.as_deref().map(class_names::asked_for).transpose()?;
    let request = Request { weights, data, take: *take as usize, class_names, to, force: *force };
    let mut answers = match (yes, stdin().is_terminal() && stderr().is_terminal()) {
        (true, _) => Answers::Defaults,
        (false, true) => Answers::Person(Box::new(BufReader::new(stdin()))),
        (false, false) => Answers::Nobody,
    };
    let source = options.source();
    let machine = options.machine()?;
    let written = init::init(&request, &mut answers, &source, &machine.device)?;
    let [model, sweep] = &written.files;
    let files = written.files.iter().chain(&written.names);
    print(files.map(|file| format!("{}\n", file.display())).collect::<String>().as_bytes())?;
    // what editors check both by, as their first lines say
    for (name, kind) in [(MODEL_SCHEMA, Kind::Model), (SWEEP_SCHEMA, Kind::Sweep)] {
        let path = model.with_file_name(name);
        if !path.exists() {
            std::fs::write(&path, schema::text(kind)?).map_err(Error::io("write", &path))?;
            say(format_args!("for editors: {}", path.display()));
        }
    }
    match written.open {
        true => say("what is left to fill in says so on its line, in the files"),
        // a sweep that does not resolve would be ours to mend
        false => {
            let plan = plan::load(sweep, &source)?;
            if !options.quiet {
                say_what_it_costs(&plan, sweep, &machine, options)?;
            }
        }
    }
    Ok(())
}

/// More seconds are no first look, for which so many do.
const LONG: f64 = 120.0;
const FIRST_LOOK: f64 = 60.0;

/// The price of the sweep that was written; of a long one, how many images make a first look.
fn say_what_it_costs(plan: &Plan, sweep: &Path, machine: &Machine, options: &Options) -> Result<()> {
    let store = Store::open(&options.out.join(&plan.name)).ok();
    let seconds = say_price(plan, store.as_ref(), machine)?.seconds;
    let images = plan.data.iter().map(|data| data.subset.len()).max().unwrap_or(1);
    if let Some((few, seconds)) = first_look(seconds, images) {
        say(format_args!(
            "a first look takes about {} (hint: foolproof --config {} --limit {few})",
            time(seconds),
            sweep.display()
        ));
    }
    Ok(())
}

/// Of a long sweep so many images as take about a minute, one at least, and how long they take.
fn first_look(seconds: f64, images: usize) -> Option<(usize, f64)> {
    let of_one = seconds / images as f64;
    let few = ((FIRST_LOOK / of_one) as usize).max(1);
    (seconds > LONG && few < images).then_some((few, few as f64 * of_one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_look_takes_a_minute_or_an_image() {
        assert_eq!(first_look(100.0, 40), None);
        assert_eq!(first_look(400.0, 40), Some((6, 60.0)));
        assert_eq!(first_look(40_000.0, 40), Some((1, 1000.0)));
        assert_eq!(first_look(1000.0, 1), None);
    }
}
