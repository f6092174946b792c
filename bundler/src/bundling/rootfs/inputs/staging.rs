//! Packs overlays as tars that are the same on every host and for every user.
//!
//! `hooks` decides when they are unpacked.
//!
//! A copy would keep the owner of the file on the build host, which is a different user on every
//! host. In this program's tars the owner is root.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Writes a folder as a sorted tar, and returns the folders in it. The owner is root, and times are
/// `epoch`. Modes stay, but only the owner may write: a checkout under another umask is the same.
///
/// # Errors
/// A file cannot be read, or is of a kind that a recipe's folder cannot hold (device nodes,
/// sockets).
pub(in crate::bundling::rootfs) fn pack_overlay(
    source: &Path,
    out: &Path,
    epoch: u64,
) -> Result<Vec<PathBuf>> {
    let mut tar = create(out)?;
    let mut folders = Vec::new();
    add_folder(&mut tar, source, Path::new(""), epoch, &mut folders)?;
    close(tar, out)?;
    Ok(folders)
}

/// Writes a tar that holds one file as `name`.
///
/// # Errors
/// A file cannot be read or written.
pub(in crate::bundling::rootfs) fn pack_file(
    file: &Path,
    name: &str,
    out: &Path,
    epoch: u64,
) -> Result<()> {
    let mut tar = create(out)?;
    add_file(&mut tar, file, Path::new(name), epoch)?;
    close(tar, out)
}

type Builder = tar::Builder<BufWriter<File>>;

fn create(out: &Path) -> Result<Builder> {
    let file = File::create(out).with_context(|| format!("creating {}", out.display()))?;
    Ok(tar::Builder::new(BufWriter::new(file)))
}

fn close(tar: Builder, out: &Path) -> Result<()> {
    let written: io::Result<()> = tar.into_inner().and_then(|mut file| file.flush());
    written.with_context(|| format!("writing {}", out.display()))
}

fn header(kind: tar::EntryType, mode: u32, size: u64, epoch: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(epoch);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn mode(metadata: &fs::Metadata) -> u32 {
    metadata.permissions().mode() & 0o7777 & !0o022
}

fn add_file(tar: &mut Builder, path: &Path, name: &Path, epoch: u64) -> Result<()> {
    let read = || Ok::<_, io::Error>((fs::metadata(path)?, fs::read(path)?));
    let (metadata, bytes) = read().with_context(|| format!("reading {}", path.display()))?;
    let kind = tar::EntryType::Regular;
    let mut header = header(kind, mode(&metadata), bytes.len() as u64, epoch);
    Ok(tar.append_data(&mut header, name, &*bytes)?)
}

fn add_folder(
    tar: &mut Builder,
    dir: &Path,
    name: &Path,
    epoch: u64,
    folders: &mut Vec<PathBuf>,
) -> Result<()> {
    let listed = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries =
        listed.with_context(|| format!("reading the overlay folder {}", dir.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = name.join(entry.file_name());
        let metadata =
            path.symlink_metadata().with_context(|| format!("reading {}", path.display()))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            let mut header = header(tar::EntryType::Directory, mode(&metadata), 0, epoch);
            tar.append_data(&mut header, &name, io::empty())?;
            folders.push(name.clone());
            add_folder(tar, &path, &name, epoch, folders)?;
        } else if kind.is_symlink() {
            tar.append_link(
                &mut header(tar::EntryType::Symlink, 0o777, 0, epoch),
                &name,
                fs::read_link(&path)?,
            )?;
        } else if kind.is_file() {
            add_file(tar, &path, &name, epoch)?;
        } else {
            bail!(
                "the overlay holds {}, which is neither file, folder nor symbolic link",
                path.display()
            );
        }
    }
    Ok(())
}
