//! Sends a repository's folder to a registry.
//!
//! `blobs` sends the bytes. Bundles go first and the channel last, so a device never finds a
//! channel without its bundles.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bundle::oci::{Artifact, ArtifactKind, Reference, Tag};

use crate::host::progress::Progress;
use crate::publish::registry::blobs::measure;
use crate::publish::registry::client::{Registry, Rights};
use crate::publish::registry::newer::must_not_be_older;
use crate::publish::repo::Repository;
use image_layout::Amount;

/// One file and its place in the registry.
struct Outgoing<'a> {
    path: &'a Path,
    kind: ArtifactKind,
    tag: Tag,
}

/// Sends all files that devices ask for: bundles and deltas, then roots, then channels. A file that
/// a channel names is there before the channel. Files that the registry has are not sent again.
/// Returns a text for people about what was done.
///
/// # Errors
/// The folder cannot be read, the registry refuses, or the registry has a newer channel or root.
pub fn push_repository(dir: &Path, to: &Reference) -> Result<String> {
    if to.tag.is_some() {
        bail!(
            "pushing {}: all its files become tags of {}; leave the tag away",
            dir.display(),
            to.without_tag()
        );
    }
    // The lock keeps other publishers away for the time of the push.
    let repo = Repository::open(dir)?;
    let mut registry =
        Registry::open(to, Rights::Push).with_context(|| format!("pushing to {to}"))?;
    let (files, passed_over) = files(&repo)?;
    if files.is_empty() {
        bail!(
            "pushing {}: the folder holds no file that devices ask for; is it a repository?",
            dir.display()
        );
    }
    let (mut sent, mut bytes) = (0, 0);
    for (path, name, kind) in &files {
        let tag = Tag::of_path(name).with_context(|| format!("pushing {}", path.display()))?;
        if let Some(count) = push(&mut registry, &Outgoing { path, kind: *kind, tag })? {
            sent += 1;
            bytes += count;
        }
    }
    let there = files.len() - sent;
    let mut text =
        format!("{to}: {sent} files sent ({}), {there} were there already\n", Amount(bytes));
    for name in passed_over {
        text.push_str(&format!("{name}: not for devices, not sent\n"));
    }
    Ok(text)
}

/// Sends one file. Without a tag, the file gets the tag of its name among a repository's bundles.
///
/// # Errors
/// As [`push_repository`].
pub fn push_file(path: &Path, to: &Reference) -> Result<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let below = format!("bundles/{name}");
    let known = [name.as_ref(), below.as_str()]
        .into_iter()
        .find_map(|place| Some((place.to_owned(), ArtifactKind::of_path(place)?)));
    let Some((place, kind)) = known else {
        bail!(
            "pushing {}: the name is not that of a bundle (*.daruma), delta, root or channel",
            path.display()
        );
    };
    let tag = match &to.tag {
        Some(tag) => tag.clone(),
        None => Tag::of_path(&place).with_context(|| format!("pushing {}", path.display()))?,
    };
    let mut registry =
        Registry::open(to, Rights::Push).with_context(|| format!("pushing to {to}"))?;
    let at = to.with_tag(tag.clone());
    Ok(match push(&mut registry, &Outgoing { path, kind, tag })? {
        Some(bytes) => format!("{at}: sent ({})\n", Amount(bytes)),
        None => format!("{at}: was there already\n"),
    })
}

/// Sends a file and returns the number of bytes. `None`: the registry had the file already.
fn push(registry: &mut Registry, file: &Outgoing<'_>) -> Result<Option<u64>> {
    let at = registry.at.with_tag(file.tag.clone());
    let pushing = || format!("pushing {} to {at}", file.path.display());
    let (digest, length) = measure(file.path).with_context(pushing)?;
    let artifact = Artifact { kind: file.kind, digest, size: length };
    if length == 0 || length > file.kind.limit() {
        bail!(
            "{}: the file has {length} bytes, which is outside the limits of its kind",
            pushing()
        );
    }
    let title = file.path.file_name().unwrap_or_default().to_string_lossy();
    let manifest = artifact.to_manifest(&title);
    let there = registry.manifest(&file.tag).with_context(pushing)?;
    if there.as_ref() == Some(&manifest) {
        return Ok(None);
    }
    if let Some(there) = there.and_then(|there| Artifact::parse(&there).ok())
        && (there.kind, file.kind.is_document()) == (file.kind, true)
        && let Ok(theirs) = registry.document(&there)
    {
        let ours = fs::read(file.path).with_context(pushing)?;
        must_not_be_older(file.kind, &theirs, &ours)
            .with_context(|| format!("{}: the registry has another one", pushing()))?;
    }
    let mut body = File::open(file.path).with_context(pushing)?;
    let progress = Progress::bytes(&format!("sending {title}"), length);
    let mut watched = Watched { file: &mut body, progress: &progress };
    let sent = registry.put_blob(&digest, length, &mut watched).with_context(pushing)?;
    registry.put_empty_config().with_context(pushing)?;
    registry.put_manifest(&file.tag, &manifest).with_context(pushing)?;
    Ok(Some(if sent { length } else { 0 }))
}

/// A file that shows how far it has been read.
struct Watched<'a> {
    file: &'a mut File,
    progress: &'a Progress,
}

impl Read for Watched<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buf)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}

type Found = Vec<(PathBuf, String, ArtifactKind)>;

/// Returns the files of a repository in the order of sending, and the names of files that are not
/// sent.
fn files(repo: &Repository) -> Result<(Found, Vec<String>)> {
    let (mut files, mut passed_over) = (Vec::new(), Vec::new());
    for folder in ["", "bundles/"] {
        let dir = repo.path(folder);
        let reading = || format!("reading {}", dir.display());
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_empty() => continue,
            entries => entries.with_context(reading)?,
        };
        for entry in entries {
            let entry = entry.with_context(reading)?;
            if !fs::metadata(entry.path()).with_context(reading)?.is_file() {
                continue;
            }
            let name = format!("{folder}{}", entry.file_name().to_string_lossy());
            match ArtifactKind::of_path(&name) {
                Some(kind) => files.push((entry.path(), name, kind)),
                // Hidden files are the lock, and partial files of a publisher that was stopped.
                None if entry.file_name().to_string_lossy().starts_with('.') => {}
                None => passed_over.push(name),
            }
        }
    }
    // root.json names the newest version, so it comes after the file of that version.
    files.sort_by_key(|(_, name, kind)| {
        let version =
            name.strip_suffix(".root.json").and_then(|version| version.parse::<u64>().ok());
        (*kind, version.unwrap_or(u64::MAX), name.clone())
    });
    passed_over.sort();
    Ok((files, passed_over))
}
