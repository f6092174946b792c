//! Checks that other programs read the archive.

use std::path::Path;
use std::process::{Command, Stdio};

use initramfs::archive::Archive;
use initramfs::index::Index;
use initramfs::recovery::{self, RecoveryInput};
use initramfs::{BuildError, InitramfsInput, Module, build};

/// Returns the smallest file that passes for a kernel module.
fn ko(content: &str) -> Vec<u8> {
    [b"\x7fELF\x02\x01".as_slice(), &[0; 58], content.as_bytes()].concat()
}

fn module(name: &str, deps: &[&str], aliases: &[&str]) -> Module {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let path = format!("kernel/{name}.ko.xz");
    Module {
        name: name.to_owned(),
        path,
        deps: owned(deps),
        aliases: owned(aliases),
        ko_bytes: ko(name),
        signed: false,
        firmware: vec![],
    }
}

fn modules() -> Vec<Module> {
    vec![
        module("ext4", &["jbd2", "crc16"], &["fs-ext4"]),
        module("jbd2", &[], &[]),
        module("crc16", &[], &[]),
    ]
}

fn packed(init: &[u8], modules: Vec<Module>) -> Vec<u8> {
    build(&InitramfsInput { init, modules, epoch: 1_700_000_000 })
        .expect("the modules fit together")
}

/// Returns the archives, read as the kernel reads them (`unpack_to_rootfs` in its
/// `init/initramfs.c`). Zeros are skipped, a frame is one archive to its trailer, and each begins
/// on a multiple of 4.
fn archives(packed: &[u8]) -> Vec<Vec<u8>> {
    let mut archives = Vec::new();
    let mut place = 0;
    while place < packed.len() {
        if packed[place] == 0 {
            place += 1;
            continue;
        }
        assert_eq!(place % 4, 0);
        assert_eq!(place % initramfs::archive::ALIGNMENT, 0);
        let length =
            zstd::zstd_safe::find_frame_compressed_size(&packed[place..]).expect("a zstd frame");
        archives.push(zstd::decode_all(&packed[place..place + length]).expect("a whole frame"));
        place += length;
    }
    archives
}

#[test]
fn an_entry_is_laid_out_as_the_kernel_documents_it() {
    let mut archive = Archive::new(0x6553_f100).unwrap();
    archive.file("a/b", 0o640, b"hello").unwrap();
    let bytes = archive.finish().unwrap();
    let entry = |inode: u32, mode: u32, links: u32, time: u32, size: u32, name: &str| {
        let fields = [inode, mode, 0, 0, links, time, size, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        let header: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        let mut bytes = format!("070701{header}{name}\0").into_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let expected = [
        entry(1, 0o040_755, 2, 0x6553_f100, 0, "a"),
        entry(2, 0o100_640, 1, 0x6553_f100, 5, "a/b"),
        b"hello\0\0\0".to_vec(),
        entry(0, 0, 1, 0, 0, "TRAILER!!!"),
    ]
    .concat();
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&expected));
}

#[test]
fn cpio_lists_what_was_put_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    let mut listings = Vec::new();
    for archive in archives(&packed(b"#!init", modules())) {
        std::fs::write(&path, archive).unwrap();
        listings.push(match cpio(&path) {
            Ok(listing) => listing,
            // The test above checks the layout itself. This is the second opinion, if cpio is
            // installed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => panic!("running cpio: {error}"),
        });
    }
    let [program, modules] = &listings[..] else { panic!("{listings:?}") };
    let has = |listing: &str, name: &str, begin: &str| {
        let line =
            listing.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap_or_default();
        assert!(line.starts_with(begin), "{listing}");
    };
    has(program, "init", "-rwxr-xr-x   1 root     root            6 Nov 14  2023");
    has(program, "dev/console", "crw-------   1 root     root       5,   1 ");
    has(program, "dev/null", "crw-rw-rw-   1 root     root       1,   3 ");
    assert_eq!(program.lines().count(), 4, "{program}");
    has(modules, "lib/modules", "drwxr-xr-x   2 root     root ");
    has(modules, "lib/modules/ext4.ko", "-rw-r--r--   1 root     root ");
    assert_eq!(modules.lines().count(), 6, "{modules}");
}

#[test]
fn an_update_of_the_kernel_leaves_the_first_archive_as_it_is() {
    let (old, new) = (packed(&[7; 9000], modules()), packed(&[7; 9000], modules()[1..].to_vec()));
    let mut blocks = (0..old.len()).step_by(initramfs::archive::ALIGNMENT).skip(1);
    let begin = blocks.find(|at| old[*at..].starts_with(&old[..4])).expect("a second frame");
    assert_eq!(old[..begin], new[..begin]);
    assert_ne!(old[begin..], new[begin..]);
    assert_eq!(archives(&old)[0], archives(&new)[0]);
}

fn cpio(archive: &Path) -> std::io::Result<String> {
    let mut command = Command::new("cpio");
    command.args(["-itv", "--quiet"]).env("TZ", "UTC").env("LC_ALL", "C");
    let output = command.stdin(std::fs::File::open(archive)?).stderr(Stdio::inherit()).output()?;
    assert!(output.status.success());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_order_of_the_modules_changes_no_byte() {
    let mut reversed = modules();
    reversed.reverse();
    let pack = |modules| build(&InitramfsInput { init: b"init", modules, epoch: 1 }).unwrap();
    assert_eq!(pack(modules()), pack(reversed));
}

#[test]
fn a_signed_module_stays_as_it_is() {
    let info = [0_u8; 8].into_iter().chain(9_u32.to_be_bytes());
    let signature: Vec<u8> = b"signature".iter().copied().chain(info).collect();
    let ko_bytes = [&ko("a")[..], &signature, b"~Module signature appended~\n"].concat();
    let with = |signed| {
        let module = Module { ko_bytes: ko_bytes.clone(), signed, ..module("a", &[], &[]) };
        archives(&packed(b"", vec![module])).concat()
    };
    let has = |archive: &[u8], bytes: &[u8]| archive.windows(bytes.len()).any(|w| w == bytes);
    assert!(has(&with(true), &ko_bytes));
    assert!(!has(&with(false), b"~Module signature") && has(&with(false), &ko("a")));
}

#[test]
fn firmware_comes_with_the_modules_that_ask_for_it_and_only_once() {
    let asking = |name: &str, files: &[&str]| {
        let firmware = files.iter().map(|file| ((*file).to_owned(), file.as_bytes().to_vec()));
        Module { firmware: firmware.collect(), ..module(name, &[], &[]) }
    };
    let present = vec![asking("a", &["x/one.bin", "two.bin.xz"]), asking("b", &["two.bin.xz"])];
    let text = String::from_utf8_lossy(&archives(&packed(b"", present.clone()))[1]).into_owned();
    for (name, count) in [("x/one.bin", 1), ("two.bin.xz", 1)] {
        assert_eq!(text.matches(&format!("lib/firmware/{name}\0")).count(), count, "{name}");
    }
    // Recovery begins with the files of the initramfs.
    let input = RecoveryInput {
        agent: b"",
        present: &present,
        modules: &[asking("c", &["two.bin.xz", "three.bin"])],
        files: &[],
        epoch: 1,
    };
    let text = archives(&recovery::build(&input).unwrap()).concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("lib/firmware/three.bin\0") && !text.contains("two.bin"), "{text:?}");
}

#[test]
fn an_aligned_file_begins_on_a_multiple_of_sixteen_bytes_and_cpio_reads_its_name() {
    for path in ["a", "ab", "folder/abc", "kernel/x86/microcode/GenuineIntel.bin"] {
        let mut archive = Archive::new(1).unwrap();
        archive.aligned_file(path, 0o644, b"here it begins").unwrap();
        archive.file("later", 0o644, b"x").unwrap();
        let bytes = archive.finish().unwrap();
        let at = bytes.windows(14).position(|window| window == b"here it begins").unwrap();
        assert_eq!(at % 16, 0, "{path}");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("archive"), &bytes).unwrap();
        // The kernel's own reader has a test in QEMU.
        if let Ok(names) = cpio(&dir.path().join("archive")) {
            assert!(names.lines().any(|line| line.ends_with(&format!(" {path}"))), "{names}");
            assert!(names.contains(" later"), "{names}");
        }
    }
}

#[test]
fn what_cannot_boot_is_refused() {
    let with = |module| build(&InitramfsInput { init: b"", modules: vec![module], epoch: 0 });
    assert!(matches!(with(module("ext4", &["jbd2"], &[])), Err(BuildError::Missing { .. })));
    assert!(matches!(with(module("bad name", &[], &[])), Err(BuildError::Name(_))));
    let packed = Module { ko_bytes: b"\xfd7zXZ".to_vec(), ..module("ext4", &[], &[]) };
    assert!(matches!(with(packed), Err(BuildError::NotElf(path)) if path == "kernel/ext4.ko.xz"));
    let twice = vec![module("ext4", &[], &[]), module("ext4", &[], &[])];
    let twice = build(&InitramfsInput { init: b"", modules: twice, epoch: 0 });
    assert!(matches!(twice, Err(BuildError::Twice(_))));
    let late = build(&InitramfsInput { init: b"", modules: vec![], epoch: 1 << 32 });
    assert!(matches!(late, Err(BuildError::Field(_))));
}

#[test]
fn the_index_inside_says_what_to_load_first() {
    let archives = archives(&packed(b"#!init", modules()));
    let text = String::from_utf8_lossy(&archives[1]).into_owned();
    let index = text.split("lib/modules/index\0").nth(1).unwrap();
    let index: String = index.trim_start_matches('\0').split('\0').next().unwrap().to_owned();
    let index = Index::parse(&index);
    assert_eq!(index.load_order("ext4"), ["jbd2", "crc16", "ext4"]);
    assert_eq!(index.matching("fs-ext4").collect::<Vec<_>>(), ["ext4"]);
}

#[test]
fn the_recovery_archive_brings_only_what_is_new_and_an_index_of_all() {
    let (present, own) = (modules(), [module("exfat", &["crc16"], &["fs-exfat"])]);
    let files =
        [("etc/daruma/recovery.cfg".to_owned(), b"set daruma_compatible=router\n".to_vec())];
    let input = RecoveryInput {
        agent: b"the agent",
        present: &present,
        modules: &own,
        files: &files,
        epoch: 1,
    };
    let archives = archives(&recovery::build(&input).unwrap());
    assert_eq!(archives.len(), 2);
    let alone = String::from_utf8_lossy(&archives[0]).into_owned();
    assert!(
        alone.contains("bin/daruma\0") && !alone.contains("lib") && !alone.contains("etc"),
        "{alone:?}"
    );
    let text = String::from_utf8_lossy(&archives.concat()).into_owned();
    for there in
        ["bin/daruma\0", "the agent", "etc/daruma/recovery.cfg\0", "lib/modules/exfat.ko\0"]
    {
        assert!(text.contains(there), "{there:?} is missing");
    }
    assert!(
        !text.contains("lib/modules/ext4.ko") && !text.contains("init\0"),
        "what the initramfs has"
    );
    let index = text.split("lib/modules/index\0").nth(1).unwrap();
    let index = Index::parse(index.trim_start_matches('\0').split('\0').next().unwrap());
    assert_eq!(index.load_order("exfat"), ["crc16", "exfat"]);
    assert_eq!(index.load_order("ext4"), ["jbd2", "crc16", "ext4"]);

    // The same module in both archives would be a different one by mistake.
    let twice = recovery::build(&RecoveryInput { modules: &present, ..input });
    assert!(matches!(twice, Err(BuildError::Twice(_))));
}
