//! Limits of a delta, formats 1 and 2.
//!
//! The records check them. A reader refuses what lies beyond a limit before it allocates anything.

/// Version of the format of a delta that needs no more than [`MEMORY`].
pub const FORMAT: u32 = 1;
/// Version of the format of a delta that needs more memory than [`MEMORY`]. Its header says how
/// much.
pub const FORMAT_MEMORY: u32 = 2;
/// MiB of memory that a delta of format 1 asks of a device. A delta of format 2 asks for them
/// besides the memory for its frame.
pub const MEMORY: u32 = 32;
/// Most bytes of the content of a [`super::Frame`], old or new. This is the window of zstd level
/// 22.
pub const FRAME: u32 = 128 << 20;
/// Most bytes of the control stream of a frame, unpacked.
pub const FRAME_CONTROL: u32 = 16 << 20;
/// Most bytes of a literal.
pub const LITERAL: u32 = 1 << 20;
/// Most bytes of all blocks of one patch's dictionary together, unpacked.
pub const DICTIONARY: usize = 4 << 20;
/// Most bytes of one block, unpacked. SquashFS has no larger blocks.
pub const BLOCK: u32 = 1 << 20;
/// Most bytes that one patch makes, before packing.
pub const CONTENT: usize = 1 << 20;
/// Most bytes of a patch's control stream, unpacked.
pub const CONTROL: usize = 1 << 20;
/// Most blocks in a patch's dictionary, and most blocks that it makes.
pub const BLOCKS: usize = 4096;
/// The highest zstd level of a block. A higher level takes more memory than a device is asked for.
pub const LEVEL: u8 = 19;
/// Most patches that are applied at once. Their blocks are then no larger than [`SMALL_BLOCK`]; a
/// patch with larger blocks takes some 14 MiB.
pub const THREADS: usize = 2;
/// Bytes, unpacked, of the largest block that is made beside another one. Larger blocks are made
/// one after the other.
pub const SMALL_BLOCK: u32 = 128 << 10;
/// Most bytes of a dm-verity tree that a device computes and holds in memory. This is the tree of 1
/// GiB of data.
pub const TREE: u64 = crate::image::verity_tree::LIMIT;
/// Bytes of memory that level 22 takes besides the content and the frame. zstd takes 512 MiB for
/// its tree. It takes 128 MiB and 64 MiB for hashes, and some small parts. It cannot take less:
/// with tables of other sizes zstd finds other matches and makes another frame.
pub(crate) const TABLES: u64 = 710 << 20;
