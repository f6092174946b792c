//! Makes disks of a small tree, and reads them back with sfdisk, e2fsprogs and mtools: no network.
//!
//! tests/tests/debos.rs makes those of Debian systems. Each test runs the program as a user
//! does.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

const EPOCH: u64 = 1_754_697_600;

/// A folder with a recipe, and an artifact folder with a tar of a root.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(text: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(bench.path("r.yaml"), text).unwrap();
        fs::write(bench.path("loader"), "the loader of a board\n").unwrap();
        fs::create_dir(bench.path("out")).unwrap();
        let mut tar = tar::Builder::new(fs::File::create(bench.path("out/root.tar")).unwrap());
        let mut add = |name: &str, kind: tar::EntryType, mode: u32, owner: u64, text: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(owner);
            header.set_gid(owner + 1);
            header.set_mtime(EPOCH - 5000);
            header.set_size(0);
            match kind {
                tar::EntryType::Regular => {
                    header.set_size(text.len() as u64);
                    tar.append_data(&mut header, name, text.as_bytes()).unwrap();
                }
                tar::EntryType::Directory => {
                    tar.append_data(&mut header, name, std::io::empty()).unwrap();
                }
                _ => tar.append_link(&mut header, name, text).unwrap(),
            }
        };
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        for folder in ["etc", "usr", "boot", "dev", "proc", "sys", "run", "srv"] {
            add(folder, Directory, 0o755, 0, "");
        }
        add("tmp", Directory, 0o1777, 0, "");
        add("home", Directory, 0o711, 0, "");
        add("home/someone", Directory, 0o700, 1000, "");
        add("home/someone/notes with space", Regular, 0o640, 1000, "mine\n");
        add("usr/su", Regular, 0o4755, 0, "a program\n");
        add("usr/su-too", Link, 0o4755, 0, "usr/su");
        add("etc/link", Symlink, 0o777, 0, "../usr/su");
        add("etc/hostname", Regular, 0o644, 0, "box\n");
        tar.finish().unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn build(&self) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
            .args(["build", "r.yaml", "--no-cache", "--artifactdir", "out"])
            .env_remove("SOURCE_DATE_EPOCH")
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn built(&self) -> String {
        let (code, text) = self.build();
        assert_eq!(code, 0, "{text}");
        text
    }

    fn artifacts(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("out")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "root.tar");
        names.sort();
        names
    }

    /// Bytes of the disk.
    fn bytes(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let file = fs::File::open(self.path("out/a.img")).unwrap();
        file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    /// What debugfs says of the filesystem at a byte of the disk.
    fn debugfs(&self, offset: u64, request: &str) -> String {
        let disk = format!("{}?offset={offset}", self.path("out/a.img").display());
        said(Command::new("/sbin/debugfs").args(["-R", request, &disk]))
    }

    /// The table as sfdisk writes it down.
    fn table(&self) -> String {
        said(Command::new("/sbin/sfdisk").arg("--dump").arg(self.path("out/a.img")))
    }
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn recipe(rest: &str) -> String {
    format!(
        "architecture: amd64\nactions:\n  - action: unpack\n    file: root.tar\n  \
         - action: image-partition\n    imagename: a.img\n{rest}"
    )
}

const THREE: &str = "    imagesize: 300MiB
    partitiontype: gpt
    diskid: 11111111-2222-4333-8444-555555555555
    partitions:
      - { name: esp, fs: vfat, fsuuid: 1234ABCD, start: 1MiB, end: 100MiB, flags: [boot, esp] }
      - { name: home, fs: ext4, start: 100MiB, end: 150MiB, fsck: false, partattrs: [60] }
      - name: root
        fs: ext4
        fsuuid: 0e5b1f5c-9f36-4a62-9c60-7fbcb0e4c1a2
        partuuid: 5f7c2a9e-52f4-49a6-a1d0-0f6a5ce3a4b1
        start: 150MiB
        end: -16MiB
      - { name: spare, fs: none, start: -16MiB, end: 100% }
    mountpoints:
      - { mountpoint: /boot/efi, partition: esp, options: [umask=0077] }
      - { mountpoint: /home, partition: home }
      - { mountpoint: /, partition: root }
  - action: run
    command: echo early > \"$IMAGEMNTDIR/boot/efi/early.txt\"
  - action: filesystem-deploy
    append-kernel-cmdline: quiet
  - action: run
    command: |
      test -f \"$IMAGE\" && test \"$IMAGEMNTDIR\" = \"$ROOTDIR\"
      mkdir -p \"$ROOTDIR/boot/efi/EFI\"
      echo late > \"$ROOTDIR/boot/efi/EFI/A longer name.txt\"
      printf own | dd of=\"$IMAGE\" bs=1 seek=100000 conv=notrunc
  - action: raw
    source: loader
    offset: 0x20000
  - action: raw
    origin: filesystem
    source: /etc/hostname
    partition: spare
    offset: 2s
";

#[test]
fn a_disk_has_its_table_and_the_tree_on_its_filesystems() {
    let bench = Bench::new(&recipe(THREE));
    let log = bench.built();
    let (progress, _) = log.split_once("r.yaml: built in").unwrap();
    let at = |what: &str| {
        let lines: Vec<usize> = progress
            .lines()
            .enumerate()
            .filter_map(|(at, line)| line.contains(what).then_some(at))
            .collect();
        assert_eq!(lines.len(), 1, "{what}: {progress}");
        lines[0]
    };
    let order = ["2 of 7: image-partition a.img", "4 of 7: filesystem-deploy", "filling the disk"];
    assert!(order.map(at).is_sorted(), "{progress}");
    assert_eq!(bench.artifacts(), ["a.img", "a.img.spdx.json"]);
    let table = bench.table();
    for wanted in [
        "label: gpt",
        "label-id: 11111111-2222-4333-8444-555555555555",
        "first-lba: 34",
        "start=        2048, size=      202752, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        "name=\"home\", attrs=\"GUID:60\"",
        "start=      307200, size=      274432, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, \
            uuid=5F7C2A9E-52F4-49A6-A1D0-0F6A5CE3A4B1, name=\"root\"",
        "start=      581632, size=       32735",
    ] {
        assert!(table.contains(wanted), "{wanted}\n{table}");
    }
    let verified = said(Command::new("/sbin/sfdisk").arg("-V").arg(bench.path("out/a.img")));
    assert!(verified.contains("No errors detected"), "{verified}");

    let (home, root, spare) = (100 << 20, 150 << 20, 284 << 20);
    let home_id = bench.debugfs(home, "stats -h");
    let home_id = home_id.lines().find_map(|line| line.strip_prefix("Filesystem UUID:")).unwrap();
    let fstab = format!(
        "UUID=0e5b1f5c-9f36-4a62-9c60-7fbcb0e4c1a2\t/\text4\tdefaults\t0\t1\n\
         UUID={}\t/home\text4\tdefaults\t0\t0\n\
         UUID=1234-ABCD\t/boot/efi\tvfat\tdefaults,umask=0077\t0\t2\n",
        home_id.trim()
    );
    // The root comes first. The others stay in the order of the recipe, shallow ones before.
    assert_eq!(bench.debugfs(root, "cat /etc/fstab"), fstab);
    assert_eq!(
        bench.debugfs(root, "cat /etc/kernel/cmdline"),
        " root=UUID=0e5b1f5c-9f36-4a62-9c60-7fbcb0e4c1a2 quiet\n"
    );
    let program = bench.debugfs(root, "stat /usr/su");
    assert!(program.contains("Mode:  04755") && program.contains("Links: 2"), "{program}");
    assert!(program.contains(&format!("mtime: 0x{:08x}", EPOCH - 5000)), "{program}");
    assert!(program.contains(&format!("ctime: 0x{EPOCH:08x}")), "{program}");
    assert!(bench.debugfs(root, "stat /etc/link").contains("../usr/su"));
    assert_eq!(bench.debugfs(root, "ls -p /home").lines().count(), 3, "lost in the split");
    assert_eq!(bench.debugfs(root, "ls -p /boot/efi").lines().count(), 3);
    let top = bench.debugfs(home, "stat /");
    assert!(top.contains("Mode:  0711"), "{top}");
    let notes = bench.debugfs(home, "stat \"/someone/notes with space\"");
    let owner = notes.contains("User:  1000") && notes.contains("Group:  1001");
    assert!(owner && notes.contains("Mode:  0640"), "{notes}");

    let esp = format!("{}@@1M", bench.path("out/a.img").display());
    let listed = said(Command::new("mdir").args(["-i", &esp, "-/", "-b", "::"]));
    assert!(listed.contains("::/EFI/A longer name.txt"), "{listed}");
    let early = said(Command::new("mtype").args(["-i", &esp, "::/early.txt"]));
    assert_eq!(early, "early\n");

    assert_eq!(bench.bytes(100_000, 3), b"own");
    assert_eq!(bench.bytes(0x20000, 10), b"the loader");
    assert_eq!(bench.bytes(spare + 1024, 4), b"box\n");
    for offset in [home, root] {
        let part = bench.path("part");
        fs::write(&part, bench.bytes(offset, 50 << 20)).unwrap();
        if offset == home {
            said(Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(&part));
        }
    }
}

#[test]
fn the_same_recipe_gives_the_same_disk() {
    let (one, two) = (Bench::new(&recipe(THREE)), Bench::new(&recipe(THREE)));
    one.built();
    std::thread::sleep(std::time::Duration::from_secs(2));
    two.built();
    let same = Command::new("cmp").arg(one.path("out/a.img")).arg(two.path("out/a.img")).output();
    let same = same.unwrap();
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
}

/// Lets parted make partitions of the same text, and returns first and last sectors.
fn parted(label: &str, list: &[(&str, &str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::File::create(&disk).unwrap().set_len(2_000_000_000).unwrap();
    let mut command = Command::new("/sbin/parted");
    command.args(["-s", "-a", "none"]).arg(&disk).args(["--", "mklabel", label]);
    for (kind, start, end) in list {
        command.args(["mkpart", kind, start, end]);
    }
    said(&mut command);
    sectors(&said(Command::new("/sbin/sfdisk").arg("--dump").arg(&disk)))
}

/// The places in what sfdisk writes down, without types and names.
fn sectors(dump: &str) -> Vec<String> {
    let lines = dump.lines().filter_map(|line| line.split_once("start="));
    lines.map(|(_, rest)| rest.split(',').take(2).collect::<String>()).collect()
}

#[test]
fn partitions_lie_where_parted_puts_them() {
    for positions in [
        &[("0%", "1MB"), ("1MB", "65MB"), ("65MB", "165MB"), ("165MB", "50%"), ("50%", "100%")][..],
        &[("1MiB", "128MiB"), ("128MiB", "-16MiB"), ("-16MiB", "100%")],
        &[("2048s", "4095s"), ("4096s", "10MiB"), ("100", "-1MB")],
    ] {
        for label in ["gpt", "msdos"] {
            // With parted the extended partition is one more.
            let more = label == "msdos" && positions.len() > 4;
            let mut list: Vec<_> = positions
                .iter()
                .enumerate()
                .map(|(index, (start, end))| {
                    let kind = if more && index >= 3 { "logical" } else { "primary" };
                    (kind, *start, *end)
                })
                .collect();
            if more {
                list.insert(3, ("extended", positions[3].0, "100%"));
            }
            let partitions: String = positions
                .iter()
                .enumerate()
                .map(|(index, (start, end))| {
                    let place = format!("start: \"{start}\", end: \"{end}\"");
                    format!("      - {{ name: p{index}, fs: none, {place} }}\n")
                })
                .collect();
            let bench = Bench::new(&recipe(&format!(
                "    imagesize: 2GB\n    partitiontype: {label}\n    partitions:\n{partitions}"
            )));
            bench.built();
            assert_eq!(sectors(&bench.table()), parted(label, &list), "{label} {positions:?}");
        }
    }
}

#[test]
fn an_msdos_table_has_logical_partitions_and_an_active_one() {
    let mut partitions = String::new();
    for number in 1..=6 {
        let more = if number == 2 { "flags: [boot], parttype: \"0b\"" } else { "flags: [lba]" };
        partitions += &format!(
            "      - {{ name: p{number}, fs: none, start: {number}MiB, end: {}MiB, {more} }}\n",
            number + 1
        );
    }
    let text = format!(
        "    imagesize: 16MiB\n    partitiontype: msdos\n    diskid: 5ca1ab1e\n    \
         partitions:\n{partitions}"
    );
    let bench = Bench::new(&recipe(&text));
    bench.built();
    let table = bench.table();
    for wanted in [
        "label-id: 0x5ca1ab1e",
        "a.img1 : start=        2048, size=        2048, type=83",
        "a.img2 : start=        4096, size=        2048, type=b, bootable",
        "a.img4 : start=        8192, size=        6144, type=f",
        "a.img5 : start=        8193, size=        2047, type=83",
        "a.img7 : start=       12289, size=        2047, type=83",
    ] {
        assert!(table.contains(wanted), "{wanted}\n{table}");
    }
}

#[test]
fn a_disk_without_a_root_needs_no_bootstrap() {
    let text = "architecture: arm64\nsectorsize: 4096\nactions:\n  - action: image-partition\n    \
                imagename: a.img\n    imagesize: 64MiB\n    partitiontype: gpt\n    \
                partitions:\n      \
                - { name: esp, fs: vfat, start: 4MiB, end: 36MiB, flags: [esp] }\n      \
                - { name: root, fs: ext4, fslabel: rootfs, start: 36MiB, end: 100% }\n  \
                - action: raw\n    source: loader\n    offset: 16s\n";
    let bench = Bench::new(text);
    bench.built();
    assert_eq!(bench.bytes(4096, 8), b"EFI PART");
    assert_eq!(bench.bytes(2 * 4096 + 32, 8), 1024_u64.to_le_bytes());
    assert_eq!(bench.bytes(65_536, 10), b"the loader");
    // The last usable sector is before the backup of header and entries.
    assert_eq!(bench.bytes(4096 + 48, 8), (16_384_u64 - 6).to_le_bytes());
    let stats = bench.debugfs(36 << 20, "stats -h");
    assert!(stats.contains("Block size:               4096"), "{stats}");
    assert!(stats.contains("rootfs"), "{stats}");
}

#[test]
fn a_disk_that_has_no_mountpoint_for_the_root_gets_what_lies_below_the_others() {
    let text = recipe(
        "    imagesize: 64MiB\n    partitiontype: gpt\n    partitions:\n      \
            - { name: home, fs: ext4, start: 1MiB, end: 100% }\n    mountpoints:\n      \
            - { mountpoint: /home, partition: home }\n  - action: filesystem-deploy\n",
    );
    let bench = Bench::new(&text);
    let log = bench.built();
    assert!(log.contains("has no `mountpoint: /`"), "{log}");
    let notes = bench.debugfs(1 << 20, "stat \"/someone/notes with space\"");
    assert!(notes.contains("User:  1000"), "{notes}");
    assert!(!bench.debugfs(1 << 20, "ls -p /").contains("etc"));
}

#[test]
fn a_disk_may_have_no_partitions_and_lie_in_a_folder() {
    for (kind, label) in [("gpt", "label: gpt"), ("msdos", "label: dos")] {
        let text = format!(
            "architecture: arm64\nactions:\n  - action: image-partition\n    imagename: \
                disks/a.img\n    imagesize: 64MiB\n    partitiontype: {kind}\n  - action: raw\n    \
                source: loader\n    offset: 2048s\n"
        );
        let bench = Bench::new(&text);
        bench.built();
        let names = fs::read_dir(bench.path("out/disks")).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.img", "a.img.spdx.json"]);
        fs::rename(bench.path("out/disks/a.img"), bench.path("out/a.img")).unwrap();
        assert!(bench.table().contains(label), "{}", bench.table());
        let verified = said(Command::new("/sbin/sfdisk").arg("-V").arg(bench.path("out/a.img")));
        assert!(verified.contains("No errors detected"), "{verified}");
        assert_eq!(bench.bytes(1 << 20, 10), b"the loader");
    }
}

#[test]
fn a_loader_among_the_entries_of_a_gpt_makes_the_table_shorter() {
    let text = "architecture: arm64\nactions:\n  - action: image-partition\n    \
                imagename: a.img\n    imagesize: 64MiB\n    partitiontype: gpt\n    \
                partitions:\n      - { name: data, fs: none, start: 16MiB, end: 100% }\n  \
                - action: raw\n    source: loader\n    offset: 16s\n";
    let bench = Bench::new(text);
    bench.built();
    assert_eq!(bench.bytes(8192, 10), b"the loader");
    let table = bench.table();
    assert!(table.contains("table-length: 56") && table.contains("start=       32768"), "{table}");
}

#[test]
fn what_needs_a_block_device_is_refused_before_anything_starts() {
    let disk = |partition: &str, mounts: &str| {
        recipe(&format!(
            "    imagesize: 1GB\n    partitiontype: gpt\n    partitions:\n      \
             - {{ name: root, start: 1MiB, end: 100%, {partition} }}\n{mounts}"
        ))
    };
    let mounted = "    mountpoints:\n      - { mountpoint: /, partition: root }\n";
    for (text, wanted) in [
        (disk("fs: hfs", ""), "r.yaml:5: the image-partition action: the partition `root` has `fs"),
        (disk("fs: ext4, flags: [lba]", ""), "the flag `lba` does not exist in a gpt table"),
        (
            disk("fs: ext4", mounted) + &"  - action: filesystem-deploy\n".repeat(2),
            "r.yaml:14: the filesystem-deploy action: it is a second one",
        ),
    ] {
        let bench = Bench::new(&text);
        let (code, said) = bench.build();
        assert!(code == 23 && said.contains(wanted), "{code} {said}");
        assert_eq!(bench.artifacts(), Vec::<String>::new());
    }
}

/// A disk with one filesystem, which has a mountpoint and begins at 1 MiB.
fn one_filesystem(fs: &str, size: &str) -> String {
    recipe(&format!(
        "    imagesize: {size}\n    partitiontype: gpt\n    partitions:\n      \
         - {{ name: root, start: 1MiB, end: 100%, fs: {fs} }}\n    mountpoints:\n      \
         - {{ mountpoint: /, partition: root }}\n"
    ))
}

/// Puts the filesystem of that disk into a file of its own.
fn filesystem(bench: &Bench) -> PathBuf {
    let (disk, file) = (fs::read(bench.path("out/a.img")).unwrap(), bench.path("filesystem"));
    fs::write(&file, &disk[1 << 20..]).unwrap();
    file
}

#[test]
fn an_xfs_is_filled_and_is_the_same_twice() {
    let rest = "  - action: run
    command: |
      cd \"$ROOTDIR\"
      rm home/someone/*
      echo x >'usr/a\\x2db'
      mkdir usr/a usr/a.b usr/a/c
      mkfifo usr/pipe
  - action: filesystem-deploy
";
    let text = one_filesystem("xfs", "330MiB") + rest;
    let (one, two) = (Bench::new(&text), Bench::new(&text));
    one.built();
    two.built();
    let same = Command::new("cmp").arg(one.path("out/a.img")).arg(two.path("out/a.img")).status();
    assert!(same.unwrap().success(), "two disks differ");
    let file = filesystem(&one);
    said(Command::new("/sbin/xfs_repair").args(["-n", "-f"]).arg(&file));
    let ask = |path: &str, what: &str| {
        let mut command = Command::new("/usr/sbin/xfs_db");
        command.args(["-r", "-c", &format!("path {path}"), "-c", &format!("print {what}")]);
        said(command.arg(&file).env("TZ", "UTC")).lines().collect::<Vec<_>>().join(", ")
    };
    for (path, wanted) in [
        ("/tmp", "core.mode = 041777, core.uid = 0, core.gid = 1"),
        ("/home", "core.mode = 040711, core.uid = 0, core.gid = 1"),
        ("/home/someone", "core.mode = 040700, core.uid = 1000, core.gid = 1001"),
        ("/usr/su", "core.mode = 0104755, core.uid = 0, core.gid = 1"),
        ("/usr/su-too", "core.mode = 0104755, core.uid = 0, core.gid = 1"),
        ("/etc/link", "core.mode = 0120777, core.uid = 0, core.gid = 1"),
        ("/usr/pipe", "core.mode = 010644, core.uid = 0, core.gid = 0"),
        ("/usr/a\\x2db", "core.mode = 0100644, core.uid = 0, core.gid = 0"),
        ("/usr/a/c", "core.mode = 040755, core.uid = 0, core.gid = 0"),
    ] {
        assert_eq!(ask(path, "core.mode core.uid core.gid"), wanted, "{path}");
    }
    // EPOCH - 5000, and what an action has changed is as old as the build says.
    assert_eq!(ask("/usr/su", "core.mtime.sec"), "core.mtime.sec = Fri Aug  8 22:36:40 2025");
    assert_eq!(ask("/usr", "core.mtime.sec"), "core.mtime.sec = Sat Aug  9 00:00:00 2025");
    assert_eq!(ask("/etc/link", "u3.symlink"), "u3.symlink = \"../usr/su\"");
    assert_eq!(ask("/usr/su", "core.size"), "core.size = 10");
    let has =
        |text: &str| fs::read(&file).unwrap().windows(text.len()).any(|w| w == text.as_bytes());
    assert!(has("a program\n"), "the content of a file");
}

#[test]
fn a_squashfs_is_filled_and_found_by_its_partition() {
    let text = one_filesystem("squashfs", "20MiB") + "  - action: filesystem-deploy\n";
    let (one, two) = (Bench::new(&text), Bench::new(&text));
    one.built();
    std::thread::sleep(std::time::Duration::from_secs(2));
    two.built();
    let same = Command::new("cmp").arg(one.path("out/a.img")).arg(two.path("out/a.img")).status();
    assert!(same.unwrap().success(), "two disks differ");
    let file = filesystem(&one);
    let list = said(Command::new("unsquashfs").arg("-llnumeric").arg(&file).env("TZ", "UTC"));
    let list: Vec<String> =
        list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for wanted in [
        "-rw-r----- 1000/1001 5 2025-08-08 22:36 squashfs-root/home/someone/notes with space",
        "-rwsr-xr-x 0/1 10 2025-08-08 22:36 squashfs-root/usr/su",
        "lrwxrwxrwx 0/1 9 2025-08-08 22:36 squashfs-root/etc/link -> ../usr/su",
        "drwxrwxrwt 0/1 3 2025-08-08 22:36 squashfs-root/tmp",
    ] {
        assert!(list.iter().any(|line| line == wanted), "{wanted}\n{}", list.join("\n"));
    }
    let cat = |path: &str| said(Command::new("unsquashfs").arg("-cat").arg(&file).arg(path));
    let table = one.table();
    let id = table.split("uuid=").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let id = id.trim().to_lowercase();
    assert_eq!(cat("etc/fstab"), format!("PARTUUID={id}\t/\tsquashfs\tdefaults\t0\t0\n"));
    assert_eq!(cat("etc/kernel/cmdline").trim(), format!("root=PARTUUID={id}"));

    let gpt = "partitiontype: gpt";
    let msdos = text.replace(gpt, "partitiontype: msdos\n    diskid: 5ca1ab1e");
    let bench = Bench::new(&msdos);
    bench.built();
    let file = filesystem(&bench);
    let fstab = said(Command::new("unsquashfs").arg("-cat").arg(&file).arg("etc/fstab"));
    assert!(fstab.starts_with("PARTUUID=5ca1ab1e-01\t/\tsquashfs"), "{fstab}");

    let bench = Bench::new(&text.replace("fs: squashfs", "fs: squashfs, fslabel: x"));
    let (code, said) = bench.build();
    assert!(code == 23 && said.contains("squashfs has no label"), "{code} {said}");
}

#[test]
fn an_xfs_with_a_name_that_its_list_cannot_say_is_refused_with_the_name() {
    let rest = "  - action: run
    command: cd \"$ROOTDIR/home/someone\"; rm notes*; touch \"COLON\"
  - action: filesystem-deploy
";
    for name in ["notes with space", ":etc:hosts", "$"] {
        let rest = rest.replace("COLON", &name.replace('$', "\\$"));
        let bench = Bench::new(&(one_filesystem("xfs", "330MiB") + &rest));
        let (code, said) = bench.build();
        let wanted = format!("not with /home/someone/{name}");
        assert!(code == 24 && said.contains(&wanted), "{code} {said}");
        assert_eq!(bench.artifacts(), Vec::<String>::new());
    }
}

#[test]
fn root_fills_a_disk_through_a_loop_device_and_others_are_told_why_not() {
    for sector in ["", "sectorsize: 4096\n"] {
        fill_through_a_loop_device(sector);
    }
}

fn fill_through_a_loop_device(sector: &str) {
    let rest = "  - action: run
    command: |
      test -b \"$IMAGE\"
      printf own | dd of=\"$IMAGE\" bs=1 seek=30000 conv=notrunc
      touch \"$ROOTDIR/usr/:colon\"
  - action: filesystem-deploy
";
    let bench = Bench::new(&(sector.to_owned() + &one_filesystem("xfs", "330MiB") + rest));
    let before = said(Command::new("/sbin/losetup").arg("--list"));
    let program = env!("CARGO_BIN_EXE_daruma-bundler");
    let output = Command::new(program)
        .args(["build", "--loop", "r.yaml", "--artifactdir", "out"])
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said(Command::new("/sbin/losetup").arg("--list")), before, "a loop device is left");
    let is_root = said(Command::new("id").arg("-u")) == "0\n";
    let kernel = fs::read_to_string("/proc/filesystems").unwrap();
    if output.status.success() {
        assert!(is_root && kernel.contains("\txfs\n"));
        assert_eq!(bench.bytes(30_000, 3), b"own");
        let file = filesystem(&bench);
        said(Command::new("/sbin/xfs_repair").args(["-n", "-f"]).arg(&file));
        let mut ask = Command::new("/usr/sbin/xfs_db");
        ask.args(["-r", "-c", "path /usr/su-too", "-c", "print core.mode core.nlinkv2"]);
        ask.args(["-c", "path /usr/:colon", "-c", "print core.mode"]);
        let wanted = "core.mode = 0104755\ncore.nlinkv2 = 2\ncore.mode = 0100644\n";
        assert_eq!(said(ask.arg(&file)), wanted);
        return;
    }
    let why = if !is_root {
        "only root may use loop devices"
    } else if text.contains("no loop device") {
        "this host has no loop device: "
    } else {
        "this host's kernel has no driver for xfs"
    };
    assert_eq!(output.status.code(), Some(24), "{text}");
    assert!(text.starts_with(&format!("daruma-bundler: --loop: {why}")), "{text}");
    assert_eq!((text.lines().count(), bench.artifacts()), (1, Vec::new()));
}

#[test]
fn a_disk_that_fails_leaves_nothing() {
    let full = recipe(&THREE.replace("end: -16MiB", "end: 151MiB"));
    let large = "    command: |\n      head -c 5000000 /dev/urandom >\"$ROOTDIR/usr/large\"\n";
    let bench = Bench::new(&full.replace("    command: |\n", large));
    let (code, said) = bench.build();
    let wanted = "r.yaml:5: the image-partition action (2 of 7) ended with";
    assert!(code == 24 && said.contains(wanted), "{code} {said}");
    assert_eq!(bench.artifacts(), Vec::<String>::new());
}

/// The stand-in for GRUB's programs, with another place for what it reads.
fn stand_in(dir: &std::path::Path, facts: &str) {
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bundling/disk/grub.sh");
    let shown = dir.display();
    let text = fs::read_to_string(text).unwrap();
    let text = text.replace("here=/dev/disk/daruma", &format!("here={shown}"));
    assert!(text.contains(&format!("here={shown}")));
    for name in ["grub-install", "grub-probe", "grub-mkrelpath"] {
        fs::write(dir.join(name), &text).unwrap();
    }
    fs::write(dir.join("facts"), facts).unwrap();
    fs::create_dir_all(dir.join("boot/efi")).unwrap();
    let mounts = format!("2 0e5b-root p-root ext2 /\n1 1234-ABCD p-esp fat {shown}/boot/efi\n");
    fs::write(dir.join("mounts"), mounts).unwrap();
}

#[test]
fn the_stand_in_answers_as_grubs_programs_do() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    stand_in(dir.path(), "TABLE=gpt SECTOR=512 ROOM=0\n");
    let ask = |name: &str, args: &[&str]| {
        let mut command = Command::new("sh");
        let output = command.arg(at(name)).args(args).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap() + &errors)
    };
    let efi = at("boot/efi").display().to_string();
    let yes = |text: &str| (true, text.to_owned());
    let device = "/dev/disk/by-uuid/0e5b-root";
    assert_eq!(ask("grub-probe", &["--target=device", "/"]), yes(&format!("{device}\n")));
    let of_device = ["--device", device, "--target=fs_uuid"];
    assert_eq!(ask("grub-probe", &of_device), yes("0e5b-root\n"));
    assert_eq!(ask("grub-probe", &["-t", "fs", &efi]), yes("fat\n"));
    assert_eq!(ask("grub-probe", &["-t", "partmap", "/boot"]), yes("gpt\n"));
    assert_eq!(ask("grub-mkrelpath", &["/boot"]), yes("/boot\n"));
    assert_eq!(ask("grub-mkrelpath", &[&format!("{efi}/EFI")]), yes("/EFI\n"));

    let boot = format!("--boot-directory={}", at("boot").display());
    let bios = ["--target=i386-pc", &boot, "disk.img"];
    let (done, said) = ask("grub-install", &bios);
    assert!(!done && said.contains("no place for GRUB's core image"), "{said}");
    let (done, said) = ask("grub-install", &["--target=i386-pc", &boot]);
    assert!(!done && said.contains("install device isn't specified"), "{said}");
    let (done, said) = ask("grub-install", &["--colour", "disk.img"]);
    assert!(!done && said.contains("the option --colour is not known"), "{said}");
    assert!(!at("core.img").exists());

    fs::write(at("facts"), "TABLE=gpt SECTOR=512 ROOM=2048\n").unwrap();
    let (done, said) = ask("grub-install", &bios);
    assert!(done && at("core.img").is_file() && at("boot.img").is_file(), "{said}");
    assert!(at("boot/grub/i386-pc/normal.mod").is_file());
    let uefi = ["--target", "x86_64-efi", "--removable", &boot, "--efi-directory", &efi];
    let (done, said) = ask("grub-install", &uefi);
    assert!(done && at("boot/efi/EFI/BOOT/BOOTX64.EFI").is_file(), "{said}");
}
