//! Which firmware files stay, which are missing, and which the initramfs gets.

use std::collections::BTreeMap;
use std::process::Command;

use bundler::kernel::{self, firmware};
use bundler::recipe::Kernel;
use bundler::tree::{Kind, Tree};

use crate::{VERSION, module, settings_with, tree, xz};

const FOLDER: &str = "usr/lib/firmware";

/// Returns the kernel of [`tree`], with modules that name firmware and a package that brings some.
fn with_firmware() -> Tree {
    let mut tree = tree();
    let base = format!("usr/lib/modules/{VERSION}");
    let card = ["depends=", "firmware=card/a.bin", "firmware=card/gone.bin", "firmware=c?rd/v*.fw"];
    for (path, info) in [
        ("drivers/net/card", &card[..]),
        ("drivers/net/other", &["depends=", "firmware=other.bin", "firmware=packed.bin"]),
        // A module of the initramfs.
        ("fs/ext4/ext4", &["depends=", "firmware=card/a.bin", "firmware=packed.bin"]),
        // A module of recovery.
        ("fs/exfat/exfat", &["depends=", "firmware=card/v1.fw", "firmware=packed.bin"]),
    ] {
        tree.put(&format!("{base}/kernel/{path}.ko.xz"), 0o644, xz(&module(info)));
    }
    let built_in = b"clock.license=GPL\0clock.firmware=clock.bin\0clock.firmware=clock2.bin\0";
    tree.put(&format!("{base}/modules.builtin.modinfo"), 0o644, *built_in);
    let mut list = String::new();
    for name in [
        "card/b.bin", // what the link leads to
        "card/unused.bin",
        "card/v1.fw",
        "card/v2.fw.xz",
        "card/v3.txt",
        "clock.bin",
        "folder/unused/x.bin",
        "other.bin",
        "packed.bin.zst",
        "packed.bin.xz", // the kernel would try the other one first
    ] {
        tree.put(&format!("{FOLDER}/{name}"), 0o644, name.as_bytes());
        list += &format!("/{FOLDER}/{name}\n");
    }
    // The old way to name a file, and a package's link.
    list = list.replace("/usr/lib/firmware/card", "/lib/firmware/card");
    list += "/lib/firmware/card/a.bin\n";
    tree.put_symlink(&format!("{FOLDER}/card/a.bin"), "../../firmware/./card/link");
    tree.put_symlink(&format!("{FOLDER}/card/link"), "/lib/firmware/card/b.bin");
    tree.put_symlink("lib", "usr/lib");
    tree.put("var/lib/dpkg/info/firmware-card.list", 0o644, list.into_bytes());
    // What a person has put there.
    tree.put(&format!("{FOLDER}/own.bin"), 0o644, *b"own");
    tree
}

fn files(tree: &Tree) -> Vec<&str> {
    tree.below(FOLDER).map(|path| &path[FOLDER.len() + 1..]).collect()
}

const MODULES: &str = "modules: [card, jbd2]";

#[test]
fn auto_keeps_what_the_kept_modules_name_and_what_no_package_brought() {
    let mut tree = with_firmware();
    let kernel =
        kernel::take(&mut tree, &settings_with(&format!("{MODULES}\n    firmware: auto")), 1)
            .unwrap();
    assert_eq!(
        files(&tree),
        [
            "card",
            "card/a.bin",
            "card/b.bin",
            "card/link",
            "card/v1.fw",
            "card/v2.fw.xz",
            "clock.bin",
            "own.bin",
            "packed.bin.zst"
        ]
    );
    assert_eq!(kernel.firmware_bytes, 10 + 10 + 13 + 9 + 3 + 14);
    // The list of the package stays for scanners.
    assert!(tree.get("var/lib/dpkg/info/firmware-card.list").is_some());
    let missing = [("card", "card/gone.bin"), ("clock", "clock2.bin")]
        .map(|(module, name)| (module.to_owned(), vec![name.to_owned()]));
    assert_eq!(kernel.missing_firmware, BTreeMap::from(missing));
}

#[test]
fn without_the_key_every_file_stays() {
    let (mut tree, before) = (with_firmware(), with_firmware());
    for key in [MODULES.to_owned(), format!("{MODULES}\n    firmware: all")] {
        let kernel = kernel::take(&mut with_firmware(), &settings_with(&key), 1).unwrap();
        assert_eq!(kernel.missing_firmware.len(), 2, "{key}");
    }
    kernel::take(&mut tree, &settings_with(MODULES), 1).unwrap();
    assert_eq!(files(&tree), files(&before));
    // No module of a kernel without firmware misses anything.
    let kernel = kernel::take(&mut crate::tree(), &Kernel::default(), 1).unwrap();
    assert!(kernel.missing_firmware.is_empty() && kernel.firmware_bytes == 0);
}

/// Returns what `show --firmware` says of a tree.
fn shown(tree: &Tree) -> String {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join("root").join(path);
    for path in std::iter::once("").chain(tree.below("")) {
        match &tree.get(path).unwrap().kind {
            Kind::Dir => std::fs::create_dir_all(at(path)).unwrap(),
            Kind::Symlink(target) => std::os::unix::fs::symlink(target, at(path)).unwrap(),
            _ => std::fs::write(at(path), tree.read(path).unwrap()).unwrap(),
        }
    }
    let recipe = "architecture: amd64\nactions:\n  - action: kernel\n    modules: [card]\n";
    std::fs::write(at("../r.yaml"), recipe).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(at("../root.tar")).arg("-C").arg(at("")).arg(".");
    assert!(tar.status().unwrap().success());
    let mut show = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"));
    show.arg("show").arg(at("../r.yaml")).arg("--firmware").arg(at("../root.tar"));
    let output = show.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn show_names_what_each_kept_module_misses_before_and_after_the_bundle() {
    let mut tree = with_firmware();
    tree.put("var/lib/dpkg/status", 0o644, *b"Package: firmware-card\nVersion: 1\n");
    let lines = "card misses card/gone.bin\nclock misses clock2.bin\n";
    assert!(shown(&tree).ends_with(lines), "{}", shown(&tree));
    // A bundle has the kept modules only.
    kernel::take(&mut tree, &settings_with(MODULES), 1).unwrap();
    tree.remove("boot");
    assert!(shown(&tree).ends_with(lines), "{}", shown(&tree));
    tree.put(&format!("{FOLDER}/card/gone.bin"), 0o644, *b"here");
    tree.put(&format!("{FOLDER}/clock2.bin"), 0o644, *b"here");
    assert!(shown(&tree).ends_with(":\nno module misses a file\n"), "{}", shown(&tree));
}

#[test]
fn the_initramfs_and_recovery_get_the_files_of_their_own_modules() {
    let kernel = kernel::take(&mut with_firmware(), &settings_with(MODULES), 1).unwrap();
    let of = |modules: &[initramfs::Module]| -> Vec<(String, Vec<u8>)> {
        modules.iter().flat_map(|module| module.firmware.clone()).collect()
    };
    let file = |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec());
    assert_eq!(
        of(&kernel.initramfs_modules),
        [file("card/a.bin", "card/b.bin"), file("packed.bin.zst", "packed.bin.zst")]
    );
    assert_eq!(
        of(&kernel.recovery_modules),
        [file("card/v1.fw", "card/v1.fw"), file("packed.bin.zst", "packed.bin.zst")]
    );
}

#[test]
fn a_link_that_leads_nowhere_or_to_itself_is_a_missing_file() {
    let mut tree = with_firmware();
    tree.put_symlink(&format!("{FOLDER}/card/gone.bin"), "gone.bin");
    tree.put_symlink(&format!("{FOLDER}/clock2.bin"), "../../../../../nothing");
    let kernel = kernel::take(&mut tree, &settings_with(MODULES), 1).unwrap();
    assert_eq!(kernel.missing_firmware.len(), 2);
}

#[test]
fn a_long_list_says_in_the_manifest_how_many_modules_it_leaves_out() {
    let names = vec!["firmware.bin".to_owned(); 200];
    let missing: firmware::Named =
        (0..30).map(|number| (format!("m{number:02}"), names.clone())).collect();
    let meta = firmware::to_meta(&missing);
    let bytes: usize = meta.iter().map(|(module, names)| module.len() + names.len()).sum();
    assert!(bytes < 24 << 10 && meta.contains_key("m00") && !meta.contains_key("m29"));
    assert_eq!(meta["more-modules"], (30 - (meta.len() - 1)).to_string());
}

#[test]
fn an_unknown_word_is_an_error_with_the_one_that_was_meant() {
    for (key, hint) in [
        ("firmware: atuo", "`firmware: atuo` of the kernel action is not known; did you mean `aut"),
        ("microcode: [intl]", "`microcode` has the unknown `intl`; did you mean `intel`?"),
        ("microcode: [amd, arm9]", "unknown `arm9`; known: intel, amd"),
    ] {
        let error = crate::refused(&format!("amd64\nactions:\n  - action: kernel\n    {key}\n"));
        assert!(error.contains(hint), "{error}");
    }
}
