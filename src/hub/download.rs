//! One file from the Hub into the cache. Nothing gets its name there before its size and hash are right.

use super::cache::{self, Folder, Found, Sums, look, parent};
use super::names;
use super::wire::{Asked, Fault, Metadata};
use super::{Event, Hub, Inner, RemoteFile};
use crate::disk;
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

impl Hub {
    /// Brings the file's blob, unless another process has by now, and links it; says whether it was brought.
    pub(super) fn bring(
        &self,
        inner: &Inner,
        folder: &Folder,
        file: &RemoteFile,
        there: &Metadata,
    ) -> Result<(Sums, bool)> {
        let cannot_write = |e: io::Error| no_place(file, there.size, &inner.settings.cache, e);
        fs::create_dir_all(folder.blobs()).map_err(cannot_write)?;
        let blob = folder.blobs().join(there.etag.text());
        let waiting =
            || self.note(&format!("{}: waiting for another process that downloads it", Asked::file(file).text()));
        let lock = cache::lock(&folder.lock_path(&there.etag), waiting).map_err(cannot_write)?;
        // without locks everybody has parts of their own, and nobody goes on from another's
        let tag = if lock.is_some() { String::new() } else { format!(".{}", cache::unique()) };
        let partial = folder.blobs().join(format!("{}{tag}.incomplete", there.etag.text()));
        let download = || {
            let stored = self.download(inner, file, there, &blob, &partial);
            if stored.is_err() && lock.is_none() {
                fs::remove_file(&partial).ok();
            }
            Ok::<_, Error>((stored?, true))
        };
        let (sums, downloaded) = match look(&blob, Some(&there.etag), file.sha256.as_deref())? {
            Found::Whole(sums) => (sums, false),
            Found::Other(found) => return Err(super::not_pinned(file, &found)),
            Found::Missing => download()?,
            Found::Damaged(how) => {
                self.note(&format!("{} is damaged: {how}; downloading it again", blob.display()));
                download()?
            }
        };
        folder.link(&there.etag, &there.commit, &file.path, inner.settings.symlinks, &tag).map_err(cannot_write)?;
        folder.refer(&file.revision, &there.commit).ok(); // the file is whole without
        Ok((sums, downloaded))
    }

    /// Downloads into the partial file, going on from what an earlier try left there, checks that, and makes it the blob.
    fn download(
        &self,
        inner: &Inner,
        file: &RemoteFile,
        there: &Metadata,
        blob: &Path,
        partial: &Path,
    ) -> Result<Sums> {
        let what = Asked::file(file).text();
        self.tell(&Event::Begin { file, bytes: there.size });
        let brought = (|| {
            let size = || partial.metadata().map_or(0, |m| m.len());
            let mut resumed = size() > 0;
            loop {
                inner.wire.retried(&what, |n| self.note(n), size, || self.transfer(inner, file, there, partial))?;
                // what lies on the disk is hashed, not what came by: a part may be of another day, or another process
                let (problem, right) = match look(partial, Some(&there.etag), file.sha256.as_deref())? {
                    Found::Whole(sums) => return Ok(sums),
                    Found::Other(found) => (super::not_pinned(file, &found), true),
                    Found::Damaged(how) => (
                        Error::Hub(format!(
                            "{what}: what came is not what the Hub announced: {how} (hint: try again; is there a proxy in between?)"
                        )),
                        false,
                    ),
                    Found::Missing => (
                        Error::Hub(format!(
                            "{what}: {} has vanished (hint: does another program empty the cache? Try again)",
                            partial.display()
                        )),
                        true,
                    ),
                };
                fs::remove_file(partial).ok();
                if right || !resumed {
                    return Err(problem);
                }
                self.note(&format!("{problem}; beginning anew, without the part of an earlier download"));
                resumed = false;
            }
        })();
        let stored = brought.and_then(|sums: Sums| {
            let sync = |path: &Path, file: io::Result<File>| file.and_then(|f| disk::sync(&f, path));
            // opened for writing, as Windows wants it
            let written = sync(partial, File::options().write(true).open(partial));
            let named = written.and_then(|()| fs::rename(partial, blob));
            named.map_err(|e| no_place(file, there.size, &inner.settings.cache, e))?;
            sync(blob, File::open(parent(blob))).ok(); // some file systems cannot sync a folder
            Ok(sums)
        });
        self.tell(&Event::End(stored.is_ok()));
        stored
    }

    /// One try: from where the partial file ends to its right length. There is no If-Range, since the ETag of the host that
    /// sends the bytes is not known; the partial file's name says of which content it is, and the hash proves it.
    fn transfer(&self, inner: &Inner, file: &RemoteFile, there: &Metadata, partial: &Path) -> Result<(), Fault> {
        let cannot_write = |e: io::Error| Fault::Ours(no_place(file, there.size, &inner.settings.cache, e));
        let mut out = File::options().create(true).truncate(false).write(true).open(partial).map_err(cannot_write)?;
        let mut here = out.metadata().map_err(cannot_write)?.len();
        if here > there.size {
            out.set_len(0).map_err(cannot_write)?;
            here = 0;
        }
        if here == there.size {
            return Ok(());
        }
        if cache::free_space(parent(partial)).is_some_and(|free| free < there.size - here) {
            return Err(cannot_write(ErrorKind::StorageFull.into()));
        }
        let url = inner.wire.at(&names::resolve_path(file, &there.commit)).map_err(Fault::Ours)?;
        let response = inner.wire.follow("GET", &url, (here > 0).then_some(here), |_, _| false)?;
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        match response.status().as_u16() {
            200 => here = 0,
            206 if header("content-range") == Some(&format!("bytes {here}-{}/{}", there.size - 1, there.size)) => {}
            206 | 416 => {
                out.set_len(0).map_err(cannot_write)?;
                return Err(Fault::Passing("another part came than was asked for".into(), None));
            }
            _ => return Err(inner.wire.refusal(&response, Asked::file(file))),
        }
        let wanted = there.size - here;
        if let Some(length) = header("content-length").and_then(|l| l.parse::<u64>().ok()).filter(|l| *l != wanted) {
            return Err(Fault::Lasting(format!(
                "{wanted} bytes were announced and {length} are sent (hint: is there a proxy or a login page in between?)"
            )));
        }
        out.set_len(here).and_then(|()| out.seek(SeekFrom::Start(here))).map_err(cannot_write)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 17];
        self.tell(&Event::Here(here));
        while here < there.size {
            let room = buffer.len().min((there.size - here) as usize);
            let n = match body.read(&mut buffer[..room]) {
                Ok(0) => {
                    return Err(Fault::Passing(
                        format!("the connection ended at {here} of {} bytes", there.size),
                        None,
                    ));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(Fault::Passing(format!("{e} at {here} of {} bytes", there.size), None)),
                Ok(n) => n,
            };
            out.write_all(&buffer[..n]).map_err(cannot_write)?;
            here += n as u64;
            self.tell(&Event::Here(here));
        }
        Ok(())
    }
}

/// The cache cannot take the file.
fn no_place(file: &RemoteFile, bytes: u64, cache: &Path, error: io::Error) -> Error {
    let (what, cache) = (Asked::file(file).text(), cache.display());
    Error::Hub(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!(
            "{what}: no space left in {cache} for its {bytes} bytes (hint: make room, or set HF_HUB_CACHE to a folder \
             elsewhere)"
        ),
        _ => format!(
            "{what} is not in the cache {cache}, which cannot be written to: {error} (hint: set HF_HUB_CACHE to a folder \
             that can be)"
        ),
    })
}
