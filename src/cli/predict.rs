//! `predict PICTURE…`.

use super::completions::NameOf;
use super::options::Options;
use super::registries::{self, print_csv};
use crate::data;
use crate::error::Result;
use crate::model;
use crate::notice::say;
use crate::sweep::given;
use crate::sweep::run::Machine;
use std::path::{Path, PathBuf};

/// What is shown to which network.
#[derive(clap::Args)]
pub struct Shown {
    /// Picture files, or folders of them
    #[arg(required = true, value_name = "PICTURE")]
    pub pictures: Vec<PathBuf>,
    #[command(flatten)]
    pub network: Network,
}

/// Which network, and what it takes.
#[derive(clap::Args)]
pub struct Network {
    /// A built-in model, a model file, or hub:owner/name
    #[arg(long, value_name = "NAME", value_parser = NameOf(registries::names_of_models), hide_possible_values = true)]
    pub model: String,
    /// Names of the classes: cifar10, cifar100, imagenet, or a file with a name a line [default: those of the model's data]
    #[arg(long, value_name = "NAMES")]
    pub classes: Option<String>,
    /// Length of the short side of pictures before the middle is cut [default: as the model says; all of a picture below 224]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    pub resize: Option<u16>,
}

/// `predict`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    shown: Shown,
    /// Classes that are printed of each picture, the likeliest first
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print every class, in their order
    #[arg(long, conflicts_with = "top")]
    all: bool,
}

impl Network {
    /// The model, and the names of its classes.
    pub fn load(&self, options: &Options) -> Result<(model::ModelSource, Vec<String>)> {
        let model = model::find(&self.model, Path::new("."), &options.source().hub)?;
        let (names, note) = given::class_names(&model, self.classes.as_deref())?;
        note.iter().filter(|_| !options.quiet).for_each(say);
        Ok((model, names))
    }

    /// Length of the short side of pictures, where it is not what a sweep would take.
    pub fn resize(&self, model: &model::ModelSource) -> Option<usize> {
        self.resize.map(usize::from).or_else(|| given::usual_resize(model))
    }
}

impl Shown {
    /// Loads the network and shows it the pictures. What has to be said of how they were prepared, and of how weights were
    /// read, is left to say: where there is a plan, it says so.
    pub fn look(&self, machine: &Machine, options: &Options) -> Result<(model::ModelSource, given::Seen)> {
        let (model, names) = self.network.load(options)?;
        let (mut files, unread) = data::picture_files(&self.pictures)?;
        // the others have no row, in any table
        files.truncate(options.limit.map_or(files.len(), |limit| limit as usize));
        let seen = given::look(&model, files, names, self.network.resize(&model), options.source(), machine)?;
        unread.iter().for_each(|warning| say(format_args!("warning: {warning}")));
        Ok((model, seen))
    }
}

/// Prints what a network says of pictures.
pub fn predict(arguments: &Arguments, options: &Options) -> Result<()> {
    let (model, seen) = arguments.shown.look(&options.machine()?, options)?;
    model.notes().iter().for_each(|note| say(format_args!("weights of `{}`: {note}", model.name)));
    seen.notes.iter().for_each(|note| say(format_args!("warning: {note}")));
    let mut rows = Vec::new();
    let given = seen.source.given.as_ref().expect("the pictures that were looked at");
    for (file, verdict) in given.files.iter().zip(&seen.verdicts) {
        let mut classes: Vec<usize> = (0..verdict.logits.len()).collect();
        if !arguments.all {
            classes.sort_by(|a, b| verdict.logits[*b].total_cmp(&verdict.logits[*a]));
            classes.truncate(arguments.top as usize);
        }
        for class in classes {
            let number = |v: Option<f32>| v.map_or_else(String::new, |v| v.to_string());
            rows.push(vec![
                file.display().to_string(),
                verdict.rank(class).map_or_else(String::new, |rank| (rank + 1).to_string()),
                class.to_string(),
                given.classes[class].clone(),
                number(verdict.probability(class)),
                verdict.logits[class].to_string(),
            ]);
        }
    }
    print_csv(&["picture", "rank", "class", "name", "probability", "logit"], rows)
}
