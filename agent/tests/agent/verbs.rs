//! The verbs `mark` and `rollback`.
//!
//! `bench` makes the device and boots it as GRUB would.

use image_layout::Slot;

use crate::bench::{Bench, Spec};

/// Returns a device that runs 2.0.0 from B, committed, with 1.0.0 in A.
fn updated() -> Bench {
    let bench = Bench::new();
    bench.install(&bench.bundle(&Spec::default()).path).succeeded();
    assert_eq!(bench.boot(), Some(Slot::B));
    bench.run(&["mark", "good"]).succeeded();
    bench
}

#[test]
fn marking_the_slot_on_trial_good_commits_it() {
    let bench = updated();
    let status = bench.status();
    assert_eq!((&status["state"], &status["boots_next"]), (&"committed".into(), &"B".into()));
    assert_eq!(status["slots"]["B"]["tries"], 0);
    assert_eq!(status["events"].as_array().unwrap().last().unwrap()["kind"], "marked-good");
}

#[test]
fn marking_the_running_slot_bad_makes_the_other_one_boot() {
    let bench = updated();
    let ended = bench.run(&["mark", "bad"]);
    assert!(ended.stdout.contains("the next boot takes slot A"), "{ended:?}");
    assert_eq!(bench.boot(), Some(Slot::A));
    assert_eq!(bench.status()["quarantined"][0]["version"], "2.0.0");
}

#[test]
fn marking_the_last_slot_bad_is_refused() {
    let bench = Bench::new();
    let before = bench.bytes("esp");
    bench.run(&["mark", "bad", "A"]).refused(17, "the only slot");
    assert!(before == bench.bytes("esp"));
}

#[test]
fn an_empty_slot_cannot_be_marked_good() {
    let bench = Bench::new();
    let before = bench.bytes("esp");
    bench.run(&["mark", "good", "B"]).refused(12, "the slot holds no system");
    assert!(before == bench.bytes("esp"));
}

#[test]
fn a_roll_back_puts_the_other_slot_on_trial() {
    let bench = updated();
    let ended = bench.run(&["rollback"]);
    assert!(ended.stdout.contains("slot A (1.0.0) is on trial"), "{ended:?}");
    assert_eq!(bench.state().trial, Some(Slot::A));
    assert_eq!(bench.boot(), Some(Slot::A));
    assert_eq!(bench.status()["state"], "trial");
}

#[test]
fn a_roll_back_to_an_empty_slot_is_refused() {
    let bench = Bench::new();
    let before = bench.bytes("esp");
    bench.run(&["rollback"]).refused(17, "nothing to roll back to");
    assert!(before == bench.bytes("esp"));
}

#[test]
fn a_roll_back_while_on_trial_is_refused_and_mark_bad_leaves_the_trial() {
    let bench = Bench::new();
    bench.install(&bench.bundle(&Spec::default()).path).succeeded();
    assert_eq!(bench.boot(), Some(Slot::B));
    let before = bench.bytes("esp");
    bench.run(&["rollback"]).refused(17, "daruma mark bad");
    assert!(before == bench.bytes("esp"));
    bench.run(&["mark", "bad"]).succeeded();
    assert_eq!(bench.state().trial, None);
    assert_eq!(bench.boot(), Some(Slot::A));
}

#[test]
fn the_status_text_names_slots_versions_and_what_happened() {
    let bench = updated();
    std::fs::write(bench.path("run/daruma/init.log"), "the upper of slot B was made anew\n")
        .unwrap();
    let text = bench.run(&["status"]).stdout;
    println!("{text}");
    for part in [
        "running   router 2.0.0 from slot B, committed",
        "next boot slot B",
        " * B     2.0.0           0 of 9  good",
        "   A     1.0.0           0 of 9  good",
        "B 2.0.0  installed",
        "the upper of slot B was made anew",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}
