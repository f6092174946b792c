//! A delta gives the chunks of the new bundle or an error, whatever its bytes are.

#![allow(clippy::unwrap_used)] // a test may

mod sample;

use std::collections::BTreeMap;
use std::path::Path;

use bundle::delta::{
    Delta, Frame, Header, Mix, OldImages, Output, Packing, Patch, Recompressor, Record, Repacker,
    Source, limits, zstd_version,
};
use bundle::{BundleError, BundleWriter, ImageInput, Salt, Sha256, Verified, Verity};
use image_layout::FileDisk;
use proptest::prelude::*;
use sample::noise;

/// Bytes of a block's content.
const BLOCK: usize = 128 << 10;

/// Two bundles, and the delta that leads from one to the other, record by record.
struct Pair {
    _dir: tempfile::TempDir,
    boot: std::path::PathBuf,
    root: std::path::PathBuf,
    new: Verified<FileDisk>,
    header: Header,
    records: Vec<Vec<u8>>,
}

fn letters(seed: u64, len: usize) -> Vec<u8> {
    noise(seed, len).iter().map(|byte| b'a' + byte % 16).collect()
}

fn squeezed(block: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let output = Output { len: block.len() as u32, packing: Packing::Zstd(15) };
    Recompressor::new().pack(block, &[output], &mut packed).unwrap();
    packed
}

fn padded(mut image: Vec<u8>) -> Vec<u8> {
    image.resize(image.len().next_multiple_of(4096), 0);
    image
}

fn bundled(dir: &Path, name: &str, boot: &[u8], root: &[u8]) -> Verified<FileDisk> {
    let path = |what: &str| dir.join(format!("{name}.{what}"));
    std::fs::write(path("boot"), boot).unwrap();
    std::fs::write(path("root"), root).unwrap();
    let verity = Verity { hash: Sha256([1; 32]), salt: Salt([2; 32]), size: 4096 };
    BundleWriter {
        update: sample::update(if name == "old" { "1.0.0" } else { "2.0.0" }),
        images: vec![
            ImageInput { name: "boot".parse().unwrap(), path: &path("boot"), verity: None },
            ImageInput { name: "root".parse().unwrap(), path: &path("root"), verity: Some(verity) },
        ],
        meta: BTreeMap::new(),
        keys: &[sample::key(1)],
    }
    .write(&path("daruma"))
    .unwrap();
    sample::open(&path("daruma"), &sample::keyring(&[1], 1)).unwrap()
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The old root has two blocks. The new root has a literal, the second block, the first
        // block with changes, and zeros.
        let (first, second) = (letters(1, BLOCK), letters(2, BLOCK));
        let mut changed = first.clone();
        changed[1000..1010].fill(b'!');
        changed.truncate(BLOCK - 77);
        changed.extend(b"new at the end");
        let packed = [&first, &second, &changed].map(|block| squeezed(block));
        let old_boot = letters(3, 8192);
        let old_root = padded([&packed[0][..], &packed[1]].concat());
        let head = noise(4, 5000);
        let new_boot = [&old_boot[4096..], &old_boot[..4096]].concat();
        let new_root = [&head[..], &packed[1], &packed[2]].concat();
        let tail = vec![0; new_root.len().next_multiple_of(4096) - new_root.len()];
        let new_root = [new_root, tail.clone()].concat();

        let old = bundled(dir.path(), "old", &old_boot, &old_root);
        let new = bundled(dir.path(), "new", &new_boot, &new_root);
        let (old, memory) = (old.manifest_sha256(), limits::MEMORY);
        let header = Header { zstd: zstd_version(), old, new: new.manifest_sha256(), memory };
        let mut mix = Mix::default();
        let sums: Vec<u8> =
            changed.iter().zip(&first).map(|(new, old)| new.wrapping_sub(*old)).collect();
        mix.push(&sums[..BLOCK - 77], b"new at the end", 0);
        let source = |offset: usize, packed: &[u8]| Source {
            image: 1,
            offset: offset as u64,
            packed: packed.len() as u32,
            len: BLOCK as u32,
            packing: Packing::Zstd(1),
        };
        let patch = Patch {
            dictionary: vec![source(0, &packed[0]), source(packed[0].len(), &packed[1])],
            mix: mix.pack().unwrap(),
            outputs: vec![Output { len: changed.len() as u32, packing: Packing::Zstd(15) }],
        };
        let records = [
            Record::Copy { image: 0, offset: 4096, len: 4096 },
            Record::Copy { image: 0, offset: 0, len: 4096 },
            Record::Literal(head),
            Record::Copy { image: 1, offset: packed[0].len() as u64, len: packed[1].len() as u64 },
            Record::Patch(patch),
            Record::Literal(tail),
        ];
        let records = records.iter().map(|record| record.encode().unwrap()).collect();
        let (boot, root) = (dir.path().join("old.boot"), dir.path().join("old.root"));
        Self { _dir: dir, boot, root, new, header, records }
    }

    /// Returns a pair whose root image has `count` parts. The parts are made in every way, large
    /// and small ones in turn.
    fn of_many_records(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let old_boot = letters(3, 8192);
        let old_root = padded(letters(1, 10 * 4096));
        let (mut new_root, mut records) =
            (Vec::new(), vec![Record::Copy { image: 0, offset: 0, len: 8192 }]);
        for index in 0..count {
            let (offset, len) = (index % 5 * 4096, [4096, 8192, 256 << 10][index / 7 % 3]);
            let bytes = noise(index as u64 + 10, len);
            let part = if index.is_multiple_of(4) {
                old_root[offset..offset + 4096].to_vec()
            } else {
                bytes
            };
            records.push(match index % 4 {
                0 => Record::Copy { image: 1, offset: offset as u64, len: 4096 },
                1 if index.is_multiple_of(3) => Record::Literal(part.clone()),
                _ => {
                    let mut mix = Mix::default();
                    mix.push(&[], &part, 0);
                    let (len, packing) = (part.len() as u32, Packing::Stored);
                    let old = Source {
                        image: 1,
                        offset: offset as u64,
                        packed: 4096,
                        len: 4096,
                        packing,
                    };
                    Record::Patch(Patch {
                        dictionary: vec![old],
                        mix: mix.pack().unwrap(),
                        outputs: vec![Output { len, packing }],
                    })
                }
            });
            new_root.extend(part);
        }
        let old = bundled(dir.path(), "old", &old_boot, &old_root);
        let new = bundled(dir.path(), "new", &old_boot, &new_root);
        let (old, memory) = (old.manifest_sha256(), limits::MEMORY);
        let header = Header { zstd: zstd_version(), old, new: new.manifest_sha256(), memory };
        let records = records.iter().map(|record| record.encode().unwrap()).collect();
        let (boot, root) = (dir.path().join("old.boot"), dir.path().join("old.root"));
        Self { _dir: dir, boot, root, new, header, records }
    }

    fn delta(&self) -> Vec<u8> {
        [self.header.encode(), self.records.concat()].concat()
    }

    /// Applies `delta` and returns how many chunks came out. Compares each chunk with the table
    /// here too.
    fn apply(&self, delta: &[u8]) -> Result<usize, BundleError> {
        self.apply_in(delta, limits::MEMORY)
    }

    /// Applies `delta` with so many MiB of memory.
    fn apply_in(&self, delta: &[u8], memory: u32) -> Result<usize, BundleError> {
        let disk = |path| FileDisk::open_read_only(path).unwrap();
        let old = OldImages { boot: disk(&self.boot), root: disk(&self.root) };
        let mut delta = Delta::open(delta, &self.new, self.header.old, old, memory)?;
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
                    assert_eq!(Sha256::of(&chunk), entry.sha256);
                    count += 1;
                }
                Ok(None) => {
                    assert!(expected.next().is_none() && chunk.is_empty());
                    return Ok(count);
                }
                Err(error) => {
                    assert!(chunk.is_empty(), "bytes were handed out with an error");
                    return Err(error);
                }
            }
        }
    }

    fn refused(&self, delta: &[u8], why: &str) {
        let error = self.apply(delta).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn a_delta_makes_every_chunk_of_the_new_bundle() {
    let pair = Pair::new();
    let chunks = pair.new.chunks("boot").len() + pair.new.chunks("root").len();
    assert_eq!(pair.apply(&pair.delta()).unwrap(), chunks);
    // The block has 60 kB, and a patch of some bytes makes it.
    assert!(pair.records[4].len() < 300, "{}", pair.records[4].len());
}

#[test]
fn what_is_made_on_several_threads_comes_in_its_order() {
    for count in [1, 2, 3, 100] {
        let pair = Pair::of_many_records(count);
        let chunks = pair.new.chunks("boot").len() + pair.new.chunks("root").len();
        assert_eq!(pair.apply(&pair.delta()).unwrap(), chunks);
    }
    // A patch that cannot be applied ends the delta, whatever the threads make behind it.
    let mut pair = Pair::of_many_records(100);
    let dictionary =
        vec![Source { image: 1, offset: 1 << 40, packed: 1, len: 1, packing: Packing::Stored }];
    let mut mix = Mix::default();
    mix.push(&[], b"x", 0);
    let (mix, outputs) = (mix.pack().unwrap(), vec![Output { len: 1, packing: Packing::Stored }]);
    pair.records.insert(50, Record::Patch(Patch { dictionary, mix, outputs }).encode().unwrap());
    let error = pair.apply(&pair.delta()).unwrap_err().to_string();
    assert!(error.contains("beyond the running system"), "{error}");
}

#[test]
fn a_delta_for_other_bundles_or_another_zstd_is_refused_before_it_is_applied() {
    let pair = Pair::new();
    let with = |header: Header| [header.encode(), pair.records.concat()].concat();
    pair.refused(&with(Header { new: Sha256([7; 32]), ..pair.header }), "another new bundle");
    pair.refused(&with(Header { old: Sha256([7; 32]), ..pair.header }), "runs another system");
    let why = format!("it needs zstd 10000, and this program has {}", zstd_version());
    pair.refused(&with(Header { zstd: 10000, ..pair.header }), &why);
    pair.refused(
        b"this is some other file, long enough to be read as a header, which takes eighty-eight \
            bytes",
        "it is none",
    );
    let mut later = pair.delta();
    later[16] = 3;
    pair.refused(&later, "later format");
}

#[test]
fn a_device_that_holds_something_else_gets_an_error_and_no_chunk_of_it() {
    let pair = Pair::new();
    let bytes = std::fs::read(&pair.root).unwrap();
    for place in [10, bytes.len() / 4, bytes.len() * 3 / 4] {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1;
        std::fs::write(&pair.root, bytes).unwrap();
        assert!(pair.apply(&pair.delta()).is_err());
    }
    std::fs::write(&pair.root, &bytes[..8192]).unwrap();
    pair.refused(&pair.delta(), "beyond the running system");
}

#[test]
fn a_delta_that_is_cut_short_or_makes_too_much_or_the_wrong_thing_is_refused() {
    let pair = Pair::new();
    let with = |records: &[&[u8]]| [&pair.header.encode()[..], &records.concat()].concat();
    let record = |record: Record| record.encode().unwrap();
    let all = pair.delta();
    for len in [0, 50, 88, 89, 100, all.len() / 2, all.len() - 1] {
        assert!(matches!(pair.apply(&all[..len]), Err(BundleError::Read { .. })), "{len}");
    }
    let [a, b, rest @ ..] = &pair.records[..] else { unreachable!() };
    let rest = rest.concat();
    pair.refused(&with(&[a, a, &rest]), "chunk 0 of image boot");
    pair.refused(&with(&[b, a, &rest]), "chunk 0 of image boot");
    let more = record(Record::Copy { image: 0, offset: 0, len: 4097 });
    pair.refused(&with(&[a, &more, &rest]), "more than the image");
    pair.refused(&with(&[a, b, &record(Record::Tree)]), "where none belongs");
    pair.refused(&with(&[&record(Record::Tree)]), "where none belongs");
    let far = record(Record::Copy { image: 1, offset: u64::MAX, len: u64::MAX });
    pair.refused(&with(&[&far]), "beyond the running system");
    pair.refused(&with(&[&[9]]), "unknown kind");
}

/// Returns a patch's counts and lengths, as they lie behind its kind.
fn shape(sources: u16, outputs: u16, lengths: [u32; 4]) -> Vec<u8> {
    let counts = [sources, outputs].map(u16::to_le_bytes);
    [&[3][..], counts.as_flattened(), lengths.map(u32::to_le_bytes).as_flattened()].concat()
}

#[test]
fn what_is_beyond_a_limit_is_refused_before_it_is_read_or_held() {
    let pair = Pair::new();
    let refused =
        |record: &[u8], why| pair.refused(&[&pair.header.encode()[..], record].concat(), why);
    // None of these has the bytes that it announces. A reader that went on would say "cannot read".
    refused(&[&[2][..], &u32::MAX.to_le_bytes(), &[0; 4]].concat(), "larger than 1 MiB");
    refused(&[&[2][..], &[5, 0, 0, 0], &u32::MAX.to_le_bytes()].concat(), "larger than 1 MiB");
    refused(&shape(1, 4097, [0, 1, 0, 1]), "more than 4096");
    refused(&shape(5000, 1, [0, 1, 0, 1]), "more than 4096");
    refused(&shape(1, 0, [0, 1, 0, 1]), "no blocks");
    refused(&shape(1, 1, [0, limits::CONTENT as u32, 1, 1]), "more than 1 MiB");
    refused(&shape(1, 1, [0, u32::MAX, u32::MAX, 1]), "more than 1 MiB");
    refused(&shape(1, 1, [limits::CONTROL as u32 + 1, 1, 0, 1]), "more than 1 MiB");
    refused(&shape(1, 1, [0, 1, 0, u32::MAX]), "larger than what it makes");
    let source = |image: u8, packing: u8, packed: u32, len: u32| {
        [&[image, packing][..], &[0; 8], &packed.to_le_bytes(), &len.to_le_bytes()].concat()
    };
    let output = |packing: u8, len: u32| [&[packing][..], &len.to_le_bytes()].concat();
    let small =
        |source: &[u8], output: &[u8]| [&shape(1, 1, [0, 1, 0, 1])[..], source, output].concat();
    refused(&small(&source(2, 0, 1, 1), &[]), "of no image");
    refused(&small(&source(0, 1, 1, limits::BLOCK + 1), &[]), "too large");
    refused(&small(&source(0, 1, u32::MAX, 1), &[]), "too large");
    refused(&small(&source(0, 0, 2, 1), &[]), "too large");
    refused(&small(&source(0, 20, 1, 1), &[]), "above 19");
    refused(&small(&source(0, 1, 1, 1), &output(22, 1)), "above 19");
    refused(&small(&source(0, 1, 1, 1), &output(15, u32::MAX)), "larger than 1 MiB");
    refused(&small(&source(0, 1, 1, 1), &output(15, 2)), "not what it makes");
    let five = [
        &shape(5, 1, [0, 1, 0, 1])[..],
        &source(1, 1, 100, limits::BLOCK).repeat(5),
        &output(0, 1),
    ];
    refused(&five.concat(), "larger than 4 MiB");
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let pair = Pair::new();
    for bytes in &pair.records {
        let mut from = &bytes[..];
        assert_eq!(Record::read(&mut from, limits::MEMORY).unwrap().encode().unwrap(), *bytes);
        assert!(from.is_empty());
    }
    assert_eq!(Header::read(&mut &pair.header.encode()[..]).unwrap(), pair.header);
}

/// Returns a frame's image, its offset, the lengths of the old frame and the lengths of the
/// streams, as they lie behind its kind.
fn frame_shape(image: u8, old: [u32; 2], streams: [u32; 6]) -> Vec<u8> {
    let lengths = [&old[..], &streams].concat();
    [
        &[5, image][..],
        &[0; 8],
        &lengths.iter().flat_map(|len| len.to_le_bytes()).collect::<Vec<_>>(),
    ]
    .concat()
}

#[test]
fn a_frame_that_is_beyond_a_limit_or_the_headers_memory_is_refused_before_it_is_read_or_held() {
    let pair = Pair::new();
    let header = |memory| Header { memory, ..pair.header }.encode();
    let refused = |memory: u32, record: &[u8], why: &str| {
        let delta = [&header(memory)[..], record].concat();
        let error = pair.apply_in(&delta, 4096).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    // None of these has the bytes that it announces. A reader that went on would say "cannot read".
    let fits = frame_shape(0, [8, 1 << 20], [3, 1 << 20, 0, 9, 9, 9]);
    refused(32, &fits, "the header says 32");
    refused(700, &fits, "the header says 700");
    refused(1000, &fits, "cannot read the delta");
    // The header is of format 2 and says that the delta takes 32 MiB.
    let mut unneeded = header(33);
    unneeded[88] = 32;
    let error = pair.apply_in(&unneeded, 4096).unwrap_err().to_string();
    assert!(error.contains("format 2 and takes no more than format 1"), "{error}");
    let beyond = limits::FRAME + 1;
    refused(4000, &frame_shape(2, [8, 8], [3, 8, 0, 9, 9, 9]), "of no image");
    refused(4000, &frame_shape(0, [8, 0], [3, 8, 0, 9, 9, 9]), "empty");
    refused(4000, &frame_shape(0, [8, 8], [3, 0, 0, 9, 9, 9]), "empty");
    refused(4000, &frame_shape(0, [8, beyond], [3, 8, 0, 9, 9, 9]), "larger than 128 MiB");
    refused(4000, &frame_shape(0, [8, 8], [3, u32::MAX, u32::MAX, 9, 9, 9]), "larger than 128 MiB");
    refused(4000, &frame_shape(0, [8, 8], [3, limits::FRAME, 1, 9, 9, 9]), "larger than 128 MiB");
    refused(
        4000,
        &frame_shape(0, [8, 8], [limits::FRAME_CONTROL + 1, 8, 0, 9, 9, 9]),
        "larger than 128 MiB",
    );
    refused(4000, &frame_shape(0, [u32::MAX, 8], [3, 8, 0, 9, 9, 9]), "larger packed");
    for stream in 3..6 {
        let mut streams = [3, 8, 0, 9, 9, 9];
        streams[stream] = u32::MAX;
        refused(4000, &frame_shape(0, [8, 8], streams), "larger packed");
    }
    // The reader asks for the device's memory before anything else of a delta.
    let error = pair.apply_in(&header(851), 850).unwrap_err().to_string();
    assert!(error.contains("it takes 851 MiB of memory, and 850 MiB are allowed"), "{error}");
}

/// Returns what the program `zstd` makes of `content` that comes through a pipe.
fn kernel_frame(content: &[u8]) -> Vec<u8> {
    let mut repacker = Repacker::new(content).unwrap();
    let mut frame = Vec::new();
    while repacker.more(&mut frame).unwrap() {}
    frame
}

#[test]
fn a_kernel_is_made_of_the_payload_of_the_old_one() {
    let old_content = letters(7, 600_000);
    let mut content = old_content.clone();
    content[100_000..100_100].fill(b'!');
    content.extend(b"new at the end");
    let [old_frame, new_frame] = [&old_content, &content].map(|content| kernel_frame(content));
    // The frame has a window of 128 MiB, a checksum and no size. A kernel's build leaves such a
    // frame in vmlinuz.
    assert_eq!(new_frame[..6], [0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x88]);
    assert_eq!(zstd::stream::decode_all(&new_frame[..]).unwrap(), content);

    let (head, tail) = (noise(8, 21_196), noise(9, 70_000));
    let boot = |frame: &[u8]| padded([&head, frame, &tail].concat());
    let (old_boot, new_boot) = (boot(&old_frame), boot(&new_frame));
    let dir = tempfile::tempdir().unwrap();
    let root = noise(1, 8192);
    let old = bundled(dir.path(), "old", &old_boot, &root);
    let new = bundled(dir.path(), "new", &new_boot, &root);
    let mut mix = Mix::default();
    let sums: Vec<u8> =
        content.iter().zip(&old_content).map(|(new, old)| new.wrapping_sub(*old)).collect();
    mix.push(&sums, b"new at the end", 0);
    let (packed, len) = (old_frame.len() as u32, old_content.len() as u32);
    let frame = Frame { image: 0, offset: head.len() as u64, packed, len, mix };
    let memory = limits::MEMORY + frame.memory();
    let behind = (head.len() + old_frame.len()) as u64;
    let padding = (new_boot.len() - head.len() - new_frame.len() - tail.len()) as u64;
    let records = [
        Record::Copy { image: 0, offset: 0, len: head.len() as u64 },
        Record::Frame(frame),
        Record::Copy { image: 0, offset: behind, len: tail.len() as u64 },
        Record::Literal(vec![0; padding as usize]),
        Record::Copy { image: 1, offset: 0, len: 8192 },
    ];
    let records: Vec<Vec<u8>> = records.iter().map(|record| record.encode().unwrap()).collect();
    assert!(records[1].len() < 1000, "{} bytes for {}", records[1].len(), new_frame.len());
    let old = old.manifest_sha256();
    let header = Header { zstd: zstd_version(), old, new: new.manifest_sha256(), memory };
    let (boot, root) = (dir.path().join("old.boot"), dir.path().join("old.root"));
    let pair = Pair { _dir: dir, boot, root, new, header, records };

    let delta = pair.delta();
    assert_eq!(delta[16], 2, "a format that says how much memory it takes");
    assert_eq!(Header::read(&mut &delta[..]).unwrap(), header);
    let mut from = &pair.records[1][..];
    assert_eq!(Record::read(&mut from, memory).unwrap().encode().unwrap(), pair.records[1]);
    assert!(pair.apply_in(&delta, memory - 1).unwrap_err().to_string().contains("MiB are allowed"));
    let chunks = pair.new.chunks("boot").len() + pair.new.chunks("root").len();
    assert_eq!(pair.apply_in(&delta, memory).unwrap(), chunks);

    // The frame goes over the end of the image. Its first chunks are right, and then it is refused.
    let cut = [&header.encode()[..], &pair.records[0], &pair.records[1], &pair.records[1]].concat();
    assert!(pair.apply_in(&cut, memory).is_err());
    // The device holds something else.
    let mut bytes = std::fs::read(&pair.boot).unwrap();
    bytes[head.len() + 200_000] ^= 1;
    std::fs::write(&pair.boot, bytes).unwrap();
    let error = pair.apply_in(&delta, memory).unwrap_err().to_string();
    assert!(error.contains("not the one that the delta is for"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_delta_never_gives_a_wrong_chunk(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        cut: Option<prop::sample::Index>,
    ) {
        thread_local!(static PAIR: Pair = Pair::new());
        PAIR.with(|pair| {
            let mut delta = pair.delta();
            for (place, change) in &changes {
                let place = place.index(delta.len());
                delta[place] ^= change;
            }
            if let Some(cut) = cut {
                delta.truncate(cut.index(delta.len()));
            }
            // `apply` compares every chunk with the table.
            let _ = pair.apply(&delta);
        });
    }

    #[test]
    fn any_bytes_behind_the_header_are_applied_or_refused(bytes: Vec<u8>, kind in 0u8..7) {
        thread_local!(static PAIR: Pair = Pair::new());
        PAIR.with(|pair| {
            let delta = [&pair.header.encode()[..], &[kind], &bytes].concat();
            prop_assert!(pair.apply(&delta).is_err());
            Ok(())
        })?;
    }

    #[test]
    fn any_bytes_are_a_record_or_refused(bytes: Vec<u8>, kind in 0u8..7) {
        let _ = Record::read(&mut &[&[kind], &bytes[..]].concat()[..], 1024);
        let _ = Header::read(&mut &bytes[..]);
    }
}
