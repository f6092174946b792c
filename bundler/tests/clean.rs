//! What the bundler removes from an image, and what it adds.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::process::Command;

use bundler::recipe::{BundleSettings, Recipe};
use bundler::tree::{Inode, Kind, Tree};
use bundler::{clean, device};

fn recipe(rest: &str) -> Recipe {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.yaml");
    let text = format!(
        "architecture: amd64\nactions:\n  - action: mmdebstrap\n    suite: trixie\n  - action: \
            bundle\n    compatible: Box\n{rest}"
    );
    std::fs::write(&path, text).unwrap();
    Recipe::load(&path).unwrap()
}

fn settings(rest: &str) -> BundleSettings {
    recipe(rest).bundle.unwrap()
}

fn tree(paths: &[&str]) -> Tree {
    let mut tree = Tree::new(1);
    for path in paths {
        tree.put(path, 0o644, path.as_bytes());
    }
    tree
}

fn names(tree: &Tree) -> Vec<&str> {
    tree.iter()
        .filter(|(_, id)| !matches!(tree.inode(*id).kind, Kind::Dir))
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn the_machine_and_the_build_leave_no_trace() {
    let mut tree = tree(&[
        "boot/vmlinuz-6",
        "etc/machine-id",
        "etc/passwd",
        "etc/passwd-",
        "etc/ssh/sshd_config",
        "initrd.img",
        "tmp/x",
        "usr/bin/sh",
        "var/cache/apt/pkgcache.bin",
        "var/log/apt/history.log",
        "var/lib/app/seed",
    ]);
    clean::clean(&mut tree, &settings("")).unwrap();
    let wanted = [
        "etc/hostname",
        "etc/machine-id",
        "etc/passwd",
        "etc/ssh/sshd_config",
        "usr/bin/sh",
        "var/lib/app/seed",
    ];
    assert_eq!(names(&tree), wanted);
    assert_eq!(tree.read("etc/machine-id").unwrap(), b"");
    assert_eq!(tree.read("etc/hostname").unwrap(), b"Box\n");
    // A service may expect the folders of its logs.
    assert!(tree.get("var/log/apt").is_some());
    for mount_point in ["dev", "proc", "run", "sys", "tmp", "var"] {
        assert!(tree.get(mount_point).is_some(), "{mount_point}");
    }
    assert_eq!(tree.get("tmp").unwrap().mode, 0o1777);
}

#[test]
fn the_package_list_belongs_to_the_image_and_not_to_var() {
    let mut tree =
        tree(&["var/lib/dpkg/status", "var/lib/dpkg/info/bash.list", "var/lib/dpkg/lock"]);
    clean::clean(&mut tree, &settings("")).unwrap();
    assert!(matches!(
        &tree.get("var/lib/dpkg").unwrap().kind,
        Kind::Symlink(to) if to == "../../usr/lib/sysimage/dpkg"
    ));
    assert_eq!(tree.read("usr/lib/sysimage/dpkg/status").unwrap(), b"var/lib/dpkg/status");
    assert!(tree.get("usr/lib/sysimage/dpkg/info/bash.list").is_some());
    assert!(tree.get("usr/lib/sysimage/dpkg/lock").is_none());
}

#[test]
fn the_package_list_names_no_module_that_is_not_there() {
    let mut tree = tree(&["usr/lib/modules/6/kernel/fs/a.ko", "usr/lib/modules/6/modules.order"]);
    let list = "/.\n/boot/vmlinuz-6\n/usr/lib/modules/6/kernel/fs\n\
        /usr/lib/modules/6/kernel/fs/a.ko.xz\n/usr/lib/modules/6/modules.order\n";
    let sums = "0123  boot/vmlinuz-6\n4567  usr/lib/modules/6/kernel/fs/a.ko.xz\n89ab  \
        usr/lib/modules/6/modules.order\n";
    for (name, text) in
        [("linux-image-6.list", list), ("linux-image-6.md5sums", sums), ("other.list", list)]
    {
        tree.put(&format!("var/lib/dpkg/info/{name}"), 0o644, text.as_bytes());
    }
    clean::clean(&mut tree, &settings("")).unwrap();
    let read = |name: &str| tree.read(&format!("{}/info/{name}", clean::PACKAGE_DATABASE)).unwrap();
    let read = |name: &str| String::from_utf8(read(name)).unwrap();
    assert_eq!(
        read("linux-image-6.list"),
        "/.\n/boot/vmlinuz-6\n/usr/lib/modules/6/kernel/fs\n/usr/lib/modules/6/modules.order\n"
    );
    assert_eq!(
        read("linux-image-6.md5sums"),
        "0123  boot/vmlinuz-6\n89ab  usr/lib/modules/6/modules.order\n"
    );
    assert_eq!(read("other.list"), list);
}

#[test]
fn without_apt_and_dpkg_no_timer_runs_them() {
    let system = "usr/lib/systemd/system";
    let unit = |name: &str| format!("{system}/{name}");
    let link = "etc/systemd/system/timers.target.wants/apt-daily.timer";
    let (apt, dpkg, trim) =
        (unit("apt-daily.timer"), unit("dpkg-db-backup.timer"), unit("fstrim.timer"));
    let files = [link, &apt, &dpkg, &trim, "usr/bin/apt-get", "usr/bin/dpkg"];
    let left = |without: &str| {
        let mut tree = tree(&files);
        tree.remove(without);
        clean::clean(&mut tree, &settings("")).unwrap();
        [link, &apt, &dpkg, &trim].map(|path| tree.get(path).is_some())
    };
    assert_eq!(left("nothing"), [true; 4]);
    assert_eq!(left("usr/bin/apt-get"), [false, false, true, true]);
    assert_eq!(left("usr/bin/dpkg"), [true, true, false, true]);
}

const DOCUMENTATION: &[&str] = &[
    "usr/share/doc/bash/README",
    "usr/share/doc/bash/copyright",
    "usr/share/doc/empty/changelog.gz",
    "usr/share/locale/de/LC_MESSAGES/bash.mo",
    "usr/share/locale/fr/LC_MESSAGES/bash.mo",
    "usr/share/locale/locale.alias",
    "usr/share/man/man1/bash.1.gz",
];

#[test]
fn documentation_goes_but_licences_stay() {
    let mut tree = tree(DOCUMENTATION);
    clean::clean(&mut tree, &settings("    locales: [de]\n")).unwrap();
    let left: Vec<_> = names(&tree).into_iter().filter(|path| path.starts_with("usr")).collect();
    assert_eq!(
        left,
        [
            "usr/share/doc/bash/copyright",
            "usr/share/locale/de/LC_MESSAGES/bash.mo",
            "usr/share/locale/locale.alias"
        ]
    );
    assert!(tree.get("usr/share/doc/empty").is_none());
}

#[test]
fn a_recipe_can_keep_documentation_and_drop_more() {
    let mut tree = tree(DOCUMENTATION);
    let keep = settings(
        "    docs: true\n    man: true\n    drop: [/usr/share/doc/empty/, \
            '/usr/share/locale/**.alias']\n",
    );
    clean::clean(&mut tree, &keep).unwrap();
    let left: Vec<_> = names(&tree).into_iter().filter(|path| path.starts_with("usr")).collect();
    assert_eq!(
        left,
        [
            "usr/share/doc/bash/README",
            "usr/share/doc/bash/copyright",
            "usr/share/man/man1/bash.1.gz"
        ]
    );
}

#[test]
fn a_drop_pattern_that_matches_nothing_is_an_error_with_its_line() {
    let error =
        clean::clean(&mut tree(&["usr/bin/sh"]), &settings("    drop:\n      - /usr/bin/bash\n"))
            .unwrap_err();
    assert!(
        error.to_string().ends_with("r.yaml:8: `drop: /usr/bin/bash` matches nothing"),
        "{error}"
    );
    assert_eq!(bundler::exit::code(&error), bundler::exit::RECIPE);
}

#[test]
fn os_release_says_which_image_it_is() {
    let mut tree = Tree::new(1);
    tree.put("usr/lib/os-release", 0o644, *b"ID=debian\nBUILD_ID=old\n");
    clean::name_image(&mut tree, &settings(""), &"1.2.3".parse().unwrap(), "abc").unwrap();
    assert_eq!(
        String::from_utf8(tree.read("usr/lib/os-release").unwrap()).unwrap(),
        "ID=debian\nIMAGE_ID=box\nIMAGE_VERSION=1.2.3\nBUILD_ID=abc\n"
    );
    // A file /etc/hostname would hide a device's own name, which comes as a credential.
    tree.put("usr/lib/systemd/systemd", 0o755, *b"x");
    clean::clean(&mut tree, &settings("")).unwrap();
    clean::name_image(&mut tree, &settings(""), &"1.2.4".parse().unwrap(), "abc").unwrap();
    let text = String::from_utf8(tree.read("usr/lib/os-release").unwrap()).unwrap();
    assert!(text.ends_with("BUILD_ID=abc\nDEFAULT_HOSTNAME=Box\n"), "{text}");
    assert!(tree.get("etc/hostname").is_none());
}

#[test]
fn removing_and_renaming_take_only_what_is_below() {
    let mut tree = tree(&["a/x", "a/y/z", "a-b", "ab"]);
    tree.insert("a/y/dir", Inode::new(Kind::Dir, 0o700, 1));
    tree.rename("a/y", "c/d").unwrap();
    assert_eq!(names(&tree), ["a-b", "a/x", "ab", "c/d/z"]);
    assert_eq!(tree.get("c/d/dir").unwrap().mode, 0o700);
    tree.remove("a");
    assert_eq!(names(&tree), ["a-b", "ab", "c/d/z"]);
}

#[test]
fn the_image_names_the_units_that_must_work_on_a_device_without_a_baseline() {
    let mut tree = tree(&["usr/lib/systemd/system/ssh.service"]);
    let none = settings("").health_units;
    device::add_health_units(&mut tree, &none);
    assert!(tree.get("usr/lib/daruma/health-units").is_none());
    let units = settings("    health-units: [ssh.service, getty@tty1.service]\n").health_units;
    device::add_health_units(&mut tree, &units);
    let text = tree.read("usr/lib/daruma/health-units").unwrap();
    assert_eq!(text, b"ssh.service\ngetty@tty1.service\n");
}

#[test]
fn the_image_names_the_sums_of_its_etc() {
    let mut tree = tree(&["usr/lib/x", "etc/a", "etc/d/b"]);
    tree.put("etc/d/b", 0o600, &b"b"[..]);
    tree.put_symlink("etc/link", "a");
    device::sum_etc(&mut tree).unwrap();
    let sums = String::from_utf8(tree.read(etc_merge::SUMS).unwrap()).unwrap();
    let paths: Vec<&str> = sums.lines().map(|line| &line[66..]).collect();
    assert_eq!(paths, ["etc/a", "etc/d/b"]);
    // `sha256sum` judges the sums.
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("etc/d")).unwrap();
    for path in paths {
        std::fs::write(dir.path().join(path), tree.read(path).unwrap()).unwrap();
    }
    std::fs::write(dir.path().join("sums"), &sums).unwrap();
    let mut judge = Command::new("sha256sum");
    judge.args(["--strict", "-c", "sums"]).current_dir(&dir);
    assert!(judge.status().unwrap().success());
}

#[test]
fn the_mountpoints_of_the_recipes_own_disk_are_not_those_of_the_device() {
    let disk = "  - action: image-partition\n    imagename: a.img\n    imagesize: 1GB\n    \
        partitiontype: gpt\n    partitions:\n      \
        - { name: esp, fs: vfat, start: 1MiB, end: 100MiB }\n      \
        - { name: root, fs: ext4, start: 100MiB, end: 100% }\n    mountpoints:\n      \
        - { mountpoint: /, partition: root }\n      \
        - { mountpoint: /boot/efi, partition: esp }\n  - action: filesystem-deploy\n";
    let (own, other) = ("# by hand\ntmpfs /srv tmpfs defaults 0 0\n", "/dev/sdb1 /data ext4\n");
    let of_the_disk = "UUID=1-2\t/\text4\tdefaults\t0\t1\nUUID=AB-CD\t/boot/efi\tvfat\tx\t0\t2\n";
    let text = format!("{own}{of_the_disk}{other}");
    let mut tree = Tree::new(1);
    tree.put("etc/fstab", 0o644, text.as_bytes());
    clean::forget_disk(&mut tree, &recipe("")).unwrap();
    assert_eq!(tree.read("etc/fstab").unwrap(), text.as_bytes());
    clean::forget_disk(&mut tree, &recipe(disk)).unwrap();
    assert_eq!(tree.read("etc/fstab").unwrap(), format!("{own}{other}").as_bytes());
    // A system without the file gets none.
    let mut without = Tree::new(1);
    clean::forget_disk(&mut without, &recipe(disk)).unwrap();
    assert!(without.get("etc/fstab").is_none());
}
