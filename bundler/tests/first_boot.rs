//! When an image says that systemd's work at updates is done, and when it leaves it to the device.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use bundler::first_boot;
use bundler::tree::{Kind, Tree};

const ETC: &str = "etc/.updated";
const VAR: &str = "var/.updated";
const ID: &str = "7d4958e842da4a758f6c1cdc7b36dcc5";

/// A database of messages with one id, as systemd's `catalog.c` writes it.
fn database(id: &str) -> Vec<u8> {
    let mut bytes = b"RHHHKSLP\0\0\0\0\0\0\0\0".to_vec();
    for number in [40u64, 1, 56] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(u128::from_str_radix(id, 16).unwrap().to_be_bytes());
    bytes.extend([0; 40]);
    bytes.extend(b"Subject: text\0");
    bytes
}

/// A small Debian whose packages have done all of the work. Its /usr is of the second 1234.
fn debian() -> Tree {
    let mut tree = Tree::new(5);
    let cache = b"glibc-ld.so.cache1.1\0\0libx.so.1\0/usr/local/lib/libx.so.1\0";
    let files: [(&str, &[u8]); 17] = [
        ("usr/lib/systemd/systemd", b"\x7fELF"),
        ("usr/sbin/ldconfig", b"\x7fELF"),
        ("etc/ld.so.cache", cache),
        ("etc/ld.so.conf", b"include /etc/ld.so.conf.d/*.conf\n"),
        ("etc/ld.so.conf.d/libc.conf", b"# default\n/usr/local/lib\n/lib/x86_64-linux-gnu\n"),
        ("usr/lib/x86_64-linux-gnu/libc.so.6", b"\x7fELF"),
        ("usr/local/lib/libx.so.1.2", b"\x7fELF"),
        ("usr/local/lib/libx.so", b"INPUT(libx.so.1)"),
        ("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnet:x:9:9::/:/bin/false\n"),
        ("etc/group", b"root:x:0:\nnet:x:9:\nadm:x:4:net,other\n"),
        (
            "usr/lib/sysusers.d/net.conf",
            b"# ours\nu! net - \"Network\"\ng adm 4\nm net adm\nr - 5-9\n",
        ),
        ("usr/lib/udev/hwdb.bin", b"KSLPHHRH"),
        ("usr/lib/udev/hwdb.d/20-net.hwdb", b""),
        ("var/lib/systemd/catalog/database", &database(ID)),
        (
            "usr/lib/systemd/catalog/a.catalog",
            b"# text\n-- 7d4958e842da4a758f6c1cdc7b36dcc5\nSubject: a\n",
        ),
        ("usr/lib/systemd/system/ldconfig.service", b"[Unit]\nConditionNeedsUpdate=|/etc\n"),
        ("usr/lib/systemd/system/b.service", b"[Service]\nExecStart=b\n"),
    ];
    for (path, bytes) in files {
        tree.put(path, 0o644, bytes);
    }
    tree.put_symlink("lib", "usr/lib");
    tree.put_symlink("usr/local/lib/libx.so.1", "libx.so.1.2");
    tree.get_mut("usr").unwrap().mtime = 1234;
    tree
}

/// True if the image with one file more says that the work is done.
fn is_done_with(path: &str, text: &[u8]) -> bool {
    let mut tree = debian();
    tree.put(path, 0o644, text);
    first_boot::settle(&mut tree).unwrap();
    assert_eq!(tree.get(ETC).is_some(), tree.get(VAR).is_some());
    tree.get(ETC).is_some()
}

#[test]
fn an_image_whose_packages_did_the_work_has_both_stamps_with_the_time_of_its_usr() {
    let mut tree = debian();
    first_boot::settle(&mut tree).unwrap();
    for stamp in [ETC, VAR] {
        let inode = tree.get(stamp).unwrap();
        assert!(matches!(inode.kind, Kind::File(_)));
        assert_eq!((inode.mtime, inode.mode), (1234, 0o644));
        let text = String::from_utf8(tree.read(stamp).unwrap()).unwrap();
        assert!(text.ends_with("\nTIMESTAMP_NSEC=1234000000000\n"), "{text}");
    }
}

#[test]
fn work_that_the_recipe_has_left_is_done_by_each_device() {
    for (path, text) in [
        ("usr/local/lib/liby.so.1", &b"\x7fELF"[..]),
        ("usr/lib/sysusers.d/app.conf", b"u app -\n"),
        ("etc/sysusers.d/app.conf", b"g app -\n"),
        ("usr/lib/sysusers.d/member.conf", b"m root adm\n"),
        ("etc/udev/hwdb.d/90-own.hwdb", b""),
        ("usr/lib/systemd/catalog/b.catalog", b"-- 00000000000000000000000000000001\n"),
        ("var/lib/systemd/catalog/database", b"RHHHKSLP, torn"),
        ("etc/systemd/system/own.service", b"[Unit]\nConditionNeedsUpdate=/etc\n"),
        ("usr/lib/systemd/system/b.service.d/a.conf", b"[Unit]\nAssertNeedsUpdate=/var\n"),
    ] {
        assert!(!is_done_with(path, text), "{path}");
    }
    let mut tree = debian();
    tree.put("etc/ld.so.conf.d/app.conf", 0o644, *b"/opt/app/lib # ours\n");
    tree.put("opt/app/lib/libapp.so", 0o644, *b"\x7fELF");
    first_boot::settle(&mut tree).unwrap();
    assert!(tree.get(ETC).is_none());
}

#[test]
fn what_the_work_does_not_read_changes_nothing() {
    for (path, text) in [
        // ld.so finds it without a cache.
        ("usr/lib/x86_64-linux-gnu/liby.so.1", &b"\x7fELF"[..]),
        ("usr/local/lib/python3/liby.so", b"\x7fELF"),
        ("usr/local/lib/libtext.so", b"INPUT(liby.so.1)"),
        // It hides the file of the same name.
        ("etc/sysusers.d/net.conf", b"u root -\n"),
        ("usr/lib/sysusers.d/README", b"u app -\n"),
        ("usr/lib/systemd/catalog/c.catalog", b"-- 7d4958e842da4a758f6c1cdc7b36dcc5\n"),
    ] {
        assert!(is_done_with(path, text), "{path}");
    }
}

#[test]
fn a_stamp_of_the_build_host_never_gets_into_the_image() {
    let mut tree = debian();
    for stamp in [ETC, VAR] {
        tree.put(stamp, 0o644, *b"of the build");
    }
    tree.remove("etc/ld.so.cache");
    first_boot::settle(&mut tree).unwrap();
    assert!(tree.get(ETC).is_none() && tree.get(VAR).is_none());
    // A system without systemd has no use for them.
    let mut tree = debian();
    tree.remove("usr/lib/systemd/systemd");
    first_boot::settle(&mut tree).unwrap();
    assert!(tree.get(ETC).is_none());
}
