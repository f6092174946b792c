//! The archive of microcode, and what is refused.

use bundler::kernel;
use bundler::tree::Tree;

use crate::{settings_with, tree};

const INTEL: &str = "usr/lib/firmware/intel-ucode";
const AMD: &str = "usr/lib/firmware/amd-ucode";

/// Returns an update of Intel's form for a processor, whose sum is 0.
fn update(processor: u32, size: u32) -> Vec<u8> {
    let mut words = vec![0u32; size as usize / 4];
    words[..9].copy_from_slice(&[1, 7, 0x0102_2025, processor, 0, 1, 1, size - 48, size]);
    words[20] = processor.wrapping_mul(0x9E37_79B9);
    words[4] = words.iter().fold(0u32, |sum, word| sum.wrapping_sub(*word));
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn with_microcode() -> Tree {
    let mut tree = tree();
    tree.put(
        &format!("{INTEL}/06-0f-02"),
        0o644,
        [update(0x6f2, 2048), update(0x6f3, 4096)].concat(),
    );
    tree.put(&format!("{INTEL}/06-55-04.initramfs"), 0o644, update(0x50654, 1024));
    tree.put(&format!("{INTEL}/06-55-06"), 0o644, update(0x50654, 1024)); // the same again
    tree.put(&format!("{INTEL}/README"), 0o644, *b"text");
    tree.put(&format!("{AMD}/microcode_amd_fam17h.bin"), 0o644, *b"DMA\0 of 17h");
    tree.put(&format!("{AMD}/microcode_amd_fam17h.bin.asc"), 0o644, *b"signature");
    tree
}

fn take(tree: &mut Tree, vendors: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let settings = settings_with(&format!("microcode: {vendors}"));
    kernel::take(tree, &settings, 1).map(|kernel| kernel.microcode)
}

/// Returns the content of a file of an archive, and where it begins.
fn content(archive: &[u8], name: &str) -> Option<(usize, Vec<u8>)> {
    let at = archive.windows(name.len()).position(|window| window == name.as_bytes())?;
    let header = std::str::from_utf8(&archive[at - 110..at]).unwrap();
    let field = |index: usize| usize::from_str_radix(&header[6 + 8 * index..][..8], 16).unwrap();
    let begin = (at + field(11)).next_multiple_of(4);
    Some((begin, archive[begin..begin + field(6)].to_vec()))
}

#[test]
fn the_archive_has_one_file_a_vendor_and_the_root_has_none() {
    let mut tree = with_microcode();
    let archive = take(&mut tree, "[amd, intel]").unwrap().unwrap();
    let (begin, intel) = content(&archive, "kernel/x86/microcode/GenuineIntel.bin").unwrap();
    assert_eq!(begin % 16, 0);
    let updates = [update(0x6f2, 2048), update(0x6f3, 4096), update(0x50654, 1024)];
    assert!(intel == updates.concat());
    let (_, amd) = content(&archive, "kernel/x86/microcode/AuthenticAMD.bin").unwrap();
    assert_eq!(amd, b"DMA\0 of 17h");
    assert!(tree.get(INTEL).is_none() && tree.get(AMD).is_none());
    assert!(archive.starts_with(b"070701") && archive.len() < 9000);
    // The order in the recipe changes no byte.
    assert_eq!(take(&mut with_microcode(), "[intel, amd]").unwrap(), Some(archive));
}

#[test]
fn one_vendor_leaves_the_other_where_it_was() {
    let mut tree = with_microcode();
    let archive = take(&mut tree, "[intel]").unwrap().unwrap();
    assert!(content(&archive, "AuthenticAMD.bin").is_none());
    assert!(tree.get(AMD).is_some() && tree.get(INTEL).is_none());
    let mut tree = with_microcode();
    assert_eq!(take(&mut tree, "[]").unwrap(), None);
    assert!(tree.get(INTEL).is_some());
}

#[test]
fn microcode_that_no_package_brought_is_an_error_with_the_line_and_the_package() {
    let error = take(&mut tree(), "[amd]").unwrap_err().to_string();
    for part in ["r.yaml:8: `microcode` asks for amd", "the package amd64-microcode", "components"]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn damaged_microcode_is_refused_with_its_file() {
    let whole = update(0x6f2, 2048);
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    let mut long = whole.clone();
    long[32..36].copy_from_slice(&4096u32.to_le_bytes());
    let mut other = whole.clone();
    other[0] = 2;
    for (what, content) in [
        ("cut", &whole[..2044]),
        ("flipped", &flipped),
        ("long", &long),
        ("other", &other),
        ("empty", &[]),
    ] {
        let mut tree = with_microcode();
        tree.put(&format!("{INTEL}/06-0f-06"), 0o644, content);
        let error = take(&mut tree, "[intel]").unwrap_err().to_string();
        assert!(error.contains("/usr/lib/firmware/intel-ucode/06-0f-06"), "{what}: {error}");
        assert!(error.contains("get the package intel-microcode again"), "{what}: {error}");
    }
    let mut tree = with_microcode();
    tree.put(&format!("{AMD}/microcode_amd.bin"), 0o644, *b"DMB\0");
    assert!(take(&mut tree, "[amd]").is_err());
}

#[test]
fn a_recipe_of_another_architecture_that_asks_for_microcode_is_refused() {
    let error = crate::refused("arm64\nactions:\n  - action: kernel\n    microcode: [intel]\n");
    assert!(
        error.ends_with(
            "r.yaml:4: `microcode: intel` is for processors of amd64, and the architecture is \
                `arm64`; leave it out"
        ),
        "{error}"
    );
}
