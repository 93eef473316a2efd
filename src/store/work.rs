//! Work under way: chunks of cells, clean passes, what each worker does. It is gone when the run is whole.

use super::codec::{outcomes_csv, parse_witnesses, tensor_file_with, witness_file};
use super::pending::{Pending, TEMPORARY};
use super::race::remove_if_there;
use super::{CHECKPOINTS, Store};
use crate::digest;
use crate::error::{Error, Result};
use crate::record::{CellId, Chunk, WorkRecord, WorkerRecord, unix_s};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Folder of all that is here.
const WORK: &str = "work";
/// Which units there are, and how they are cut.
const UNITS: &str = "work/units.json";
const CHUNKS: &str = "work/chunks";
const CLEAN: &str = "work/clean";
const WORKERS: &str = "work/workers";
const CLAIMS: &str = "work/claims";
const LOG: &str = "work/log";

/// Member of a chunk's metadata with its provenance.
const PROVENANCE: &str = "provenance";

/// A worker that has said nothing for so long is gone, however its clock goes.
const LATELY_S: u64 = 600;

/// Who says that he computes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is ours now.
    Ours,
    /// This worker's.
    Of(String),
    /// Somebody's who has not written his name yet.
    Nameless,
}

fn range_name(range: &Range<usize>) -> String {
    format!("{}-{}", range.start, range.end)
}

fn parse_range(name: &str) -> Option<Range<usize>> {
    let (from, to) = name.split_once('-')?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

impl Store {
    /// Stores what was found for a range of the images of a unit. Whoever comes second compares.
    pub fn put_chunk(&self, unit: &str, range: &Range<usize>, chunk: &Chunk) -> Result<()> {
        let mut tensors = Vec::new();
        for (id, outcomes, witnesses) in &chunk.cells {
            let (rows, images) = (outcomes_csv(outcomes)?, witness_file(outcomes, witnesses, chunk.size)?);
            tensors.push((format!("{id}.outcomes"), rows));
            tensors.push((format!("{id}.witnesses"), images));
        }
        let provenance = serde_json::to_string(&chunk.provenance).expect("plain data");
        let tensors = tensors.iter().map(|(name, bytes)| (name.as_str(), Dtype::U8, vec![bytes.len()], bytes.clone()));
        let bytes = tensor_file_with(tensors.collect(), Some((PROVENANCE, provenance)))?;
        let same =
            |there: &[u8]| {
                let there = parse_chunk(there)?;
                // the other may serve fewer cells: then it is replaced
                let id_of = |(id, ..): &(String, _, _)| id.clone();
                let known: BTreeSet<String> = there.cells.iter().map(id_of).collect();
                chunk.cells.iter().all(|cell| known.contains(&cell.0)).then(|| {
                    there.cells.iter().all(|cell| chunk.cells.iter().all(|own| own.0 != cell.0 || own == cell))
                })
            };
        self.put_part(&format!("{CHUNKS}/{unit}/{}", range_name(range)), &bytes, &same)
    }

    /// What was found for a range of the images of a unit; none where it is damaged: then it is computed anew.
    pub fn read_chunk(&self, unit: &str, range: &Range<usize>) -> Option<Chunk> {
        parse_chunk(&self.read_part(&format!("{CHUNKS}/{unit}/{}", range_name(range)))?)
    }

    /// The ranges that are stored of each unit that is under way.
    pub fn all_chunks(&self) -> BTreeMap<CellId, BTreeSet<(usize, usize)>> {
        let folder = self.dir.join(CHUNKS);
        let ranges = |unit: &String| {
            let entries = fs::read_dir(folder.join(unit)).into_iter().flatten().flatten();
            entries.filter_map(|e| parse_range(e.file_name().to_str()?)).map(|r| (r.start, r.end)).collect()
        };
        names_in(&folder).into_iter().map(|unit| (unit.clone(), ranges(&unit))).collect()
    }

    /// Whether a range of a unit is stored.
    pub fn has_chunk(&self, unit: &str, range: &Range<usize>) -> bool {
        self.dir.join(CHUNKS).join(unit).join(range_name(range)).exists()
    }

    /// Drops the chunks of a unit whose cells are stored.
    pub fn drop_chunks(&self, unit: &str) -> Result<()> {
        remove_if_there(&self.dir.join(CHUNKS).join(unit))
    }

    /// Drops a chunk that is damaged.
    pub fn drop_chunk(&self, unit: &str, range: &Range<usize>) -> Result<()> {
        remove_if_there(&self.dir.join(CHUNKS).join(unit).join(range_name(range)))
    }

    /// Stores the logits of a model on a range of clean images, N×classes.
    pub fn put_clean(&self, of: &str, range: &Range<usize>, logits: &[&[f32]]) -> Result<()> {
        let bytes: Vec<u8> = logits.iter().copied().flatten().flat_map(|v| v.to_le_bytes()).collect();
        self.put_part(&format!("{CLEAN}/{of}/{}", range_name(range)), &bytes, &|there| Some(there == bytes))
    }

    /// The stored logits of a range of clean images.
    pub fn read_clean(&self, of: &str, range: &Range<usize>) -> Option<Vec<Vec<f32>>> {
        let bytes = self.read_part(&format!("{CLEAN}/{of}/{}", range_name(range)))?;
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let classes = values.len() / range.len().max(1);
        (classes > 0 && classes * range.len() == values.len())
            .then(|| values.chunks_exact(classes).map(<[f32]>::to_vec).collect())
    }

    /// Whether the logits of a range of clean images are stored.
    pub fn has_clean(&self, of: &str, range: &Range<usize>) -> bool {
        self.dir.join(CLEAN).join(of).join(range_name(range)).exists()
    }

    /// Puts a sealed file into its place, if there is none. `same` says of another's bytes whether they say the same; `None`:
    /// they are to be replaced.
    fn put_part(&self, relative: &str, bytes: &[u8], same: &dyn Fn(&[u8]) -> Option<bool>) -> Result<()> {
        let place = self.dir.join(relative);
        let mut file = Pending::at(place.clone())?;
        file.append(&digest::sha256_bytes(bytes))?;
        file.append(bytes)?;
        let Some(beside) = file.finish_first()? else { return Ok(()) };
        match self.read_part(relative).and_then(|there| same(&there)) {
            Some(true) => Ok(()),
            Some(false) => Err(self.conflict(relative, beside.path())),
            None => beside.persist(&place).map(drop).map_err(|e| Error::io("rename into", &place)(e.error)),
        }
    }

    /// The bytes of a sealed file; none where it is damaged.
    fn read_part(&self, relative: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.dir.join(relative)).ok()?;
        let (head, rest) = bytes.split_at_checked(digest::sha256_bytes(&[]).len())?;
        (digest::sha256_bytes(rest) == head).then(|| rest.to_vec())
    }

    /// Stores which units there are, and how they are cut.
    pub fn put_work(&self, work: &WorkRecord) -> Result<()> {
        self.write(UNITS, digest::seal(&serde_json::to_string_pretty(work).expect("plain data")).as_bytes())
    }

    /// Which units there are; `None`: nobody has said, or it is damaged.
    pub fn read_work(&self) -> Option<WorkRecord> {
        let text = fs::read_to_string(self.dir.join(UNITS)).ok()?;
        super::unsealed(text).ok()
    }

    /// Says what a worker does.
    pub fn put_worker(&self, worker: &WorkerRecord) -> Result<()> {
        // lost at a power failure, it is written again: it waits for no disk
        let text = serde_json::to_string_pretty(worker).expect("plain data");
        self.write_soon(self.dir.join(WORKERS).join(&worker.name), &text)
    }

    /// What a worker said last.
    pub fn read_worker(&self, name: &str) -> Option<WorkerRecord> {
        serde_json::from_slice(&fs::read(self.dir.join(WORKERS).join(name)).ok()?).ok()
    }

    /// What every worker said last.
    pub fn workers(&self) -> Vec<WorkerRecord> {
        names_in(&self.dir.join(WORKERS)).iter().filter_map(|name| self.read_worker(name)).collect()
    }

    /// Says that `worker` computes something (a name of a file), unless another says so. It keeps two from the same work; nothing is wrong where both
    /// do it.
    pub fn claim(&self, what: &str, worker: &str) -> Result<Claim> {
        let place = self.claim_file(what);
        loop {
            match fs::File::options().write(true).create_new(true).open(&place) {
                Ok(mut file) => {
                    file.write_all(worker.as_bytes()).map_err(Error::io("write", &place))?;
                    return Ok(Claim::Ours);
                }
                Err(problem) if problem.kind() == ErrorKind::AlreadyExists => match fs::read(&place) {
                    Ok(holder) if holder.is_empty() => return Ok(Claim::Nameless),
                    // whatever it says: a claim is advice, and who is not known does not hold it
                    Ok(holder) => return Ok(Claim::Of(String::from_utf8_lossy(&holder).into_owned())),
                    Err(problem) if problem.kind() == ErrorKind::NotFound => {} // dropped just now
                    Err(problem) => return Err(Error::io("read", &place)(problem)),
                },
                Err(problem) if problem.kind() == ErrorKind::NotFound => {
                    let folder = place.parent().expect("below the run");
                    fs::create_dir_all(folder).map_err(Error::io("create folder", folder))?;
                }
                Err(problem) => return Err(Error::io("create", &place)(problem)),
            }
        }
    }

    /// Takes a claim from a worker that is gone.
    pub fn take_claim(&self, what: &str, worker: &str) -> Result<()> {
        self.write_soon(self.claim_file(what), worker)
    }

    fn write_soon(&self, place: PathBuf, text: &str) -> Result<()> {
        let mut file = Pending::at(place)?;
        file.append(text.as_bytes())?;
        file.finish_soon()
    }

    /// Drops a claim.
    pub fn drop_claim(&self, what: &str) -> Result<()> {
        let place = self.claim_file(what);
        match fs::remove_file(&place) {
            Err(problem) if problem.kind() != ErrorKind::NotFound => Err(Error::io("remove", &place)(problem)),
            _ => Ok(()),
        }
    }

    /// What is claimed, and by whom.
    pub fn claims(&self) -> BTreeMap<String, String> {
        let folder = self.dir.join(CLAIMS);
        let holder = |name: String| Some((name.clone(), fs::read_to_string(folder.join(&name)).ok()?));
        names_in(&folder).into_iter().filter_map(holder).collect()
    }

    /// What is claimed, by whomever.
    pub fn claimed(&self) -> BTreeSet<String> {
        names_in(&self.dir.join(CLAIMS)).into_iter().collect()
    }

    fn claim_file(&self, what: &str) -> PathBuf {
        self.dir.join(CLAIMS).join(what)
    }

    /// The log of a worker, for people: what it began, what it computed, in how many seconds.
    pub fn begin_log(&self, worker: &str) -> Result<fs::File> {
        let path = self.dir.join(LOG).join(format!("{worker}.csv"));
        fs::create_dir_all(path.parent().expect("below the run")).map_err(Error::io("create folder", &path))?;
        let mut file = fs::File::options().append(true).create(true).open(&path).map_err(Error::io("open", &path))?;
        file.write_all(b"work,from,to,seconds,result\n").map_err(Error::io("write", &path))?;
        Ok(file)
    }

    /// Drops all that was under way, of a run that is whole.
    pub fn drop_work(&self) -> Result<()> {
        remove_if_there(&self.dir.join(CHECKPOINTS))?;
        remove_if_there(&self.dir.join(WORK))
    }

    /// A worker of another machine that said lately that it is at work. A lock need not reach there, and what it writes must not be
    /// swept away.
    pub fn at_work_elsewhere(&self) -> Option<String> {
        let now = unix_s();
        let here = crate::disk::host();
        let lately = |w: &WorkerRecord| w.ended.is_none() && now.saturating_sub(w.unix_s) < LATELY_S;
        self.workers().into_iter().find(|w| lately(w) && w.host != here).map(|w| w.name)
    }
}

fn parse_chunk(bytes: &[u8]) -> Option<Chunk> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    let provenance = serde_json::from_str(header.metadata().as_ref()?.get(PROVENANCE)?).ok()?;
    let file = SafeTensors::deserialize(bytes).ok()?;
    let mut cells = Vec::new();
    let mut size = [0; 2];
    for name in file.names() {
        let Some(id) = name.strip_suffix(".outcomes") else { continue };
        let rows = csv::Reader::from_reader(file.tensor(name).ok()?.data()).into_deserialize();
        let outcomes = rows.collect::<Result<Vec<_>, _>>().ok()?;
        let images = file.tensor(&format!("{id}.witnesses")).ok()?;
        let (witnesses, of) = parse_witnesses(images.data()).ok()?;
        size = of;
        cells.push((id.to_string(), outcomes, witnesses));
    }
    cells.sort_by(|a, b| a.0.cmp(&b.0));
    Some(Chunk { provenance, size, cells })
}

/// Names in a folder, sorted; none where there is no folder, and none that is still being written.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with(TEMPORARY));
    names.sort();
    names
}
