//! Packs a [`Tree`] as a SquashFS.
//!
//! The crate `squashfs-ng` calls libsquashfs, and `order` sorts the files. The same tree gives the
//! same bytes.
//!
//! The image keeps names, contents, owners, modes, times in seconds, symbolic links, device nodes
//! and pipes. It keeps hard links as one inode under several names. It keeps extended attributes in
//! `user.`, `trusted.` and `security.`, and so file capabilities.

use image_layout::Amount;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use squashfs_ng::{Metadata, Node, PackedBlocks, Writer};

use crate::bundling::squash::order;
use crate::bundling::tree::{InodeId, Kind, Tree};
use crate::host::progress::Progress;
use crate::recipe::Packing;

/// Writes the tree to `out`, dated `epoch` (seconds since 1970). Blocks that are in `packed` are
/// not packed again, and the others are put there.
///
/// # Errors
/// The tar cannot be read, or `out` cannot be written.
pub fn pack(
    tree: &Tree,
    out: &Path,
    epoch: u32,
    how: &Packing,
    packed: Option<&Arc<PackedBlocks>>,
) -> Result<()> {
    let total: u64 = tree
        .iter()
        .map(|(_, id)| match &tree.inode(id).kind {
            Kind::File(content) => content.len(),
            _ => 0,
        })
        .sum();
    let progress = Progress::bytes("Packing the root filesystem", total);
    let writing = || format!("writing the SquashFS {}", out.display());
    let mut writer = Writer::create(out, epoch, how.blocks).with_context(writing)?;
    if let Some(packed) = packed {
        writer.remember(packed.clone()).with_context(writing)?;
    }
    let mut packer = Packer { tree, writer, added: HashMap::new(), progress };
    let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, _) in tree.iter().filter(|(path, _)| !path.is_empty()) {
        children.entry(path.rsplit_once('/').map_or("", |(dir, _)| dir)).or_default().push(path);
    }
    // The contents of files lie in the image in the order in which they are added. Everything else
    // lies behind them.
    let mut level = how.blocks.level;
    for path in order::of_files(tree)? {
        let wanted = if order::is_module(path) { how.module_level } else { how.blocks.level };
        if level != wanted {
            packer.writer.set_level(wanted).with_context(writing)?;
            level = wanted;
        }
        packer.add(path, &children).with_context(writing)?;
    }
    packer.add("", &children).with_context(writing)?;
    let Packer { progress, writer, .. } = packer;
    let written = writer.finish(out).with_context(writing)?;
    let anew = packed
        .map(|packed| packed.counts())
        .map_or_else(String::new, |(all, new)| format!("; {new} of {all} blocks packed anew"));
    progress.done(&format!("{} from {}{anew}", Amount(written), Amount(total)));
    Ok(())
}

struct Packer<'a> {
    tree: &'a Tree,
    writer: Writer,
    /// The writer's number of each inode. A second name with that number becomes a hard link.
    added: HashMap<InodeId, u32>,
    progress: Progress,
}

impl Packer<'_> {
    /// Adds a path. Everything below it is added first, because SquashFS needs that order.
    fn add(&mut self, path: &str, children: &BTreeMap<&str, Vec<&str>>) -> Result<u32> {
        let Some(id) = self.tree.id(path) else { bail!("{path} has no inode") };
        let inode = self.tree.inode(id);
        if let Some(&number) = self.added.get(&id) {
            return Ok(number);
        }
        let below = children.get(path).map_or(&[][..], Vec::as_slice);
        if !below.is_empty() && !matches!(inode.kind, Kind::Dir) {
            bail!("{path} is not a folder, but the tree has something below it");
        }
        let mut entries = Vec::new();
        for child in below {
            let name = child.rsplit_once('/').map_or(*child, |(_, name)| name);
            entries.push((name, self.add(child, children)?));
        }
        let Self { writer, progress, .. } = self;
        let metadata = Metadata {
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            xattrs: &inode.xattrs,
        };
        let number = match &inode.kind {
            Kind::File(content) => {
                let watch = &mut |bytes| progress.advance(bytes);
                writer.add(&metadata, Node::File { content: &mut content.reader(), watch })
            }
            Kind::Dir => writer.add(&metadata, Node::Dir(&entries)),
            Kind::Symlink(target) => writer.add(&metadata, Node::Symlink(target)),
            Kind::CharDevice(major, minor) => {
                writer.add(&metadata, Node::CharDevice(*major, *minor))
            }
            Kind::BlockDevice(major, minor) => {
                writer.add(&metadata, Node::BlockDevice(*major, *minor))
            }
            Kind::Fifo => writer.add(&metadata, Node::Fifo),
        };
        let number = number.with_context(|| format!("adding {path}"))?;
        self.added.insert(id, number);
        Ok(number)
    }
}
