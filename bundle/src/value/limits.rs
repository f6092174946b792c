//! Limits of the format, version 1.
//!
//! The readers check them. A reader refuses what lies beyond a limit before it allocates anything.

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
/// Most bytes of one chunk. A reader needs a buffer of this size.
pub const CHUNK: u32 = 1 << 20;
/// Images begin and end on a multiple of this many bytes, so that a slot is written in whole
/// blocks.
pub const BLOCK: u64 = 4096;
/// Most bytes of a bundle's SquashFS (1 TiB). Sums of sizes cannot overflow below it.
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
/// Most bytes of a channel document with its signatures.
pub const CHANNEL: usize = 256 << 10;
/// Most bytes of a root document with its signatures.
pub const ROOT: usize = 64 << 10;
/// Most releases in a channel.
pub const RELEASES: usize = 512;
/// Most deltas of a release.
pub const DELTAS: usize = 64;
/// Most bytes of a URL in a channel.
pub const URL: usize = 1024;
/// Most bytes of a text for people in a channel.
pub const TEXT: usize = 512;
/// Most hours over which a release is rolled out (a year).
pub const ROLLOUT_HOURS: u32 = 24 * 366;
/// Most new root documents that a device follows in one contact with its channel.
pub const ROOT_STEPS: usize = 32;
/// Largest serial of a channel, and largest version of a root. A double, and so `jq`, counts
/// exactly up to it.
pub const COUNTER: u64 = 1 << 53;
/// Most bytes of a manifest in an OCI registry.
pub const OCI_MANIFEST: usize = 64 << 10;
