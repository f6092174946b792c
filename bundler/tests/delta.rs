//! Makes deltas between bundles with real SquashFS images, from `squash` and `veritysetup`.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bundle::delta::{Output, Packing as Again, Recompressor, Repacker, limits};
use bundle::{BundleWriter, ImageInput, Keyring, SecretKey, StoredSquashfs, Update, Verity};
use bundler::delta::{self, Outputs};
use bundler::recipe::Packing;
use bundler::tree::Tree;
use bundler::{blocks, squash, verity};
use squashfs_ng::{Compressor, Packing as Blocks};

const EPOCH: u32 = 1_700_000_000;

/// Returns bytes that compress to about a half and do not repeat (xorshift64 as digits).
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        b'a' + (x % 16) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Returns bytes that are like code: addresses that all move with `shift`, between bytes that do
/// not.
fn code(seed: u64, len: usize, shift: u32) -> Vec<u8> {
    let stays = text(seed, len);
    let mut code = Vec::new();
    for (number, bytes) in (0u32..).zip(stays.chunks(44)) {
        code.extend(bytes);
        code.extend((number.wrapping_mul(2_654_435_761).wrapping_add(shift)).to_le_bytes());
    }
    code
}

/// Returns one of two versions of a system. In the second one, a library has a new name, its
/// addresses have moved, and some small files have changed. So every file has a new place.
fn tree(version: u32) -> Tree {
    let mut tree = Tree::new(EPOCH);
    tree.put("etc/version", 0o644, text(u64::from(version), 3000 * version as usize));
    tree.put(&format!("lib/libsomething.so.{version}"), 0o755, code(1, 700_000, version * 0x40));
    tree.put("lib/same", 0o644, text(2, 900_000));
    tree.put("usr/lib/modules/6/driver.ko", 0o644, code(3, 300_000, version * 0x40));
    for number in 0..400 {
        let changes = if number % 20 == 0 { version } else { 0 };
        let content = [text(number, 900), text(number + u64::from(changes) * 1000, 100)].concat();
        tree.put(&format!("usr/share/{number:03}"), 0o644, content);
    }
    tree
}

type Meta = BTreeMap<String, BTreeMap<String, String>>;

struct Bundler {
    dir: tempfile::TempDir,
    key: SecretKey,
    keyring: Keyring,
}

impl Bundler {
    fn new() -> Self {
        let key = SecretKey::from_seed([5; 32]);
        let keyring = Keyring::new([key.public()], 1).unwrap();
        Self { dir: tempfile::tempdir().unwrap(), key, keyring }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bundle(&self, version: u32, root: &Path, verity: Verity) -> PathBuf {
        self.bundle_with(version, root, verity, code(9, 300_000, version), BTreeMap::new())
    }

    fn bundle_with(
        &self,
        version: u32,
        root: &Path,
        verity: Verity,
        vmlinuz: Vec<u8>,
        meta: Meta,
    ) -> PathBuf {
        let (boot, out) = (self.path("boot.img"), self.path(&format!("{version}.daruma")));
        let mut image = StoredSquashfs::new();
        image.add_bytes("vmlinuz", vmlinuz).unwrap();
        image
            .add_bytes("slot.cfg", format!("set daruma_version={version}\n").into_bytes())
            .unwrap();
        image.write_to(&boot).unwrap();
        let update = Update {
            compatible: "router".parse().unwrap(),
            version: format!("{version}.0.0").parse().unwrap(),
            build: "b".parse().unwrap(),
            description: String::new(),
            min_version: "0.0.0".parse().unwrap(),
        };
        let images = vec![
            ImageInput { name: "boot".parse().unwrap(), path: &boot, verity: None },
            ImageInput { name: "root".parse().unwrap(), path: root, verity: Some(verity) },
        ];
        let keys = std::slice::from_ref(&self.key);
        BundleWriter { update, images, meta, keys }.write(&out).unwrap();
        out
    }

    fn pack(&self, version: u32) -> PathBuf {
        let blocks = Blocks { level: 4, block_size: 128 << 10, ..Packing::default().blocks };
        self.pack_as(version, &Packing { blocks, module_level: 4 })
    }

    fn pack_as(&self, version: u32, how: &Packing) -> PathBuf {
        let root = self.path(&format!("{version}.img"));
        squash::pack(&tree(version), &root, EPOCH, how, None).unwrap();
        let verity = verity::append(&root).unwrap();
        let facts = [
            ("compression", if how.blocks.compressor == Compressor::Xz { "xz" } else { "zstd" }),
            ("level", &how.blocks.level.to_string()),
            ("module-level", &how.module_level.to_string()),
        ];
        let facts = facts.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let meta = BTreeMap::from([("root".to_owned(), facts)]);
        self.bundle_with(version, &root, verity, code(9, 300_000, version), meta)
    }
}

#[test]
fn libsquashfs_compresses_with_the_zstd_that_the_device_has() {
    let default = Packing::default();
    let blocks = |level, block_size| Blocks { level, block_size, ..default.blocks };
    // Every way in which a device's zstd searches, and blocks of every size.
    for blocks in [default.blocks, blocks(1, 128 << 10), blocks(16, 256 << 10), blocks(19, 1 << 20)]
    {
        the_device_makes_every_block_again(blocks);
    }
}

fn the_device_makes_every_block_again(blocks: Blocks) {
    let bundler = Bundler::new();
    let root = bundler.path("root.img");
    let how = Packing { blocks, module_level: blocks.level };
    squash::pack(&tree(1), &root, EPOCH, &how, None).unwrap();
    let image = fs::read(&root).unwrap();
    let boundaries: Vec<u64> = blocks::boundaries(&root).unwrap().into_iter().collect();
    let inodes = u64::from_le_bytes(image[64..72].try_into().unwrap());
    let mut recompressor = Recompressor::new();
    let mut count = 0;
    for block in boundaries.windows(2).filter(|block| block[1] <= inodes) {
        let block = &image[block[0] as usize..block[1] as usize];
        let content = zstd::bulk::decompress(block, 1 << 20).unwrap();
        let mut again = Vec::new();
        let output = Output { len: content.len() as u32, packing: Again::Zstd(blocks.level) };
        recompressor.pack(&content, &[output], &mut again).unwrap();
        assert!(again == block, "block {count}: {} bytes, again {}", block.len(), again.len());
        count += 1;
    }
    assert!(count > 1, "{count} blocks");
}

fn small(old: &Path, new: &Path, keyring: &Keyring, out: &Path) -> anyhow::Result<delta::Summary> {
    let written = delta::write(old, new, keyring, Outputs { small: Some(out), kernel: None })?;
    Ok(written.small.unwrap())
}

#[test]
fn a_delta_between_two_versions_is_small_and_leads_from_one_to_the_other() {
    let bundler = Bundler::new();
    let (old, new) = (bundler.pack(1), bundler.pack(2));
    let out = bundler.path("out.delta");
    // `write` applies the delta before the delta gets its name.
    let summary = small(&old, &new, &bundler.keyring, &out).unwrap();
    print!("{}", summary.to_text());
    assert_eq!(summary.bytes, fs::metadata(&out).unwrap().len());
    assert_eq!(summary.strange, 0, "blocks that cannot be made again");
    assert!(summary.copied > 350_000, "the large file that is the same");
    assert!(summary.patched.0 > 400_000 && summary.patched.1 < summary.patched.0 / 10);
    assert!(summary.tree > 0, "the device computes the dm-verity tree");
    // The delta has the new content (random letters, 4 bits each), and also tables and addresses.
    assert!(summary.bytes < summary.full / 10, "{} of {}", summary.bytes, summary.full);

    let first = fs::read(&out).unwrap();
    small(&old, &new, &bundler.keyring, &out).unwrap();
    assert!(first == fs::read(&out).unwrap(), "the same bundles give the same delta");
}

#[test]
fn a_delta_makes_fast_blocks_again_and_carries_those_that_no_device_packs() {
    let packing = |compressor, level, module_level, block_size| {
        let blocks = Blocks { compressor, level, block_size };
        let bundler = Bundler::new();
        let how = Packing { blocks, module_level };
        let (old, new) = (bundler.pack_as(1, &how), bundler.pack_as(2, &how));
        // `write` applies the delta before the delta gets its name.
        let out = bundler.path("out.delta");
        let summary = small(&old, &new, &bundler.keyring, &out).unwrap();
        let format = u32::from_le_bytes(fs::read(&out).unwrap()[16..20].try_into().unwrap());
        assert_eq!((summary.strange, format), (0, 1), "a device of any age can read the delta");
        summary
    };
    for block_size in [128 << 10, 1 << 20] {
        let fast = packing(Compressor::Zstd, 4, 4, block_size);
        assert_eq!(fast.whole, 0);
        assert!(fast.packed.0 > 900_000, "{fast:?}");
        let text = fast.to_text();
        assert!(text.contains("again on the device: "), "{text}");
    }
    // A higher level for what seldom changes does not cost the modules their deltas.
    for level in [19, 22] {
        let mixed = packing(Compressor::Zstd, level, 4, 128 << 10);
        assert!(mixed.whole > 0 && mixed.packed.0 > 250_000, "{mixed:?}");
    }
    for (compressor, level) in [(Compressor::Zstd, 19), (Compressor::Xz, 6)] {
        let summary = packing(compressor, level, level, 256 << 10);
        assert!(summary.whole > 300_000, "{summary:?}");
        let text = summary.to_text();
        assert!(text.contains("no device packs xz or a zstd level above 4 again"), "{text}");
    }
}

#[test]
fn a_delta_to_an_image_that_is_no_squashfs_sends_what_is_new() {
    let bundler = Bundler::new();
    let root = bundler.path("root.img");
    let mut content = text(1, 1 << 20);
    fs::write(&root, &content).unwrap();
    let verity = verity::append(&root).unwrap();
    let old = bundler.bundle(1, &root, verity);
    content[500_000..500_100].fill(b'!');
    fs::write(&root, &content).unwrap();
    let verity = verity::append(&root).unwrap();
    let new = bundler.bundle(2, &root, verity);
    let out = bundler.path("out.delta");
    let summary = small(&old, &new, &bundler.keyring, &out).unwrap();
    assert!(summary.bytes < 30_000, "{}", summary.bytes);
}

#[test]
fn a_delta_needs_two_bundles_that_the_keyring_trusts() {
    let bundler = Bundler::new();
    let (old, new) = (bundler.pack(1), bundler.pack(2));
    let out = bundler.path("out.delta");
    let same = small(&new, &new, &bundler.keyring, &out).unwrap_err();
    assert!(format!("{same:#}").contains("are the same bundle"), "{same:#}");
    let stranger = Keyring::new([SecretKey::from_seed([6; 32]).public()], 1).unwrap();
    let refused = small(&old, &new, &stranger, &out).unwrap_err();
    assert!(format!("{refused:#}").contains("stranger"), "{refused:#}");
    assert!(!out.exists());
}

/// Returns a file like Debian's: code that unpacks, a zstd frame, its length, more code.
fn vmlinuz(version: u32, squeeze: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let payload = code(9, 2_400_000, version * 0x40);
    let length = (payload.len() as u32).to_le_bytes();
    [code(10, 21_000, version), squeeze(&payload), length.to_vec(), code(11, 70_000, version)]
        .concat()
}

/// Packs as `zstd -22 --ultra` does with bytes from a pipe.
fn as_a_kernel(payload: &[u8]) -> Vec<u8> {
    let mut repacker = Repacker::new(payload).unwrap();
    let mut frame = Vec::new();
    while repacker.more(&mut frame).unwrap() {}
    frame
}

/// Makes two bundles that differ only in these kernels, and the deltas between them.
fn with_kernels(
    bundler: &Bundler,
    kernels: [Vec<u8>; 2],
) -> (delta::Summary, Result<delta::Summary, String>) {
    let root = bundler.path("root.img");
    fs::write(&root, text(1, 8192)).unwrap();
    let verity = verity::append(&root).unwrap();
    let [old, new] = kernels;
    let [old, new] = [(1, old), (2, new)]
        .map(|(version, kernel)| bundler.bundle_with(version, &root, verity, kernel, Meta::new()));
    let (out, kernel_out) = (bundler.path("out.delta"), bundler.path("kernel.delta"));
    let outputs = Outputs { small: Some(&out), kernel: Some(&kernel_out) };
    let written = delta::write(&old, &new, &bundler.keyring, outputs).unwrap();
    print!("{}", written.to_text());
    let (small, kernel) = (written.small.unwrap(), written.kernel.unwrap());
    assert_eq!(kernel_out.exists(), kernel.is_ok());
    assert_eq!(small.memory, limits::MEMORY);
    (small, kernel)
}

#[test]
fn a_kernel_goes_through_its_payload_in_a_second_delta_that_says_what_memory_it_takes() {
    let bundler = Bundler::new();
    // `write` applies both deltas before they get their names.
    let (small, kernel) =
        with_kernels(&bundler, [1, 2].map(|version| vmlinuz(version, as_a_kernel)));
    let kernel = kernel.unwrap();
    assert!(small.bytes > 1_000_000, "the frame as it is: {}", small.bytes);
    assert!(kernel.bytes < 100_000, "addresses that moved: {}", kernel.bytes);
    assert!((700..800).contains(&kernel.memory), "{} MiB", kernel.memory);
    let paths = [bundler.path("out.delta"), bundler.path("kernel.delta")];
    assert_eq!(paths.map(|path| fs::metadata(path).unwrap().len()), [small.bytes, kernel.bytes]);
}

#[test]
fn a_kernel_whose_frame_cannot_be_made_again_is_sent_as_it_is_and_the_reason_is_said() {
    let bundler = Bundler::new();
    let otherwise = |payload: &[u8]| zstd::bulk::compress(payload, 19).unwrap();
    let said = |kernels| with_kernels(&bundler, kernels).1.unwrap_err();
    let why = said([1, 2].map(|version| vmlinuz(version, otherwise)));
    assert!(why.contains("does not make its frame again"), "{why}");
    let why = said([1, 2].map(|version| code(9, 300_000, version)));
    assert!(why.contains("no zstd frame of 1 MiB or more"), "{why}");
    let why = said([1, 1].map(|version| vmlinuz(version, otherwise)));
    assert!(why.contains("the same in both"), "{why}");
}
