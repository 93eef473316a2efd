//! The zip archive that `torch.save` writes since PyTorch 1.6: a pickle that describes the tensors, and their bytes.

use super::format::CONVERT;
use std::io::Cursor;
use zip::read::{ArchiveOffset, Config};
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

/// Entries that the directory at the end of a zip file lists, which begins here (APPNOTE 4.3.12).
fn listed(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut count) = (start, 0);
    while let Some(header) = bytes.get(at..).filter(|rest| rest.len() >= 46 && rest.starts_with(b"PK\x01\x02")) {
        let length = |field: usize| usize::from(u16::from_le_bytes([header[field], header[field + 1]]));
        // its name, what is extra, and its comment
        at += 46 + length(28) + length(30) + length(32);
        count += 1;
    }
    count
}

impl<'a> Archive<'a> {
    /// Finds everything in a file.
    ///
    /// # Errors
    /// A file that is damaged, or that holds something else than tensors of this kind of machine.
    pub fn open(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        // it begins where the file does: looking for another beginning, the crate finds one in sound files of some lengths
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let zip = ZipArchive::with_config(config, Cursor::new(bytes)).map_err(|_| {
            "no sound PyTorch file: the directory at its end is missing or damaged (hint: download or save it again)"
        })?;
        if zip.len() > MOST_ENTRIES {
            return Err(format!("{} entries in the archive, more than {MOST_ENTRIES}", zip.len()));
        }
        // the crate keeps the last of two entries of one name, and PyTorch reads the first
        let listed = listed(bytes, usize::try_from(zip.central_directory_start()).unwrap_or(usize::MAX));
        if listed > zip.len() {
            return Err(format!("{} names in the archive stand for two entries ({CONVERT})", listed - zip.len()));
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

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: [(&str, &[u8]); 7] = [
        ("data.pkl", &[b'}'; 150]),
        (".format_version", b"1"),
        (".storage_alignment", b"64"),
        ("byteorder", b"little"),
        ("data/0", &[7; 16]),
        ("version", b"3\n"),
        (".data/serialization_id", &[b'1'; 40]),
    ];

    /// An archive as `torch.save` writes it: names in a folder that is called as the file was, each entry's bytes at a multiple
    /// of 64 by a field "FB" of zeros before them, and the directory in the form for large archives, too.
    fn saved_as(stem: &str, entries: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        let of_u32 = |n: usize| (n as u32).to_le_bytes();
        for (name, bytes) in entries {
            let (name, start) = (format!("{stem}/{name}"), file.len());
            let padding = (64 - (start + 30 + name.len() + 4) % 64) % 64;
            // version, flags, method, time, date, and a checksum that nobody reads
            let mut head = vec![0, 0, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            head.extend([of_u32(bytes.len()), of_u32(bytes.len())].concat());
            head.extend((name.len() as u16).to_le_bytes());
            file.extend(
                [b"PK\x03\x04", head.as_slice(), &(4 + padding as u16).to_le_bytes(), name.as_bytes()].concat(),
            );
            file.extend([b"FB", &(padding as u16).to_le_bytes()[..], &vec![b'Z'; padding], bytes].concat());
            directory.extend([b"PK\x01\x02\0\0", head.as_slice(), &[0; 12], &of_u32(start), name.as_bytes()].concat());
        }
        let (start, size, n) = (file.len() as u64, directory.len() as u64, entries.len() as u64);
        file.extend(directory);
        let of_u64 = |numbers: &[u64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let end = file.len() as u64;
        file.extend([b"PK\x06\x06", &of_u64(&[44])[..], &[30, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat());
        file.extend(of_u64(&[n, n, size, start]));
        file.extend([b"PK\x06\x07\0\0\0\0", &of_u64(&[end])[..], &[1, 0, 0, 0]].concat());
        file.extend([b"PK\x05\x06\0\0\0\0", &[n as u8, 0, n as u8, 0][..]].concat());
        file.extend([of_u32(size as usize), of_u32(start as usize)].concat());
        file.extend([0, 0]);
        file
    }

    #[test]
    fn a_file_is_read_whatever_it_was_called() {
        for n in 1..=130 {
            let file = saved_as(&"a".repeat(n), &ENTRIES);
            let mut archive = Archive::open(&file).unwrap_or_else(|e| panic!("a name of {n} letters: {e}"));
            assert_eq!(archive.storage("0"), Ok(&[7; 16][..]), "a name of {n} letters");
        }
    }

    #[test]
    fn two_entries_of_one_name_are_refused() {
        let twice = [&ENTRIES[..], &[("data/0", &[8; 16])]].concat();
        let problem = Archive::open(&saved_as("a", &twice)).err().unwrap();
        assert!(problem.starts_with("1 names in the archive stand for two entries"), "{problem}");
    }
}
