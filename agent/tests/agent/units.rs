//! The units as a measure of health, from the first boot to a fall-back.
//!
//! A script stands in for `systemctl` and prints what the test has put into its files. The machine
//! that runs the tests may have no systemd, and its units are not meant. `tests/machines/units.rs`
//! asks a real systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use image_layout::Slot;

use crate::bench::{Bench, Spec};
use crate::daemon::Daemon;

const BASELINE: &str = "var/lib/daruma/units.json";
const ACTIVE: &str = "ActiveState=active";
const FAILED: &str = "ActiveState=failed Result=exit-code";
const STARTING: &str = "ActiveState=activating SubState=start";
/// The reason of a fall-back.
const REASON: &str = "unit ssh.service was active in 1.0.0 and has failed (exit-code)";

/// A device with systemd.
struct Units(Bench);

impl Units {
    fn new() -> Self {
        let bench = Bench::new();
        for folder in ["run/systemd/system", "bin", "systemd", "usr/lib/daruma"] {
            fs::create_dir_all(bench.path(folder)).unwrap();
        }
        let script = format!(
            "#!/bin/sh\nfor word; do case $word in list-*|show) exec cat {}/$word;; esac; done\n",
            bench.path("systemd").display()
        );
        let path = bench.path("bin/systemctl");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(bench)
    }

    /// Gives systemd these units. The default target wants those that have `true`.
    fn set(&self, units: &[(&str, bool, &str)]) {
        let (mut wanted, mut show) = ("default.target\n".to_owned(), String::new());
        for (name, is_wanted, properties) in units {
            if *is_wanted {
                wanted += &format!("  {name}\n");
            }
            let properties = properties.replace(' ', "\n");
            show += &format!("Id={name}\nLoadState=loaded\n{properties}\n\n");
        }
        for (name, text) in
            [("list-dependencies", &wanted), ("list-units", &wanted), ("show", &show)]
        {
            // The daemon must not read half a file.
            let aside = self.0.path("systemd/new");
            fs::write(&aside, text).unwrap();
            fs::rename(aside, self.0.path(&format!("systemd/{name}"))).unwrap();
        }
    }

    /// Lets the daemon of the committed system run until `settled` holds for the baseline's text.
    fn keep(&self, settled: impl Fn(&str) -> bool) {
        let daemon = Daemon::start(&self.0);
        daemon.says("is healthy");
        let deadline = Instant::now() + Duration::from_secs(30);
        while !settled(&fs::read_to_string(self.0.path(BASELINE)).unwrap_or_default()) {
            assert!(Instant::now() < deadline, "the baseline is not kept");
            std::thread::yield_now();
        }
    }

    /// Returns a device whose 1.0.0 had ssh active, and that has booted 2.0.0 on trial.
    fn on_trial() -> Self {
        let this = Self::new();
        this.set(&[("ssh.service", true, ACTIVE), ("later.service", true, FAILED)]);
        this.keep(|text| text.contains("ssh.service"));
        assert!(!fs::read_to_string(this.0.path(BASELINE)).unwrap().contains("later"));
        this.boot_update();
        this
    }

    fn boot_update(&self) {
        self.0.install(&self.0.bundle(&Spec::default()).path).succeeded();
        assert_eq!(self.0.boot(), Some(Slot::B));
        self.0.config_with_reboot("deadline-s = 2\n");
    }

    #[track_caller]
    fn is_given_up(&self, reason: &str) {
        Daemon::start(&self.0).ends().succeeded();
        assert!(self.0.path("rebooted").exists());
        let status = self.0.status();
        let event = status["events"].as_array().unwrap().last().unwrap();
        assert_eq!((&event["kind"], &event["reason"]), (&"health-failed".into(), &reason.into()));
    }

    #[track_caller]
    fn commits(&self) {
        let daemon = Daemon::start(&self.0);
        daemon.says("slot B is healthy and committed");
        drop(daemon);
        assert!(!self.0.path("rebooted").exists());
    }

    fn warnings(&self) -> String {
        self.0.status()["warnings"].to_string()
    }
}

#[test]
fn a_unit_that_worked_before_and_fails_on_trial_is_the_reason_of_the_fall_back() {
    let units = Units::on_trial();
    units.set(&[("ssh.service", true, FAILED)]);
    units.is_given_up(REASON);
    while units.0.boot() == Some(Slot::B) {}
    let daemon = Daemon::start(&units.0);
    daemon.says(&format!(
        "fell back from slot B (2.0.0) to slot A: not healthy after 3 boots: {REASON}"
    ));
    // The system that was fallen back to is not judged by its units.
    daemon.says("slot A is healthy");
    assert!(units.warnings().contains(REASON));
}

#[test]
fn a_unit_that_works_on_trial_too_commits_and_the_next_version_is_the_baseline() {
    let units = Units::on_trial();
    units.set(&[("ssh.service", true, ACTIVE), ("new.service", true, ACTIVE)]);
    units.keep(|text| text.contains("2.0.0") && text.contains("new.service"));
    let status = units.0.status();
    assert_eq!(status["state"], "committed");
    let wanted = serde_json::json!({ "baseline": "kept", "version": "2.0.0", "count": 2 });
    assert_eq!(status["units"], wanted);
    let text = units.0.run(&["status"]).stdout;
    assert!(text.contains("units     2 of 2.0.0 must work in the next system"), "{text}");
}

#[test]
fn a_unit_that_starts_slowly_is_waited_for() {
    let units = Units::on_trial();
    units.0.config_with_reboot("deadline-s = 20\n");
    units.set(&[("ssh.service", true, STARTING)]);
    let daemon = Daemon::start(&units.0);
    daemon.says("0 health checks, 1 units");
    units.set(&[("ssh.service", true, ACTIVE)]);
    daemon.says("healthy and committed");
}

#[test]
fn a_unit_that_is_still_starting_at_the_deadline_is_a_reason() {
    let units = Units::on_trial();
    units.set(&[("ssh.service", true, STARTING)]);
    units.is_given_up("unit ssh.service was active in 1.0.0 and is still starting (start)");
}

#[test]
fn a_unit_that_is_dropped_or_that_a_person_has_disabled_is_not_asked_for() {
    let units = Units::on_trial();
    units.set(&[("ssh.service", false, "ActiveState=inactive")]);
    units.commits();
}

#[test]
fn a_new_unit_that_fails_is_a_warning() {
    let units = Units::on_trial();
    units.set(&[("ssh.service", true, ACTIVE), ("new.service", true, FAILED)]);
    units.commits();
    assert!(units.warnings().contains("unit new.service has failed (exit-code)"));
}

#[test]
fn a_system_that_is_not_on_trial_is_never_rebooted_for_a_unit() {
    let units = Units::new();
    units.set(&[("ssh.service", true, ACTIVE)]);
    units.keep(|text| text.contains("ssh.service"));
    assert_eq!(units.0.boot(), Some(Slot::A));
    units.set(&[("ssh.service", true, FAILED)]);
    // Nor is it asked for in the next version: it did not work in this one.
    units.keep(|text| !text.contains("ssh.service"));
    assert!(units.warnings().contains("unit ssh.service has failed (exit-code)"));
    units.boot_update();
    units.commits();
}

#[test]
fn without_a_baseline_the_units_that_the_recipe_names_count() {
    for (baseline, status) in [(None, "none"), (Some("{\"format\": 1, \"ver"), "damaged")] {
        let units = Units::new();
        units.boot_update();
        units.set(&[("ssh.service", true, FAILED)]);
        if let Some(text) = baseline {
            fs::write(units.0.path(BASELINE), text).unwrap();
        }
        assert_eq!(units.0.status()["units"]["baseline"], status);
        assert_eq!(units.warnings().contains("going on without a baseline"), baseline.is_some());
        fs::write(units.0.path("usr/lib/daruma/health-units"), "ssh.service\n").unwrap();
        let reason = "unit ssh.service is one of the recipe's health-units and has failed \
            (exit-code)";
        units.is_given_up(reason);
        // Nobody names it: the update is committed, as without units.
        fs::remove_file(units.0.path("usr/lib/daruma/health-units")).unwrap();
        let _ = fs::remove_file(units.0.path("rebooted"));
        units.commits();
    }
}

#[test]
fn a_first_version_whose_named_units_fail_is_degraded_until_they_work() {
    let units = Units::new();
    fs::write(units.0.path("usr/lib/daruma/health-units"), "ssh.service\n").unwrap();
    units.0.config_with_reboot("deadline-s = 2\n");
    units.set(&[("ssh.service", true, FAILED)]);
    let daemon = Daemon::start(&units.0);
    daemon.says("slot A is degraded, and there is nothing better to boot: unit ssh.service is one");
    units.set(&[("ssh.service", true, ACTIVE)]);
    daemon.says("slot A is healthy");
    assert!(!units.0.path("rebooted").exists());
}

#[test]
fn a_unit_is_no_reason_where_there_is_no_other_system() {
    let units = Units::on_trial();
    units.set(&[("ssh.service", true, FAILED)]);
    let mut state = units.0.state();
    state.a.ok = false;
    units.0.set_state(&state);
    units.commits();
}

#[test]
fn a_roll_back_by_hand_leads_to_a_system_that_need_not_have_the_newer_ones_units() {
    let units = Units::on_trial();
    units.set(&[("new.service", true, ACTIVE)]);
    units.keep(|text| text.contains("new.service"));
    units.0.run(&["rollback"]).succeeded();
    assert_eq!(units.0.boot(), Some(Slot::A));
    units.set(&[("new.service", true, FAILED)]);
    Daemon::start(&units.0).says("slot A is healthy and committed");
    assert!(!units.0.path("rebooted").exists());
}

#[test]
fn a_unit_is_no_reason_any_more_once_a_person_has_committed_the_system() {
    let units = Units::on_trial();
    units.0.config_with_reboot("deadline-s = 4\n");
    units.set(&[("ssh.service", true, FAILED)]);
    let daemon = Daemon::start(&units.0);
    daemon.says("0 health checks, 1 units");
    units.0.run(&["mark", "good"]).succeeded();
    daemon.says("slot B is healthy");
    assert!(!units.0.path("rebooted").exists());
}

#[test]
fn the_configuration_turns_the_units_off_or_ignores_some() {
    for (line, baseline) in
        [("baseline = \"off\"", "off"), ("ignore-units = [\"ss*.service\"]", "kept")]
    {
        let units = Units::on_trial();
        units.set(&[("ssh.service", true, FAILED)]);
        units.0.config_with_reboot(&format!("deadline-s = 2\n{line}\n"));
        assert_eq!(units.0.status()["units"]["baseline"], baseline);
        assert_eq!(units.warnings(), "[]");
        units.commits();
    }
}

#[test]
fn a_systemctl_that_does_not_answer_is_a_reason() {
    let units = Units::on_trial();
    fs::remove_file(units.0.path("systemd/show")).unwrap();
    Daemon::start(&units.0).ends().succeeded();
    let events = units.0.status()["events"].to_string();
    assert!(events.contains("asking systemd for its units: systemctl exited with 1"), "{events}");
}

#[test]
fn without_systemd_the_status_says_so_once() {
    let bench = Bench::new();
    let text = bench.run(&["status"]).stdout;
    assert_eq!(text.matches("this system has no systemd").count(), 1, "{text}");
    assert_eq!(bench.status()["units"]["baseline"], "no-systemd");
}
