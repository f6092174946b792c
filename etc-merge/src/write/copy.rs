//! Copies parts of an old upper as they are, with overlayfs's marks.
//!
//! A source that cannot be read is left out and reported. A target that cannot be written is an
//! error.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::limits::{Beat, beat};
use crate::report::{Outcome, Report};
use crate::tree::attributes;
use crate::tree::entry::Meta;
use crate::tree::marks::Marks;
use crate::write::entry;

/// Copies from one upper to another. Files that are one file by hard links stay one.
pub(super) struct Copy<'a> {
    pub(super) upper: &'a Path,
    pub(super) target: &'a Path,
    pub(super) marks: Marks,
    pub(super) links: Vec<((u64, u64), PathBuf)>,
}

/// An entry of the source.
struct Source {
    stat: fs::Metadata,
    meta: Meta,
    link: Option<PathBuf>,
    names: Vec<std::ffi::OsString>,
}

impl Copy<'_> {
    /// Copies one entry with all that is below it. `path` is below /etc.
    pub(super) fn copy(
        &mut self,
        path: &Path,
        report: &mut Report,
        tick: Beat<'_>,
    ) -> Result<(), Error> {
        beat(tick)?;
        let from = join(self.upper, path);
        let source = match self.read(&from) {
            Ok(source) => source,
            Err(error) => {
                report.say(path, Outcome::Skipped, format!("left out, it cannot be read: {error}"));
                return Ok(());
            }
        };
        let to = join(self.target, path);
        let wrong = |error: io::Error| Error::at("writing", &to)(error);
        let stat = &source.stat;
        let file = (stat.dev(), stat.ino());
        if !stat.is_dir() && stat.nlink() > 1 {
            if let Some((_, first)) = self.links.iter().find(|(is, _)| *is == file) {
                return fs::hard_link(first, &to).map_err(wrong);
            }
            self.links.push((file, to.clone()));
        }
        if stat.is_dir() {
            let made = if to == self.target { entry::top(&to) } else { entry::folder(&to) };
            made.map_err(wrong)?;
            for name in &source.names {
                self.copy(&path.join(name), report, tick)?;
            }
        } else if stat.is_file() {
            match entry::copy(&from, &to, tick) {
                Err(Error::Io { doing: "reading", source, .. }) => {
                    let reason = format!("left out, it cannot be read: {source}");
                    report.say(path, Outcome::Skipped, reason);
                    self.links.retain(|(is, _)| *is != file);
                    return Ok(());
                }
                result => result?,
            }
        } else if let Some(target) = &source.link {
            std::os::unix::fs::symlink(target, &to).map_err(wrong)?;
        } else {
            entry::special(&to, stat.mode() & 0o170_000, stat.rdev()).map_err(wrong)?;
        }
        entry::set_meta(&to, &source.meta).map_err(wrong)?;
        entry::set_time(&to, stat).map_err(wrong)
    }

    fn read(&self, from: &Path) -> io::Result<Source> {
        let stat = fs::symlink_metadata(from)?;
        let wanted = |name: &[u8]| !self.marks.is_of_its_lower(name);
        let xattrs: BTreeMap<_, _> = attributes::read(from, wanted)?.into_iter().collect();
        let mode = stat.mode() & 0o7777;
        let meta = Meta { mode, uid: stat.uid(), gid: stat.gid(), xattrs };
        let link = stat.is_symlink().then(|| fs::read_link(from)).transpose()?;
        let mut names = Vec::new();
        if stat.is_dir() {
            for entry in fs::read_dir(from)? {
                names.push(entry?.file_name());
            }
        }
        Ok(Source { stat, meta, link, names })
    }
}

/// Joins a path below /etc to a folder. The empty path is the folder itself.
pub(super) fn join(folder: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { folder.to_owned() } else { folder.join(path) }
}
