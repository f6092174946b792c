//! A small system with two packages, as a tar and as a bundle.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bundle::{BundleWriter, ImageInput, SecretKey, StoredSquashfs, Update};
use bundler::recipe::Packing;
use bundler::tree::{Inode, Kind, Tree};
use bundler::{squash, tree_tar, verity};

const EPOCH: u32 = 1_754_697_600;

/// A file, a folder (a name that ends in `/`) or a link (`-> TARGET`), with mode and owner.
pub(crate) type Entry = (&'static str, String, u32, u64);

/// dpkg's entry of a package.
pub(crate) fn status(name: &str, version: &str, more: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: A \
         Maintainer <a@example.org>\n{more}Version: {version}\nDescription: x\n y\n\n"
    )
}

/// Two packages, their files, and files of nobody.
pub(crate) fn entries() -> Vec<Entry> {
    let text = |text: &str| text.to_owned();
    let list = [status("tool", "1.0-1", "Source: tools (1.0)\n"), status("libx", "2:3-4", "")];
    vec![
        ("usr/bin/", String::new(), 0o755, 0),
        ("bin", text("-> usr/bin"), 0o777, 0),
        ("usr/bin/tool", "t".repeat(5000), 0o755, 0),
        ("usr/lib/libx.so.3", "x".repeat(200_000), 0o644, 0),
        ("usr/lib/modules/6.1-amd64/net.ko", "n".repeat(300), 0o644, 0),
        ("etc/passwd", text("root:x:0:0::/:\ntool:x:101:102::/:\n"), 0o644, 0),
        ("etc/group", text("root:x:0:\ntool:x:102:\n"), 0o644, 0),
        ("srv/data", text("data\n"), 0o640, 101),
        ("var/lib/dpkg/status", list.concat(), 0o644, 0),
        // The old place of a program: /bin is a link.
        ("var/lib/dpkg/info/tool.list", text("/.\n/bin\n/bin/tool\n"), 0o644, 0),
        ("var/lib/dpkg/info/libx:amd64.list", text("/usr/lib/libx.so.3\n"), 0o644, 0),
    ]
}

/// A folder with the files of a test.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        bench.run(&["keygen", "--out", "."]);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the program: exit code, stdout, stderr.
    pub(crate) fn run(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// Runs the program, which must succeed, and returns its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let (code, out, err) = self.run(args);
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        serde_json::from_str(&out).unwrap()
    }

    pub(crate) fn tar(&self, name: &str, entries: &[Entry]) {
        let mut tar = tar::Builder::new(File::create(self.path(name)).unwrap());
        for (path, text, mode, owner) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            header.set_uid(*owner);
            header.set_gid(*owner);
            header.set_mtime(EPOCH.into());
            header.set_size(0);
            if path.ends_with('/') {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, path, std::io::empty()).unwrap();
            } else if let Some(target) = text.strip_prefix("-> ") {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target).unwrap();
            } else if let Some(target) = text.strip_prefix("= ") {
                header.set_entry_type(tar::EntryType::Link);
                tar.append_link(&mut header, path, target).unwrap();
            } else {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
        }
        tar.into_inner().unwrap();
    }

    /// Writes a bundle of the same files.
    pub(crate) fn bundle(&self, name: &str, entries: &[Entry]) {
        let tar = format!("{name}.tar");
        self.tar(&tar, entries);
        let tree = tree_tar::load(&self.path(&tar), EPOCH).unwrap().tree;
        let root = pack(&self.path(""), &tree);
        let boot = self.path("boot.img");
        let mut image = StoredSquashfs::new();
        image.add_bytes("slot.cfg", b"set daruma_version=1.0.0\n".to_vec()).unwrap();
        image.write_to(&boot).unwrap();
        let verity = verity::append(&root).unwrap();
        let update = Update {
            compatible: "box".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            build: "b".parse().unwrap(),
            description: String::new(),
            min_version: "0.0.0".parse().unwrap(),
        };
        let images = vec![
            ImageInput { name: "boot".parse().unwrap(), path: &boot, verity: None },
            ImageInput { name: "root".parse().unwrap(), path: &root, verity: Some(verity) },
        ];
        let keys = [SecretKey::load(&self.path("daruma.key.pem")).unwrap()];
        let writer = BundleWriter { update, images, meta: BTreeMap::new(), keys: &keys };
        writer.write(&self.path(name)).unwrap();
        fs::remove_file(self.path(&tar)).unwrap();
    }
}

/// Packs a tree as a SquashFS in the folder.
pub(crate) fn pack(dir: &Path, tree: &Tree) -> PathBuf {
    pack_as(dir, tree, &Packing::default())
}

/// Packs a tree as a SquashFS of blocks as a recipe wants them.
pub(crate) fn pack_as(dir: &Path, tree: &Tree, how: &Packing) -> PathBuf {
    let image = dir.join("root.img");
    squash::pack(tree, &image, EPOCH, how, None).unwrap();
    image
}

/// Returns a tree with one of everything.
pub(crate) fn everything() -> Tree {
    let mut tree = Tree::new(EPOCH);
    tree.put("usr/empty", 0o644, []);
    tree.put("usr/block", 0o644, vec![3; 524_288]);
    tree.put(
        "usr/more",
        0o4755,
        (0..600_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect::<Vec<_>>(),
    );
    tree.put("usr/zeros", 0o600, vec![0; 800_000]);
    for number in 0..600 {
        tree.put(&format!("many/{number:04}-{}", "n".repeat(200)), 0o644, vec![7; number]);
    }
    tree.link("usr/other-name", "usr/more").unwrap();
    tree.put_symlink("link", "usr/more");
    tree.ensure_dir("nothing");
    let special = [
        ("dev/char", Kind::CharDevice(4, 0xabcde)),
        ("dev/block", Kind::BlockDevice(254, 30)),
        ("dev/pipe", Kind::Fifo),
    ];
    for (path, kind) in special {
        tree.insert(path, Inode { uid: 1000, gid: 70_000, ..Inode::new(kind, 0o620, 5) });
    }
    tree
}
