//! `fetch CONFIG` and `cache`.

use super::options::Options;
use super::registries::{print, print_csv};
use super::run::{say_what_is_read, warn_of_unpinned};
use super::transfer;
use crate::error::{Error, Result};
use crate::hub::cache::State;
use crate::hub::{Kind, Local, RemoteFile};
use crate::notice::say;
use crate::sweep::plan::{self, Plan};
use std::path::Path;

/// Makes the plan, which brings all that it needs, and prints one line a file.
pub fn fetch(config: &Path, options: &Options) -> Result<()> {
    let (plan, lines) = bring(config, options)?;
    // what came before an error is worth saying, too
    print(lines.as_bytes())?;
    let plan = plan?;
    say_what_is_read(&plan, options.quiet);
    warn_of_unpinned(&plan, options.quiet);
    Ok(())
}

/// The plan, which brings all that it needs, and one line a file.
pub fn bring(config: &Path, options: &Options) -> Result<(Result<Plan>, String)> {
    // a download may be ended at any byte, so no signal has to wait for anything
    ctrlc::set_handler(|| {
        say(format_args!("error: {}", Error::Interrupted));
        std::process::exit(i32::from(Error::Interrupted.exit_code()));
    })
    .map_err(|e| {
        Error::usage(format!("cannot listen for Ctrl-C: {e} (hint: please report it, with `foolproof doctor`)"))
    })?;
    let source = options.source();
    let plan = plan::load(config, &source);
    let lines = source.hub.fetched().iter().map(|(f, l, downloaded)| line(f, l, *downloaded)).collect();
    Ok((plan, lines))
}

fn line(file: &RemoteFile, local: &Local, downloaded: bool) -> String {
    let RemoteFile { repository, revision, path, .. } = file;
    let how = if downloaded { "downloaded" } else { "cached" };
    let (commit, size, sha256) = (&local.commit, local.size, &local.sha256);
    format!("{repository} {revision} -> {commit} {path} {size} bytes sha256 {sha256} {how}\n")
}

/// Prints what lies in the cache as CSV, row by row; with `verify` every file is read and held against its name.
pub fn cache(verify: bool, options: &Options) -> Result<()> {
    print_csv(&["kind", "repository", "commit", "path", "bytes", "state"], Vec::new())?;
    let mut bad = (0, None);
    transfer::hub(options.quiet).everything(|mut entry| {
        if verify {
            entry.verify();
        }
        let kind = if entry.kind == Kind::Model { "model" } else { "dataset" };
        let bytes = entry.bytes.map_or_else(String::new, |b| b.to_string());
        print_csv(&[kind, &entry.repository, &entry.commit, &entry.path, &bytes, entry.state.name()], Vec::new())?;
        if [State::Damaged, State::Broken].contains(&entry.state) {
            bad.0 += 1;
            bad.1.get_or_insert(entry.place);
        }
        Ok(())
    })?;
    match bad {
        (count, Some(first)) if verify => Err(Error::Hub(format!(
            "{count} files of the cache are damaged, first: {} (hint: `foolproof fetch CONFIG` downloads them again)",
            first.display()
        ))),
        _ => Ok(()),
    }
}
