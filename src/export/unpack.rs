//! Bundles unpacked, from whomever they come. By hand: the `tar` crate would take modes and times from them, and read names into
//! memory however long they are.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek};
use std::path::{Component, Path, PathBuf};

/// The first bytes of what gzip wrote.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The most bytes that an entry's name may take: it is held in memory.
const LONGEST_NAME: u64 = 64 << 10;

/// Unpacks a bundle below `folder`, and gives the folder of its run. Nothing is written anywhere else, and nothing but files
/// and folders: links, devices and holes are refused. Modes, owners and times are those of new files.
pub fn unpack(bundle: &Path, folder: &Path) -> Result<PathBuf> {
    let refuse = |problem: String| Error::usage(format!("{}: {problem}", bundle.display()));
    let broken = |e: std::io::Error| refuse(format!("no tar file, or cut off: {e}"));
    let (mut file, mut begin) = (File::open(bundle).map_err(Error::io("read", bundle))?, Vec::new());
    file.by_ref().take(2).read_to_end(&mut begin).map_err(Error::io("read", bundle))?;
    if begin == GZIP {
        return Err(refuse("it is compressed (hint: gunzip it)".into()));
    }
    file.rewind().map_err(Error::io("read", bundle))?;
    let mut tar = ::tar::Archive::new(BufReader::new(file));
    let (mut root, mut long_name): (Option<PathBuf>, Option<String>) = (None, None);
    // raw: the library would read long names into memory, however long
    for entry in tar.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            long_name = own_name(&mut entry).map_err(refuse)?.or(long_name);
            continue;
        }
        // what says nothing of a plain file: git's commit, where a link leads
        if kind.is_pax_global_extensions() || kind.is_gnu_longlink() {
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| String::from_utf8_lossy(&entry.path_bytes()).into_owned());
        let odd = || refuse(format!("`{name}` is no plain file inside the bundle"));
        let parts = Path::new(&name).components().filter(|part| *part != Component::CurDir);
        let plain = |part| if let Component::Normal(part) = part { Some(part) } else { None };
        let path: PathBuf = parts.map(plain).collect::<Option<_>>().ok_or_else(odd)?;
        let Some(first) = path.iter().next().filter(|_| kind.is_file() || kind.is_dir()) else {
            if kind.is_dir() { continue } else { return Err(odd()) }
        };
        if root.get_or_insert_with(|| folder.join(first)) != &folder.join(first) {
            return Err(refuse("holds more than one folder".into()));
        }
        put(&mut entry, &folder.join(&path)).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => refuse(format!("`{name}` stands in it twice")),
            _ => refuse(format!("`{name}`: {e}")),
        })?;
    }
    root.filter(|root| root.is_dir()).ok_or_else(|| {
        refuse("holds no run (hint: a bundle is what `foolproof export RUN --format tar` writes)".into())
    })
}

/// Writes a file that is not there yet, or makes a folder.
fn put(entry: &mut ::tar::Entry<impl Read>, path: &Path) -> std::io::Result<()> {
    if entry.header().entry_type().is_dir() {
        return std::fs::create_dir_all(path);
    }
    std::fs::create_dir_all(path.parent().expect("below a folder"))?;
    let length = entry.size();
    match std::io::copy(entry, &mut File::create_new(path)?)? == length {
        true => Ok(()),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// The name that an entry of GNU's or POSIX's kind gives to the next one.
fn own_name(entry: &mut ::tar::Entry<impl Read>) -> Result<Option<String>, String> {
    if entry.size() > LONGEST_NAME {
        return Err(format!("a name of {} bytes (hint: tar --format=gnu)", entry.size()));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if entry.header().entry_type().is_gnu_longname() {
        let name = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
        return Ok(Some(String::from_utf8_lossy(name).into_owned()));
    }
    let mut name = None;
    for extension in ::tar::PaxExtensions::new(&bytes) {
        let extension = extension.map_err(|e| e.to_string())?;
        match extension.key_bytes() {
            b"path" => name = Some(String::from_utf8_lossy(extension.value_bytes()).into_owned()),
            // the bytes that follow would not be what they seem
            key if key == b"size" || key.starts_with(b"GNU.sparse.") => {
                return Err("a file of more than 8 GiB, or with holes (hint: tar --format=gnu)".into());
            }
            _ => {}
        }
    }
    Ok(name)
}
