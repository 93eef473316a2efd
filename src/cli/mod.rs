//! The command line: arguments, and one file a verb.

mod aligned;
mod attack;
mod compare;
mod completions;
mod doctor;
mod dream;
mod entry;
mod export;
mod fetch;
mod hang_up;
mod init;
mod list;
mod man;
mod merge;
mod one_cell;
mod optimality;
mod options;
mod predict;
mod price;
mod progress;
mod registries;
mod run;
mod schema;
mod several;
mod sheet;
mod status;
mod submit;
mod train;
mod transfer;
mod verify;
mod whole;
mod worker;

use crate::error::{Error, Result};
use clap::{CommandFactory, Parser, Subcommand};
use completions::NameOf;
use options::Options;
use std::path::{Path, PathBuf};

/// Measures how easily an image classifier is fooled, and keeps the proof.
///
/// `foolproof --config sweeps/pgd.toml` runs a sweep and reports; run it again and only what is missing is computed.
#[derive(Parser)]
#[command(name = "foolproof", version, subcommand_negates_reqs = true, arg_required_else_help = true)]
pub struct Cli {
    /// Sweep file to run and report; tried as it stands, then under configs/
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Recognise a network in its weights, and write a model file and a first sweep
    Init(init::Arguments),
    /// Compute what a sweep lacks, without a report
    Run {
        /// Sweep file
        config: PathBuf,
    },
    /// Print the plan of a sweep as CSV, without computing
    List {
        /// Sweep file
        config: PathBuf,
    },
    /// Write tables and figures of a run from its stored cells
    Report {
        /// Name below --out, or path
        run: PathBuf,
    },
    /// Compute a sweep together with other workers of the same run, one share each
    Worker(worker::Arguments),
    /// Print how far a run is: units done, running, failed and missing, by worker
    Status {
        /// Name below --out, or path
        run: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Check that a run is whole: every planned cell is there, sealed
    Merge {
        /// Name below --out, or path
        run: PathBuf,
    },
    /// Check every claim of a run from witnesses, weights and data alone
    Verify {
        /// Name below --out, or path; or a bundle of `export --format tar`
        run: PathBuf,
    },
    /// Write a run in the form of other tools, or as a bundle that others verify
    Export(export::Arguments),
    /// Download all that a sweep needs from the Hub, and list it
    Fetch {
        /// Sweep file
        config: PathBuf,
    },
    /// Compute a sweep on a cluster: submit its workers, or print the file that would
    Submit(submit::Arguments),
    /// Print the files in the Hub's cache as CSV
    Cache {
        /// Read every file and compare it with its hash
        #[arg(long)]
        verify: bool,
    },
    /// Compare a run with a baseline: outcomes image by image, bits, speed
    Compare(compare::Arguments),
    /// Write the baseline of a run: a small file to commit
    Bless {
        /// Name below --out, or path; or a folder of criterion
        run: PathBuf,
        /// Folder of baselines
        #[arg(long, value_name = "DIR", default_value = "results/baselines")]
        to: PathBuf,
    },
    /// Score attacks by how near they came to the nearest images that any of them found
    Optimality(optimality::Arguments),
    /// Attack pictures, print what the network says before and after, and store the run
    Attack(attack::Arguments),
    /// Paint what a network wants to see of a class (class maximisation), and store the run
    Dream(dream::Arguments),
    /// Print what a network says of pictures, as CSV
    Predict(predict::Arguments),
    /// Train networks by the recipes of a training file; sweeps then find the models by name
    Train(train::Arguments),
    /// Print the built-in models as CSV, or all that is known of one
    Models {
        /// Name of a model
        #[arg(value_parser = NameOf(registries::names_of_models), hide_possible_values = true)]
        name: Option<String>,
    },
    /// Print the datasets as CSV, or all that is known of one
    Datasets {
        /// Name of a dataset
        #[arg(value_parser = NameOf(registries::names_of_datasets), hide_possible_values = true)]
        name: Option<String>,
    },
    /// Print the attacks and their parameters as CSV, or all that is known of one
    Attacks {
        /// Name of an attack
        #[arg(value_parser = NameOf(registries::names_of_attacks), hide_possible_values = true)]
        name: Option<String>,
    },
    /// Print the stages that a defence may have, with their constants, as CSV
    Defences,
    /// Print the corruptions that images may suffer, as CSV
    Corruptions,
    /// Print what this machine has and what the program finds on it, and test that it computes what it should
    Doctor {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print the JSON Schema of sweep, model or training files, for editors
    ///
    /// `foolproof schema sweep > sweep.schema.json`, and `#:schema ./sweep.schema.json` as the first line of a sweep file: editors
    /// with TOML support then complete and check keys.
    Schema {
        /// Kind of file
        of: schema::Kind,
    },
    /// Print the manual page, or write it and one a verb
    Man {
        /// Folder to write all pages to
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

impl Cli {
    /// Does what was asked.
    pub fn execute(&self) -> Result<()> {
        if self.config.is_some() && self.verb.is_some() {
            return Err(Error::usage(
                "--config runs and reports by itself; give a verb its file as its argument (hint: leave --config out)",
            ));
        }
        match &self.verb {
            None => {
                let config = self.config.as_ref().ok_or_else(|| {
                    Error::usage("no --config given (hint: `--config FILE`, or a verb; --help lists them)")
                })?;
                run::run_and_report(&find_config(config)?, &self.options)
            }
            Some(Verb::Init(arguments)) => init::init(arguments, &self.options),
            Some(Verb::Run { config }) => run::run(&find_config(config)?, &self.options),
            Some(Verb::List { config }) => list::list(&find_config(config)?, &self.options),
            Some(Verb::Report { run }) => run::report(&find_run(run, &self.options), &self.options),
            Some(Verb::Worker(arguments)) => worker::worker(arguments, &find_config(&arguments.config)?, &self.options),
            Some(Verb::Status { run, json }) => status::print_status(&find_run(run, &self.options), *json),
            Some(Verb::Merge { run }) => merge::merge(&find_run(run, &self.options)),
            Some(Verb::Verify { run }) => verify::verify(&find_run(run, &self.options), &self.options),
            Some(Verb::Export(arguments)) => export::export(arguments, &find_run(&arguments.run, &self.options)),
            Some(Verb::Fetch { config }) => fetch::fetch(&find_config(config)?, &self.options),
            Some(Verb::Submit(arguments)) => submit::submit(arguments, &find_config(&arguments.config)?, &self.options),
            Some(Verb::Cache { verify }) => fetch::cache(*verify, &self.options),
            Some(Verb::Compare(arguments)) => compare::compare(arguments, &|run| find_run(run, &self.options)),
            Some(Verb::Bless { run, to }) => compare::bless(&find_run(run, &self.options), to),
            Some(Verb::Optimality(arguments)) => optimality::optimality(arguments, &|run| find_run(run, &self.options)),
            Some(Verb::Attack(arguments)) => attack::attack(arguments, &self.options),
            Some(Verb::Dream(arguments)) => dream::dream(arguments, &self.options),
            Some(Verb::Predict(arguments)) => predict::predict(arguments, &self.options),
            Some(Verb::Train(arguments)) => train::train(arguments, &train::find(&arguments.file)?, &self.options),
            Some(Verb::Models { name }) => match name {
                Some(name) => entry::model(name, &self.options),
                None => registries::models(),
            },
            Some(Verb::Datasets { name }) => match name {
                Some(name) => entry::dataset(name, &self.options),
                None => registries::datasets(),
            },
            Some(Verb::Defences) => registries::defences(),
            Some(Verb::Corruptions) => registries::corruptions(),
            Some(Verb::Attacks { name }) => name.as_deref().map_or_else(registries::attacks, entry::attack),
            Some(Verb::Doctor { json }) => doctor::doctor(*json, &self.options),
            Some(Verb::Completions { shell }) => completions::completions(*shell, Cli::command()),
            Some(Verb::Schema { of }) => schema::schema(*of),
            Some(Verb::Man { to }) => man::man(Cli::command(), to.as_deref()),
        }
    }
}

/// A sweep file as it stands, then under `configs/`.
fn find_config(path: &Path) -> Result<PathBuf> {
    let candidates = [path.to_path_buf(), Path::new("configs").join(path)];
    // a pipe is no file, and can be read
    candidates.iter().find(|p| p.exists() && !p.is_dir()).cloned().ok_or_else(|| {
        let near = completions::sweep_hint(path);
        Error::usage(format!("no sweep file {} or {}{near}", candidates[0].display(), candidates[1].display()))
    })
}

/// A run by its path, or by its name below `--out`.
fn find_run(run: &Path, options: &Options) -> PathBuf {
    let below = options.out.join(run);
    if !run.join("cells").is_dir() && below.join("cells").is_dir() { below } else { run.to_path_buf() }
}
