//! The verb `factory-reset`, and what the status says of a reset and of a broken /var.
//!
//! daruma-init does the reset. `tests/tests/machines/var/factory_reset.rs` has both.

use std::fs;

use grub_env::{EnvStore, FactoryReset};
use image_layout::{FileDisk, Slot};

use crate::bench::{Bench, Spec};

/// Returns the request that daruma-init would find.
fn asked(bench: &Bench) -> Option<FactoryReset> {
    let store = EnvStore::open(FileDisk::open_read_only(&bench.path("esp")).unwrap()).unwrap();
    FactoryReset::of(&store.load().unwrap().env)
}

fn mounts(bench: &Bench, var: &str) {
    fs::create_dir_all(bench.path("proc/self")).unwrap();
    let table = format!("20 1 0:1 / / rw - squashfs d ro\n21 20 0:22 / /var {var}\n");
    fs::write(bench.path("proc/self/mountinfo"), table).unwrap();
}

#[test]
fn a_request_is_kept_until_it_is_taken_back() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("var/lib/app")).unwrap();
    let before = bench.bytes("esp");
    let ended = bench.run(&["factory-reset", "--keep", "/var/lib/app/"]);
    assert!(ended.stdout.contains("empties /var but for /var/lib/app/: settings"), "{ended:?}");
    assert_eq!(asked(&bench), Some(FactoryReset::new(&["lib/app"]).unwrap()));
    let text = bench.run(&["status"]).stdout;
    assert!(text.contains("reset     the next boot empties /var but for /var/lib/app"), "{text}");
    // Boots, commits and marks leave the request alone.
    assert_eq!(bench.boot(), Some(Slot::A));
    bench.run(&["mark", "good"]).succeeded();
    bench.run(&["factory-reset"]).succeeded();
    assert_eq!(asked(&bench), Some(FactoryReset::new(&[]).unwrap()));
    assert_eq!(bench.status()["factory_reset"]["keep"], serde_json::json!([]));
    bench.run(&["factory-reset", "--cancel"]).succeeded();
    assert_eq!(asked(&bench), None);
    assert!(bench.status()["factory_reset"].is_null());
    let again = bench.run(&["factory-reset", "--cancel"]);
    assert!(again.stdout.contains("no factory reset was asked for"), "{again:?}");
    assert_eq!(before.len(), bench.bytes("esp").len());
}

#[test]
fn a_folder_beside_var_is_kept_by_the_name_that_a_person_knows() {
    let bench = Bench::new();
    let uppers = bench.path("var/lib/daruma/folders");
    fs::create_dir_all(uppers.join("home/upper/ann")).unwrap();
    fs::create_dir_all(uppers.join("usr-local/upper/bin")).unwrap();
    std::os::unix::fs::symlink("elsewhere", uppers.join("home/upper/bob")).unwrap();
    let ended = bench.run(&["factory-reset", "--keep", "/home/ann/", "--keep", "/usr/local/bin"]);
    assert!(ended.stdout.contains("put into /root, /home, /srv, /opt, /usr/local,"), "{ended:?}");
    let reset = FactoryReset::new(&["/home/ann", "/usr/local/bin"]).unwrap();
    assert_eq!(asked(&bench), Some(reset));
    let kept = serde_json::json!(["/home/ann", "/usr/local/bin"]);
    assert_eq!(bench.status()["factory_reset"]["keep"], kept);
    for (path, why) in [
        ("/root", "it is as in the image, or lies elsewhere"),
        ("/home/eve", "it is as in the image, or lies elsewhere"),
        ("/home/bob/x", "is no folder"),
        ("/usr", "below /var"),
        ("/var//home", "below /var"),
        ("/usr/local/../bin", "below /var"),
        ("/var/lib/daruma/folders/home/upper", "a reset always empties"),
        ("home", "below /var"),
    ] {
        bench.run(&["factory-reset", "--keep", path]).refused(2, why);
    }
    assert_eq!(bench.status()["factory_reset"]["keep"], kept);
}

#[test]
fn while_a_slot_is_on_trial_it_is_refused() {
    let bench = Bench::new();
    bench.install(&bench.bundle(&Spec::default()).path).succeeded();
    let before = bench.bytes("esp");
    bench.run(&["factory-reset"]).refused(17, "slot B is on trial");
    assert!(before == bench.bytes("esp"));
    assert_eq!(bench.boot(), Some(Slot::B));
    bench.run(&["factory-reset"]).refused(17, "daruma mark good B");
    bench.run(&["mark", "good"]).succeeded();
    bench.run(&["factory-reset"]).succeeded();
    // An update that comes between the request and the reboot is tried first.
    bench.run(&["rollback"]).succeeded();
    let text = bench.run(&["status"]).stdout;
    assert!(text.contains("the first boot after the trial is committed empties /var"), "{text}");
}

#[test]
fn a_path_that_would_not_be_kept_is_refused_in_one_line() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("var/lib/app")).unwrap();
    fs::create_dir_all(bench.path("var/lib/daruma/etc")).unwrap();
    std::os::unix::fs::symlink("lib", bench.path("var/link")).unwrap();
    let before = bench.bytes("esp");
    for (path, why) in [
        ("/etc", "below /var"),
        ("/var", "below /var"),
        ("/var/", "below /var"),
        ("lib/app", "below /var"),
        ("/var/../etc", "below /var"),
        ("/var/lib/app/../x", "below /var"),
        ("/var/lib/daruma", "a reset always empties"),
        ("/var/lib/daruma/etc", "a reset always empties"),
        ("/var/lib", "a reset always empties"),
        ("/var/a:b", "has a ':'"),
        ("/var/lib/none", "No such file"),
        ("/var/link/app", "is no folder"),
    ] {
        bench.run(&["factory-reset", "--keep", path]).refused(2, why);
    }
    let many = bench.path("var").join("x".repeat(200));
    fs::create_dir_all(many.join("y".repeat(200))).unwrap();
    let long = format!("/var/{}/{}", "x".repeat(200), "y".repeat(200));
    bench.run(&["factory-reset", "--keep", &long]).refused(2, "no room");
    assert!(before == bench.bytes("esp"));
}

#[test]
fn a_var_that_is_not_kept_is_said_with_the_way_out() {
    let bench = Bench::new();
    assert!(bench.status()["var"].is_null(), "the bench has no mounts");
    mounts(&bench, "rw,noatime - ext4 /dev/vda8 rw");
    assert_eq!(bench.status()["var"], "kept");
    assert!(!bench.run(&["status"]).stdout.contains("/var "));
    for (mount, word) in [
        ("rw - overlay overlay rw,lowerdir=/daruma/var-disk", "read-only"),
        ("rw - ext4 /dev/vda8 ro", "read-only"),
    ] {
        mounts(&bench, mount);
        assert_eq!(bench.status()["var"], word);
        let text = bench.run(&["status"]).stdout;
        assert!(text.contains("'daruma factory-reset' and a reboot make a new one"), "{text}");
    }
    fs::create_dir_all(bench.path("var/lib/app")).unwrap();
    bench.run(&["factory-reset", "--keep", "/var/lib/app"]).refused(2, "nothing of it can be kept");
    bench.run(&["factory-reset"]).succeeded();
    mounts(&bench, "rw - tmpfs tmpfs rw");
    assert_eq!(bench.status()["var"], "missing", "the bench has no partition var");
}
