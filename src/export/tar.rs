//! The witness bundle: a run as one file, from which anybody checks every claim. It holds the run's folder, the models that
//! only this machine has, a word to the reader, and the SHA-256 of every file in the form of `sha256sum`. The same run gives
//! the same bytes.

use super::{Request, Written, file_name};
use crate::digest::Hashed;
use crate::error::{Error, Result};
use crate::model::Portable;
use crate::record::{ModelRecord, PlanRecord, Provenance};
use crate::store::{Pending, State, Store, model_folder};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// What of a run's folder goes in; `lock` and half-done work stay.
const FOLDERS: [&str; 8] = ["inputs", "cells", "fits", "transfers", "explanations", "tables", "figures", "pictures"];
const FILES: [&str; 2] = ["plan.json", "report.html"];

/// `<name>.tar`.
pub fn write(request: &Request) -> Result<Written> {
    let store = request.store;
    let plan = store.read_plan()?;
    let name = file_name(&plan.name);
    let path = request.to.join(format!("{name}.tar"));
    let mut bundle = Bundle { root: name, tar: ::tar::Builder::new(Pending::at(path.clone())?), sums: String::new() };
    let readme = readme(&bundle.root, &plan);
    bundle.text("README.txt", &readme)?;
    let mut files: Vec<String> = FILES.iter().map(|f| f.to_string()).filter(|f| store.dir().join(f).exists()).collect();
    for folder in FOLDERS {
        files.extend(store.files_below(folder)?.into_iter().filter(|f| !f.contains("/.tmp-")));
    }
    for file in &files {
        bundle.file(file, &store.dir().join(file))?;
    }
    let mut notes = unfinished(store, &plan)?;
    for (model, provenance) in models(store, &plan)? {
        notes.extend(bundle.model(&model, &provenance, request.weights)?);
    }
    let sums = std::mem::take(&mut bundle.sums);
    bundle.text("SHA256SUMS", &sums)?;
    bundle.tar.into_inner().map_err(Error::io("write", &path))?.finish()?;
    Ok(Written { files: vec![path], notes })
}

/// What a reader sees first.
fn readme(root: &str, plan: &PlanRecord) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "Run `{}` of foolproof {version}, id {}.\n\n\
         With foolproof {version}:\n\n    \
         foolproof verify {root}.tar\n\n\
         or, unpacked, `foolproof verify {root}` beside the folder. It predicts every stored image again and checks every claim\n\
         of tables and figures; nothing of the attacks takes part. Models that are compiled in or on the Hugging Face Hub are not\n\
         here; others are in models/. Where the dataset is not at hand the clean images are taken from inputs/ and held to the\n\
         digest that every cell names; verify says so.\n\n\
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

/// Every model that verify asks, once, and where it was found.
fn models(store: &Store, plan: &PlanRecord) -> Result<Vec<(ModelRecord, Provenance)>> {
    let mut found: BTreeMap<String, (ModelRecord, Provenance)> = BTreeMap::new();
    for cell in plan.cells.iter().filter(|cell| store.has(&cell.id())) {
        if !found.contains_key(&cell.model.weights) {
            found.insert(cell.model.weights.clone(), (cell.model.clone(), store.cell_provenance(&cell.id())?));
        }
        for (model, _, provenance) in store.transfers_and_provenance(&cell.id())? {
            found.entry(model.weights.clone()).or_insert((model, provenance));
        }
    }
    Ok(found.into_values().collect())
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

    /// Adds a model that others could not find; returns what a reader has to bring himself.
    fn model(&mut self, model: &ModelRecord, provenance: &Provenance, with_weights: bool) -> Result<Option<String>> {
        let needed = format!("model `{}`: verify needs a weight file with SHA-256 {}", model.name, model.weights);
        let portable = match Portable::of(provenance.model_file.as_deref().unwrap_or(&model.name)) {
            Ok(None) => return Ok(None),
            Ok(Some(portable)) => portable,
            Err(_) if !with_weights => return Ok(Some(needed)),
            Err(problem) => {
                return Err(Error::usage(format!(
                    "{problem} (hint: export from the folder that the sweep was run in, or with --without-weights)"
                )));
            }
        };
        let [text, weights] = Portable::FILES.map(|file| format!("{}/{file}", model_folder(model)));
        self.text(&text, &portable.text)?;
        match &portable.weights {
            None => Ok(None),
            Some(_) if !with_weights => Ok(Some(needed)),
            Some(path) => match self.file(&weights, path)? == model.weights {
                true => Ok(None),
                false => Err(Error::usage(format!(
                    "{} is not the weight file that model `{}` had when the sweep was run (hint: --without-weights)",
                    path.display(),
                    model.name
                ))),
            },
        }
    }
}

/// Unpacks a bundle below `folder`, and gives the folder of its run. Nothing is written anywhere else, and nothing but files
/// and folders: links, devices and holes are refused.
pub fn unpack(bundle: &Path, folder: &Path) -> Result<PathBuf> {
    let refuse = |problem: String| Error::usage(format!("{}: {problem}", bundle.display()));
    let file = File::open(bundle).map_err(Error::io("read", bundle))?;
    let mut tar = ::tar::Archive::new(file);
    let mut root: Option<PathBuf> = None;
    for entry in tar.entries().map_err(Error::io("read", bundle))? {
        let mut entry = entry.map_err(|e| refuse(format!("no tar file, or cut off: {e}")))?;
        let path = entry.path().map_err(|e| refuse(e.to_string()))?.into_owned();
        let mut parts = path.components();
        let (first, plain) = (parts.next(), path.components().all(|part| matches!(part, Component::Normal(_))));
        let kind = entry.header().entry_type();
        let Some(Component::Normal(first)) = first.filter(|_| plain && (kind.is_file() || kind.is_dir())) else {
            return Err(refuse(format!("`{}` is no plain file inside the bundle", path.display())));
        };
        if root.get_or_insert_with(|| folder.join(first)) != &folder.join(first) {
            return Err(refuse("holds more than one folder".into()));
        }
        entry.unpack_in(folder).map_err(|e| refuse(format!("`{}`: {e}", path.display())))?;
    }
    root.filter(|root| root.is_dir()).ok_or_else(|| refuse("holds no run".into()))
}
