//! Weights that lie in files of their own, beside the ONNX file: put into it, so that one file is the whole model.

use super::proto::{Kind, Model, Tensor};
use super::protobuf::{Fields, put, varint_length};
use super::tensor::count;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// A part of the file that is written.
enum Piece<'a> {
    /// As it stands.
    Same(&'a [u8]),
    /// A tensor: its other fields, and how many bytes of which file.
    Filled(Vec<u8>, PathBuf, u64, usize),
}

/// A file in which every weight is: as it stands where it was whole, else with the external data of its tensors, which must lie
/// in `folder`.
///
/// # Errors
/// External data outside the folder, links out of it among them; files that are not there or too short.
pub fn whole<'a>(bytes: &'a [u8], folder: Option<&Path>) -> Result<Cow<'a, [u8]>, String> {
    if !has_external_data(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut before = Vec::new();
    let mut pieces = Vec::new();
    let mut behind = Vec::new();
    let mut seen = BTreeSet::new();
    for field in Fields::of(bytes).with_bytes() {
        match field? {
            (7, graph, _) if pieces.is_empty() => {
                for field in Fields::of(graph.bytes()?).with_bytes() {
                    pieces.push(match field? {
                        (5, tensor, raw) => piece(tensor.bytes()?, raw, folder, &mut seen)?,
                        (_, _, raw) => Piece::Same(raw),
                    });
                }
            }
            (_, _, raw) if pieces.is_empty() => before.extend_from_slice(raw),
            (_, _, raw) => behind.extend_from_slice(raw),
        }
    }
    // parts of a file may be named more often than they are there
    let there: u64 = seen.iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum();
    let wanted: u64 = pieces.iter().map(|p| if let Piece::Filled(.., n) = p { *n as u64 } else { 0 }).sum();
    if wanted > there {
        return Err(format!("external data of {wanted} bytes, in files that have {there}"));
    }
    let length = pieces.iter().map(Piece::length).sum();
    let mut all = Vec::with_capacity(before.len() + behind.len() + length + 16);
    all.extend(before);
    put(&mut all, 7, length);
    for piece in &pieces {
        piece.write(&mut all)?;
    }
    all.extend(behind);
    Ok(Cow::Owned(all))
}

/// Whether weights of a file lie in others; not where it is damaged.
pub fn has_external_data(bytes: &[u8]) -> bool {
    let graph = Model::parse(bytes).ok().and_then(|model| model.graph);
    graph.is_some_and(|graph| graph.initializers.iter().any(|tensor| tensor.is_external))
}

/// A tensor of the file, or where its numbers are.
fn piece<'a>(
    message: &'a [u8],
    raw: &'a [u8],
    folder: Option<&Path>,
    seen: &mut BTreeSet<PathBuf>,
) -> Result<Piece<'a>, String> {
    let tensor = Tensor::parse(message)?;
    if !tensor.is_external {
        return Ok(Piece::Same(raw));
    }
    let problem = |problem: String| format!("`{}`: {problem}", tensor.name);
    let (path, offset, n) = place(&tensor, folder).map_err(problem)?;
    seen.insert(path.clone());
    let mut rest = Vec::new();
    for field in Fields::of(message).with_bytes() {
        match field? {
            (9 | 13 | 14, ..) => {}
            (_, _, raw) => rest.extend_from_slice(raw),
        }
    }
    Ok(Piece::Filled(rest, path, offset, n))
}

impl Piece<'_> {
    /// Bytes of the message of a filled tensor.
    fn message(rest: &[u8], n: usize) -> usize {
        rest.len() + varint_length(9, n) + n
    }

    fn length(&self) -> usize {
        match self {
            Piece::Same(raw) => raw.len(),
            Piece::Filled(rest, _, _, n) => {
                let message = Piece::message(rest, *n);
                varint_length(5, message) + message
            }
        }
    }

    fn write(&self, to: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Piece::Same(raw) => to.extend_from_slice(raw),
            Piece::Filled(rest, path, offset, n) => {
                put(to, 5, Piece::message(rest, *n));
                to.extend_from_slice(rest);
                put(to, 9, *n);
                let read = |to: &mut Vec<u8>| -> std::io::Result<u64> {
                    let mut file = File::open(path)?;
                    file.seek(SeekFrom::Start(*offset))?;
                    Ok(file.take(*n as u64).read_to_end(to)? as u64)
                };
                let read = read(to).map_err(|e| format!("external data {}: {e}", path.display()))?;
                if read != *n as u64 {
                    return Err(format!("external data {} became shorter while it was read", path.display()));
                }
            }
        }
        Ok(())
    }
}

/// File, place in it and number of bytes that the keys `location`, `offset` and `length` of a tensor name.
fn place(tensor: &Tensor, folder: Option<&Path>) -> Result<(PathBuf, u64, usize), String> {
    let get = |key: &str| tensor.external.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
    let number = |key: &str| match get(key) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("`{key}` \"{text}\" of external data")),
    };
    let (location, offset) =
        (get("location").ok_or("external data without `location`")?, number("offset")?.unwrap_or(0));
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|d| usize::try_from(*d).ok()).collect();
    let wanted = count(&dims.ok_or_else(|| format!("shape {:?}", tensor.dims))?)?;
    let wanted = wanted.saturating_mul(Kind::of(tensor.kind)?.bytes());
    if number("length")?.is_some_and(|length| length != wanted as u64) {
        return Err(format!("external data of another length than the {wanted} bytes of its shape"));
    }
    let path = inside(location, folder)?;
    let size = path.metadata().map_err(|e| format!("external data `{location}`: {e}"))?.len();
    match offset.checked_add(wanted as u64).is_none_or(|end| end > size) {
        true => {
            Err(format!("external data `{location}`: {wanted} bytes from {offset} on are wanted, and it has {size}"))
        }
        false => Ok((path, offset, wanted)),
    }
}

/// Where a file of external data lies.
fn inside(location: &str, folder: Option<&Path>) -> Result<PathBuf, String> {
    let problem = |what: &str| Err(format!("external data `{location}`: {what}"));
    let Some(folder) = folder else {
        return problem(
            "the file is read alone (hint: `external_data=False` when exporting, or `onnx.save` of what `onnx.load` gives)",
        );
    };
    let plain = Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
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
