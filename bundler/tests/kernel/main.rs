//! Which kernel modules a recipe's patterns keep, with crafted modules and the real depmod; and the
//! firmware and microcode that come with them.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

mod firmware;
mod microcode;

use std::io::Write;

use bundler::kernel;
use bundler::modinfo::ModInfo;
use bundler::recipe::{Kernel, Recipe};
use bundler::tree::Tree;

const VERSION: &str = "6.1.0-test";

/// Returns a module with the parts that depmod and the bundler read: an ELF64 file with `.modinfo`
/// and `.shstrtab`.
fn module(info: &[&str]) -> Vec<u8> {
    let modinfo: Vec<u8> = info.iter().flat_map(|record| record.bytes().chain([0])).collect();
    let names = b"\0.modinfo\0.shstrtab\0";
    let (at, names_at) = (64, 64 + modinfo.len());
    let table = (names_at + names.len()).next_multiple_of(8);
    let mut elf = vec![0; table + 3 * 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16..18].copy_from_slice(&1u16.to_le_bytes()); // ET_REL
    elf[18..20].copy_from_slice(&62u16.to_le_bytes()); // x86-64
    elf[20..24].copy_from_slice(&1u32.to_le_bytes());
    elf[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
    for (place, value) in [(0x34, 64u16), (0x3a, 64), (0x3c, 3), (0x3e, 2)] {
        elf[place..place + 2].copy_from_slice(&value.to_le_bytes());
    }
    elf[at..at + modinfo.len()].copy_from_slice(&modinfo);
    elf[names_at..names_at + names.len()].copy_from_slice(names);
    for (index, name, kind, offset, size) in
        [(1, 1u32, 1u32, at, modinfo.len()), (2, 10, 3, names_at, names.len())]
    {
        let header = &mut elf[table + index * 64..][..64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
        header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
    }
    elf
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns a kernel with the file systems of the initramfs and a handful of network modules.
fn tree() -> Tree {
    let mut tree = Tree::new(1);
    tree.put(&format!("boot/vmlinuz-{VERSION}"), 0o644, *b"kernel");
    let base = format!("usr/lib/modules/{VERSION}");
    for (path, info) in [
        ("fs/squashfs/squashfs", &["depends="][..]),
        ("fs/overlayfs/overlay", &["depends="]),
        ("fs/ext4/ext4", &["depends=jbd2", "softdep=pre: crc32c-generic"]),
        ("fs/jbd2/jbd2", &["depends="]),
        ("crypto/crc32c_generic", &["depends="]),
        ("drivers/md/dm-mod", &["depends="]),
        ("drivers/md/dm-verity", &["depends=dm-mod"]),
        ("drivers/net/intel/e1000", &["depends=ptp", "alias=pci:v00008086d*"]),
        ("drivers/net/intel/igb", &["depends=ptp"]),
        ("drivers/net/other/rtl8139", &["depends="]),
        ("drivers/ptp/ptp", &["depends="]),
    ] {
        tree.put(&format!("{base}/kernel/{path}.ko.xz"), 0o644, xz(&module(info)));
    }
    tree.put(&format!("{base}/modules.builtin"), 0o644, *b"kernel/drivers/char/random.ko\n");
    tree.put(&format!("{base}/modules.order"), 0o644, *b"");
    tree
}

fn settings(modules: &str) -> Kernel {
    settings_with(&format!("modules: {modules}"))
}

fn settings_with(key: &str) -> Kernel {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.yaml");
    let text = format!(
        "architecture: amd64\nactions:\n  - action: mmdebstrap\n    suite: trixie\n  - action: \
            bundle\n    compatible: box\n  - action: kernel\n    {key}\n"
    );
    std::fs::write(&path, text).unwrap();
    Recipe::load(&path).unwrap().kernel
}

/// Returns why a recipe is refused. The text follows `architecture: `.
fn refused(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.yaml");
    std::fs::write(&path, format!("architecture: {text}")).unwrap();
    Recipe::load(&path).unwrap_err().0
}

fn kept(tree: &Tree) -> Vec<String> {
    tree.below("usr/lib/modules")
        .filter_map(|path| {
            path.strip_suffix(".ko").and_then(|path| path.rsplit('/').next()).map(str::to_owned)
        })
        .collect()
}

#[test]
fn patterns_choose_modules_and_what_they_need_comes_along() {
    let mut tree = tree();
    let kernel =
        kernel::take(&mut tree, &settings(r#"[kernel/drivers/net/intel/, random, "!igb"]"#), 1)
            .unwrap();
    assert_eq!((kernel.version.as_str(), kernel.vmlinuz.as_slice()), (VERSION, &b"kernel"[..]));
    let mut kept = kept(&tree);
    kept.sort();
    assert_eq!(
        kept,
        [
            "crc32c_generic",
            "dm-mod",
            "dm-verity",
            "e1000",
            "ext4",
            "jbd2",
            "overlay",
            "ptp",
            "squashfs"
        ]
    );
    assert_eq!(kernel.modules, (9, 11));
    // The module is unpacked, and modprobe knows it under the new name.
    let module =
        tree.read(&format!("usr/lib/modules/{VERSION}/kernel/drivers/net/intel/e1000.ko")).unwrap();
    assert_eq!(ModInfo::parse(&module).unwrap().depends, ["ptp"]);
    let dep = tree.read(&format!("usr/lib/modules/{VERSION}/modules.dep")).unwrap();
    let dep = String::from_utf8(dep).unwrap();
    assert!(dep.contains("kernel/drivers/md/dm-verity.ko:") && !dep.contains(".xz"), "{dep}");
    let names: Vec<&str> =
        kernel.initramfs_modules.iter().map(|module| module.name.as_str()).collect();
    for name in ["squashfs", "overlay", "ext4", "dm_mod", "dm_verity"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(!names.contains(&"e1000"), "{names:?}");
}

#[test]
fn a_set_adds_its_modules_to_those_of_the_patterns() {
    let mut tree = tree();
    let base = format!("usr/lib/modules/{VERSION}/kernel");
    for (path, info) in [
        ("drivers/net/wireless/card", &["depends=mac80211"][..]),
        ("net/mac80211/mac80211", &["depends=cfg80211"]),
        ("net/wireless/cfg80211", &["depends="]),
        ("drivers/net/can/can-dev", &["depends="]),
    ] {
        tree.put(&format!("{base}/{path}.ko.xz"), 0o644, xz(&module(info)));
    }
    let settings = settings_with("modules: [rtl8139]\n    module-sets: [wifi]");
    kernel::take(&mut tree, &settings, 1).unwrap();
    let kept = kept(&tree);
    for name in ["card", "mac80211", "cfg80211", "rtl8139"] {
        assert!(kept.contains(&name.to_owned()), "{name}: {kept:?}");
    }
    assert!(!kept.contains(&"can-dev".to_owned()) && !kept.contains(&"igb".to_owned()), "{kept:?}");
}

#[test]
fn without_a_pattern_every_module_stays() {
    let mut tree = tree();
    assert_eq!(kernel::take(&mut tree, &Kernel::default(), 1).unwrap().modules, (11, 11));
}

#[test]
fn a_pattern_that_matches_no_module_is_an_error_with_its_line() {
    let error = kernel::take(&mut tree(), &settings("[e1000, e10000]"), 1).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("r.yaml:8: `modules: e10000` matches no module of the kernel 6.1.0-test"),
        "{text}"
    );
}

#[test]
fn modules_keep_their_signatures_unless_the_recipe_changes_the_modules() {
    let signature = [
        b"signature".as_slice(),
        &[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        b"~Module signature appended~\n",
    ];
    let path =
        |end: &str| format!("usr/lib/modules/{VERSION}/kernel/drivers/net/other/rtl8139.ko{end}");
    for (key, is_signed) in [
        ("modules: [rtl8139]", true),
        ("btf: true", true),
        ("btf: false", false),
        ("unwind: false", false),
    ] {
        let mut tree = tree();
        let plain = module(&["depends="]);
        let signed = [plain.clone(), signature.concat()].concat();
        tree.put(&path(".xz"), 0o644, xz(&signed));
        kernel::take(&mut tree, &settings_with(key), 1).unwrap();
        assert_eq!(tree.read(&path("")).unwrap(), if is_signed { signed } else { plain }, "{key}");
    }
}

#[test]
fn a_root_filesystem_with_no_kernel_or_two_is_refused() {
    let error = kernel::take(&mut Tree::new(1), &Kernel::default(), 1).unwrap_err();
    assert!(error.to_string().contains("add linux-image-amd64"), "{error}");
    let mut two = tree();
    two.put("boot/vmlinuz-7", 0o644, *b"");
    let error = kernel::take(&mut two, &Kernel::default(), 1).unwrap_err();
    assert!(error.to_string().contains("more than one kernel (6.1.0-test, 7)"), "{error}");
}

#[test]
fn what_is_not_a_module_is_no_modinfo() {
    let good = module(&["depends=a,b-c", "softdep=pre: d post: e", "license=GPL"]);
    let info = ModInfo::parse(&good).unwrap();
    assert_eq!(
        (info.depends, info.soft),
        (vec!["a".into(), "b_c".into()], vec!["d".into(), "e".into()])
    );
    // A module that is cut at any place is refused or read. It never causes a panic.
    for len in 0..good.len() {
        let _ = ModInfo::parse(&good[..len]);
    }
    assert_eq!(ModInfo::parse(b"\xfd7zXZ\0 not unpacked"), None);
}
