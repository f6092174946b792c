//! Checks the selection of modules from depmod's files, and the matching of aliases.
//!
//! The lines are from Debian 13 (kernel 6.12).

use initramfs::index::{Entry, Index};
use initramfs::modules::{ModuleTree, SelectError, Selected, alias_matches, select};
use initramfs::wanted;
use proptest::prelude::*;

const DEP: &str = "\
kernel/drivers/scsi/scsi_common.ko.xz:
kernel/drivers/scsi/scsi_mod.ko.xz: kernel/drivers/scsi/scsi_common.ko.xz
kernel/drivers/scsi/sd_mod.ko.xz: kernel/drivers/scsi/scsi_mod.ko.xz \
kernel/drivers/scsi/scsi_common.ko.xz
kernel/fs/nls/nls_iso8859-1.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/fs/mbcache.ko.xz:
kernel/fs/jbd2/jbd2.ko.xz:
kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz
kernel/crypto/crc32c_generic.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
";
const ALIAS: &str = "\
# Aliases extracted from modules themselves.
alias scsi:t-0x00* sd_mod
alias fs-ext4 ext4
alias crypto-crc32c crc32c_generic
alias crypto-crc32c crc32c_intel
alias cpu:type:x86,ven*fam*mod*:feature:*0094* crc32c_intel
";
const BUILTIN: &str = "kernel/drivers/virtio/virtio_pci.ko\n";
const SOFTDEP: &str =
    "softdep ext4 pre: crypto-crc32c\nsoftdep jbd2 pre: crypto-crc32c nosuchthing\n";

fn tree() -> ModuleTree {
    ModuleTree::parse(DEP, ALIAS, BUILTIN, SOFTDEP)
}

fn names(selected: &[Selected]) -> Vec<&str> {
    selected.iter().map(|module| module.name.as_str()).collect()
}

#[test]
fn dependencies_come_before_what_needs_them() {
    let selected = select(&tree(), &["sd-mod"]).unwrap();
    assert_eq!(names(&selected), ["scsi_common", "scsi_mod", "sd_mod"]);
    assert_eq!(selected[2].deps, ["scsi_common", "scsi_mod"]);
    assert_eq!(selected[2].path, "kernel/drivers/scsi/sd_mod.ko.xz");
    assert_eq!(selected[2].aliases, ["scsi:t-0x00*"]);
}

#[test]
fn a_soft_dependency_brings_whoever_has_the_alias() {
    let selected = select(&tree(), &["ext4"]).unwrap();
    assert_eq!(
        names(&selected),
        ["crc32c_generic", "crc32c_intel", "jbd2", "mbcache", "crc16", "ext4"]
    );
    assert_eq!(selected[5].deps, ["jbd2", "mbcache", "crc16"]);
}

#[test]
fn what_is_built_in_is_passed_over_and_a_wrong_name_is_not() {
    assert_eq!(select(&tree(), &["virtio-pci", "nls_iso8859-1"]).unwrap().len(), 1);
    assert_eq!(select(&tree(), &["ext5"]), Err(SelectError::Unknown("ext5".into())));
    assert!(tree().has("virtio_pci") && tree().has("nls-iso8859-1") && !tree().has("ext5"));
}

#[test]
fn a_dependency_that_modules_dep_lacks_is_refused() {
    let tree = ModuleTree::parse("a.ko: b.ko\n", "", "", "");
    assert!(matches!(select(&tree, &["a"]), Err(SelectError::Broken { .. })));
}

#[test]
fn the_default_leaves_out_hardware_that_the_kernel_does_not_know_but_no_file_system() {
    let wanted = wanted::default_for(&tree());
    assert!(wanted.contains(&"sd_mod") && !wanted.contains(&"nvme"));
    assert!(wanted.contains(&"squashfs"));
    assert_eq!(select(&tree(), &wanted), Err(SelectError::Unknown("squashfs".into())));
}

#[test]
fn aliases_match_as_fnmatch_does() {
    for (pattern, text, expected) in [
        (
            "pci:v00001AF4d00001001sv*sd*bc*sc*i*",
            "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00",
            true,
        ),
        (
            "pci:v00001AF4d00001001sv*sd*bc*sc*i*",
            "pci:v00001AF4d00001002sv00001AF4sd00000002bc01sc00i00",
            false,
        ),
        ("usb:v0421p0019d059[0-2]dc*", "usb:v0421p0019d0591dcFF", true),
        ("usb:v0421p0019d059[0-2]dc*", "usb:v0421p0019d0593dcFF", false),
        ("usb:v*[!0-9]x", "usb:v12ax", true),
        ("usb:v*[!0-9]x", "usb:v123x", false),
        ("scsi:t-0x00*", "scsi:t-0x00", true),
        (
            "cpu:type:x86,ven*fam*mod*:feature:*0094*",
            "cpu:type:x86,ven0000fam0006mod00:feature:,0000,0094,00",
            true,
        ),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("[]]", "]", true),
        ("[a", "[a", true),
        ("", "", true),
        ("*", "", true),
        ("**a**", "bab", true),
        ("a", "", false),
        ("\\*", "*", true),
        ("\\*", "a", false),
    ] {
        assert_eq!(alias_matches(pattern, text), expected, "{pattern} {text}");
    }
}

/// Matches by backtracking, so plain that a reader sees that it is right.
fn plain_match(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| plain_match(rest, &text[skip..])),
        ([b'?', rest @ ..], [_, left @ ..]) => plain_match(rest, left),
        ([literal, rest @ ..], [byte, left @ ..]) => literal == byte && plain_match(rest, left),
        _ => false,
    }
}

proptest! {
    #[test]
    fn stars_and_question_marks_match_as_plain_backtracking_does(
        pattern in "[ab*?]{0,8}",
        text in "[ab]{0,10}",
    ) {
        let plain = plain_match(pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(alias_matches(&pattern, &text), plain);
    }

    #[test]
    fn no_pattern_panics_or_runs_away(
        pattern in "[-a\\[\\]!*\\\\]{0,40}",
        text in "[-a\\[]{0,40}",
    ) {
        let _ = alias_matches(&pattern, &text);
    }

    #[test]
    fn an_index_is_read_as_it_was_written(
        modules in prop::collection::btree_map("[a-z0-9_]{1,6}", (
            prop::collection::vec("[a-z0-9_]{1,6}", 0..3),
            prop::collection::vec("[a-z:,*\\[\\]0-9]{2,9}", 0..3),
        ), 0..5),
    ) {
        let entry = |(name, (deps, aliases))| (name, Entry { deps, aliases });
        let modules = modules.into_iter().map(entry).collect();
        let index = Index { modules };
        prop_assert_eq!(Index::parse(&index.to_text()), index);
    }

    #[test]
    fn circles_in_an_index_end(names in prop::collection::vec("[a-c]", 1..6)) {
        let line = |pair: &[String]| format!("{} {} -\n", pair[0], pair[1]);
        let text: String = names.windows(2).map(line).collect();
        let _ = Index::parse(&text).load_order("a");
    }
}

#[test]
fn what_only_a_stick_needs_is_in_recovery_alone() {
    let (slot, recovery) = (wanted::default_for(&tree()), wanted::recovery_for(&tree()));
    assert!(recovery.starts_with(&slot));
    assert_eq!(recovery[slot.len()..], ["nls_iso8859_1"], "of those that this kernel has");
    assert!(!slot.iter().any(|name| wanted::STICK.contains(name)));
}
