//! Remembers packed blocks, so that the next image does not pack the same ones again.
//!
//! After an edit, nearly all blocks of an image are those of the image before. `writer` puts
//! [`remembering`] before the real compressor. libsquashfs calls both through the same table of
//! functions, and gives each of its threads a copy.

#![allow(unsafe_code, reason = "libsquashfs calls these functions with pointers")]

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::ptr::null_mut;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::library::*;
use crate::object::Object;

/// The compressor's level, and the SHA-256 sum of what a block holds.
type Key = (u8, [u8; 32]);
type Map = BTreeMap<Key, Arc<[u8]>>;

/// Packed blocks of one compressor.
#[derive(Debug, Default)]
pub struct PackedBlocks {
    /// The blocks of an earlier image.
    before: Map,
    now: Mutex<Now>,
}

/// The blocks of the image that is being written.
#[derive(Debug, Default)]
struct Now {
    blocks: Map,
    /// How many of them were packed anew.
    new: usize,
}

impl PackedBlocks {
    /// Reads what [`PackedBlocks::to_bytes`] has written. What does not look like it is passed
    /// over: its blocks are packed anew.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Self {
        let mut before = Map::new();
        while let Some((key, block, rest)) = record(bytes) {
            before.insert(key, block.into());
            bytes = rest;
        }
        Self { before, now: Mutex::default() }
    }

    /// Returns the blocks of the image that was written: for each its level (1 byte), the SHA-256
    /// sum of what it holds (32), the length of the packed block (4, little-endian; 0 if packing
    /// does not make it smaller), and the packed block.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for ((level, sum), block) in &self.now().blocks {
            bytes.push(*level);
            bytes.extend(sum);
            bytes.extend((block.len() as u32).to_le_bytes());
            bytes.extend(&**block);
        }
        bytes
    }

    /// Returns the number of different blocks of the image so far, and how many of them were
    /// packed anew.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let now = self.now();
        (now.blocks.len(), now.new)
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: &Key) -> Option<Arc<[u8]>> {
        let mut now = self.now();
        if let Some(block) = now.blocks.get(key) {
            return Some(block.clone());
        }
        let block = self.before.get(key)?.clone();
        now.blocks.insert(*key, block.clone());
        Some(block)
    }

    fn keep(&self, key: Key, block: &[u8]) {
        let mut now = self.now();
        now.new += 1;
        now.blocks.insert(key, block.into());
    }
}

/// Returns the first record and the bytes behind it.
fn record(bytes: &[u8]) -> Option<(Key, &[u8], &[u8])> {
    let (&level, rest) = bytes.split_first()?;
    let (sum, rest) = rest.split_first_chunk::<32>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (block, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some(((level, *sum), block, rest))
}

/// A compressor of libsquashfs that packs with another one, unless it knows the block.
#[repr(C)]
struct Remembering {
    /// libsquashfs sees only this.
    table: sqfs_compressor_t,
    inner: Object<sqfs_compressor_t>,
    level: u8,
    blocks: Arc<PackedBlocks>,
}

/// Puts a memory before `inner`, which packs at `level`.
pub(crate) fn remembering(
    inner: Object<sqfs_compressor_t>,
    level: u8,
    blocks: Arc<PackedBlocks>,
) -> Object<sqfs_compressor_t> {
    let table = sqfs_compressor_t {
        base: sqfs_object_t { destroy: Some(destroy), copy: Some(copy) },
        get_configuration: Some(get_configuration),
        // The tables of an image have a compressor of their own.
        write_options: None,
        read_options: None,
        do_block: Some(do_block),
    };
    let this = Box::new(Remembering { table, inner, level, blocks });
    // `table` is the first field, so the box begins with what libsquashfs expects.
    Object(Box::into_raw(this).cast())
}

unsafe extern "C" fn destroy(this: *mut sqfs_object_t) {
    // SAFETY: `remembering` has made the box, and libsquashfs frees an object once.
    drop(unsafe { Box::from_raw(this.cast::<Remembering>()) });
}

unsafe extern "C" fn copy(this: *const sqfs_object_t) -> *mut sqfs_object_t {
    // SAFETY: `this` is a `Remembering`, and its inner object begins with a table as well.
    unsafe {
        let Remembering { inner, level, blocks, .. } = &*this.cast::<Remembering>();
        let object: *const sqfs_object_t = inner.0.cast();
        let Some(copy) = (*object).copy else { return null_mut() };
        let copied: *mut sqfs_compressor_t = copy(object).cast();
        if copied.is_null() {
            return null_mut();
        }
        // libsquashfs frees the copy.
        ManuallyDrop::new(remembering(Object(copied), *level, blocks.clone())).0.cast()
    }
}

unsafe extern "C" fn get_configuration(
    this: *const sqfs_compressor_t,
    config: *mut sqfs_compressor_config_t,
) {
    // SAFETY: `this` is a `Remembering`; the caller owns `config`.
    unsafe {
        let inner = (*this.cast::<Remembering>()).inner.0;
        if let Some(get) = (*inner).get_configuration {
            get(inner, config);
        }
    }
}

unsafe extern "C" fn do_block(
    this: *mut sqfs_compressor_t,
    block: *const u8,
    size: u32,
    out: *mut u8,
    room: u32,
) -> i32 {
    // SAFETY: `this` is a `Remembering` of this thread alone. `block` has `size` bytes, `out` has
    // `room` bytes, and they do not overlap.
    unsafe {
        let Remembering { inner, level, blocks, .. } = &*this.cast::<Remembering>();
        let content = slice::from_raw_parts(block, size as usize);
        let key = (*level, Sha256::digest(content).into());
        if let Some(known) = blocks.find(&key)
            && known.len() <= room as usize
        {
            out.copy_from_nonoverlapping(known.as_ptr(), known.len());
            return known.len() as i32;
        }
        let Some(pack) = (*inner.0).do_block else { return SQFS_ERROR_SQFS_ERROR_INTERNAL };
        let answer = pack(inner.0, block, size, out, room);
        // A negative answer is an error, and zero says that the block does not get smaller.
        if let Ok(len) = usize::try_from(answer) {
            blocks.keep(key, slice::from_raw_parts(out, len));
        }
        answer
    }
}
