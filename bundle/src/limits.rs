//! Limits of the format, version 1. A reader refuses what lies beyond them before it allocates anything.

/// Version of the format that this crate reads and writes.
pub const FORMAT: u32 = 1;
/// Bytes of the footer.
pub const FOOTER: usize = 64;
/// Most bytes of everything behind the SquashFS: chunk tables, manifest, signatures and footer.
pub const TAIL: u64 = 1 << 20;
/// Most bytes of the manifest.
pub const MANIFEST: usize = 64 << 10;
/// Most images in a bundle.
pub const IMAGES: usize = 64;
/// Most signatures on a bundle.
pub const SIGNATURES: usize = 16;
/// Most bytes of one chunk, and so of the buffer that a reader needs.
pub const CHUNK: u32 = 1 << 20;
/// Images begin and end on a multiple of this many bytes, so that a slot is written in whole blocks.
pub const BLOCK: u64 = 4096;
/// Most bytes of a bundle's SquashFS (1 TiB): sums of sizes cannot overflow.
pub const SQUASHFS: u64 = 1 << 40;
/// Most bytes of a file name inside the SquashFS.
pub const FILE_NAME: usize = 255;
/// Most files in a stored SquashFS.
pub const FILES: usize = 128;
/// Most bytes of inodes, directory and ids of a stored SquashFS.
pub const METADATA: u64 = 1 << 20;
/// Most bytes that [`crate::StoredSquashfs::read_file`] returns.
pub const SMALL_FILE: u64 = 1 << 20;
/// Most public keys in a keyring.
pub const KEYS: usize = 64;
