//! A [`Tree`] as a SquashFS, through libsquashfs by way of the crate `squashfs-ng`.
//!
//! Kept: names, contents, owners, modes, times in seconds, symbolic links, device nodes, pipes, hard links
//! (one inode under several names), extended attributes in `user.`, `trusted.` and `security.` (so file
//! capabilities). Not kept: the link count that `stat` shows of a hard link, which is 1, because the
//! crate's writer sets it for all (docs/recipes.md). The same tree gives the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use squashfs_ng::write::{Source, SourceData, Writer};

use crate::order;
use crate::progress::Progress;
use crate::tree::{InodeId, Kind, Tree};

/// Offset of the creation time in the superblock.
const MOD_TIME_OFFSET: u64 = 8;
/// The largest minor number of a device node that comes out right.
const MINOR_LIMIT: u32 = 255;
/// The names of a set of attributes in the order that a `HashMap` happens to have; see [`ordered`].
const ORDER_TRIES: usize = 10_000;

/// Writes the tree to `out`, dated `epoch` (seconds since 1970).
///
/// # Errors
/// When the tar or `out` cannot be read or written.
pub fn pack(tree: &Tree, out: &Path, epoch: u32) -> Result<()> {
    let total: u64 = tree
        .iter()
        .map(|(_, id)| match &tree.inode(id).kind {
            Kind::File(content) => content.len(),
            _ => 0,
        })
        .sum();
    let progress = Arc::new(Progress::bytes("Packing the root filesystem", total));
    let writing = || format!("writing the SquashFS {}", out.display());
    let writer = Writer::open(out).with_context(writing)?;
    let mut packing = Packing { tree, writer, added: HashMap::new(), progress };
    let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, _) in tree.iter().filter(|(path, _)| !path.is_empty()) {
        children.entry(path.rsplit_once('/').map_or("", |(dir, _)| dir)).or_default().push(path);
    }
    // The content of files lies in the image in the order in which they are added; everything else follows.
    for path in order::of_files(tree)? {
        packing.add(path, &children).with_context(writing)?;
    }
    packing.add("", &children).with_context(writing)?;
    packing.writer.finish().with_context(writing)?;
    let Packing { progress, writer, .. } = packing;
    drop(writer);
    // The crate dates the image at the moment of writing.
    let file = File::options().write(true).open(out).with_context(writing)?;
    file.write_all_at(&epoch.to_le_bytes(), MOD_TIME_OFFSET).with_context(writing)?;
    let written = file.metadata().with_context(writing)?.len();
    if let Some(progress) = Arc::into_inner(progress) {
        progress.done(&format!("{} from {}", crate::progress::size(written), crate::progress::size(total)));
    }
    Ok(())
}

struct Packing<'a> {
    tree: &'a Tree,
    writer: Writer,
    /// The writer's number of each inode, so that a second name becomes a hard link.
    added: HashMap<InodeId, u32>,
    progress: Arc<Progress>,
}

impl Packing<'_> {
    /// Adds a path, everything below it first, as SquashFS wants it.
    fn add(&mut self, path: &str, children: &BTreeMap<&str, Vec<&str>>) -> Result<u32> {
        let Some(id) = self.tree.id(path) else { bail!("{path} has no inode") };
        let inode = self.tree.inode(id);
        let data = match &inode.kind {
            Kind::Dir => {
                let mut entries = BTreeMap::new();
                for child in children.get(path).into_iter().flatten() {
                    let name = child.rsplit_once('/').map_or(*child, |(_, name)| name);
                    entries.insert(OsString::from(name), self.add(child, children)?);
                }
                SourceData::Dir(Box::new(entries.into_iter()))
            }
            _ if self.added.contains_key(&id) => return Ok(self.added[&id]),
            Kind::File(content) => {
                SourceData::File(Box::new(Counted(content.reader(), self.progress.clone())))
            }
            Kind::Symlink(target) => SourceData::Symlink(PathBuf::from(target)),
            // The crate (0.1.4) shifts the upper bits of a larger minor number to the wrong place.
            Kind::CharDevice(_, minor) | Kind::BlockDevice(_, minor) if *minor > MINOR_LIMIT => {
                bail!(
                    "the device node {path} has the minor number {minor}; the largest that can be packed is {MINOR_LIMIT}"
                )
            }
            Kind::CharDevice(major, minor) => SourceData::CharDev(*major, *minor),
            Kind::BlockDevice(major, minor) => SourceData::BlockDev(*major, *minor),
            Kind::Fifo => SourceData::Fifo,
        };
        if !matches!(inode.kind, Kind::Dir) && children.contains_key(path) {
            bail!("{path} is not a folder, but the tree has something below it");
        }
        let source = Source {
            data,
            uid: inode.uid,
            gid: inode.gid,
            mode: inode.mode,
            modified: inode.mtime,
            xattrs: ordered(&inode.xattrs)?,
            flags: 0,
        };
        let number = self.writer.add(source).with_context(|| format!("adding {path}"))?;
        self.added.insert(id, number);
        Ok(number)
    }
}

/// The crate takes attributes as a `HashMap` and writes them in its order, which differs from run to run.
/// A map that happens to be sorted is made by trying: each new map has other hash keys, files have one or
/// two attributes, and a third is a curiosity.
fn ordered(xattrs: &BTreeMap<String, Vec<u8>>) -> Result<HashMap<OsString, Vec<u8>>> {
    for _ in 0..ORDER_TRIES {
        let map: HashMap<OsString, Vec<u8>> =
            xattrs.iter().map(|(name, value)| (OsString::from(name), value.clone())).collect();
        if map.keys().zip(xattrs.keys()).all(|(a, b)| a == b.as_str()) {
            return Ok(map);
        }
    }
    bail!("{} extended attributes on one file are too many to write in a fixed order", xattrs.len())
}

struct Counted<R>(R, Arc<Progress>);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let got = self.0.read(buf)?;
        self.1.advance(got as u64);
        Ok(got)
    }
}
