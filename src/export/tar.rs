//! The witness bundle: a run as one file, from which anybody checks every claim. It holds the run's folder, the models that
//! only this machine has, a word to the reader, and the SHA-256 of every file in the form of `sha256sum`. The same run gives
//! the same bytes.

use super::request::{Request, Written, file_name};
use crate::digest::Hashed;
use crate::error::{Error, Result};
use crate::model::Portable;
use crate::record::{ModelRecord, PlanRecord, Provenance};
use crate::store::{Pending, State, Store, model_folder};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What of a run's folder goes in; `lock` and half-done work stay.
const FOLDERS: [&str; 9] =
    ["inputs", "cells", "fits", "transfers", "explanations", "binarised", "tables", "figures", "pictures"];
const FILES: [&str; 2] = ["plan.json", "report.html"];

/// `<name>.tar`.
pub fn write(request: &Request) -> Result<Written> {
    let store = request.store;
    let plan = store.read_plan()?;
    let name = file_name(&plan.name);
    let path = request.to.join(format!("{name}.tar"));
    // all that may be wrong, before the bulk is written
    let (models, missing) = models(request, &plan)?;
    let mut notes = unfinished(store, &plan)?;
    let readme = readme(&name, &plan, &missing);
    let mut bundle = Bundle { root: name, tar: ::tar::Builder::new(Pending::at(path.clone())?), sums: String::new() };
    bundle.text("README.txt", &readme)?;
    let mut files: Vec<String> = FILES.iter().map(|f| f.to_string()).filter(|f| store.dir().join(f).exists()).collect();
    for folder in FOLDERS {
        files.extend(store.files_below(folder)?.into_iter().filter(|f| !f.contains("/.tmp-")));
    }
    for file in &files {
        bundle.file(file, &store.dir().join(file))?;
    }
    for packed in &models {
        bundle.model(packed)?;
    }
    let sums = std::mem::take(&mut bundle.sums);
    bundle.text("SHA256SUMS", &sums)?;
    bundle.tar.into_inner().map_err(Error::io("write", &path))?.finish()?;
    notes.extend(missing);
    Ok(Written { files: vec![path], notes })
}

/// What a reader sees first; `missing`: what he has to bring himself.
fn readme(root: &str, plan: &PlanRecord, missing: &[String]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let missing: String = missing.iter().map(|line| format!("Not here: {line}.\n\n")).collect();
    format!(
        "Run `{}` of foolproof {version}, id {}.\n\n\
         With foolproof {version}:\n\n    \
         foolproof verify {root}.tar\n\n\
         or, unpacked, `foolproof verify {root}` beside the folder. It predicts every stored image again and checks every claim\n\
         of tables and figures; nothing of the attacks takes part. Models that are compiled in or on the Hugging Face Hub are not\n\
         here; others are in models/. Where the dataset is not at hand the clean images are taken from inputs/ and held to the\n\
         digest that every cell names; verify says so.\n\n\
         {missing}\
         Without foolproof: `sha256sum -c SHA256SUMS` says whether the files are those that were sent; images are in safetensors\n\
         files, outcomes in CSV, and report.html opens in a browser.\n\n\
         Clean images, and weights in models/, belong to those who made them: pass them on as their licences allow.\n",
        plan.name,
        plan.run_id()
    )
}

/// What verify will find missing.
fn unfinished(store: &Store, plan: &PlanRecord) -> Result<Vec<String>> {
    let mut counts = BTreeMap::new();
    for cell in &plan.cells {
        match store.state(&cell.id())? {
            State::Done => {}
            State::Failed => *counts.entry("failed").or_insert(0) += 1,
            State::Missing => *counts.entry("missing").or_insert(0) += 1,
        }
    }
    Ok(counts.iter().map(|(what, n)| format!("{n} cells are {what}: verify will say so")).collect())
}

/// A model that goes with the run.
struct Packed {
    model: ModelRecord,
    text: String,
    weights: Option<PathBuf>,
}

/// Every model that verify asks and others could not find; and what of these a reader has to bring himself, in words.
fn models(request: &Request, plan: &PlanRecord) -> Result<(Vec<Packed>, Vec<String>)> {
    let store = request.store;
    let mut asked: BTreeMap<String, (ModelRecord, Provenance)> = BTreeMap::new();
    for cell in plan.cells.iter().filter(|cell| store.has(&cell.id())) {
        if let Entry::Vacant(entry) = asked.entry(model_folder(&cell.model)) {
            entry.insert((cell.model.clone(), store.cell_provenance(&cell.id())?));
        }
        for (model, _, provenance) in store.transfers_and_provenance(&cell.id())? {
            asked.entry(model_folder(&model)).or_insert((model, provenance));
        }
    }
    let (mut models, mut missing) = (Vec::new(), Vec::new());
    for (model, provenance) in asked.into_values() {
        let name = provenance.model_file.as_deref().unwrap_or(&model.name);
        match find(store, &model, name, request.weights) {
            Ok(None) => {}
            Ok(Some((packed, note))) => {
                models.push(packed);
                missing.extend(note);
            }
            Err(problem) if request.weights => {
                return Err(Error::usage(format!(
                    "{problem} (hint: export from the folder that the sweep was run in, or with --without-weights)"
                )));
            }
            Err(problem) => missing.push(format!(
                "model `{}` ({problem}): verify needs what the sweep found as `{name}`, with weights of SHA-256 {}",
                model.name, model.weights
            )),
        }
    }
    Ok((models, missing))
}

/// A model that is packed, and what of it is not.
type Found = (Packed, Option<String>);

/// The model as it came with the run, else as the sweep found it by `name`; `None`: everybody finds it.
fn find(store: &Store, model: &ModelRecord, name: &str, with_weights: bool) -> Result<Option<Found>> {
    let folder = store.model_folder(model);
    let brought = match folder.is_dir() {
        true => Portable::brought(&folder, &model.name).and_then(|found| pack(found, model, with_weights)).map(Some),
        false => Ok(None),
    };
    if let Ok(Some(_)) = brought {
        return brought;
    }
    let here = Portable::of(name).and_then(|found| found.map(|f| pack(f, model, with_weights)).transpose());
    // of two problems, that of the run's own
    if here.is_err() { brought.and(here) } else { here }
}

/// Holds what was found to the model that the sweep ran with.
fn pack(found: Portable, model: &ModelRecord, with_weights: bool) -> Result<Found> {
    let Portable { text, network, weights } = found;
    if let Some(network) = network.filter(|network| *network != model.network) {
        return Err(Error::usage(format!(
            "the model file of `{}` describes `{network}`, when the sweep was run it was `{}` (hint: put the file of then back, or run the sweep again)",
            model.name, model.network
        )));
    }
    let packed = |weights| Packed { model: model.clone(), text, weights };
    match weights {
        None => Ok((packed(None), None)),
        Some(file) if !with_weights => {
            let places: Vec<String> = file.places().iter().map(|place| place.display().to_string()).collect();
            let note = format!(
                "model `{}`: verify needs a weight file with SHA-256 {} as {} (below FOOLPROOF_DATA, where that is set, in \
                 place of datasets)",
                model.name,
                model.weights,
                places.join(" or ")
            );
            Ok((packed(None), Some(note)))
        }
        Some(file) => {
            let path = file.here?;
            let mut bytes = Hashed::new(File::open(&path).map_err(Error::io("read", &path))?);
            std::io::copy(&mut bytes, &mut std::io::sink()).map_err(Error::io("read", &path))?;
            match bytes.finish().1 == model.weights {
                true => Ok((packed(Some(path)), None)),
                false => Err(Error::usage(format!(
                    "{} is not the weight file that model `{}` had when the sweep was run (hint: put that one back, or --without-weights)",
                    path.display(),
                    model.name
                ))),
            }
        }
    }
}

struct Bundle {
    /// Folder that everything in it lies in.
    root: String,
    tar: ::tar::Builder<Pending>,
    sums: String,
}

impl Bundle {
    /// Adds a file, and gives its SHA-256. Owner, time and rights are the same for all.
    fn append(&mut self, name: &str, length: u64, from: impl Read) -> std::io::Result<String> {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(length);
        header.set_mode(0o644);
        let mut from = Hashed::new(from.take(length));
        self.tar.append_data(&mut header, format!("{}/{name}", self.root), &mut from)?;
        let (read, sha256) = from.finish();
        if read != length {
            return Err(std::io::Error::other("it became shorter while it was read"));
        }
        self.sums += &format!("{sha256}  {name}\n");
        Ok(sha256)
    }

    fn text(&mut self, name: &str, text: &str) -> Result<String> {
        self.append(name, text.len() as u64, text.as_bytes()).map_err(Error::io("bundle", Path::new(name)))
    }

    fn file(&mut self, name: &str, path: &Path) -> Result<String> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        self.append(name, length, file).map_err(Error::io("bundle", path))
    }

    fn model(&mut self, packed: &Packed) -> Result<()> {
        let [text, weights] = Portable::FILES.map(|file| format!("{}/{file}", model_folder(&packed.model)));
        self.text(&text, &packed.text)?;
        let Some(path) = &packed.weights else { return Ok(()) };
        match self.file(&weights, path)? == packed.model.weights {
            true => Ok(()),
            false => Err(Error::usage(format!(
                "{} changed while it was read (hint: export again once the run is over)",
                path.display()
            ))),
        }
    }
}
