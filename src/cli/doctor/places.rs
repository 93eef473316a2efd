//! Data, the Hub's cache, and the disks.

use super::super::entry;
use super::super::options::Options;
use super::report::Report;
use crate::data::{DATASETS, Source};
use crate::hub::Hub;
use crate::hub::cache::free_space;
use crate::hub::settings::Settings;
use indicatif::BinaryBytes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A disk with less is full before a sweep is over.
const LEAST: u64 = 256 << 20;

/// The data folder, and the datasets that lie there or in the Hub's cache.
pub fn data(report: &mut Report, source: &Source) {
    let folder = source.folder();
    let from = if std::env::var_os("FOOLPROOF_DATA").is_some() { "FOOLPROOF_DATA" } else { "the default" };
    let state = if folder.is_dir() { "there" } else { "not there" };
    report.line("data", format!("{} ({from}, {state})", folder.display()));
    for dataset in DATASETS.iter().filter(|d| !d.splits.is_empty() && !d.given) {
        let split = dataset.default_split();
        let found = entry::found(dataset, split, source);
        let what = format!("{}, {split}", dataset.name);
        match found.starts_with(entry::WRONG) {
            true => report.fault("dataset", &what, found),
            false => report.line("dataset", format!("{what}: {found}")),
        }
    }
}

/// Where the Hub is, what its cache holds, and whether there is a token. The token itself is never shown.
pub fn hub(report: &mut Report) {
    let settings = Settings::from_env();
    report
        .line("hub", format!("{}{}", settings.endpoint, if settings.offline { " (offline: never asked)" } else { "" }));
    report.line("token", if settings.token.is_some() { "present" } else { "none" });
    let cache = settings.cache.clone();
    let (mut files, mut bytes, mut repositories) = (0, 0, BTreeSet::new());
    let listed = Hub::new(settings).everything(|cached| {
        files += 1;
        bytes += cached.bytes.unwrap_or(0);
        repositories.insert(cached.repository);
        Ok(())
    });
    match listed {
        Ok(()) if !cache.exists() => report.line("cache", format!("{} (not there yet)", cache.display())),
        Ok(()) => {
            let held = format!("{files} files of {} repositories, {}", repositories.len(), BinaryBytes(bytes));
            report.line("cache", format!("{}: {held}", cache.display()));
        }
        Err(problem) => report.fault("cache", &cache.display().to_string(), problem),
    }
}

/// Free room where runs, downloads and temporary files go.
pub fn disks(report: &mut Report, options: &Options) {
    let places = [
        ("runs, --out", options.out.clone()),
        ("the Hub's cache", Settings::from_env().cache),
        ("temporary files", std::env::temp_dir()),
    ];
    for (what, folder) in places {
        let Some(existing) = existing(&folder) else { continue };
        let free = free_space(&existing);
        let text = free.map_or("not known".into(), |free| BinaryBytes(free).to_string());
        let line = format!("{text} free for {what}, in {}", folder.display());
        match (free.is_some_and(|free| free < LEAST), tempfile::tempfile_in(&existing)) {
            (true, _) => report.fault("disk", what, format!("{line} (hint: make room, or name another folder)")),
            // a cache that cannot be written to still serves what lies there
            (_, Err(problem)) if !what.contains("cache") => {
                report.fault(
                    "disk",
                    what,
                    format!("{line}: nothing can be written there: {problem} (hint: another folder)"),
                );
            }
            _ => report.line("disk", line),
        }
    }
}

/// The nearest folder above that is there.
fn existing(folder: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(folder).ok()?;
    whole.ancestors().find(|above| above.is_dir()).map(Path::to_path_buf)
}
