//! What the key `without` of the `bundle` action takes out of a small Debian, and what it leaves.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use bundler::recipe::Part;
use bundler::tree::{Kind, Tree};
use bundler::without;

/// Returns dpkg's entry of a package.
fn entry(name: &str, section: &str, more: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nSection: {section}\nArchitecture: \
         amd64\n{more}Version: 1\nDescription: x\n y\n\n"
    )
}

/// Returns a system whose packages are apt and what it needs, dpkg, perl and a shell.
fn debian() -> Tree {
    let mut tree = Tree::new(1);
    let packages = [
        ("apt", "admin", "Depends: libapt-pkg7.0 (>= 3), libc6, adduser\n", "/usr/bin/apt"),
        ("libapt-pkg7.0", "libs", "Depends: libstdc++6, libzstd1\n", "/usr/lib/libapt-pkg.so.7"),
        ("libstdc++6", "libs", "Depends: libc6\n", "/usr/lib/libstdc++.so.6"),
        // A library that a program that stays needs too, under a name that it provides.
        ("libzstd1", "libs", "Provides: libzstd1-any\n", "/usr/lib/libzstd.so.1"),
        ("libc6", "libs", "", "/lib/libc.so.6"),
        ("kmod", "admin", "Depends: libc6 | libc7, libzstd1-any\n", "/usr/bin/kmod"),
        ("dpkg", "admin", "Essential: yes\nPre-Depends: libc6\n", "/usr/bin/dpkg"),
        ("perl-base", "perl", "Essential: yes\nPre-Depends: libc6\n", "/usr/bin/perl"),
    ];
    let mut status = String::new();
    for (name, section, more, path) in packages {
        status += &entry(name, section, more);
        let file = if path.starts_with("/lib/") { format!("usr{path}") } else { path[1..].into() };
        tree.put(&file, 0o755, name.as_bytes());
        let list = format!("/.\n/usr\n/usr/bin\n/usr/share/{name}\n{path}\n");
        tree.ensure_dir(&format!("usr/share/{name}"));
        tree.put(&format!("var/lib/dpkg/info/{name}:amd64.list"), 0o644, list.into_bytes());
        tree.put(&format!("var/lib/dpkg/info/{name}:amd64.postinst"), 0o755, *b"#!/bin/sh\n");
    }
    tree.put("var/lib/dpkg/status", 0o644, status.into_bytes());
    tree.put("etc/apt/sources.list.d/debian.sources", 0o644, *b"");
    tree.put("usr/lib/systemd/system/apt-daily.timer", 0o644, *b"");
    let list = "var/lib/dpkg/info/apt:amd64.list";
    let more = [tree.read(list).unwrap(), b"/usr/lib/systemd/system/apt-daily.timer\n".to_vec()];
    tree.put(list, 0o644, more.concat());
    let wants = "etc/systemd/system/timers.target.wants/apt-daily.timer";
    tree.put_symlink(wants, "/usr/lib/systemd/system/apt-daily.timer");
    tree.put("usr/sbin/update-rc.d", 0o755, *b"#! /usr/bin/perl\n");
    tree.put("usr/bin/sh", 0o755, *b"\x7fELF");
    tree.put("usr/lib/x86_64-linux-gnu/gconv/EUC-KR.so", 0o644, *b"");
    tree.put("usr/lib/x86_64-linux-gnu/perl-base/re.pm", 0o644, *b"");
    tree.put("usr/lib/udev/hwdb.d/20-net-ifname.hwdb", 0o644, *b"");
    tree.put("usr/lib/udev/hwdb.d/20-OUI.hwdb", 0o644, *b"");
    tree
}

/// Returns the files and links that a part takes out.
fn gone(parts: &[Part]) -> (Vec<String>, Tree) {
    let (before, mut after) = (debian(), debian());
    without::leave_out(&mut after, parts).unwrap();
    let is_gone = |path: &&str| {
        after.get(path).is_none()
            && !before.get(path).is_some_and(|inode| matches!(inode.kind, Kind::Dir))
    };
    let gone = before.iter().map(|(path, _)| path).filter(is_gone).map(str::to_owned).collect();
    (gone, after)
}

fn packages(tree: &Tree) -> Vec<String> {
    let status = String::from_utf8(tree.read("var/lib/dpkg/status").unwrap()).unwrap();
    status.lines().filter_map(|line| line.strip_prefix("Package: ")).map(str::to_owned).collect()
}

#[test]
fn apt_goes_with_its_timer_and_the_libraries_that_only_it_needs() {
    let (gone, tree) = gone(&[Part::Apt]);
    let info = |name: &str, kind: &str| format!("var/lib/dpkg/info/{name}:amd64.{kind}");
    let mut wanted = vec![
        "etc/apt/sources.list.d/debian.sources".to_owned(),
        "etc/systemd/system/timers.target.wants/apt-daily.timer".to_owned(),
        "usr/bin/apt".to_owned(),
        "usr/lib/libapt-pkg.so.7".to_owned(),
        "usr/lib/libstdc++.so.6".to_owned(),
        "usr/lib/systemd/system/apt-daily.timer".to_owned(),
    ];
    for name in ["apt", "libapt-pkg7.0", "libstdc++6"] {
        wanted.extend([info(name, "list"), info(name, "postinst")]);
    }
    assert_eq!(gone, wanted);
    assert!(tree.get("usr/share/apt").is_none(), "an empty folder of the package");
    // What is not in the image is not in dpkg's list, and the rest is as it was.
    assert_eq!(packages(&tree), ["libzstd1", "libc6", "kmod", "dpkg", "perl-base"]);
    let status = String::from_utf8(tree.read("var/lib/dpkg/status").unwrap()).unwrap();
    assert!(status.contains(&entry("kmod", "admin", "Depends: libc6 | libc7, libzstd1-any\n")));
}

#[test]
fn dpkgs_programs_and_scripts_go_and_its_list_stays() {
    let (gone, tree) = gone(&[Part::Dpkg]);
    assert!(gone.contains(&"usr/bin/dpkg".to_owned()), "{gone:?}");
    assert!(tree.get("var/lib/dpkg/info/kmod:amd64.list").is_some());
    assert!(tree.get("var/lib/dpkg/info/kmod:amd64.postinst").is_none());
    assert_eq!(packages(&tree).len(), 7);
}

#[test]
fn perl_takes_its_scripts_along() {
    let wanted = [
        "usr/bin/perl",
        "usr/lib/x86_64-linux-gnu/perl-base/re.pm",
        "usr/sbin/update-rc.d",
        "var/lib/dpkg/info/perl-base:amd64.list",
        "var/lib/dpkg/info/perl-base:amd64.postinst",
    ];
    assert_eq!(gone(&[Part::Perl]).0, wanted);
}

#[test]
fn of_the_hardware_database_the_network_stays() {
    assert_eq!(gone(&[Part::Hwdb]).0, ["usr/lib/udev/hwdb.d/20-OUI.hwdb"]);
    assert_eq!(gone(&[Part::Gconv]).0, ["usr/lib/x86_64-linux-gnu/gconv/EUC-KR.so"]);
}

#[test]
fn without_a_part_and_without_dpkg_everything_stays() {
    assert!(gone(&[]).0.is_empty());
    let mut tree = Tree::new(1);
    tree.put("usr/bin/apt", 0o755, *b"");
    without::leave_out(&mut tree, &[Part::Apt, Part::Dpkg, Part::Perl]).unwrap();
    assert!(tree.get("usr/bin/apt").is_some());
}
