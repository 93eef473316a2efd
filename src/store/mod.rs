//! `results/<run>/`: cells, the plan, the clean images, and what reports write.
//!
//! A cell's directory that exists is complete: it is written beside, synced, and renamed into place, so a kill at any
//! instant leaves the old state or the new one. Every byte of a cell is covered: `cell.json` by the directory's name,
//! `outcomes.csv` and the witnesses by digests in `provenance.json`, and that by its own seal.

mod codec;
mod extras;
mod pending;
mod race;
mod work;

pub use pending::Pending;
pub use work::Claim;

use crate::digest;
use crate::disk;
use crate::error::{Error, Result};
use crate::notice::say;
use crate::record::{
    Cell, CellId, Inputs, ModelRecord, Outcome, PlanRecord, Provenance, SCHEMA, StoredCell, Witnesses,
};
use codec::{input_file, outcomes_csv, parse_inputs, parse_witnesses, unsealed, witness_file};
use pending::{TEMPORARY, remove};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const CELL: &str = "cell.json";
const OUTCOMES: &str = "outcomes.csv";
const WITNESSES: &str = "witnesses.safetensors";
const PROVENANCE: &str = "provenance.json";
const PLAN: &str = "plan.json";
/// Of maps.
const LAYER: &str = "layer.json";
/// Of binarisation tests: on how many images.
const IMAGES: &str = "images.json";
const LOCK: &str = "lock";

/// Folders of a run: what was computed, what was made of it.
const CELLS: &str = "cells";
const FITS: &str = "fits";
const TRANSFERS: &str = "transfers";
const EXPLANATIONS: &str = "explanations";
const BINARISED: &str = "binarised";
const CHECKPOINTS: &str = "checkpoints";
/// Models that came with the run from another machine.
const MODELS: &str = "models";
/// Folders that files and folders are written into, but for those of checkpoints.
const SWEPT: [&str; 10] =
    ["", CELLS, "inputs", "tables", "figures", "pictures", FITS, TRANSFERS, EXPLANATIONS, BINARISED];

/// How long one who joins waits for one who writes alone, and the other way round; and the time between two looks.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One run's directory.
pub struct Store {
    dir: PathBuf,
    /// Held while this process may write, on a disk that knows locks; the system drops it when the process dies.
    _lock: Option<File>,
    /// Whether other processes may write at the same time.
    is_shared: bool,
    /// Which transfers there are of each cell; `None`: to be looked up.
    transfers: Mutex<Option<BTreeMap<CellId, Vec<String>>>>,
}

/// What the store has of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Missing,
    /// The record that it failed; it is tried again.
    Failed,
    /// All of it.
    Done,
}

impl Store {
    /// Opens a run for writing; creates it where there is none. Refuses while another process writes to it, which a disk without
    /// locks does not know: then a line on stderr says so.
    pub fn create(dir: &Path) -> Result<Store> {
        fs::create_dir_all(dir.join("cells")).map_err(Error::io("create folder", dir))?;
        let path = dir.join(LOCK);
        // for reading too, or Windows would not lock it
        let lock =
            File::options().create(true).read(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Error::Store(format!(
                    "another foolproof is writing to {} (hint: wait for it, or choose another --out)",
                    dir.display()
                )));
            }
            Err(fs::TryLockError::Error(e)) if disk::knows_no_locks(&e) => say(format_args!(
                "warning: the disk of {} knows no locks (flock: {e}); nothing else may write to this run meanwhile (hint: --out \
                 on another disk)",
                dir.display()
            )),
            Err(fs::TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
        }
        let store = Store { _lock: Some(lock), ..Store::at(dir) };
        if store.at_work_elsewhere().is_none() {
            store.sweep_leftovers()?;
        }
        Ok(store)
    }

    /// Opens a run for writing beside others that join it; creates it where there is none. They need no lock to be right: what is
    /// written is there whole or not at all, and who comes second compares. The lock that they share keeps out one who wants to be
    /// alone ([`Store::create`]), on a disk that knows locks.
    pub fn join(dir: &Path) -> Result<Store> {
        fs::create_dir_all(dir.join(CELLS)).map_err(Error::io("create folder", dir))?;
        let path = dir.join(LOCK);
        let lock =
            File::options().create(true).read(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        let began = Instant::now();
        loop {
            match lock.try_lock_shared() {
                // a report, most often: it ends
                Err(fs::TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(LOOK_AGAIN),
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(Error::Store(format!(
                        "another foolproof is writing to {} alone (hint: wait for it, or choose another --out)",
                        dir.display()
                    )));
                }
                Err(fs::TryLockError::Error(e)) if !disk::knows_no_locks(&e) => {
                    return Err(Error::io("lock", &path)(e));
                }
                _ => return Ok(Store { _lock: Some(lock), is_shared: true, ..Store::at(dir) }),
            }
        }
    }

    /// [`Store::create`], after those that have joined have ended, if they do soon: of a run that is whole they do.
    pub fn create_after_others(dir: &Path) -> Result<Store> {
        let began = Instant::now();
        loop {
            match Store::create(dir) {
                Err(Error::Store(_)) if began.elapsed() < PATIENCE => std::thread::sleep(LOOK_AGAIN),
                result => return result,
            }
        }
    }

    fn at(dir: &Path) -> Store {
        Store { dir: dir.to_path_buf(), _lock: None, is_shared: false, transfers: Mutex::default() }
    }

    /// Opens a run for reading.
    pub fn open(dir: &Path) -> Result<Store> {
        match dir.join("cells").is_dir() {
            true => Ok(Store::at(dir)),
            false => Err(Error::usage(format!(
                "no run at {} (hint: a folder below --out, by its name or path)",
                dir.display()
            ))),
        }
    }

    /// The same, whether there is a run yet or not.
    pub fn peek(dir: &Path) -> Store {
        Store::at(dir)
    }

    /// The run's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether other processes may write at the same time ([`Store::join`]).
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Folder of a model that the run brought from another machine, below the run.
    pub fn model_folder(&self, model: &ModelRecord) -> PathBuf {
        self.dir.join(model_folder(model))
    }

    /// Half-written files of a run that was killed.
    fn sweep_leftovers(&self) -> Result<()> {
        let checkpoints = fs::read_dir(self.dir.join(CHECKPOINTS)).into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = checkpoints.map(|entry| entry.path()).collect();
        folders.extend(SWEPT.map(|folder| self.dir.join(folder)));
        for folder in folders {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                    remove(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn cell_dir(&self, id: &str) -> PathBuf {
        self.dir.join(CELLS).join(id)
    }

    /// Whether something is there of a cell: all of it, or the record that it failed.
    pub fn has(&self, id: &str) -> bool {
        self.cell_dir(id).exists()
    }

    /// What is there of a cell.
    pub fn state(&self, id: &str) -> Result<State> {
        if !self.has(id) {
            return Ok(State::Missing);
        }
        let provenance = self.provenance(CELLS, id)?;
        Ok(if provenance.error.is_some() { State::Failed } else { State::Done })
    }

    /// Whether what is there of a cell is the record that it failed: it has no rows.
    pub fn is_failed(&self, id: &str) -> bool {
        self.has(id) && !self.cell_dir(id).join(OUTCOMES).exists()
    }

    /// What is there of many cells, in their order: the folder is listed once, and only what is there is looked into, on all
    /// threads, because a disk across a network answers slowly and many questions at once.
    pub fn states<'i>(&self, ids: impl IntoIterator<Item = &'i CellId>) -> Result<Vec<State>> {
        let there: HashSet<CellId> = self.ids()?.into_iter().collect();
        let ids: Vec<&CellId> = ids.into_iter().collect();
        let state = |id: &&CellId| if there.contains(*id) { self.state(id) } else { Ok(State::Missing) };
        ids.par_iter().map(state).collect()
    }

    /// Ids of all stored cells, sorted; none where there is no run yet.
    pub fn ids(&self) -> Result<Vec<CellId>> {
        let cells = self.dir.join(CELLS);
        let mut ids = Vec::new();
        let entries = match fs::read_dir(&cells) {
            Err(problem) if problem.kind() == ErrorKind::NotFound => return Ok(ids),
            entries => entries.map_err(Error::io("read folder", &cells))?,
        };
        for entry in entries {
            let name = entry.map_err(Error::io("read folder", &cells))?.file_name().to_string_lossy().into_owned();
            if !name.starts_with(TEMPORARY) {
                ids.push(name);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Stores a complete cell.
    pub fn put(
        &self,
        cell: &Cell,
        outcomes: &[Outcome],
        witnesses: &Witnesses,
        size: [usize; 2],
        provenance: Provenance,
    ) -> Result<()> {
        let files = vec![
            (CELL, cell.canonical().into_bytes()),
            (OUTCOMES, outcomes_csv(outcomes)?),
            (WITNESSES, witness_file(outcomes, witnesses, size)?),
        ];
        self.put_files(CELLS, &cell.id(), files, provenance)
    }

    /// Stores that a cell failed; `provenance.error` says why.
    pub fn put_failed(&self, cell: &Cell, provenance: Provenance) -> Result<()> {
        self.put_files(CELLS, &cell.id(), vec![(CELL, cell.canonical().into_bytes())], provenance)
    }

    /// Reads a cell; every byte but the witnesses' is checked.
    pub fn read(&self, id: &str) -> Result<StoredCell> {
        let provenance = self.provenance(CELLS, id)?;
        let text = self.checked(CELLS, id, CELL, &provenance)?;
        let cell: Cell = serde_json::from_slice(&text).map_err(|e| self.damaged(CELLS, id, CELL, e))?;
        if cell.schema != SCHEMA {
            return Err(Error::Store(format!("cell {id} has schema {}, this foolproof reads {SCHEMA}", cell.schema)));
        }
        if cell.id() != id || cell.canonical().as_bytes() != text {
            return Err(self.damaged(CELLS, id, CELL, "its digest is not the folder's name"));
        }
        let outcomes = match provenance.error {
            Some(_) => Vec::new(),
            None => {
                let bytes = self.checked(CELLS, id, OUTCOMES, &provenance)?;
                let rows = csv::Reader::from_reader(bytes.as_slice()).into_deserialize();
                rows.collect::<Result<_, _>>().map_err(|e| self.damaged(CELLS, id, OUTCOMES, e))?
            }
        };
        Ok(StoredCell { cell, provenance, outcomes })
    }

    /// Reads the witnesses of a complete cell; every byte is checked.
    pub fn read_witnesses(&self, id: &str) -> Result<Witnesses> {
        let bytes = self.checked(CELLS, id, WITNESSES, &self.provenance(CELLS, id)?)?;
        parse_witnesses(&bytes).map(|(images, _)| images).map_err(|e| self.damaged(CELLS, id, WITNESSES, e))
    }

    /// Where a cell was computed.
    pub fn cell_provenance(&self, id: &str) -> Result<Provenance> {
        self.provenance(CELLS, id)
    }

    fn provenance(&self, shelf: &str, id: &str) -> Result<Provenance> {
        let path = self.dir.join(shelf).join(id).join(PROVENANCE);
        let text = fs::read_to_string(&path).map_err(|e| self.damaged(shelf, id, PROVENANCE, e))?;
        unsealed(text).map_err(|e| self.damaged(shelf, id, PROVENANCE, e))
    }

    fn checked(&self, shelf: &str, id: &str, file: &str, provenance: &Provenance) -> Result<Vec<u8>> {
        let path = self.dir.join(shelf).join(id).join(file);
        let bytes = fs::read(&path).map_err(|e| self.damaged(shelf, id, file, e))?;
        match provenance.files.get(file) {
            Some(expected) if *expected == digest::sha256(&bytes) => Ok(bytes),
            _ => Err(self.damaged(shelf, id, file, "its digest is not the one in provenance.json")),
        }
    }

    fn damaged(&self, shelf: &str, id: &str, file: &str, problem: impl std::fmt::Display) -> Error {
        let what = shelf.trim_end_matches('s');
        Error::Store(format!(
            "{what} {id}: {file} is damaged: {problem} (hint: delete {} and run again)",
            self.dir.join(shelf).join(id).display()
        ))
    }

    /// Stores the plan: which cells belong to the run, in which order.
    pub fn put_plan(&self, plan: &PlanRecord) -> Result<()> {
        let sealed = digest::seal(&serde_json::to_string_pretty(plan).expect("plain data"));
        if fs::read(self.dir.join(PLAN)).is_ok_and(|there| there == sealed.as_bytes()) {
            return Ok(());
        }
        self.write(PLAN, sealed.as_bytes())
    }

    /// Whether there is a plan: a run that has just begun may have none.
    pub fn has_plan(&self) -> bool {
        self.dir.join(PLAN).exists()
    }

    /// Reads the plan.
    pub fn read_plan(&self) -> Result<PlanRecord> {
        let path = self.dir.join(PLAN);
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let problem = |p: String| {
            Error::Store(format!("{}: {p} (hint: run the sweep again, it rewrites the plan)", path.display()))
        };
        let plan: PlanRecord = unsealed(text).map_err(problem)?;
        match plan.schema {
            SCHEMA => Ok(plan),
            other => Err(problem(format!("schema {other}, this foolproof reads {SCHEMA}"))),
        }
    }

    /// Stores the clean images of a data subset under its digest, once.
    pub fn put_inputs(&self, data_digest: &str, inputs: &Inputs) -> Result<()> {
        let bytes = input_file(inputs)?;
        let name = input_name(data_digest);
        // its name is their digest, and who reads them checks: a thousand workers need not
        let as_long = |file: fs::Metadata| file.len() == bytes.len() as u64;
        if self.is_shared && fs::metadata(self.dir.join(&name)).is_ok_and(as_long) {
            return Ok(());
        }
        if fs::read(self.dir.join(&name)).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        self.write(&name, &bytes)
    }

    /// Whether the stored clean images are these, to the byte.
    pub fn check_inputs(&self, data_digest: &str, inputs: &Inputs) -> Result<()> {
        let name = input_name(data_digest);
        let stored = self.read_bytes(&name)?;
        // before labels were kept, all else was the same
        let without_labels = || input_file(&Inputs { labels: Vec::new(), ..inputs.clone() });
        match stored == input_file(inputs)? || stored == without_labels()? {
            true => Ok(()),
            false => Err(Error::Store(format!("{name} is not the data's (hint: run the sweep again)"))),
        }
    }

    /// Removes a file of the run, if it is there.
    pub fn remove(&self, relative: &str) -> Result<()> {
        let path = self.dir.join(relative);
        if path.exists() { remove(&path) } else { Ok(()) }
    }

    /// Reads the clean images of a data subset.
    pub fn read_inputs(&self, data_digest: &str) -> Result<Inputs> {
        if !data_digest.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Error::Store(format!("`{data_digest}` is no digest of data")));
        }
        let path = self.dir.join(input_name(data_digest));
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        parse_inputs(&bytes).map_err(|p| Error::Store(format!("{}: {p} (hint: run the sweep again)", path.display())))
    }

    /// Bytes of a file of the run.
    pub fn read_bytes(&self, relative: &str) -> Result<Vec<u8>> {
        let path = self.dir.join(relative);
        fs::read(&path).map_err(Error::io("read", &path))
    }

    /// Paths below the run of the files in a folder and in those below it, sorted; none where there is no folder.
    pub fn files_below(&self, folder: &str) -> Result<Vec<String>> {
        let (mut files, mut folders) = (Vec::new(), vec![folder.to_string()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.dir.join(&folder)).into_iter().flatten().flatten() {
                let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
                if entry.path().is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        Ok(files)
    }

    /// Writes a file of the run, all of it or nothing.
    pub fn write(&self, relative: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.begin(relative)?;
        file.append(bytes)?;
        file.finish()
    }

    /// Begins a file of the run that is too long to be held in memory; it is there once [`Pending::finish`] is called.
    pub fn begin(&self, relative: &str) -> Result<Pending> {
        // names of files come from names in cells, and a run may come from anywhere
        if !Path::new(relative).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::Store(format!("`{relative}` is no file of a run")));
        }
        Pending::at(self.dir.join(relative))
    }
}

/// Where a run keeps a model that it brings with it. Two models may share their weights, or their name.
pub fn model_folder(model: &ModelRecord) -> String {
    let key = serde_json::to_string(model).expect("plain data");
    format!("{MODELS}/{}", &digest::sha256(key.as_bytes())[..16])
}

fn input_name(data_digest: &str) -> String {
    format!("inputs/{data_digest}.safetensors")
}
