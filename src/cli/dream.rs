//! `dream CLASS…`: class maximisation, a sweep of one cell a class, without a sweep file.

use super::aligned::{self, Field};
use super::one_cell::{self, Asked, OneCell};
use super::options::Options;
use super::predict::Network;
use crate::analysis::Run;
use crate::attack;
use crate::config::quoted;
use crate::data::Given;
use crate::error::{Error, Result};
use crate::report;
use std::sync::Arc;

/// The attack that paints.
const ATTACK: &str = "class-max";

/// `dream`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Classes, by name or number; all for every class
    #[arg(required = true, value_name = "CLASS")]
    classes_asked: Vec<String>,
    #[command(flatten)]
    network: Network,
    /// What keeps the pictures from being noise: l2, blur, tv, fourier; several with commas between them
    #[arg(long, value_name = "NAMES", default_value = "fourier")]
    recipe: String,
    #[command(flatten)]
    asked: Asked,
}

/// Paints what a network wants to see of classes, prints what it says of the pictures, and stores the run.
pub fn dream(arguments: &Arguments, options: &Options) -> Result<()> {
    if options.limit.is_some() {
        return Err(Error::usage("--limit counts images, and a dream is one a class (hint: name fewer classes)"));
    }
    let recipes: Vec<String> = arguments.recipe.split(',').map(|name| quoted(name.trim())).collect();
    let own = [("recipe", format!("[{}]", recipes.join(", ")))];
    let params = one_cell::params(attack::find(ATTACK)?, &own, &arguments.asked.set)?;
    let machine = options.machine()?;
    let (_, classes) = arguments.network.load(options)?;
    let mut source = options.source();
    source.given = Some(Arc::new(Given { classes: classes.clone(), ..Given::default() }));
    let cells = OneCell {
        name: arguments.asked.name([&arguments.classes_asked[0], ATTACK]),
        seed: arguments.asked.seed,
        model: arguments.network.model.clone(),
        data: "name = \"blank\"".into(),
        goals: arguments.classes_asked.iter().map(|class| format!("target:{}", class.trim())).collect(),
        threat: "norm = \"any\"".into(),
        attack: format!("name = {}{params}", quoted(ATTACK)),
        confidence: None,
    };
    let store = cells.compute(&source, &machine, options)?;
    let (run, files) = report::write(&store)?;
    print_table(&run, &classes)?;
    one_cell::finish(&store, &run, &files, options)
}

/// What the network says of each picture.
fn print_table(run: &Run, classes: &[String]) -> Result<()> {
    let mut rows = vec![Vec::from(["class", "recipe", "probability", "prediction"].map(Field::text))];
    for summary in run.cells.iter().filter(|summary| summary.rates.is_some()) {
        let recipe = summary.cell.attack.params.get("recipe").cloned().unwrap_or_default();
        for o in run.store.read(&summary.id)?.outcomes {
            let name = |class: Option<usize>| class.map_or("no answer", |class| classes[class].as_str());
            rows.push(vec![
                Field::text(name(o.target)),
                Field::text(&recipe),
                Field::text(o.target_probability_adversarial.map_or("-".into(), |p| format!("{:.1} %", 100.0 * p))),
                Field::with_probability(name(o.adversarial_prediction), o.confidence_adversarial),
            ]);
        }
    }
    aligned::print_rows(&rows)
}
