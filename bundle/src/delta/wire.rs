//! The numbers and bytes of a delta as they are read from it, and the errors of reading them.
//!
//! The records know what the numbers mean. They compare each length with a limit before they ask
//! for that many bytes. Every number of a delta is little endian.

use std::io::Read;

use crate::BundleError;

/// The zstd level of literals and patches.
pub(super) const BODY_LEVEL: i32 = 19;

/// Returns the error of a delta that cannot be applied, with the reason.
pub(super) fn wrong(why: &str) -> BundleError {
    BundleError::Delta(why.to_owned())
}

/// Returns the error of zstd when it packs a part of a delta.
pub(super) fn packing(source: std::io::Error) -> BundleError {
    BundleError::Delta(format!("compressing a part of it failed: {source}"))
}

/// Reads the next `N` bytes.
pub(super) fn array<const N: usize>(from: &mut impl Read) -> Result<[u8; N], BundleError> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(BundleError::read("the delta"))?;
    Ok(bytes)
}

pub(super) fn u16(from: &mut impl Read) -> Result<u16, BundleError> {
    array(from).map(u16::from_le_bytes)
}

pub(super) fn u32(from: &mut impl Read) -> Result<u32, BundleError> {
    array(from).map(u32::from_le_bytes)
}

pub(super) fn u64(from: &mut impl Read) -> Result<u64, BundleError> {
    array(from).map(u64::from_le_bytes)
}

/// Reads `len` bytes. The caller has compared `len` with a limit.
pub(super) fn bytes(from: &mut impl Read, len: usize) -> Result<Vec<u8>, BundleError> {
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes).map_err(BundleError::read("the delta"))?;
    Ok(bytes)
}

/// Unpacks `packed`, a zstd frame of `len` bytes of content. The caller has compared `len` with a
/// limit.
pub(super) fn unpack(packed: &[u8], len: usize) -> Result<Vec<u8>, BundleError> {
    let bytes = zstd::bulk::decompress(packed, len).ok().filter(|bytes| bytes.len() == len);
    bytes.ok_or_else(|| wrong("a part of it cannot be unpacked"))
}
