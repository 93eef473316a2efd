//! What lies in folders of data: links are followed, and nothing is passed over without being counted. Only what is not
//! there counts as not there.

use super::picture;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What lies in a folder, each sorted by name, but for what is hidden.
pub struct Contents {
    /// Folders, and links to them.
    pub folders: Vec<PathBuf>,
    /// Files, and links to them.
    pub files: Vec<PathBuf>,
}

/// What lies among the data and is not read: how many by the reason, and the first of them.
#[derive(Default)]
pub struct Unread(BTreeMap<&'static str, (usize, PathBuf)>);

impl Unread {
    /// One more; `why` follows a number: "hidden", "no pictures by their names".
    pub fn add(&mut self, why: &'static str, path: &Path) {
        self.0.entry(why).or_insert((0, path.to_path_buf())).0 += 1;
    }

    /// `of what lies in FOLDER was not read: 2 hidden (as .cache), …`; `None`: all was.
    pub fn text(&self, folder: &Path) -> Option<String> {
        let part = |(why, (count, path)): (&&str, &(usize, PathBuf))| {
            format!("{count} {why} (as {})", path.strip_prefix(folder).unwrap_or(path).display())
        };
        let parts: Vec<String> = self.0.iter().map(part).collect();
        (!parts.is_empty()).then(|| format!("of what lies in {} was not read: {}", folder.display(), parts.join(", ")))
    }
}

/// What a path leads to; `None`: nothing of this name is there. A link to nowhere is an error that names it, and so is what
/// cannot be looked at.
pub fn follow(path: &Path) -> Result<Option<Metadata>> {
    let is_absent = |e: &std::io::Error| [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind());
    match (fs::metadata(path), fs::symlink_metadata(path)) {
        (Ok(found), _) => Ok(Some(found)),
        (Err(_), Err(e)) if is_absent(&e) => Ok(None),
        (Err(e), Ok(_)) if is_absent(&e) => {
            let to = fs::read_link(path).map_or_else(|_| "nowhere".into(), |to| to.display().to_string());
            Err(Error::Absent(format!(
                "{}: a link to {to}, which is not there (hint: bring it back, or take the link out)",
                path.display()
            )))
        }
        (Err(e), _) => Err(Error::io("read", path)(e)),
    }
}

/// Whether there is a folder.
pub fn is_folder(path: &Path) -> Result<bool> {
    Ok(follow(path)?.is_some_and(|found| found.is_dir()))
}

/// What lies in a folder. What is hidden and `is_data` all the same is counted, and so is what is neither file nor folder.
pub fn contents(folder: &Path, is_data: fn(&Path) -> bool, unread: &mut Unread) -> Result<Contents> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read folder", folder))? {
        entries.push(entry.map_err(Error::io("read folder", folder))?.path());
    }
    entries.sort();
    let mut contents = Contents { folders: Vec::new(), files: Vec::new() };
    for path in entries {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            if is_data(&path) {
                unread.add("hidden", &path);
            }
            continue;
        }
        match follow(&path)? {
            Some(found) if found.is_dir() => contents.folders.push(path),
            Some(found) if found.is_file() => contents.files.push(path),
            Some(_) => unread.add("neither file nor folder", &path),
            None => {} // taken away since the folder was listed
        }
    }
    Ok(contents)
}

/// What lies in a folder of pictures.
pub fn contents_of_pictures(folder: &Path, unread: &mut Unread) -> Result<Contents> {
    contents(folder, |path| path.is_dir() || picture::is_picture(path), unread)
}

/// The picture files of a folder, and of the folders in it, in the order of torchvision's `ImageFolder`: sorted by the whole
/// path of their folder, then by name.
pub fn pictures(folder: &Path, unread: &mut Unread) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    descend(folder, &mut Vec::new(), unread, &mut folders)?;
    // as texts, as Python sorts them: `a-b` goes before `a/b`
    folders.sort_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
    Ok(folders.into_iter().flat_map(|(_, pictures)| pictures).collect())
}

/// The pictures of a folder and of those below it; `above` are the folders on the way, links resolved.
fn descend(
    folder: &Path,
    above: &mut Vec<PathBuf>,
    unread: &mut Unread,
    found: &mut Vec<(PathBuf, Vec<PathBuf>)>,
) -> Result<()> {
    let real = folder.canonicalize().map_err(Error::io("read folder", folder))?;
    if above.contains(&real) {
        return Err(Error::usage(format!(
            "{}: a link to a folder that it lies in (hint: take it out)",
            folder.display()
        )));
    }
    let here = contents_of_pictures(folder, unread)?;
    let (pictures, others): (Vec<PathBuf>, _) = here.files.into_iter().partition(|file| picture::is_picture(file));
    others.iter().for_each(|other| unread.add("no pictures by their names", other));
    found.push((folder.to_path_buf(), pictures));
    above.push(real);
    here.folders.iter().try_for_each(|inner| descend(inner, above, unread, found))?;
    above.pop();
    Ok(())
}
