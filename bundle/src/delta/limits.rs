//! Limits of a delta, formats 1 and 2.
//!
//! The records check them. A reader refuses what lies beyond a limit before it allocates anything.

/// Version of the format of a delta that needs no more than [`MEMORY`].
pub const FORMAT: u32 = 1;
/// Version of the format of one that needs more, and says how much.
pub const FORMAT_MEMORY: u32 = 2;
/// MiB that a device is asked for by a delta of format 1, and besides its frame by one of format 2.
pub const MEMORY: u32 = 32;
/// Most bytes of the content of a [`super::Frame`], the old one's and the new one's: the window of
/// level 22.
pub const FRAME: u32 = 128 << 20;
/// Most bytes of the control stream of a frame, unpacked.
pub const FRAME_CONTROL: u32 = 16 << 20;
/// Most bytes of a literal.
pub const LITERAL: u32 = 1 << 20;
/// Most bytes that the blocks of one patch's dictionary are together, unpacked.
pub const DICTIONARY: usize = 4 << 20;
/// Most bytes of one block, unpacked: SquashFS has none that are larger.
pub const BLOCK: u32 = 1 << 20;
/// Most bytes that one patch makes, before they are packed.
pub const CONTENT: usize = 1 << 20;
/// Most bytes of a patch's control stream, unpacked.
pub const CONTROL: usize = 1 << 20;
/// Most blocks in a patch's dictionary, and most blocks that it makes.
pub const BLOCKS: usize = 4096;
/// The highest zstd level of a block: higher ones take more memory than a device is asked for.
pub const LEVEL: u8 = 19;
/// Most patches that are applied at once, if their blocks are no larger than [`SMALL_BLOCK`]; with
/// larger ones each takes some 14 MiB.
pub const THREADS: usize = 2;
/// Bytes of the largest block of a SquashFS that the bundler makes, unpacked.
pub const SMALL_BLOCK: u32 = 128 << 10;
/// Most bytes of a dm-verity tree that is computed, and so held in memory: that of 1 GiB of data.
pub const TREE: u64 = crate::image::verity_tree::LIMIT;
/// Bytes of memory that level 22 takes besides the content and the frame: 512 MiB of tree, 128 MiB
/// and 64 MiB of hashes, and what is small. It cannot be made to do with less: with other sizes
/// other matches are found, and the frame is another one.
pub(crate) const TABLES: u64 = 710 << 20;
