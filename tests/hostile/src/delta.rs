//! The target for a delta, which nobody has signed.
//!
//! `lib` lists the target with its limits. A delta gives the chunks of its bundle, or an error.
//!
//! The device grants only the memory that every device grants. So it always refuses a kernel's
//! frame.

use std::sync::LazyLock;

use bundle::delta::{
    Delta, Header, Mix, OldImages, Output, Packing, Patch, Recompressor, Record, Source, limits,
    zstd_version,
};
use bundle::{Bundle, Sha256, Verified};

use crate::is_one_line;
use crate::tail::{self, KEYS, Tail, keyring, sign};

/// Largest record that is written again, bytes. A larger one takes too long to compress for a
/// fuzzer.
const REWRITTEN: usize = 64 << 10;

/// The bundle to make, the old images of the device, and a delta from these to the bundle.
pub(crate) struct Pair {
    boot: Vec<u8>,
    root: Vec<u8>,
    new: Verified<Tail>,
    pub(crate) header: Header,
    pub(crate) records: Vec<Record>,
}

pub(crate) static PAIR: LazyLock<Pair> = LazyLock::new(Pair::new);

/// If the first byte is odd, the right header is put in front of the rest, because no fuzzer
/// guesses it. Otherwise the rest is the whole delta.
pub(crate) fn delta(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let pair = &*PAIR;
    let mut records = rest;
    let whole = if choice & 1 == 1 {
        [&pair.header.encode(), rest].concat()
    } else {
        match Header::read(&mut records) {
            Ok(header) => {
                assert_eq!(
                    header.encode(),
                    rest[..rest.len() - records.len()],
                    "written back as it was read"
                )
            }
            Err(error) => is_one_line(&error.to_string()),
        }
        rest.to_vec()
    };
    pair.apply(&whole);
    loop {
        match Record::read(&mut records, limits::MEMORY) {
            Ok(record) => is_bounded(&record),
            Err(error) => return is_one_line(&error.to_string()),
        }
    }
}

fn is_bounded(record: &Record) {
    let size = match record {
        Record::Copy { image, len, .. } => {
            assert!(*image <= 1 && *len > 0);
            0
        }
        Record::Literal(bytes) => {
            assert!((1..=limits::LITERAL as usize).contains(&bytes.len()));
            bytes.len()
        }
        Record::Patch(Patch { dictionary, mix, outputs }) => {
            let made: usize = outputs.iter().map(|output| output.len as usize).sum();
            assert!((1..=limits::CONTENT).contains(&made) && made == mix.made());
            assert!(
                dictionary.iter().map(|source| source.len as usize).sum::<usize>()
                    <= limits::DICTIONARY
            );
            assert!(dictionary.len().max(outputs.len()) <= limits::BLOCKS);
            made
        }
        Record::Tree => 0,
        Record::Frame(_) => panic!("a frame in {} MiB", limits::MEMORY),
    };
    if size <= REWRITTEN {
        let bytes = record.encode().unwrap();
        assert_eq!(
            Record::read(&mut &bytes[..], limits::MEMORY).unwrap(),
            *record,
            "written and read again it is another"
        );
    }
}

impl Pair {
    fn new() -> Self {
        let (first, second) = (letters(1, 4000), letters(2, 3000));
        let mut changed = first.clone();
        changed[1000..1010].fill(b'!');
        changed.truncate(3900);
        changed.extend(b"new at the end");
        let [old_first, old_second, new_first] =
            [&first, &second, &changed].map(|block| squeezed(block));
        let boot = letters(3, 8192);
        let root = padded([&old_first[..], &old_second, &second].concat(), 8192);
        // The new boot image has the halves of the old one in the other order. The new root image
        // has some bytes of its own, an old block and a changed block. A block without compression,
        // zeros, and the dm-verity tree of all that follow.
        let head = letters(4, 300);
        let stored = &letters(2, 3000)[..700];
        let data = padded([&head[..], &old_second, &new_first, stored].concat(), 8192);
        let zeros = data.len() - head.len() - old_second.len() - new_first.len() - stored.len();
        let mut tree: Vec<u8> = data
            .chunks(4096)
            .flat_map(|block| Sha256::of(&[&Sha256::of(&[0; 4096]).0[..], block].concat()).0)
            .collect();
        tree.resize(4096, 0);
        let new_boot = [&boot[4096..], &boot[..4096]].concat();
        let new_root = [&data[..], &tree].concat();
        let new = signed(
            &[&new_boot[..4000], &new_boot[4000..]],
            &[&new_root[..1000], &new_root[1000..8192], &new_root[8192..]],
        );

        let mut mix = Mix::default();
        let sums: Vec<u8> =
            changed.iter().zip(&first).map(|(new, old)| new.wrapping_sub(*old)).collect();
        mix.push(&sums[..3900], b"new at the end", 0);
        let source = |offset: usize, packed: &[u8], len: usize, packing| Source {
            image: 1,
            offset: offset as u64,
            packed: packed.len() as u32,
            len: len as u32,
            packing,
        };
        let zstd = Packing::Zstd(15);
        let patch = Patch {
            dictionary: vec![
                source(0, &old_first, first.len(), zstd),
                source(old_first.len(), &old_second, second.len(), zstd),
            ],
            mix: mix.pack().unwrap(),
            outputs: vec![Output { len: changed.len() as u32, packing: zstd }],
        };
        let mut mix = Mix::default();
        mix.push(&[], &[], 2300);
        mix.push(&[], &[], -2300);
        mix.push(&[0; 700], &[], 0);
        let as_it_is = Patch {
            dictionary: vec![source(
                old_first.len() + old_second.len(),
                &second,
                second.len(),
                Packing::Stored,
            )],
            mix: mix.pack().unwrap(),
            outputs: [300, 400].map(|len| Output { len, packing: Packing::Stored }).to_vec(),
        };
        let records = vec![
            Record::Copy { image: 0, offset: 4096, len: 4096 },
            Record::Copy { image: 0, offset: 0, len: 4096 },
            Record::Literal(head),
            Record::Copy { image: 1, offset: old_first.len() as u64, len: old_second.len() as u64 },
            Record::Patch(patch),
            Record::Patch(as_it_is),
            Record::Literal(vec![0; zeros]),
            Record::Tree,
        ];
        let (zstd, old, memory) = (zstd_version(), Sha256([7; 32]), limits::MEMORY);
        let header = Header { zstd, old, new: new.manifest_sha256(), memory };
        Self { boot, root, new, header, records }
    }

    /// Applies `delta`. Returns the number of chunks that came. Each chunk is compared with the
    /// table here, too.
    pub(crate) fn apply(&self, delta: &[u8]) -> usize {
        let disk = |image: &[u8]| Tail { size: image.len() as u64, tail: image.to_vec() };
        let old = OldImages { boot: disk(&self.boot), root: disk(&self.root) };
        let mut delta = match Delta::open(delta, &self.new, self.header.old, old, limits::MEMORY) {
            Ok(delta) => delta,
            Err(error) => {
                is_one_line(&error.to_string());
                return 0;
            }
        };
        let mut chunk = vec![1, 2, 3];
        let mut expected = ["boot", "root"].into_iter().flat_map(|name| {
            self.new.chunks(name).iter().enumerate().map(move |(index, chunk)| (name, index, chunk))
        });
        let mut count = 0;
        loop {
            match delta.next_chunk(&mut chunk) {
                Ok(Some(place)) => {
                    let (name, index, entry) = expected.next().unwrap();
                    assert_eq!(place, (name, index));
                    assert!(
                        Sha256::of(&chunk) == entry.sha256 && chunk.len() == entry.len as usize
                    );
                    count += 1;
                }
                Ok(None) => {
                    assert!(expected.next().is_none() && chunk.is_empty());
                    return count;
                }
                Err(error) => {
                    assert!(chunk.is_empty(), "bytes were handed out with an error");
                    is_one_line(&error.to_string());
                    return count;
                }
            }
        }
    }
}

fn letters(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 28) as u8
    };
    (0..len).map(|_| letter()).collect()
}

fn squeezed(block: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let output = Output { len: block.len() as u32, packing: Packing::Zstd(15) };
    Recompressor::new().pack(block, &[output], &mut packed).unwrap();
    packed
}

fn padded(mut image: Vec<u8>, size: usize) -> Vec<u8> {
    assert!(image.len() <= size);
    image.resize(size, 0);
    image
}

/// Makes a bundle whose images have these chunks. The file itself is zeros, which nobody reads
/// here.
fn signed(boot: &[&[u8]], root: &[&[u8]]) -> Verified<Tail> {
    let table = |chunks: &[&[u8]]| -> Vec<u8> {
        let entry = |chunk: &&[u8]| {
            [&(chunk.len() as u32).to_le_bytes()[..], &Sha256::of(chunk).0].concat()
        };
        chunks.iter().flat_map(entry).collect()
    };
    let (boot, root) = (table(boot), table(root));
    let manifest = crate::bundles::manifest_of(1, &boot, &root)
        .replace("verity-size=4096", "verity-size=8192");
    let tables = [boot, root].concat();
    let size = 4096 + 8192 + 12288;
    Bundle::open(
        tail::bundle(size, &tables, &manifest, &sign(manifest.as_bytes(), &[&KEYS[0]])),
        &keyring(1),
    )
    .unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_go_all_the_way() {
        let records: Vec<u8> =
            PAIR.records.iter().flat_map(|record| record.encode().unwrap()).collect();
        assert_eq!(PAIR.apply(&[PAIR.header.encode(), records].concat()), 5);
    }
}
