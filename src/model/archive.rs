//! The zip archive that `torch.save` writes since PyTorch 1.6: a pickle that describes the tensors, and their bytes.

use super::format::CONVERT;
use std::io::Cursor;
use zip::{CompressionMethod, ZipArchive};

/// Largest pickle that is read: that of a network of a thousand layers has 300 kB. Each of its bytes may make an object.
pub const MOST_PICKLE: usize = 4 << 20;

/// A file holds a handful of entries, and one a tensor.
const MOST_ENTRIES: usize = 100_000;

/// Newest version of the archive (`kMaxSupportedFileFormatVersion` of PyTorch 2.9).
const NEWEST: u32 = 10;

/// The archive, with every entry as a slice of the file.
pub struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Folder that everything lies in, with its slash.
    folder: String,
    /// What describes the tensors.
    pub pickle: &'a [u8],
}

impl<'a> Archive<'a> {
    /// Finds everything in a file.
    ///
    /// # Errors
    /// A file that is damaged, or that holds something else than tensors of this kind of machine.
    pub fn open(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|_| {
            "no sound PyTorch file: the directory at its end is missing or damaged (hint: download or save it again)"
        })?;
        if zip.len() > MOST_ENTRIES {
            return Err(format!("{} entries in the archive, more than {MOST_ENTRIES}", zip.len()));
        }
        let named = |name: &str| name == "data.pkl" || name.ends_with("/data.pkl");
        let names: Vec<String> =
            zip.file_names().filter_map(|n| n.ok()).filter(|n| named(n)).map(|n| n.into_owned()).collect();
        let [name] = names.as_slice() else {
            return Err(format!("{} entries `data.pkl` in the archive, expected one ({CONVERT})", names.len()));
        };
        let folder = name.strip_suffix("data.pkl").expect("filtered").to_string();
        let mut archive = Archive { bytes, zip, folder, pickle: &[] };
        archive.pickle = archive.entry(name)?;
        if archive.pickle.len() > MOST_PICKLE {
            return Err(format!("a pickle of {} bytes, more than {MOST_PICKLE}", archive.pickle.len()));
        }
        archive.check_kind()?;
        Ok(archive)
    }

    /// Refuses what lies beside the tensors and makes something else of them.
    fn check_kind(&mut self) -> Result<(), String> {
        if self.optional("byteorder")?.is_some_and(|order| order != b"little") {
            return Err(format!("numbers of another byte order ({CONVERT}, on this machine)"));
        }
        if self.optional("constants.pkl")?.is_some() {
            return Err(format!("a program of TorchScript, no state dict ({CONVERT})"));
        }
        let version = self.optional("version")?.map_or(Ok("1"), |text| std::str::from_utf8(text));
        let version = version.ok().and_then(|text| text.trim().parse::<u32>().ok());
        match version {
            Some(1..=NEWEST) => Ok(()),
            Some(other) => Err(format!("version {other} of PyTorch's format, newer than {NEWEST} ({CONVERT})")),
            None => Err(format!("`{}version` in the archive is no number ({CONVERT})", self.folder)),
        }
    }

    /// An entry's bytes, if it is there.
    fn optional(&mut self, name: &str) -> Result<Option<&'a [u8]>, String> {
        let name = format!("{}{name}", self.folder);
        match self.zip.index_for_name(&name) {
            Some(_) => self.entry(&name).map(Some),
            None => Ok(None),
        }
    }

    /// An entry's bytes. PyTorch compresses nothing, so they are those of the file, and cannot be more.
    fn entry(&mut self, name: &str) -> Result<&'a [u8], String> {
        if self.zip.index_for_name(name).is_none() {
            return Err(format!("no `{name}` in the archive"));
        }
        let entry = self.zip.by_name(name).map_err(|_| format!("`{name}` in the archive is damaged"))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!("`{name}` in the archive is compressed, which PyTorch never does ({CONVERT})"));
        }
        let (start, size) = (entry.data_start(), entry.size());
        let range =
            start.and_then(|start| Some(usize::try_from(start).ok()?..usize::try_from(start.checked_add(size)?).ok()?));
        range.and_then(|range| self.bytes.get(range)).ok_or_else(|| format!("`{name}` in the archive is cut off"))
    }

    /// The bytes of a storage.
    ///
    /// # Errors
    /// One that is not there, or damaged.
    pub fn storage(&mut self, key: &str) -> Result<&'a [u8], String> {
        self.entry(&format!("{}data/{key}", self.folder))
    }
}
