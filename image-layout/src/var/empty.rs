//! Makes an empty ext4 without mke2fs, for a factory reset.
//!
//! mke2fs made two small filesystems on the developer's host (`tests/empty_var.rs` has the
//! arguments, and makes them again). Only their bytes that are not zero lie in the program. The
//! kernel lets the mounted filesystem grow afterwards, as it does at a first boot.
//!
//! A template is a list of spans: offset (`u32`), length (`u16`), then the bytes. With the highest
//! bit of the length set, one byte follows, and it is repeated. All numbers are little-endian.

use std::io;

use crate::Disk;
use crate::partition::settle::Random;
use crate::var::superblock::{AT, BYTES, CHECKSUM, checksum};

const MIB: usize = 1 << 20;
/// Sizes in MiB, and the spans. The first that fits is taken. The larger one has a journal of 16
/// MiB, like the factory image's /var, and a journal cannot grow. The smaller one has 4 MiB.
const TEMPLATES: [(usize, &[u8]); 2] =
    [(34, include_bytes!("empty-34.bin")), (16, include_bytes!("empty-16.bin"))];
/// Where the first backup of a superblock lies, with blocks of 4 KiB.
const BACKUP_AT: u64 = 32768 * 4096;
/// The fields that are random: the UUID, and the seed of the directory hashes.
const RANDOM_AT: [usize; 2] = [0x68, 0xec];
const REPEATED: u16 = 0x8000;

/// Makes an empty ext4 with the label `var` at the beginning of `disk`. It is small, and the
/// kernel can enlarge it while it is mounted. `tick` is called at least once a MiB.
///
/// The superblock comes last. A power cut leaves one of three states: the old filesystem untouched,
/// no filesystem, or the whole new one.
///
/// # Errors
/// The disk cannot be read or written, has less than 16 MiB, or there are no random bytes.
pub fn make_empty_var(
    disk: &impl Disk,
    random: Random<'_>,
    tick: &mut dyn FnMut(),
) -> io::Result<()> {
    let size = disk.size()?;
    let (length, spans) = TEMPLATES
        .into_iter()
        .find(|(length, _)| (length * MIB) as u64 <= size)
        .ok_or_else(|| io::Error::other("the partition has less than 16 MiB"))?;
    let spans = parse(spans)?;
    let mut first = piece(&spans, 0);
    let mut superblock = [0; BYTES];
    superblock.copy_from_slice(&first[AT as usize..][..BYTES]);
    for at in RANDOM_AT {
        let uuid = uuid::Builder::from_random_bytes(random()?).into_uuid();
        superblock[at..at + 16].copy_from_slice(uuid.as_bytes());
    }
    let sum = checksum(&superblock);
    superblock[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    first[AT as usize..][..BYTES].fill(0);

    // Nobody may take the old superblock, or its backup, for that of the new filesystem.
    for at in [AT, BACKUP_AT] {
        if at + BYTES as u64 <= size {
            disk.write_at(&[0; BYTES], at)?;
        }
    }
    disk.sync()?;
    for start in (MIB..length * MIB).step_by(MIB).rev() {
        tick();
        disk.write_at(&piece(&spans, start), start as u64)?;
    }
    disk.write_at(&first, 0)?;
    disk.sync()?;
    tick();
    disk.write_at(&superblock, AT)?;
    disk.sync()
}

/// Some bytes of a template: where, how many, and which. One byte stands for all of them.
struct Span {
    start: usize,
    length: usize,
    bytes: &'static [u8],
}

fn parse(mut text: &'static [u8]) -> io::Result<Vec<Span>> {
    let broken = || io::Error::other("the template of an empty /var is damaged");
    let mut spans = Vec::new();
    while !text.is_empty() {
        let (head, rest) = text.split_at_checked(6).ok_or_else(broken)?;
        let start = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let word = u16::from_le_bytes([head[4], head[5]]);
        let length = usize::from(word & !REPEATED);
        let stored = if word & REPEATED == 0 { length } else { 1 };
        let (bytes, rest) = rest.split_at_checked(stored).ok_or_else(broken)?;
        spans.push(Span { start, length, bytes });
        text = rest;
    }
    Ok(spans)
}

/// Returns one MiB of a template, from `start` on. No span crosses the end of a MiB, because no
/// span crosses the end of a block.
fn piece(spans: &[Span], start: usize) -> Vec<u8> {
    let mut piece = vec![0; MIB];
    for span in spans {
        if let Some(at) = span.start.checked_sub(start).filter(|at| *at < MIB) {
            let target = &mut piece[at..at + span.length];
            match span.bytes {
                [byte] => target.fill(*byte),
                bytes => target.copy_from_slice(bytes),
            }
        }
    }
    piece
}
