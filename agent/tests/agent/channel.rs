//! A device follows a channel: the releases that it installs, and the documents that it believes.
//!
//! `publisher` signs the documents, and `web_server` serves them. The tests named `attack_…` are
//! the attacks that The Update Framework lists.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bundle::channel::{Later, Rollout, Timestamp};
use image_layout::Slot;

use crate::bench::{Bench, Made, Spec};
use crate::daemon::Daemon;
use crate::publisher::{DAY, Publisher, now, ring};
use crate::web_server::{Answer, Server, Then};

/// Returns a device and its publisher, who offers 2.0.0.
fn offered() -> (Bench, Publisher, Made) {
    let bench = Bench::new();
    let mut publisher = Publisher::of(&bench);
    let made = bench.bundle(&Spec::default());
    publisher.offer(&made);
    publisher.put_channel();
    (bench, publisher, made)
}

/// Asserts that neither `check` nor `update` goes through, and that nothing of the device is
/// touched.
#[track_caller]
fn refused(bench: &Bench, code: i32, part: &str) {
    let before = bench.untouchables();
    bench.run(&["check"]).refused(code, part);
    bench.run(&["update"]).refused(code, part);
    assert_eq!(bench.untouchables(), before);
}

#[track_caller]
fn says(bench: &Bench, part: &str) {
    let ended = bench.run(&["check"]);
    ended.succeeded();
    assert!(ended.stdout.contains(part), "{part:?} is not in {ended:?}");
}

#[test]
fn a_device_finds_a_release_installs_it_and_then_waits_for_its_boot() {
    let (bench, _publisher, made) = offered();
    let before = bench.untouchables();
    says(&bench, "router 2.0.0 (build build-2.0.0, at most 6.32 MB) is to be installed over 1.0.0");
    assert_eq!(bench.untouchables(), before, "to check changes nothing");
    let ended = bench.run(&["update"]);
    ended.succeeded();
    assert!(ended.stdout.contains("installed 2.0.0 into slot B"), "{ended:?}");
    assert!(made.is_in_slot_b(&bench));
    assert!(!bench.path("rebooted").exists());
    says(&bench, "2.0.0 is installed and starts with the next boot");
    let before = bench.untouchables();
    bench.run(&["update", "--reboot"]).succeeded();
    assert_eq!(bench.untouchables(), before, "it is not installed twice");
    assert!(bench.path("rebooted").exists());
    assert_eq!(bench.boot(), Some(Slot::B));
    says(&bench, "nothing to install: router 2.0.0 is the newest for this device");
}

#[test]
fn what_is_trusted_is_shown_with_its_reason() {
    let (bench, mut publisher, _) = offered();
    publisher.root.version = 2;
    publisher.put_root(&[101, 103]);
    bench.run(&["check"]).succeeded();
    let shown = bench.run(&["channel"]).stdout;
    for part in [
        "root version 2",
        "version 1 is in the image",
        "root     2 of 3 must sign",
        "release  1 of 1",
        "serial 2 of",
        "last contact",
    ] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    fs::remove_file(bench.path("etc/daruma/root.json")).unwrap();
    let shown = bench.run(&["channel"]).stdout;
    assert!(shown.contains("says whose bundles are trusted"), "{shown}");
    refused(&bench, 23, "says whose signatures count");
    bench.config("");
    refused(&bench, 23, "no channel is configured");
}

fn json(bench: &Bench, words: &[&str]) -> serde_json::Value {
    let ended = bench.run(words);
    ended.succeeded();
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn programs_are_told_what_a_person_is_told() {
    let (bench, mut publisher, made) = offered();
    let held = bench.bundle(&Spec { version: "3.0.0", ..Spec::default() });
    publisher.offer(&held).rollout =
        Some(Rollout { start: now(), hours: 0, percent: 0, later: Later::default() });
    let bad = bench.bundle(&Spec { version: "2.5.0", ..Spec::default() });
    publisher.offer(&bad).withdrawn = Some("eats flash".to_owned());
    publisher.put_channel();
    let asked = json(&bench, &["check", "--json"]);
    assert_eq!((&asked["verdict"], &asked["version"]), (&"install".into(), &"1.0.0".into()));
    assert_eq!(asked["compatible"], "router");
    assert_eq!(asked["release"]["version"], "2.0.0");
    assert_eq!(
        asked["release"]["manifest_sha256"],
        publisher.channel.releases[0].manifest_sha256.to_string()
    );
    assert_eq!(asked["release"]["size"], fs::metadata(&made.path).unwrap().len());
    assert_eq!(asked["release"]["delta_size"], serde_json::Value::Null);
    let over = asked["passed_over"].as_array().unwrap();
    assert_eq!((&over[0]["version"], &over[0]["kind"]), (&"3.0.0".into(), &"not-its-turn".into()));
    assert_eq!((&over[1]["version"], &over[1]["kind"]), (&"2.5.0".into(), &"withdrawn".into()));
    assert_eq!(over[1]["reason"], "withdrawn by its publisher: eats flash");
    assert_eq!((&asked["clock_is_wrong"], over.len()), (&false.into(), 2));
    let lines = asked["lines"].as_array().unwrap();
    let text: String = lines.iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect();
    assert_eq!(text, bench.run(&["check"]).stdout);

    bench.run(&["update"]).succeeded();
    assert_eq!(json(&bench, &["check", "--json"])["verdict"], "reboot");
    assert_eq!(bench.boot(), Some(Slot::B));
    let asked = json(&bench, &["check", "--json"]);
    assert_eq!(
        (&asked["verdict"], &asked["release"]),
        (&"nothing".into(), &serde_json::Value::Null)
    );

    let trusted = json(&bench, &["channel", "--json"]);
    assert_eq!(
        (&trusted["root"]["version"], &trusted["root"]["expired"]),
        (&1.into(), &false.into())
    );
    let roles = &trusted["root"]["roles"];
    assert_eq!(
        (&roles["root"]["threshold"], &roles["release"]["threshold"]),
        (&2.into(), &1.into())
    );
    assert_eq!(roles["root"]["keys"].as_array().unwrap().len(), 3);
    let channel = &trusted["channel"];
    assert_eq!((&channel["name"], &channel["seen"]["serial"]), (&"stable".into(), &3.into()));
    assert_eq!(
        (&channel["seen"]["releases"], &channel["seen"]["expired"]),
        (&3.into(), &false.into())
    );
    assert!(channel["last_contact"].as_str().unwrap().ends_with('Z'), "{trusted}");

    // A failure prints its line as ever. It prints nothing that a program would take for an answer.
    publisher.put_bytes(b"damaged\n");
    let refused = bench.run(&["check", "--json"]);
    refused.refused(28, "not a signed channel");
    assert_eq!(refused.stdout, "");
    fs::remove_file(bench.path("etc/daruma/root.json")).unwrap();
    let trusted = json(&bench, &["channel", "--json"]);
    assert_eq!(trusted, serde_json::json!({"root": null, "channel": null}));
}

#[test]
fn a_login_in_the_address_is_not_shown() {
    let (bench, publisher, _) = offered();
    let server = publisher.serve(|_, answer| answer);
    publisher.follow(&bench, &format!("http://me:s3cret@127.0.0.1:{}", server.port()), QUICK);
    let said = bench.run(&["check"]);
    said.succeeded();
    for words in [&["channel"][..], &["channel", "--json"]] {
        let shown = bench.run(words).stdout;
        assert!(shown.contains("http://127.0.0.1:") && !shown.contains("s3cret"), "{shown}");
    }
    publisher.put_bytes(b"damaged\n");
    let refused = bench.run(&["check"]);
    refused.refused(28, "following the channel http://127.0.0.1:");
    assert!(!refused.stderr.contains("s3cret"), "{refused:?}");
}

// The attacks that The Update Framework lists, https://theupdateframework.io/docs/security/

#[test]
fn attack_arbitrary_software_is_not_installed() {
    let (bench, mut publisher, _) = offered();
    // A stranger has signed the channel.
    publisher.put_bytes(&publisher.signed(&[66]).to_bytes());
    refused(&bench, 11, "knows no such key");
    publisher.put_bytes(&publisher.signed(&[]).to_bytes());
    refused(&bench, 11, "is not signed");
    publisher.put_bytes(b"<html>504</html>\n");
    refused(&bench, 28, "not a signed channel");
    // A stranger has signed a bundle in the publisher's channel.
    let foreign = bench.bundle(&Spec { version: "3.0.0", keys: &[66], ..Spec::default() });
    publisher.offer(&foreign);
    publisher.put_channel();
    bench.run(&["check"]).succeeded();
    bench.run(&["update"]).refused(11, "signed by a stranger");
    // One byte of the publisher's own bundle is altered.
    publisher.channel.releases.pop();
    publisher.put_channel();
    let path = publisher.path("bundles/router-2.0.0.daruma");
    let mut bytes = fs::read(&path).unwrap();
    bytes[2_000_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    bench.run(&["update"]).refused(12, "does not match its hash");
    assert_eq!(bench.boot(), Some(Slot::A));
}

#[test]
fn attack_roll_back_to_an_older_channel_or_release_is_refused() {
    let (bench, mut publisher, _) = offered();
    let old = fs::read(publisher.path("stable.channel.json")).unwrap();
    publisher.put_channel();
    says(&bench, "2.0.0");
    publisher.put_bytes(&old);
    refused(&bench, 28, "serial 2, and serial 3 was seen before");
    // The channel has the same serial with another content.
    publisher.channel.releases.clear();
    publisher.put_bytes(&publisher.signed(&[111]).to_bytes());
    refused(&bench, 28, "the same serial 3");
    // A new channel has only older releases.
    let older = bench.bundle(&Spec { version: "0.9.0", ..Spec::default() });
    publisher.offer(&older);
    publisher.put_channel();
    says(&bench, "nothing to install");
}

#[test]
fn attack_indefinite_freeze_ends_with_the_expiry() {
    let (bench, mut publisher, _) = offered();
    publisher.channel.issued = Timestamp::from_seconds(now().seconds() - 10 * DAY);
    publisher.channel.expires = Timestamp::from_seconds(now().seconds() - DAY);
    publisher.put_channel();
    refused(&bench, 28, "the channel has expired on");
    // A channel that was renewed in time is taken. Under an expired root it is not taken.
    publisher.channel.expires = now().after(DAY);
    publisher.put_channel();
    says(&bench, "2.0.0");
    publisher.root.version = 2;
    publisher.root.expires = Timestamp::from_seconds(now().seconds() - DAY);
    publisher.put_root(&[101, 102]);
    publisher.put_channel();
    refused(&bench, 28, "the root document has expired on");
    // The device can still follow a root that has expired to one that has not.
    publisher.root.version = 3;
    publisher.root.expires = now().after(DAY);
    publisher.put_root(&[101, 102]);
    publisher.put_channel();
    says(&bench, "2.0.0");
}

#[test]
fn attack_extraneous_dependencies_do_not_exist() {
    let (bench, mut publisher, made) = offered();
    publisher
        .put_changed("\"compatible\"", "\"depends\": [\"bundles/more.daruma\"], \"compatible\"");
    refused(&bench, 28, "unknown key \"depends\"");
    publisher
        .put_changed("\"compatible\"", "\"x-depends\": [\"bundles/more.daruma\"], \"compatible\"");
    bench.run(&["update"]).succeeded();
    assert!(made.is_in_slot_b(&bench), "what is for later readers is not read");
}

#[test]
fn attack_mix_and_match_of_channel_and_bundle_is_refused() {
    let (bench, mut publisher, _) = offered();
    // Another bundle of the same publisher has the name of this one. It is well signed and newer.
    let other = bench.bundle(&Spec { version: "2.5.0", ..Spec::default() });
    fs::copy(&other.path, publisher.path("bundles/router-2.0.0.daruma")).unwrap();
    let before = bench.untouchables();
    bench.run(&["update"]).refused(28, "not the bundle that the channel names");
    // A channel with another name is served under the name of this one.
    publisher.channel.name = "beta".parse().unwrap();
    publisher.put_channel();
    refused(&bench, 28, "this is the channel \"beta\"");
    // The channel belongs to a newer root than the server has.
    publisher.channel.name = "stable".parse().unwrap();
    publisher.channel.root = 2;
    publisher.put_channel();
    refused(&bench, 28, "wants root version 2");
    assert_eq!(bench.untouchables(), before);
}

#[test]
fn attack_wrong_software_for_another_device_is_refused() {
    let (bench, mut publisher, _) = offered();
    let switch = bench.bundle(&Spec { version: "3.0.0", compatible: "switch", ..Spec::default() });
    publisher.channel.releases.clear();
    publisher.offer(&switch);
    publisher.put_channel();
    says(&bench, "nothing to install");
    // The bundle is refused even if the channel says that it is for this device.
    publisher.channel.releases[0].compatible = "router".parse().unwrap();
    publisher.put_channel();
    bench
        .run(&["update"])
        .refused(28, "the bundle is switch 3.0.0 and the channel calls it router 3.0.0");
    assert_eq!(bench.boot(), Some(Slot::A));
}

#[test]
fn attack_with_one_compromised_key_installs_nothing() {
    let (bench, mut publisher, _) = offered();
    bench.run(&["check"]).succeeded();
    // The thief has only the channel key. The device believes no bundle of his.
    let foreign = bench.bundle(&Spec { version: "3.0.0", keys: &[111], ..Spec::default() });
    publisher.offer(&foreign);
    publisher.put_channel();
    bench.run(&["update"]).refused(11, "signed by a stranger");
    // He cannot make the device take an old bundle as a new one. So he cannot bring back mended
    // faults.
    publisher.channel.releases.pop();
    let old = bench.bundle(&Spec { version: "0.9.0", ..Spec::default() });
    publisher.offer(&old).version = "3.0.0".parse().unwrap();
    publisher.put_channel();
    bench
        .run(&["update"])
        .refused(28, "the bundle is router 0.9.0 and the channel calls it router 3.0.0");
    // The thief has only the release key. The device believes no channel of his.
    let stolen = bench.bundle(&Spec { version: "4.0.0", keys: &[1], ..Spec::default() });
    publisher.offer(&stolen);
    publisher.channel.serial += 1;
    publisher.put_bytes(&publisher.signed(&[1]).to_bytes());
    refused(&bench, 11, "knows no such key");
    // The thief has only one root key. The device believes no root document of his.
    publisher.root.version = 2;
    publisher.root.roles.channel = ring(&[66], 1);
    publisher.root.roles.release = ring(&[66], 1);
    publisher.put_root(&[103]);
    publisher.put_bytes(&publisher.signed(&[66]).to_bytes());
    refused(&bench, 11, "is signed by 1 trusted key(s) and 2 are needed");
    let shown = bench.run(&["channel"]).stdout;
    assert!(shown.contains("root version 1"), "{shown}");
}

#[test]
fn attack_endless_data_is_cut_off_at_the_limit() {
    let (bench, publisher, _) = offered();
    let long = vec![b' '; (256 << 10) + 1];
    publisher.put_bytes(&long);
    refused(&bench, 1, "is longer than 262144 bytes");
    fs::write(publisher.path("2.root.json"), &long).unwrap();
    refused(&bench, 1, "is longer than 65536 bytes");
}

#[test]
fn a_stolen_release_key_is_replaced_without_touching_the_device() {
    let (bench, mut publisher, _) = offered();
    let thiefs = bench.bundle(&Spec { version: "9.0.0", keys: &[1], ..Spec::default() });
    publisher.root.version = 2;
    publisher.root.roles.release = ring(&[3], 1);
    publisher.put_root(&[102, 103]);
    let good = bench.bundle(&Spec { version: "2.0.1", keys: &[3], ..Spec::default() });
    publisher.channel.releases.clear();
    publisher.channel.root = 2;
    publisher.offer(&good);
    publisher.put_channel();
    bench.run(&["update"]).succeeded();
    assert!(good.is_in_slot_b(&bench));
    // The revoked key does not count for files, and not after the next boot.
    assert_eq!(bench.boot(), Some(Slot::B));
    let before = bench.untouchables();
    bench.install(&thiefs.path).refused(11, "signed by a stranger");
    // The keyring does not count where there is a root document.
    let by_keyring = bench.bundle(&Spec { version: "9.1.0", keys: &[2], ..Spec::default() });
    bench.install(&by_keyring.path).refused(11, "signed by a stranger");
    assert_eq!(bench.untouchables(), before);
    // The root in /var is damaged. The device drops it and fetches it again.
    fs::write(bench.path("var/lib/daruma/trust/2.root.json"), "damaged").unwrap();
    let ended = bench.run(&["check"]);
    ended.succeeded();
    assert!(ended.stderr.contains("the file does not count"), "{ended:?}");
    let shown = bench.run(&["channel"]).stdout;
    assert!(shown.contains("root version 2"), "{shown}");
}

#[test]
fn a_stolen_channel_key_is_replaced_and_its_thiefs_serial_does_not_count() {
    let (bench, mut publisher, made) = offered();
    publisher.channel.serial = 1 << 52;
    publisher.channel.releases.clear();
    publisher.put_channel();
    says(&bench, "nothing to install");
    publisher.root.version = 2;
    publisher.root.roles.channel = ring(&[112], 1);
    publisher.put_root(&[101, 102]);
    publisher.channel.serial = 7;
    publisher.channel.root = 2;
    publisher.offer(&made);
    publisher.put_bytes(&publisher.signed(&[112]).to_bytes());
    bench.run(&["update"]).succeeded();
    assert!(made.is_in_slot_b(&bench));
}

#[test]
fn root_keys_are_replaced_step_by_step_and_a_device_that_was_away_follows() {
    let (bench, mut publisher, _) = offered();
    let mut holders = [101, 102];
    for (version, new) in (2..=20).zip(121..) {
        publisher.root.version = version;
        let next = [holders[1], new];
        publisher.root.roles.root = ring(&next, 2);
        publisher.put_root(&[holders[0], holders[1], new]);
        holders = next;
    }
    publisher.channel.root = 20;
    publisher.put_channel();
    says(&bench, "2.0.0");
    assert!(bench.run(&["channel"]).stdout.contains("root version 20"));
    // After a fall-back to an image with another anchor, the device ends at the same root. After a
    // loss of /var it does, too.
    fs::copy(publisher.path("5.root.json"), bench.path("etc/daruma/root.json")).unwrap();
    assert!(bench.run(&["channel"]).stdout.contains("root version 20, "));
    fs::remove_dir_all(bench.path("var/lib/daruma/trust")).unwrap();
    assert!(bench.run(&["channel"]).stdout.contains("root version 5, "));
    says(&bench, "2.0.0");
    assert!(bench.run(&["channel"]).stdout.contains("root version 20, "));
}

#[test]
fn a_system_that_is_fallen_back_to_keeps_what_the_newer_image_revoked() {
    let (bench, mut publisher, _) = offered();
    let old_anchor = fs::read(bench.path("etc/daruma/root.json")).unwrap();
    publisher.root.version = 2;
    publisher.root.roles.release = ring(&[3], 1);
    publisher.put_root(&[101, 102]);
    fs::copy(publisher.path("2.root.json"), bench.path("etc/daruma/root.json")).unwrap();
    publisher.channel.root = 2;
    publisher.put_channel();
    bench.run(&["check"]).succeeded();
    fs::write(bench.path("etc/daruma/root.json"), old_anchor).unwrap();
    assert!(bench.run(&["channel"]).stdout.contains("root version 2, "));
}

#[test]
fn an_unusable_root_document_in_the_image_refuses_every_bundle() {
    let (bench, _publisher, made) = offered();
    fs::write(bench.path("etc/daruma/root.json"), "damaged\n").unwrap();
    refused(&bench, 23, "reading the root document");
    bench.install(&made.path).refused(23, "reading the root document");
}

#[test]
fn a_device_waits_for_its_turn_and_says_when_it_comes() {
    let (bench, mut publisher, made) = offered();
    let start = now();
    let stage = |percent, hours| Some(Rollout { start, hours, percent, later: Later::default() });
    publisher.channel.releases[0].rollout = stage(0, 0);
    publisher.put_channel();
    says(&bench, "to a part of the devices, and this one is not among them");
    publisher.channel.releases[0].rollout = stage(100, 8000);
    publisher.put_channel();
    says(&bench, "this device's turn is 20");
    let ended = bench.run(&["update"]);
    ended.succeeded();
    assert!(ended.stdout.contains("nothing to install"), "{ended:?}");
    // A device without an id comes last.
    fs::write(bench.path("etc/machine-id"), "uninitialized\n").unwrap();
    says(&bench, "this device has no id");
    publisher.channel.releases[0].rollout = stage(100, 0);
    publisher.put_channel();
    bench.run(&["update"]).succeeded();
    assert!(made.is_in_slot_b(&bench));
}

#[test]
fn a_clock_that_stands_before_the_channel_was_made_is_said_and_does_no_harm() {
    let (bench, mut publisher, made) = offered();
    publisher.channel.issued = now().after(400 * DAY);
    publisher.channel.expires = now().after(430 * DAY);
    publisher.put_channel();
    refused(&bench, 28, "the root document has expired");
    publisher.root.version = 2;
    publisher.root.expires = now().after(1000 * DAY);
    publisher.put_root(&[101, 102]);
    publisher.put_channel();
    says(&bench, "the clock is wrong, and the channel's date counts");
    bench.run(&["update"]).succeeded();
    assert!(made.is_in_slot_b(&bench));
}

#[test]
fn a_withdrawn_release_is_not_installed_and_who_runs_it_is_told() {
    let (bench, mut publisher, _) = offered();
    bench.run(&["update"]).succeeded();
    publisher.channel.releases[0].withdrawn = Some("eats flash".to_owned());
    publisher.put_channel();
    says(&bench, "2.0.0 is not taken: withdrawn by its publisher: eats flash");
    assert_eq!(bench.boot(), Some(Slot::B));
    says(&bench, "the running 2.0.0 was withdrawn by its publisher: eats flash");
}

#[test]
fn the_daemon_takes_back_what_was_withdrawn_before_its_first_boot_and_says_so_once() {
    let (bench, mut publisher, made) = offered();
    let folder = publisher.path("").to_str().unwrap().to_owned();
    publisher.follow(&bench, &folder, &format!("{POLL}reboot = \"by-hand\""));
    let mut daemon = Daemon::start(&bench);
    daemon.says("starts with the next boot; reboot to start it");
    assert_eq!(bench.state().trial, Some(Slot::B));
    publisher.channel.releases[0].withdrawn = Some("eats flash".to_owned());
    publisher.put_channel();
    daemon.says(
        "2.0.0 in slot B was withdrawn by its publisher before its first boot, and is not booted: \
            eats flash",
    );
    daemon.says("nothing to install: router 1.0.0 stays; 2.0.0 is not taken: withdrawn");
    // After another change of the channel, the daemon looks again.
    let mended = bench.bundle(&Spec { version: "2.0.1", keys: &[66], ..Spec::default() });
    publisher.offer(&mended).withdrawn = Some("not signed".to_owned());
    publisher.put_channel();
    daemon.says("2.0.1 is not taken");
    let ended = daemon.stop();
    ended.succeeded();
    assert_eq!(ended.stdout.matches("before its first boot").count(), 1, "{ended:?}");
    let (state, before) = (bench.state(), bench.untouchables());
    assert_eq!((state.trial, state.slot(Slot::B).ok), (None, false));
    let status = bench.status();
    let event = status["events"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&event["kind"], &event["slot"], &event["reason"]),
        (&"withdrawn".into(), &"B".into(), &"eats flash".into())
    );
    assert!(
        bench.run(&["status"]).stdout.contains("withdrawn by its publisher before its first boot")
    );
    assert_eq!(bench.run(&["update"]).code, Some(0));
    assert_eq!(bench.untouchables(), before);
    assert_eq!(bench.boot(), Some(Slot::A));
    // If the publisher takes the withdrawal back, the device installs the release again.
    publisher.channel.releases[0].withdrawn = None;
    publisher.put_channel();
    bench.run(&["update"]).succeeded();
    assert!(made.is_in_slot_b(&bench));
    assert_eq!(bench.boot(), Some(Slot::B));
}

#[test]
fn what_was_booted_once_or_asked_for_by_a_person_is_not_taken_back() {
    let (bench, mut publisher, _) = offered();
    bench.run(&["update"]).succeeded();
    publisher.channel.releases[0].withdrawn = Some("eats flash".to_owned());
    publisher.put_channel();
    // A look changes nothing, and prints what will be done.
    let before = bench.untouchables();
    says(
        &bench,
        "2.0.0 waits in slot B for its first boot and was withdrawn by its publisher: eats flash",
    );
    let asked = json(&bench, &["check", "--json"]);
    assert_eq!(
        (&asked["waiting_withdrawn"]["slot"], &asked["verdict"]),
        (&"B".into(), &"nothing".into())
    );
    assert_eq!(bench.untouchables(), before);
    // One try is used up. So the health checks decide, and the tries stay counted.
    assert_eq!(bench.boot_unless(|_| false), Some(Slot::B));
    bench.set_cmdline("daruma.slot=A daruma.try=1 panic=5");
    let before = bench.state();
    assert_eq!((before.trial, before.slot(Slot::B).tries), (Some(Slot::B), 1));
    bench.run(&["update"]).succeeded();
    assert_eq!(bench.state(), before);
    // A person who goes back to an older release knows what he does.
    bench.set_cmdline("daruma.slot=B daruma.try=1 panic=5");
    bench.run(&["mark", "good"]).succeeded();
    let old = bench.bundle(&Spec { version: "1.0.0", ..Spec::default() });
    publisher.offer(&old).withdrawn = Some("old".to_owned());
    publisher.put_channel();
    bench.install(&old.path).succeeded();
    let before = bench.state();
    assert_eq!(before.trial, Some(Slot::A));
    bench.run(&["update"]).succeeded();
    assert_eq!(bench.state(), before);
}

#[test]
fn a_person_who_updates_has_a_withdrawn_release_replaced_by_the_mended_one() {
    let (bench, mut publisher, _) = offered();
    bench.run(&["update"]).succeeded();
    publisher.channel.releases[0].withdrawn = Some("eats flash".to_owned());
    let mended = bench.bundle(&Spec { version: "2.0.1", ..Spec::default() });
    publisher.offer(&mended);
    publisher.put_channel();
    let ended = bench.run(&["update"]);
    ended.succeeded();
    assert!(ended.stdout.starts_with("2.0.0 in slot B was withdrawn"), "{ended:?}");
    assert!(ended.stdout.contains("installed 2.0.1 into slot B"), "{ended:?}");
    assert!(mended.is_in_slot_b(&bench));
    assert_eq!(bench.boot(), Some(Slot::B));
}

#[test]
fn a_release_that_somebody_went_back_from_is_not_installed_again() {
    let (bench, publisher, _) = offered();
    bench.run(&["update"]).succeeded();
    assert_eq!(bench.boot(), Some(Slot::B));
    bench.run(&["mark", "good"]).succeeded();
    bench.run(&["rollback"]).succeeded();
    assert_eq!(bench.boot(), Some(Slot::A));
    bench.run(&["mark", "good"]).succeeded();
    let before = bench.untouchables();
    says(&bench, "a person went back from that version");
    bench.run(&["update"]).succeeded();
    assert_eq!(bench.untouchables(), before);
    drop(publisher);
}

// The channel is on a web server.

/// Short time limits and few tries, so that giving up is quick.
const QUICK: &str = "[pull]\nconnect-timeout-s = 1\nlow-speed-s = 1\ntries = 2";

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/")
}

/// Returns the targets of the requests since the last call.
fn targets(server: &Server, seen: &mut usize) -> Vec<String> {
    let asked: Vec<_> =
        server.asked().split_off(*seen).into_iter().map(|asked| asked.target).collect();
    *seen += asked.len();
    asked
}

/// Passes connections on to `port` and counts the bytes of both directions. Returns its own port.
fn counting(port: u16) -> (u16, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            for (from, to) in [(&stream, &server), (&server, &stream)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let count = counted.clone();
                thread::spawn(move || -> io::Result<()> {
                    let mut buf = [0; 4096];
                    loop {
                        let len = from.read(&mut buf)?;
                        count.fetch_add(len, Ordering::SeqCst);
                        if len == 0 {
                            return to.shutdown(Shutdown::Write);
                        }
                        to.write_all(&buf[..len])?;
                    }
                });
            }
        }
    });
    (own, count)
}

#[test]
fn an_unchanged_channel_costs_one_request_and_less_than_a_kilobyte() {
    let (bench, mut publisher, made) = offered();
    let server = publisher.serve(|_, answer| answer);
    let (port, count) = counting(server.port());
    publisher.follow(&bench, &url(port), "");
    let mut seen = 0;
    says(&bench, "2.0.0");
    assert_eq!(targets(&server, &mut seen), ["/2.root.json", "/stable.channel.json"]);
    count.store(0, Ordering::SeqCst);
    says(&bench, "2.0.0 (build build-2.0.0, at most 6.32 MB) is to be installed");
    assert_eq!(targets(&server, &mut seen), ["/stable.channel.json"]);
    let bytes = count.load(Ordering::SeqCst);
    println!("polling an unchanged channel: 1 request, {bytes} bytes in both directions");
    assert!(bytes < 1000, "{bytes}");

    // A changed channel costs a look at the root as well. Apart from that, the device fetches only
    // the bundle.
    publisher.put_channel();
    bench.run(&["update"]).succeeded();
    assert!(made.is_in_slot_b(&bench));
    let asked = targets(&server, &mut seen);
    assert_eq!(asked[..2], ["/stable.channel.json", "/2.root.json"]);
    assert!(asked[2..].iter().all(|target| target == "/bundles/router-2.0.0.daruma"), "{asked:?}");
    let tail = publisher.channel.releases[0].tail;
    assert_eq!(
        server.asked()[5].header("range"),
        Some(&*format!("bytes=-{tail}")),
        "no more than the tail"
    );
}

#[test]
fn attack_endless_data_from_a_server_is_cut_off() {
    for (target, limit) in [("/stable.channel.json", 256 << 10), ("/2.root.json", 64 << 10)] {
        let (bench, publisher, _) = offered();
        let server = publisher.serve(move |asked, answer| match asked.target == target {
            true => {
                Answer { status: "200 OK", then: Then::Endless, ..answer.without("Content-Length") }
            }
            false => answer,
        });
        publisher.follow(&bench, &url(server.port()), QUICK);
        bench.run(&["check"]).refused(26, &format!("longer than {limit} bytes"));
    }
}

#[test]
fn attack_slow_retrieval_is_given_up() {
    let (bench, publisher, _) = offered();
    let server = publisher.serve(|_, answer| match answer.body.len() {
        0 => answer,
        _ => answer.cut(1, Then::Drip),
    });
    publisher.follow(&bench, &url(server.port()), QUICK);
    let before = bench.untouchables();
    bench.run(&["check"]).refused(25, "given up after 2 tries");
    assert_eq!(bench.untouchables(), before);
    assert_eq!(
        server.asked().iter().filter(|asked| asked.target == "/stable.channel.json").count(),
        2,
        "as many tries as the configuration says"
    );
}

#[test]
fn mix_and_match_on_a_server_is_refused_before_the_slot_is_touched() {
    let (bench, publisher, _) = offered();
    let other = bench.bundle(&Spec { version: "2.5.0", ..Spec::default() });
    fs::copy(&other.path, publisher.path("bundles/router-2.0.0.daruma")).unwrap();
    let server = publisher.serve(|_, answer| answer);
    publisher.follow(&bench, &url(server.port()), QUICK);
    let before = bench.untouchables();
    bench.run(&["update"]).refused(28, "not the bundle that the channel names");
    assert_eq!(bench.untouchables(), before);
}

#[test]
fn a_server_without_the_channel_is_said() {
    let (bench, publisher, _) = offered();
    fs::remove_file(publisher.path("stable.channel.json")).unwrap();
    let server = publisher.serve(|_, answer| answer);
    publisher.follow(&bench, &url(server.port()), QUICK);
    refused(&bench, 28, "stable.channel.json is missing");
}

// The daemon looks by itself.

const POLL: &str = "poll-s = 1\n";

#[test]
fn the_daemon_finds_a_release_installs_it_and_reboots_and_what_fails_is_not_pulled_again() {
    let (bench, mut publisher, made) = offered();
    let server = publisher.serve(|_, answer| answer);
    publisher.follow(&bench, &url(server.port()), POLL);
    let mut daemon = Daemon::start(&bench);
    daemon.says("installed 2.0.0 into slot B");
    daemon.ends().succeeded();
    assert!(bench.path("rebooted").exists());
    assert!(made.is_in_slot_b(&bench));

    // The release fails, and the old system comes back.
    assert_eq!(bench.boot(), Some(Slot::B));
    bench.check("10-fails", "echo no uplink; exit 3");
    loop {
        Daemon::start(&bench).ends().succeeded();
        if bench.boot() == Some(Slot::A) {
            break;
        }
    }
    fs::remove_file(bench.path("etc/daruma/health.d/10-fails")).unwrap();
    let mut seen = server.asked().len();
    let mut daemon = Daemon::start(&bench);
    daemon.says("2.0.0 is not taken: it failed on this device before");
    let asked = targets(&server, &mut seen);
    assert!(asked.iter().all(|target| !target.starts_with("/bundles/")), "{asked:?}");
    // The daemon takes the mended release.
    let mended = bench.bundle(&Spec { version: "2.0.1", ..Spec::default() });
    publisher.offer(&mended);
    publisher.put_channel();
    daemon.says("installed 2.0.1 into slot B");
    daemon.ends().succeeded();
    assert!(mended.is_in_slot_b(&bench));
}

#[test]
fn the_daemon_waits_for_its_window_and_does_not_download_over_a_metered_link() {
    let (bench, publisher, made) = offered();
    let folder = publisher.path("").to_str().unwrap().to_owned();
    let minutes = |s: u64| format!("{:02}:{:02}", s / 3600 % 24, s / 60 % 60);
    let hour = now().seconds();
    let closed = format!("window = \"{}-{}\"\n", minutes(hour + 7200), minutes(hour + 10_800));
    publisher.follow(&bench, &folder, &format!("{POLL}{closed}"));
    let mut daemon = Daemon::start(&bench);
    daemon.says(
        "2.0.0 (build build-2.0.0, at most 6.32 MB) is to be installed over 1.0.0; the install \
            waits for the window",
    );
    daemon.stop().succeeded();
    // The metered-command reports a metered link.
    publisher.follow(&bench, &folder, &format!("{POLL}metered-command = [\"true\"]"));
    let mut daemon = Daemon::start(&bench);
    daemon.says("the link is metered");
    daemon.stop().succeeded();
    assert!(!made.is_in_slot_b(&bench));
    // A person's command counts more than the metered link.
    bench.run(&["update"]).succeeded();
    assert!(made.is_in_slot_b(&bench));
    publisher.follow(&bench, &folder, &format!("{POLL}{closed}"));
    let mut daemon = Daemon::start(&bench);
    daemon
        .says("2.0.0 is installed and starts with the next boot; the reboot waits for the window");
    daemon.stop().succeeded();
    publisher.follow(&bench, &folder, &format!("{POLL}reboot = \"by-hand\""));
    let mut daemon = Daemon::start(&bench);
    daemon.says("starts with the next boot; reboot to start it");
    daemon.stop().succeeded();
    assert!(!bench.path("rebooted").exists());
    let open = format!("window = \"{}-{}\"\n", minutes(hour + 86_400 - 3600), minutes(hour + 3600));
    publisher.follow(&bench, &folder, &format!("{POLL}{open}metered-command = [\"false\"]"));
    let mut daemon = Daemon::start(&bench);
    daemon.says("starts with the next boot; rebooting");
    daemon.ends().succeeded();
    assert!(bench.path("rebooted").exists());
}
