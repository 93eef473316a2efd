//! Datasets that are published as tables: parquet files, here or on the Hub, with a picture and a label a row. Files are
//! opened in order, and fetched, until the images that are wanted are among them.

use super::choice::Choice;
use super::columns::Columns;
use super::place::{Content, Place, Rows};
use super::prepare::{self, Enlarged, Preparation};
use super::shard::{Row, Shard};
use super::subset::Subset;
use super::walk::{self, Unread};
use super::{imagenet_folder, picture};
use crate::error::{Error, Result};
use crate::hub::{Hub, Kind, RemoteFile};
use crate::record::HubFile;
use image::RgbImage;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a dataset consists of.
pub struct Table {
    /// In the order in which rows are counted.
    pub files: Vec<TableFile>,
    /// Which columns are read.
    pub columns: Columns,
    /// What labels mean.
    pub labels: Labels,
    /// Height and width of its pictures; `None`: any, and they are prepared.
    pub side: Option<usize>,
    /// What was looked for here before the Hub was asked, and what helps where it is missing in both places.
    pub missing: Option<[String; 2]>,
}

/// One parquet file.
#[derive(Debug, Clone)]
pub enum TableFile {
    /// Lies here.
    Local(PathBuf),
    /// Lies on the Hub. Pinned: its hash was known before the Hub was asked.
    Remote { file: RemoteFile, pinned: bool },
    /// Must be somewhere, by the names of the others, and is not; what is missing.
    Missing(String),
}

/// What labels mean.
#[derive(Debug, Clone)]
pub enum Labels {
    /// Places in this list.
    Classes(Vec<String>),
    /// Places in the list of names that the file has, else in this one; each is a class of ImageNet by wnid or name, and
    /// becomes its index.
    OfImagenet(&'static [&'static str]),
    /// Places in the list of names that the file has, else numbers below this.
    AsWritten(Option<usize>),
}

/// A file of the Hub. Without a hash it is unpinned.
pub fn on_hub(repository: &str, revision: &str, path: &str, sha256: Option<&str>) -> TableFile {
    let file = RemoteFile {
        kind: Kind::Dataset,
        repository: repository.into(),
        revision: revision.into(),
        path: path.into(),
        sha256: sha256.map(String::from),
    };
    TableFile::Remote { file, pinned: sha256.is_some() }
}

/// The files of a repository whose paths `fit`, in the order of their paths, as the Hub lists them.
pub fn listed(
    hub: &Hub,
    repository: &str,
    revision: &str,
    prefix: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<Vec<TableFile>> {
    let fits = |path: &str| path.ends_with(".parquet") && path.starts_with(prefix) && fits(path);
    let mut files = hub.list(Kind::Dataset, repository, revision, prefix)?;
    files.retain(|file| fits(&file.path));
    if files.is_empty() {
        return Err(Error::usage(format!(
            "no parquet file in the Hub's dataset `{repository}` at `{revision}` has a path as `{prefix}…` that is asked \
             for (hint: `files` names them, as \"data/test-*.parquet\"; offline, only files in the cache are seen)"
        )));
    }
    let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    let here = files.into_iter().map(|file| (file.path.clone(), TableFile::Remote { file, pinned: false }));
    // offline, the list is what the cache has; the Hub itself may lack a shard, too
    let missing = missing(&paths, fits).map_err(Error::usage)?.into_iter().map(|Shardless { path, whole }| {
        let text = || {
            format!(
                "{path} of the Hub's dataset `{repository}` at `{revision}` is missing, and its whole name unknown \
                 (hint: `foolproof fetch CONFIG` brings all that a sweep needs, where there is a network)"
            )
        };
        let file = if whole { on_hub(repository, revision, &path, None) } else { TableFile::Missing(text()) };
        (path, file)
    });
    let mut files: Vec<(String, TableFile)> = here.chain(missing).collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

/// A name as `data/train-00003-of-00013.parquet`, or with a hash as `…-of-00013-70d52db3c749a935.parquet`.
struct Numbered<'a> {
    head: &'a str,
    number: usize,
    count: usize,
    /// Ends the name.
    tail: &'a str,
}

impl Numbered<'_> {
    /// `None`: the name says no such thing.
    fn parse(path: &str) -> Option<Numbered<'_>> {
        let (before, after) = path.rsplit_once("-of-")?;
        let (head, number) = before.rsplit_once('-')?;
        let (count, tail) = after.split_at_checked(5)?;
        let five = |digits: &str| digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        let sound = five(number) && five(count) && (tail.starts_with(['-', '.'])) && !tail.contains('/');
        let (number, count) = (number.parse().ok()?, count.parse().ok()?);
        (sound && number < count).then_some(Numbered { head, number, count, tail })
    }
}

/// A shard that is not there.
struct Shardless {
    /// With `…` for what is not known of its name.
    path: String,
    /// Whether it is all known.
    whole: bool,
}

/// The shards that must be beside these by their names, if they `fit`. `Err`: two names contradict each other.
fn missing(paths: &[String], fits: impl Fn(&str) -> bool) -> Result<Vec<Shardless>, String> {
    let mut sets: BTreeMap<&str, BTreeMap<usize, (&str, Numbered)>> = BTreeMap::new();
    for path in paths {
        let Some(shard) = Numbered::parse(path) else { continue };
        let set = sets.entry(shard.head).or_default();
        let other = set.get(&shard.number).or(set.values().next().filter(|(_, other)| other.count != shard.count));
        if let Some((other, _)) = other {
            return Err(format!("{other} and {path} are not shards of the same table (hint: leave those of one)"));
        }
        set.insert(shard.number, (path, shard));
    }
    let mut missing = Vec::new();
    for set in sets.values() {
        let Some((_, like)) = set.values().next() else { continue };
        for number in (0..like.count).filter(|number| !set.contains_key(number)) {
            let named = |tail: &str| format!("{}-{number:05}-of-{:05}{tail}", like.head, like.count);
            let whole = like.tail == ".parquet";
            if fits(&named(like.tail)) {
                missing.push(Shardless { path: named(if whole { like.tail } else { "-….parquet" }), whole });
            }
        }
    }
    Ok(missing)
}

/// A dataset of the Hub: its files in `NAME/` below the data folder, whose paths from there begin with `prefix`, if there
/// are any, else those of `remote`.
pub fn local_first(
    place: &Place,
    name: &str,
    prefix: &str,
    remote: impl FnOnce() -> Result<Vec<TableFile>>,
) -> Result<Vec<TableFile>> {
    let fits = |path: &str| path.starts_with(prefix) && is_of_split(path, place.split);
    let local = below(place, &place.source.folder().join(name), fits)?;
    if local.is_empty() { remote() } else { Ok(local) }
}

/// The parquet files in a folder and its folders whose paths, from it, `fit`; none where there is no folder. Other files
/// that fit are noted.
pub fn below(place: &Place, folder: &Path, fits: impl Fn(&str) -> bool) -> Result<Vec<TableFile>> {
    let (mut found, mut unread) = (Vec::new(), Unread::default());
    if walk::is_folder(folder)? {
        files_below(folder, 0, &mut unread, &mut found)?;
    }
    let from_here = |path: &Path| {
        let parts = path.strip_prefix(folder).unwrap_or(path).components();
        parts.map(|p| p.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
    };
    found.retain(|path| fits(&from_here(path)));
    let others;
    (found, others) = found.into_iter().partition(|path: &PathBuf| is_parquet(path));
    others.iter().for_each(|other| unread.add("no parquet files by their names", other));
    unread.text(folder).into_iter().for_each(|text| place.note(text));
    let paths: Vec<String> = found.iter().map(|path| from_here(path)).collect();
    let missing = missing(&paths, fits).map_err(|problem| Error::usage(format!("{}: {problem}", folder.display())))?;
    let missing = missing.into_iter().map(|Shardless { path, .. }| {
        let path = folder.join(path);
        let text = format!(
            "no file {}, though others there are shards of the same table (hint: put it there, or `take` no image that \
             is not in those before it)",
            path.display()
        );
        (path, TableFile::Missing(text))
    });
    let mut files: Vec<(PathBuf, TableFile)> =
        found.into_iter().map(|path| (path.clone(), TableFile::Local(path))).chain(missing).collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

/// By its name.
fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

/// All files in a folder and its folders.
fn files_below(folder: &Path, depth: usize, unread: &mut Unread, found: &mut Vec<PathBuf>) -> Result<()> {
    if depth > MOST_FOLDERS {
        unread.add("folders deeper than is looked", folder);
        return Ok(());
    }
    let here = walk::contents(folder, is_parquet, unread)?;
    found.extend(here.files);
    here.folders.iter().try_for_each(|inner| files_below(inner, depth + 1, unread, found))
}

/// Rows of the files of a table that are opened: they are numbered in memory. ImageNet's training set has 1.3 million.
const MOST_ROWS: usize = 5_000_000;

/// Folders within folders that are looked into.
const MOST_FOLDERS: usize = 3;

/// Whether a file belongs to a split by its name, or that of a folder above: `test`, `test-00000-of-00001.parquet`.
pub fn is_of_split(path: &str, split: &str) -> bool {
    path.split('/')
        .any(|part| part.strip_prefix(split).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.'])))
}

/// Whether a path is as a pattern says, in which `*` stands for anything but `/`.
pub fn is_like(path: &str, pattern: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return path == pattern };
    path.strip_prefix(head).is_some_and(|rest| {
        let end = rest.find('/').unwrap_or(rest.len());
        (0..=end).any(|at| rest.get(at..).is_some_and(|rest| is_like(rest, tail)))
    })
}

impl Rows for Table {
    fn subset(self: Box<Self>, place: &Place, choice: &Choice) -> Result<Subset> {
        Table::subset(&self, place, choice)
    }
}

impl From<Table> for Content {
    fn from(table: Table) -> Content {
        Content::Rows(Box::new(table))
    }
}

/// Files that have been opened, in order.
#[derive(Default)]
struct Opened {
    /// Each with the index of its first row.
    shards: Vec<(usize, Shard)>,
    rows: usize,
    sources: Vec<HubFile>,
}

/// Rows that are read together.
struct Part<'a> {
    shard: &'a Shard,
    /// Number of the group in the shard.
    group: usize,
    /// Rows of the shard, rising.
    rows: Vec<usize>,
    /// Where each stands among the images that are wanted.
    places: Vec<usize>,
}

impl Opened {
    /// Width and height of the picture of the first row.
    fn first_size(&self) -> Result<(u32, u32)> {
        let (_, shard) = self
            .shards
            .iter()
            .find(|(_, shard)| shard.len() > 0)
            .ok_or_else(|| Error::usage("no row in any of the files (hint: other `files`, or another `split`)"))?;
        let group = shard.groups().position(|group| !group.is_empty()).unwrap_or(0);
        let rows = shard.read(group, &[0])?;
        let size = rows.first().ok_or("it is not there".into()).and_then(|row| picture::size(&row.picture));
        size.map_err(|problem| Error::usage(format!("{}: {problem}", shard.picture_name(0))))
    }

    /// The groups that hold these rows.
    fn parts(&self, examples: &[usize]) -> Vec<Part<'_>> {
        let mut order: Vec<usize> = (0..examples.len()).collect();
        order.sort_by_key(|k| examples[*k]);
        let mut parts = Vec::new();
        for (first, shard) in &self.shards {
            for (group, range) in shard.groups().enumerate() {
                let before = |row: usize| order.partition_point(|k| examples[*k] < first + row);
                let places = order[before(range.start)..before(range.end)].to_vec();
                let rows: Vec<usize> = places.iter().map(|k| examples[*k] - first).collect();
                if !rows.is_empty() {
                    parts.push(Part { shard, group, rows, places });
                }
            }
        }
        parts
    }
}

impl Table {
    /// The images of a choice. `place` is for messages.
    pub fn subset(&self, place: &Place, choice: &Choice) -> Result<Subset> {
        let opened = self.open(&place.source.hub, choice.reach())?;
        let examples = choice.examples(opened.rows).map_err(|p| place.misfit(opened.rows, &p))?;
        let names = opened.shards.first().and_then(|(_, shard)| shard.names.as_ref());
        if let Some((_, other)) = opened.shards.iter().find(|(_, shard)| shard.names.as_ref() != names) {
            return Err(other.wrong("its classes have other names than those of the first file"));
        }
        let meaning = self.meaning(names.map(Vec::as_slice))?;
        if let (Labels::AsWritten(Some(said)), Some(names)) = (&self.labels, names)
            && *said != names.len()
        {
            place.note(format!("`classes` is {said}, but the files name {}, which count", names.len()));
        }
        let preparation = choice.preparation.filter(|_| self.side.is_none());
        let preparation: Option<Preparation> = preparation.map(|p| p.settled(|| opened.first_size())).transpose()?;
        let size = self.side.map(|side| [side; 2]).or(preparation.map(|p| p.crop));
        let size @ [height, width] = size.ok_or_else(|| place.without_size())?;
        let cut = |picture: &RgbImage| match preparation {
            Some(preparation) => preparation.cut(picture),
            None if picture.dimensions() == (width as u32, height as u32) => Ok(prepare::planes(picture.as_raw())),
            None => Err(format!("{}×{} pixels, expected {width}×{height}", picture.width(), picture.height())),
        };
        let mut enlarged = preparation.as_ref().map(Enlarged::by);
        let (mut labels, mut pixels) = (vec![0; examples.len()], vec![0; place.room(examples.len(), size)?]);
        let mut unreadable = Vec::new();
        for part in opened.parts(&examples) {
            let rows = part.shard.read(part.group, &part.rows)?;
            let decode = |row: &Row| {
                let picture = picture::decode_rgb(&row.picture)?;
                Ok((picture.dimensions(), cut(&picture)?))
            };
            let cuts: Vec<Result<prepare::Cut, String>> = rows.par_iter().map(decode).collect();
            for ((k, row), made) in part.places.iter().zip(&rows).zip(cuts) {
                let wrong = |problem| part.shard.wrong(format!("row {}: {problem}", row.row));
                labels[*k] = meaning.class(row.label).map_err(wrong)?;
                match made {
                    Ok((size, made)) => {
                        pixels[k * made.len()..(k + 1) * made.len()].copy_from_slice(&made);
                        enlarged.iter_mut().for_each(|e| e.see(size, || part.shard.picture_name(row.row)));
                    }
                    Err(problem) => unreadable.push((part.shard.picture_name(row.row), problem)),
                }
            }
        }
        prepare::all_read(&unreadable)?;
        let subset = Subset::new(examples, labels, pixels, size, meaning.classes);
        enlarged.and_then(|e| e.text()).into_iter().for_each(|text| place.note(text));
        Ok(Subset { sources: opened.sources, preparation, ..subset })
    }

    /// Opens files until there are so many rows; `None`: all.
    fn open(&self, hub: &Hub, rows: Option<usize>) -> Result<Opened> {
        let mut opened = Opened::default();
        for file in &self.files {
            if rows.is_some_and(|rows| rows <= opened.rows) {
                break;
            }
            let path = match file {
                TableFile::Local(path) => path.clone(),
                TableFile::Missing(problem) => return Err(Error::usage(problem)),
                TableFile::Remote { file, pinned } => {
                    let local = hub.get(file).map_err(|e| match (e, &self.missing) {
                        (Error::Hub(problem), Some([missing, hint])) => {
                            Error::Hub(format!("no file {missing}; {problem} (hint: or {hint})"))
                        }
                        (other, _) => other,
                    })?;
                    opened.sources.push(HubFile {
                        repository: file.repository.clone(),
                        commit: local.commit,
                        path: file.path.clone(),
                        sha256: local.sha256,
                        pinned: *pinned,
                    });
                    local.path
                }
            };
            let shard = Shard::open(&path, &self.columns)?;
            let first = opened.rows;
            opened.rows += shard.len();
            if opened.rows > MOST_ROWS {
                return Err(shard.wrong(format!("it and the files before it claim more than {MOST_ROWS} rows (hint: `take` or `files` for fewer files)")));
            }
            opened.shards.push((first, shard));
        }
        Ok(opened)
    }

    /// What labels mean, where the file has these names for them.
    fn meaning(&self, written: Option<&[String]>) -> Result<Meaning> {
        match &self.labels {
            Labels::Classes(classes) => Ok(Meaning { classes: classes.clone(), map: None }),
            Labels::AsWritten(count) => {
                let numbered = || count.map(|count| (0..count).map(|label| label.to_string()).collect());
                let classes = written.map(<[String]>::to_vec).or_else(numbered).ok_or_else(|| {
                    Error::usage("the file has no names of classes (hint: `classes` says how many there are)")
                })?;
                Ok(Meaning { classes, map: None })
            }
            Labels::OfImagenet(known) => {
                let names = written.map_or_else(|| known.iter().map(|name| name.to_string()).collect(), <[_]>::to_vec);
                let class = |name: &String| {
                    imagenet_folder::class_named(name).ok_or_else(|| {
                        Error::usage(format!("class `{name}` of the file is none of ImageNet's by wnid or name (hint: `parquet` takes any classes)"))
                    })
                };
                let map: Vec<usize> = names.iter().map(class).collect::<Result<_>>()?;
                if map.is_empty() {
                    return Err(Error::usage(
                        "the file does not name its classes, so they are none of ImageNet's (hint: `parquet` takes any classes)",
                    ));
                }
                Ok(Meaning { classes: imagenet_folder::class_names(), map: Some(map) })
            }
        }
    }
}

/// From labels as stored to classes.
struct Meaning {
    classes: Vec<String>,
    /// Class of each label; `None`: itself.
    map: Option<Vec<usize>>,
}

impl Meaning {
    fn class(&self, label: i64) -> Result<usize, String> {
        let most = self.map.as_ref().map_or(self.classes.len(), Vec::len);
        let index = usize::try_from(label).ok().filter(|label| *label < most);
        let index = index.ok_or_else(|| format!("label {label}, expected 0 to {}", most.saturating_sub(1)))?;
        Ok(self.map.as_ref().map_or(index, |map| map[index]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_split_and_by_pattern() {
        for (path, split, expected) in [
            ("plain_text/test-00000-of-00001.parquet", "test", true),
            ("default/test/0000.parquet", "test", true),
            ("test.parquet", "test", true),
            ("testing/0000.parquet", "test", false),
            ("data/train-00000-of-00001.parquet", "test", false),
        ] {
            assert_eq!(is_of_split(path, split), expected, "{path}");
        }
        assert!(is_like("data/test-0.parquet", "data/test-*.parquet") && is_like("a", "*") && is_like("é.x", "*.x"));
        assert!(!is_like("data/x/test-0.parquet", "data/*.parquet") && !is_like("data/test-0.parquet", "data/test-"));
    }

    #[test]
    fn shards_are_missed_by_the_names_of_the_others() {
        let missed = |paths: &[&str], pattern: &str| {
            let paths: Vec<String> = paths.iter().map(|path| path.to_string()).collect();
            let missing = missing(&paths, |path| is_like(path, pattern))?;
            Ok(missing.into_iter().map(|m| (m.path, m.whole)).collect::<Vec<_>>())
        };
        let two = (String::from("d/train-00001-of-00003.parquet"), true);
        let hashed = (String::from("d/valid-00000-of-00002-….parquet"), false);
        let none: Result<Vec<(String, bool)>, String> = Ok(Vec::new());
        for (paths, pattern, expected) in [
            (&["d/train-00002-of-00003.parquet", "d/train-00000-of-00003.parquet"][..], "d/*", Ok(vec![two])),
            (&["d/valid-00001-of-00002-70d52db3c749a935.parquet"], "d/valid-*", Ok(vec![hashed])),
            (&["d/train-00001-of-00003.parquet"], "d/train-00001-of-*", none.clone()),
            (
                &["d/train-00000-of-00001-1359597a978bc4fa.parquet", "0000.parquet", "a-1-of-2.parquet"],
                "*",
                none.clone(),
            ),
            (&["train-00003-of-00003.parquet", "train-0é000-of-00é003.parquet", "-of-.parquet"], "*", none),
        ] {
            assert_eq!(missed(paths, pattern), expected, "{paths:?}");
        }
        for wrong in [
            ["t-00000-of-00001.parquet", "t-00000-of-00002.parquet"],
            ["t-00000-of-00002.parquet", "t-00000-of-00002-ab.parquet"],
            ["t-00000-of-00002.parquet", "t-00001-of-00003.parquet"],
        ] {
            assert!(missed(&wrong, "*").unwrap_err().contains("not shards of the same table"), "{wrong:?}");
        }
    }
}
