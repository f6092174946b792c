//! The "newc" cpio archive, which the kernel unpacks into the first root filesystem.
//!
//! `build` and `recovery` know what is in it.
//!
//! The layout follows Linux `Documentation/driver-api/early-userspace/buffer-format.rst`. Every
//! header is 110 bytes of ASCII hexadecimal. Names and contents are padded to 4 bytes. The same
//! content gives the same bytes: inode numbers are handed out in order, owners are 0:0, and all
//! times are the given epoch.

use std::collections::BTreeSet;

use crate::error::BuildError;

/// Bytes of an entry's header.
const HEADER: usize = 110;
/// A processor reads microcode only from a multiple of this many bytes.
const PROCESSOR: usize = 16;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHAR_DEVICE: u32 = 0o020_000;

/// zstd's level. Above 19 the window grows past the 8 MiB that the kernel promises to unpack.
const LEVEL: i32 = 19;

/// An archive begins on a multiple of this many bytes. A boot image's chunks begin there too
/// (`bundle::SlotChunks`).
pub const ALIGNMENT: usize = 4096;

/// An archive in memory, written from its first entry to its last.
#[derive(Debug)]
pub struct Archive {
    bytes: Vec<u8>,
    epoch: u32,
    inode: u32,
    directories: BTreeSet<String>,
}

struct Header<'a> {
    name: &'a str,
    mode: u32,
    links: u32,
    epoch: u32,
    device: (u32, u32),
    content: &'a [u8],
}

impl Archive {
    /// Returns an empty archive. All its entries have the time `epoch`, in seconds.
    pub fn new(epoch: u64) -> Result<Self, BuildError> {
        let epoch = u32::try_from(epoch).map_err(|_| BuildError::Field("the epoch"))?;
        Ok(Self { bytes: Vec::new(), epoch, inode: 0, directories: BTreeSet::new() })
    }

    /// Adds a regular file. `path` is relative, without a leading `/`. Missing parents are made
    /// (mode 0755).
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> Result<(), BuildError> {
        self.parents(path)?;
        self.add(path, REGULAR | permissions, 1, (0, 0), content)
    }

    /// Adds a regular file whose content begins on a multiple of 16 bytes of the archive, as
    /// processors want microcode. Zeros behind the name make up the difference.
    pub fn aligned_file(
        &mut self,
        path: &str,
        permissions: u32,
        content: &[u8],
    ) -> Result<(), BuildError> {
        self.parents(path)?;
        let end = self.bytes.len() + HEADER + path.len() + 1;
        let zeros = end.next_multiple_of(PROCESSOR) - end;
        let name = format!("{path}{}", "\0".repeat(zeros));
        self.add(&name, REGULAR | permissions, 1, (0, 0), content)
    }

    /// Adds a character device with its major and minor number.
    pub fn char_device(
        &mut self,
        path: &str,
        permissions: u32,
        device: (u32, u32),
    ) -> Result<(), BuildError> {
        self.parents(path)?;
        self.add(path, CHAR_DEVICE | permissions, 1, device, &[])
    }

    /// Writes the trailer and returns the archive's bytes.
    pub fn finish(mut self) -> Result<Vec<u8>, BuildError> {
        self.epoch = 0;
        self.inode = u32::MAX; // the trailer's number is 0
        self.add("TRAILER!!!", 0, 1, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<(), BuildError> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            if self.directories.insert(parent.to_owned()) {
                self.add(parent, DIRECTORY | 0o755, 2, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        name: &str,
        mode: u32,
        links: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> Result<(), BuildError> {
        self.inode = self.inode.wrapping_add(1);
        let inode = self.inode;
        let header = Header { name, mode, links, epoch: self.epoch, device, content };
        write_entry(&mut self.bytes, inode, &header)
    }
}

fn write_entry(out: &mut Vec<u8>, inode: u32, entry: &Header<'_>) -> Result<(), BuildError> {
    let size =
        u32::try_from(entry.content.len()).map_err(|_| BuildError::Field("the size of a file"))?;
    let name_size = u32::try_from(entry.name.len() + 1)
        .map_err(|_| BuildError::Field("the length of a name"))?;
    let fields = [
        inode,
        entry.mode,
        0, // uid
        0, // gid
        entry.links,
        entry.epoch,
        size,
        0, // device of the file itself
        0,
        entry.device.0,
        entry.device.1,
        name_size,
        0, // checksum, of the "crc" format only
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(entry.name.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(entry.content);
    pad(out);
    Ok(())
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Compresses archives and joins them ([`frame`], [`join`]).
pub fn compress(archives: &[Vec<u8>]) -> Result<Vec<u8>, BuildError> {
    let frames: Vec<_> = archives.iter().map(|archive| frame(archive)).collect::<Result<_, _>>()?;
    Ok(join(&frames))
}

/// Compresses an archive into one zstd frame. It uses one thread, so that the same bytes come out
/// every time.
///
/// # Errors
/// zstd fails.
pub fn frame(archive: &[u8]) -> Result<Vec<u8>, BuildError> {
    Ok(zstd::bulk::compress(archive, LEVEL)?)
}

/// Says what makes [`frame`] of an archive: two programs that say the same make the same bytes.
#[must_use]
pub fn frame_format() -> String {
    format!("zstd {} level {LEVEL}", zstd::zstd_safe::version_string())
}

/// Joins frames. Each begins on a multiple of [`ALIGNMENT`]. The kernel unpacks the frames one
/// after the other and skips the zeros between.
#[must_use]
pub fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut image = Vec::new();
    for frame in frames {
        image.resize(image.len().next_multiple_of(ALIGNMENT), 0);
        image.extend(frame);
    }
    image
}
