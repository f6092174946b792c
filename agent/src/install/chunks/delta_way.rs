//! A delta as a second way to the chunks of a bundle.
//!
//! `install::delta` makes the chunks, and `reader` asks for them. The size of a delta is known
//! before its first byte is fetched, so `install` can take the shorter way.

/// A way to a bundle's chunks that costs `size` bytes to fetch. It gives them in their order.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "a function has none")]
pub struct DeltaWay<'a> {
    /// Bytes of the delta.
    pub(crate) size: u64,
    /// MiB of memory that applying it takes.
    pub(crate) memory_mib: u32,
    /// Puts chunk `index` of an image into the buffer. After the first `false` it gives nothing.
    pub(crate) take: &'a (dyn Fn(&str, usize, &mut Vec<u8>) -> bool + Sync + 'a),
}
