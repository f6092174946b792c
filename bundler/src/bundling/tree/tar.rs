//! Reads a [`Tree`] from a tar.
//!
//! `clean` removes what an image does not need. This file reads POSIX (pax) and GNU headers with
//! long names, hard links and extended attributes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use squashfs_ng::NAME_MAX;
use tar::EntryType;

use crate::bundling::tree::files::{Content, Inode, Kind, Tree};

/// Namespaces of extended attributes that SquashFS can store.
const NAMESPACES: [&str; 3] = ["user.", "trusted.", "security."];
const PAX_XATTR: &str = "SCHILY.xattr.";

/// A tree, and the parts of the tar that a tree cannot hold.
#[derive(Debug)]
pub struct Loaded {
    /// The files of the tar.
    pub tree: Tree,
    /// `PATH: ATTRIBUTE` of extended attributes that SquashFS cannot store (POSIX ACLs).
    pub left_out: Vec<String>,
}

/// Reads the headers of an uncompressed tar. The contents stay in the file. `mtime`: see
/// [`Tree::new`].
///
/// # Errors
/// The file is not a tar. A name is not UTF-8, is too long for Linux or leads out of the tree. An
/// entry is of a kind that a root filesystem does not have.
pub fn load(path: &Path, mtime: u32) -> Result<Loaded> {
    let file = Arc::new(
        File::open(path)
            .with_context(|| format!("opening the root filesystem {}", path.display()))?,
    );
    let mut loaded = Loaded { tree: Tree::new(mtime), left_out: Vec::new() };
    let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 20, &*file));
    let reading = || format!("reading the root filesystem {}", path.display());
    for entry in archive.entries().with_context(reading)? {
        add(&mut loaded, &file, entry.with_context(reading)?).with_context(reading)?;
    }
    if loaded.tree.below("").next().is_none() {
        bail!("the root filesystem {} is empty", path.display());
    }
    Ok(loaded)
}

fn add<R: Read>(loaded: &mut Loaded, file: &Arc<File>, mut entry: tar::Entry<'_, R>) -> Result<()> {
    let path = normal(&entry.path_bytes())?;
    must_be_readable(&path)?;
    let header = entry.header();
    let kind = header.entry_type();
    let (mode, mtime) = (header.mode()? & 0o7777, header.mtime()?);
    let (uid, gid) = (header.uid()?, header.gid()?);
    // GNU tar leaves these fields empty in an entry that is no device, and the crate reports that
    // as an error.
    let device = match kind {
        EntryType::Char | EntryType::Block => (header.device_major()?, header.device_minor()?),
        _ => (None, None),
    };
    let (offset, len) = (entry.raw_file_position(), entry.size());
    let target = entry.link_name_bytes().map(|name| name.into_owned());
    let pax = Pax::read(&mut entry)?;

    let kind = match kind {
        EntryType::Regular | EntryType::Continuous => {
            Kind::File(Content::Span { file: file.clone(), offset, len })
        }
        EntryType::Directory => Kind::Dir,
        EntryType::Symlink => {
            let target = target.context("a symbolic link without a target")?;
            Kind::Symlink(
                String::from_utf8(target)
                    .with_context(|| format!("the target of {path} is not UTF-8"))?,
            )
        }
        EntryType::Char => Kind::CharDevice(device.0.unwrap_or(0), device.1.unwrap_or(0)),
        EntryType::Block => Kind::BlockDevice(device.0.unwrap_or(0), device.1.unwrap_or(0)),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Link => {
            return loaded
                .tree
                .link(&path, &normal(&target.context("a hard link without a target")?)?);
        }
        other => bail!("{path} is of the kind {other:?}, which a root filesystem does not have"),
    };
    let mut xattrs = BTreeMap::new();
    for (name, value) in pax.xattrs {
        if NAMESPACES.iter().any(|space| name.starts_with(space)) {
            xattrs.insert(name, value);
        } else {
            loaded.left_out.push(format!("{path}: {name}"));
        }
    }
    let inode = Inode {
        kind,
        mode: u16::try_from(mode)?,
        uid: narrow("uid", pax.uid.unwrap_or(uid))?,
        gid: narrow("gid", pax.gid.unwrap_or(gid))?,
        mtime: narrow("time", pax.mtime.unwrap_or(mtime))?,
        xattrs,
    };
    if path.is_empty() {
        if let Some(root) = loaded.tree.get_mut("") {
            *root = inode;
        }
        return Ok(());
    }
    loaded.tree.insert(&path, inode);
    Ok(())
}

fn narrow(what: &str, value: u64) -> Result<u32> {
    u32::try_from(value)
        .with_context(|| format!("{what} {value} does not fit into SquashFS's 32 bits"))
}

/// Turns `./usr/bin/` into `usr/bin`.
fn normal(path: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(path);
    // libsquashfs takes bytes, but its crate wants UTF-8. Debian's archive has only UTF-8 names.
    let text =
        text.with_context(|| format!("the name {:?} is not UTF-8", String::from_utf8_lossy(path)))?;
    let parts: Vec<&str> =
        text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        bail!("the name {text:?} leads out of the root filesystem");
    }
    Ok(parts.join("/"))
}

/// Refuses a path with a name that SquashFS can store but Linux cannot read. The root filesystem
/// would be packed, and the device could not list the folder.
fn must_be_readable(path: &str) -> Result<()> {
    match path.split('/').map(str::len).find(|len| *len > NAME_MAX) {
        Some(len) => bail!(
            "{path} has a name of {len} bytes, and Linux reads none of more than {NAME_MAX}; give \
                it a shorter one"
        ),
        None => Ok(()),
    }
}

/// The values of the extended header. The crate itself applies path, link name and size.
#[derive(Default)]
struct Pax {
    xattrs: Vec<(String, Vec<u8>)>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<u64>,
}

impl Pax {
    fn read<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Self> {
        let mut pax = Self::default();
        for record in entry.pax_extensions()?.into_iter().flatten() {
            let record = record?;
            let Ok(key) = record.key() else { continue };
            if let Some(name) = key.strip_prefix(PAX_XATTR) {
                pax.xattrs.push((name.to_owned(), record.value_bytes().to_vec()));
                continue;
            }
            let place = match key {
                "uid" => &mut pax.uid,
                "gid" => &mut pax.gid,
                "mtime" => &mut pax.mtime,
                _ => continue,
            };
            // A time may have a fraction, which SquashFS does not keep.
            let text = record.value()?.split('.').next().unwrap_or_default();
            *place = Some(text.parse().with_context(|| format!("{key}={text} in a pax header"))?);
        }
        Ok(pax)
    }
}
