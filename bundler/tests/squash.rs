//! Packs a tar as a SquashFS. squashfs-tools check what is kept, and that the bytes are
//! reproducible.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use bundler::recipe::Packing;
use bundler::tree::{Inode, Kind, Tree};
use bundler::{squash, tree_tar};

const EPOCH: u32 = 1_700_000_000;

fn header(kind: tar::EntryType, mode: u32, size: u64, owner: (u64, u64)) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1_600_000_000);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header
}

/// Writes a tar with one of everything.
fn crafted(path: &Path) -> String {
    use tar::EntryType as T;
    let long = format!("very/{}/{}", "l".repeat(120), "n".repeat(200));
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    let dir = |tar: &mut tar::Builder<File>, name: &str, mode| {
        tar.append_data(&mut header(T::Directory, mode, 0, (0, 0)), name, std::io::empty())
            .unwrap();
    };
    dir(&mut tar, "./", 0o755);
    dir(&mut tar, "./tmp/", 0o1777);
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice();
    tar.append_pax_extensions([
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.user.note", b"zweites".as_slice()),
        ("SCHILY.xattr.system.posix_acl_access", b"\x02\0\0\0".as_slice()),
        ("mtime", b"1600000001.75".as_slice()),
    ])
    .unwrap();
    tar.append_data(&mut header(T::Regular, 0o4755, 4, (0, 0)), "./usr/bin/ping", &b"ping"[..])
        .unwrap();
    let mut link = header(T::Link, 0o4755, 0, (0, 0));
    tar.append_link(&mut link, "./usr/bin/ping4", "./usr/bin/ping").unwrap();
    tar.append_data(
        &mut header(T::Regular, 0o640, 300_000, (1000, 42)),
        "./srv/big",
        &vec![7; 300_000][..],
    )
    .unwrap();
    tar.append_link(&mut header(T::Symlink, 0o777, 0, (0, 0)), "./bin", "usr/bin").unwrap();
    tar.append_data(&mut header(T::Fifo, 0o600, 0, (0, 0)), "./run/pipe", std::io::empty())
        .unwrap();
    for (name, kind, major, minor) in
        [("./dev/null", T::Char, 1, 3), ("./dev/vda", T::Block, 254, 30)]
    {
        let mut device = header(kind, 0o666, 0, (0, 6));
        device.set_device_major(major).unwrap();
        device.set_device_minor(minor).unwrap();
        tar.append_data(&mut device, name, std::io::empty()).unwrap();
    }
    let mut file = tar::Header::new_gnu();
    file.set_entry_type(T::Regular);
    file.set_mode(0o644);
    file.set_size(1);
    file.set_mtime(1_600_000_000);
    file.set_uid(0);
    file.set_gid(0);
    tar.append_data(&mut file, format!("./{long}"), &b"x"[..]).unwrap();
    tar.append_data(
        &mut header(T::Regular, 0o644, 0, (0, 0)),
        "./etc/NetLock_Arany_=Class_Gold=_Főtanúsítvány.crt",
        &b""[..],
    )
    .unwrap();
    tar.into_inner().unwrap();
    long
}

fn packed(dir: &Path) -> (Tree, String) {
    let tar = dir.join("rootfs.tar");
    let long = crafted(&tar);
    let loaded = tree_tar::load(&tar, EPOCH).unwrap();
    assert_eq!(loaded.left_out, ["usr/bin/ping: system.posix_acl_access"]);
    squash::pack(&loaded.tree, &dir.join("root.img"), EPOCH, &Packing::default(), None).unwrap();
    (loaded.tree, long)
}

fn stdout(command: &mut Command) -> String {
    let output =
        command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8").output().expect("squashfs-tools");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn everything_that_a_root_filesystem_has_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, long) = packed(dir.path());
    assert_eq!(tree.id("usr/bin/ping"), tree.id("usr/bin/ping4"));
    assert!(matches!(&tree.get("dev/vda").unwrap().kind, Kind::BlockDevice(254, 30)));

    let list =
        stdout(Command::new("unsquashfs").args(["-llnumeric"]).arg(dir.path().join("root.img")));
    // mode owner/group size date time path. The number of blanks depends on the width of the
    // columns.
    let list: Vec<String> =
        list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for wanted in [
        "drwxrwxrwt 0/0 3 2020-09-13 12:26 squashfs-root/tmp".to_owned(),
        "-rwsr-xr-x 0/0 4 2020-09-13 12:26 squashfs-root/usr/bin/ping".to_owned(),
        "-rwsr-xr-x 0/0 4 2020-09-13 12:26 squashfs-root/usr/bin/ping4".to_owned(),
        "-rw-r----- 1000/42 300000 2020-09-13 12:26 squashfs-root/srv/big".to_owned(),
        "lrwxrwxrwx 0/0 7 2020-09-13 12:26 squashfs-root/bin -> usr/bin".to_owned(),
        "prw------- 0/0 0 2020-09-13 12:26 squashfs-root/run/pipe".to_owned(),
        "crw-rw-rw- 0/6 1, 3 2020-09-13 12:26 squashfs-root/dev/null".to_owned(),
        "brw-rw-rw- 0/6 254, 30 2020-09-13 12:26 squashfs-root/dev/vda".to_owned(),
        format!("-rw-r--r-- 0/0 1 2020-09-13 12:26 squashfs-root/{long}"),
        "-rw-r--r-- 0/0 0 2020-09-13 12:26 \
            squashfs-root/etc/NetLock_Arany_=Class_Gold=_Főtanúsítvány.crt"
            .to_owned(),
    ] {
        assert!(list.contains(&wanted), "no line {wanted:?} in\n{}", list.join("\n"));
    }
    // There are as many inodes as files, because a hard link is no second inode.
    let stat = stdout(Command::new("unsquashfs").arg("-s").arg(dir.path().join("root.img")));
    let names = tree.iter().count();
    assert!(stat.contains(&format!("Number of inodes {}\n", names - 1)), "{names} names\n{stat}");
    assert!(stat.contains("Number of xattr ids 1\n"), "{stat}");
}

#[test]
fn device_numbers_of_any_size_come_out_right() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(EPOCH);
    tree.insert("dev/far", Inode::new(Kind::BlockDevice(254, 0xabcde), 0o600, EPOCH));
    squash::pack(&tree, &dir.path().join("root.img"), EPOCH, &Packing::default(), None).unwrap();
    let stat = stdout(
        Command::new("rdsquashfs").args(["-s", "/dev/far"]).arg(dir.path().join("root.img")),
    );
    assert!(stat.contains("254:703710"), "{stat}");

    tree.insert("dev/none", Inode::new(Kind::CharDevice(254, 1 << 20), 0o600, EPOCH));
    let error = squash::pack(&tree, &dir.path().join("root.img"), EPOCH, &Packing::default(), None)
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(text.ends_with("adding dev/none: there is no device 254:1048576"), "{text}");
}

/// Writes a tar with one empty file.
fn tar_of_one_file(tar: &Path, name: &str) {
    let mut tar = tar::Builder::new(File::create(tar).unwrap());
    let mut file = tar::Header::new_gnu();
    file.set_entry_type(tar::EntryType::Regular);
    file.set_mode(0o644);
    file.set_mtime(1_600_000_000);
    file.set_uid(0);
    file.set_gid(0);
    file.set_size(0);
    tar.append_data(&mut file, name, std::io::empty()).unwrap();
    tar.into_inner().unwrap();
}

#[test]
fn a_name_that_linux_does_not_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("rootfs.tar");
    let image = dir.path().join("root.img");
    let longest = format!("srv/{}\u{e9}", "n".repeat(253));
    tar_of_one_file(&tar, &longest);
    squash::pack(
        &tree_tar::load(&tar, EPOCH).unwrap().tree,
        &image,
        EPOCH,
        &Packing::default(),
        None,
    )
    .unwrap();
    let list = stdout(Command::new("unsquashfs").arg("-l").arg(&image));
    assert!(list.contains(&longest), "{list}");

    for name in [format!("srv/{}", "n".repeat(256)), format!("srv/{}/file", "n".repeat(300))] {
        tar_of_one_file(&tar, &name);
        let text = format!("{:#}", tree_tar::load(&tar, EPOCH).unwrap_err());
        let len = name.split('/').nth(1).unwrap().len();
        let wanted = format!(
            "reading the root filesystem {}: {name} has a name of {len} bytes, and Linux reads \
                none of more than 255; give it a shorter one",
            tar.display()
        );
        assert_eq!(text, wanted);
    }
    // A tree that did not come from a tar.
    let mut tree = Tree::new(EPOCH);
    tree.put(&"n".repeat(256), 0o644, *b"");
    let text =
        format!("{:#}", squash::pack(&tree, &image, EPOCH, &Packing::default(), None).unwrap_err());
    assert!(text.ends_with("has 256 bytes, and Linux reads at most 255"), "{text}");
}

#[test]
fn links_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path());
    // A file with two names, a file with one, a folder of one file, a folder of one folder, and the
    // root. The root counts /dev /etc /run /srv /tmp /usr /very, itself and its parent; its links
    // do not count.
    for (path, links) in [("/usr/bin/ping4", 2), ("/bin", 1), ("/srv", 2), ("/usr", 3), ("/", 9)] {
        let stat =
            stdout(Command::new("rdsquashfs").arg("-s").arg(path).arg(dir.path().join("root.img")));
        assert!(stat.contains(&format!("Hard link count: {links}\n")), "{path}\n{stat}");
    }
}

#[test]
fn extended_attributes_come_back_out() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path());
    let out = dir.path().join("out");
    // Any user may write user.* back. security.capability needs privileges.
    stdout(
        Command::new("unsquashfs")
            .args(["-user-xattrs", "-no-progress", "-d"])
            .arg(&out)
            .arg(dir.path().join("root.img"))
            .arg("usr"),
    );
    let text = stdout(
        Command::new("python3")
            .args(["-c", "import os,sys; print(os.getxattr(sys.argv[1], 'user.note').decode())"])
            .arg(out.join("usr/bin/ping")),
    );
    assert_eq!(text, "zweites\n");
    let (a, b) = (
        fs::metadata(out.join("usr/bin/ping")).unwrap(),
        fs::metadata(out.join("usr/bin/ping4")).unwrap(),
    );
    use std::os::unix::fs::MetadataExt;
    assert_eq!(a.ino(), b.ino());
}

/// The child process of the next test: packs into the folder that the environment names.
#[test]
fn pack_for_the_reproducibility_test() {
    if let Some(dir) = std::env::var_os("DARUMA_PACK_INTO") {
        packed(Path::new(&dir));
    }
}

#[test]
fn two_days_two_folders_and_one_processor_give_the_same_bytes() {
    let pack = |wrapper: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(std::env::current_exe().unwrap());
        command
            .args(["--exact", "pack_for_the_reproducibility_test"])
            .env("DARUMA_PACK_INTO", dir.path());
        stdout(&mut command);
        fs::read(dir.path().join("root.img")).unwrap()
    };
    let today = pack(&["env", "MALLOC_PERTURB_=1"]);
    let later = pack(&["faketime", "2031-05-05 05:05:05", "env", "MALLOC_PERTURB_=170"]);
    let alone = pack(&["taskset", "1", "env", "MALLOC_PERTURB_=85"]);
    assert!(today == later, "another day gives other bytes");
    assert!(today == alone, "one processor gives other bytes");
}
