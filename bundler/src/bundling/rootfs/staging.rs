//! Packs overlays and scripts as tars that are the same on every host and for every user.
//!
//! `mmdebstrap` decides when they are unpacked.
//!
//! mmdebstrap's `copy-in` and `sync-in` keep the owner of the file on the build host, which is a
//! different user on every host. In this program's tars the owner is root, and the modes do not
//! depend on the umask.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Writes a folder as a sorted tar. The owner is root, and times are `epoch`. Files have mode 0644
/// or 0755, and folders 0755.
///
/// # Errors
/// A file cannot be read, or is of a kind that a recipe's folder cannot hold (device nodes,
/// sockets).
pub fn pack_overlay(source: &Path, out: &Path, epoch: u64) -> Result<()> {
    let mut tar = create(out)?;
    add_folder(&mut tar, source, Path::new("."), epoch)?;
    close(tar, out)
}

/// Writes a tar that holds one executable file as `name`.
///
/// # Errors
/// A file cannot be read or written.
pub fn pack_script(script: &Path, name: &str, out: &Path, epoch: u64) -> Result<()> {
    let mut tar = create(out)?;
    let bytes =
        fs::read(script).with_context(|| format!("reading the script {}", script.display()))?;
    tar.append_data(
        &mut header(tar::EntryType::Regular, 0o755, bytes.len() as u64, epoch),
        name,
        &*bytes,
    )?;
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

fn add_folder(tar: &mut Builder, dir: &Path, name: &Path, epoch: u64) -> Result<()> {
    // The top of an overlay is the root folder itself, and Debian decides the mode of the root
    // folder.
    if name != Path::new(".") {
        tar.append_data(
            &mut header(tar::EntryType::Directory, 0o755, 0, epoch),
            name,
            io::empty(),
        )?;
    }
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
            add_folder(tar, &path, &name, epoch)?;
        } else if kind.is_symlink() {
            tar.append_link(
                &mut header(tar::EntryType::Symlink, 0o777, 0, epoch),
                &name,
                fs::read_link(&path)?,
            )?;
        } else if kind.is_file() {
            let executable = metadata.permissions().mode() & 0o111 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            tar.append_data(
                &mut header(tar::EntryType::Regular, mode, bytes.len() as u64, epoch),
                &name,
                &*bytes,
            )?;
        } else {
            bail!(
                "the overlay holds {}, which is neither file, folder nor symbolic link",
                path.display()
            );
        }
    }
    Ok(())
}
