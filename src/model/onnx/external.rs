//! Weights that lie in files of their own, beside the ONNX file.

use super::proto;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// The folder of an ONNX file; without one it is a single file.
#[derive(Debug, Clone)]
pub struct External {
    folder: Option<PathBuf>,
}

impl External {
    /// Of a file without any beside it.
    pub fn none() -> External {
        External { folder: None }
    }

    /// Of a file in this folder.
    pub fn beside(folder: &Path) -> External {
        External { folder: Some(folder.to_path_buf()) }
    }

    /// Bytes of all files that tensors of this network lie in; a place that is refused counts for none.
    pub fn bytes(&self, graph: &proto::Graph) -> usize {
        let places: BTreeSet<PathBuf> = locations(graph).filter_map(|location| self.path(location).ok()).collect();
        let sizes = places.iter().filter_map(|path| Some(path.metadata().ok()?.len() as usize));
        sizes.fold(0, usize::saturating_add)
    }

    /// The bytes that the keys `location`, `offset` and `length` of a tensor name.
    ///
    /// # Errors
    /// A place outside the folder, a file that is not there or too short, and another length than wanted.
    pub fn read(&self, entries: &[(&str, &str)], wanted: usize) -> Result<Vec<u8>, String> {
        let get = |key: &str| entries.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
        let number = |key: &str| match get(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("`{key}` \"{text}\" of external data")),
        };
        let (location, offset) = (get("location").ok_or("external data without `location`")?, number("offset")?);
        if number("length")?.is_some_and(|length| length != wanted as u64) {
            return Err(format!("external data of another length than the {wanted} bytes of its shape"));
        }
        let path = self.path(location)?;
        let problem = |what: &str| format!("external data `{location}`: {what}");
        let mut file = File::open(&path).map_err(|e| problem(&e.to_string()))?;
        let (size, offset) = (file.metadata().map_err(|e| problem(&e.to_string()))?.len(), offset.unwrap_or(0));
        if offset.checked_add(wanted as u64).is_none_or(|end| end > size) {
            return Err(problem(&format!("{wanted} bytes from {offset} on are wanted, and it has {size}")));
        }
        let mut bytes = vec![0; wanted];
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| problem(&e.to_string()))?;
        Ok(bytes)
    }

    /// Where a file of external data lies.
    ///
    /// # Errors
    /// A place outside the folder, or that is none.
    pub fn path(&self, location: &str) -> Result<PathBuf, String> {
        let problem = |what: &str| Err(format!("external data `{location}`: {what}"));
        let Some(folder) = &self.folder else {
            return problem("the file is read alone (hint: save the model as one file)");
        };
        let plain =
            Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !plain || location.contains('\\') {
            return problem("it lies outside the folder of the model");
        }
        let path = folder.join(location);
        let (Ok(real), Ok(within)) = (path.canonicalize(), folder.canonicalize()) else {
            return problem(
                "the file is not there (hint: it belongs beside the model, under the name that it was saved by)",
            );
        };
        match (real.starts_with(&within), real.is_file()) {
            (false, _) => problem("it leads outside the folder of the model"),
            (true, false) => problem("it is no file"),
            (true, true) => Ok(real),
        }
    }
}

/// The files that tensors of a network name; one may come more than once.
pub fn locations<'a>(graph: &'a proto::Graph) -> impl Iterator<Item = &'a str> {
    let external = graph.initializers.iter().filter(|tensor| tensor.is_external);
    external.flat_map(|tensor| &tensor.external).filter(|(key, _)| *key == "location").map(|(_, location)| *location)
}
