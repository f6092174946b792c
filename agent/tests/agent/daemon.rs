//! The daemon gives one boot's verdict.
//!
//! `bench` makes the device, and boots it again as GRUB would. The socket that systemd would read
//! tells the tests what the daemon does.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use image_layout::Slot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{Bench, Ended, Spec};

/// A running daemon, and the socket on which it reports to systemd.
pub(crate) struct Daemon {
    child: Option<Child>,
    socket: UnixDatagram,
}

impl Daemon {
    pub(crate) fn start(bench: &Bench) -> Self {
        Self::start_with(bench, &[])
    }

    fn start_with(bench: &Bench, variables: &[(&str, &str)]) -> Self {
        let path = bench.path("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut command = bench.command(&["daemon"]);
        command.env("NOTIFY_SOCKET", &path).envs(variables.iter().copied());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child: Some(child), socket }
    }

    /// Waits for a message that contains `part`.
    #[track_caller]
    pub(crate) fn says(&self, part: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self
                .socket
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("waiting for {part:?}: {error}"));
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.contains(part) {
                return message;
            }
        }
    }

    pub(crate) fn stop(&mut self) -> Ended {
        let child = self.child.take().unwrap();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        Ended::of(child)
    }

    pub(crate) fn ends(&mut self) -> Ended {
        Ended::of(self.child.take().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns a device on which 2.0.0 was installed into B and booted.
fn on_trial() -> Bench {
    let bench = Bench::new();
    bench.install(&bench.bundle(&Spec::default()).path).succeeded();
    assert_eq!(bench.boot(), Some(Slot::B));
    bench
}

/// Lets the trial of B fail by a health check until GRUB takes A.
fn fall_back(bench: &Bench) {
    bench.config_with_reboot("deadline-s = 1\n");
    bench.check("10-fails", "echo no uplink; exit 3");
    loop {
        Daemon::start(bench).ends().succeeded();
        assert!(bench.path("rebooted").exists());
        if bench.boot() == Some(Slot::A) {
            break;
        }
    }
    fs::remove_file(bench.path("etc/daruma/health.d/10-fails")).unwrap();
}

#[track_caller]
fn last_event(bench: &Bench) -> (String, String) {
    let status = bench.status();
    let event = status["events"].as_array().unwrap().last().unwrap();
    (event["kind"].as_str().unwrap().to_owned(), event["reason"].as_str().unwrap().to_owned())
}

#[test]
fn a_healthy_trial_is_committed() {
    let bench = on_trial();
    bench.check("10-passes", "exit 0");
    let mut daemon = Daemon::start(&bench);
    daemon.says("READY=1");
    daemon.says("slot B is healthy and committed");
    let status = bench.status();
    assert_eq!((&status["state"], &status["health"]), (&"committed".into(), &"healthy".into()));
    assert_eq!(status["slots"]["B"]["tries"], 0);
    assert_eq!(last_event(&bench).0, "committed");
    daemon.stop().succeeded();
    assert_eq!(bench.boot(), Some(Slot::B));
}

#[test]
fn an_idle_daemon_does_not_hold_the_lock() {
    let bench = Bench::new();
    let daemon = Daemon::start(&bench);
    daemon.says("slot A is healthy");
    bench.install(&bench.bundle(&Spec::default()).path).succeeded();
    drop(daemon);
}

#[test]
fn a_healthy_boot_of_a_committed_slot_starts_its_count_anew() {
    let bench = Bench::new();
    for _ in 0..5 {
        assert_eq!(bench.boot(), Some(Slot::A));
    }
    assert_eq!(bench.state().a.tries, 5);
    let mut daemon = Daemon::start(&bench);
    daemon.says("slot A is healthy");
    assert_eq!(bench.state().a.tries, 0);
    daemon.stop().succeeded();
}

#[test]
fn a_check_that_passes_later_is_waited_for() {
    let bench = on_trial();
    let flag = bench.path("uplink");
    bench.check("10-uplink", &format!("test -e {}", flag.display()));
    let mut daemon = Daemon::start(&bench);
    daemon.says("1 health checks");
    fs::write(flag, "").unwrap();
    daemon.says("healthy and committed");
    daemon.stop().succeeded();
}

#[test]
fn a_trial_that_fails_is_left_after_three_boots_reported_and_quarantined() {
    let bench = on_trial();
    let bundle = bench.path("2.0.0.daruma");
    fall_back(&bench);
    assert_eq!(
        bench.status()["events"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["kind"] == "health-failed")
            .count(),
        3
    );
    let mut daemon = Daemon::start(&bench);
    daemon.says(
        "fell back from slot B (2.0.0) to slot A: not healthy after 3 boots: health check \
        10-fails exited with 3: no uplink",
    );
    daemon.says("slot A is healthy");
    daemon.stop().succeeded();
    assert!(!bench.state().b.ok);
    assert_eq!(bench.state().trial, None);
    assert_eq!(last_event(&bench).0, "fell-back");
    bench.install(&bundle).refused(21, "10-fails exited with 3: no uplink");
    bench.run(&["install", "--allow-quarantined", bundle.to_str().unwrap()]).succeeded();
    // After a second start the daemon has nothing to report.
    let events = bench.status()["events"].as_array().unwrap().len();
    let mut daemon = Daemon::start(&bench);
    daemon.says("slot A is healthy");
    daemon.stop().succeeded();
    assert_eq!(bench.status()["events"].as_array().unwrap().len(), events);
}

#[test]
fn a_check_that_hangs_fails_at_the_deadline() {
    let bench = on_trial();
    bench.config_with_reboot("deadline-s = 1\ncheck-timeout-s = 60\n");
    bench.check("10-hangs", "echo waiting; exec sleep 1000");
    Daemon::start(&bench).ends().succeeded();
    let (kind, reason) = last_event(&bench);
    assert_eq!(kind, "health-failed");
    assert!(
        reason.contains("10-hangs took longer than") && reason.ends_with("was killed: waiting"),
        "{reason}"
    );
}

#[test]
fn what_daruma_init_reports_is_the_reason_of_the_fall_back() {
    let bench = on_trial();
    let file = bench.path("var/lib/daruma/init-failures");
    fs::write(&file, "slot=B version=2.0.0 reason=root image is corrupt\n").unwrap();
    bench.boot();
    bench.boot();
    assert_eq!(bench.boot(), Some(Slot::A));
    let mut daemon = Daemon::start(&bench);
    daemon.says("not healthy after 3 boots: root image is corrupt");
    daemon.says("slot A is healthy");
    daemon.stop().succeeded();
    assert!(!file.exists());
}

#[test]
fn a_trial_that_grub_cannot_load_is_reported_as_such() {
    let bench = Bench::new();
    bench.install(&bench.bundle(&Spec::default()).path).succeeded();
    assert_eq!(bench.boot_unless(|slot| slot == Slot::B), Some(Slot::A));
    let mut daemon = Daemon::start(&bench);
    daemon.says("not healthy after 1 boot: GRUB could not load its boot image");
    daemon.says("slot A is healthy");
    daemon.stop().succeeded();
    assert!(!bench.state().b.ok);
}

#[test]
fn a_trial_that_dies_silently_is_reported_as_never_checked() {
    let bench = on_trial();
    bench.boot();
    bench.boot();
    assert_eq!(bench.boot(), Some(Slot::A));
    let mut daemon = Daemon::start(&bench);
    daemon.says("the system never reached its health checks");
    daemon.says("slot A is healthy");
    daemon.stop().succeeded();
}

#[test]
fn an_update_that_waits_for_its_first_boot_is_not_taken_for_a_fall_back() {
    let bench = Bench::new();
    bench.boot();
    bench.install(&bench.bundle(&Spec::default()).path).succeeded();
    let mut daemon = Daemon::start(&bench);
    daemon.says("slot A is healthy");
    daemon.stop().succeeded();
    assert_eq!(bench.state().trial, Some(Slot::B));
    assert_eq!(bench.boot(), Some(Slot::B));
}

#[test]
fn a_system_that_was_fallen_back_to_and_fails_too_stays_up_degraded_and_recovers() {
    let bench = on_trial();
    fall_back(&bench);
    let flag = bench.path("uplink");
    bench.check(
        "20-uplink",
        &format!("test -e {} || {{ echo no uplink here either; exit 1; }}", flag.display()),
    );
    let mut daemon = Daemon::start(&bench);
    daemon.says(
        "slot A is degraded, and there is nothing better to boot: health check 20-uplink exited \
            with 1",
    );
    assert!(!bench.path("rebooted").exists());
    let status = bench.status();
    assert_eq!(status["health"], "degraded");
    assert!(status["degraded_because"].as_str().unwrap().contains("no uplink here either"));
    // A restarted daemon does not reboot the device either.
    daemon.stop().succeeded();
    let mut daemon = Daemon::start(&bench);
    daemon.says("READY=1");
    fs::write(flag, "").unwrap();
    daemon.says("slot A is healthy");
    assert_eq!(bench.status()["health"], "healthy");
    assert_eq!(last_event(&bench).0, "recovered");
    assert_eq!(bench.state().a.tries, 0);
    daemon.stop().succeeded();
}

#[test]
fn a_committed_system_that_fails_nine_boots_is_left_for_the_other_slot_once() {
    let bench = on_trial();
    bench.run(&["mark", "good"]).succeeded();
    bench.config_with_reboot("deadline-s = 1\n");
    bench.check("10-fails", "exit 1");
    let mut state = bench.state();
    state.b.tries = 7;
    bench.set_state(&state);
    for _ in 0..2 {
        assert_eq!(bench.boot(), Some(Slot::B));
        Daemon::start(&bench).ends().succeeded();
        assert!(bench.path("rebooted").exists());
    }
    assert_eq!(bench.boot(), Some(Slot::A));
    let mut daemon = Daemon::start(&bench);
    daemon.says("fell back from slot B (2.0.0) to slot A");
    daemon.says("slot A is degraded");
    daemon.stop().succeeded();
    assert_eq!(bench.boot(), Some(Slot::A));
}

#[test]
fn a_damaged_environment_is_healed_at_the_start() {
    let bench = Bench::new();
    let mut esp = bench.bytes("esp");
    let place = esp.windows(24).position(|window| window == b"# GRUB Environment Block").unwrap();
    esp[place..place + 1024].fill(0xff);
    fs::write(bench.path("esp"), esp).unwrap();
    let mut daemon = Daemon::start(&bench);
    daemon.says("slot A is healthy");
    daemon.stop().succeeded();
    assert_eq!(bench.status()["environment_damage"].as_array().unwrap().len(), 0);
    assert_eq!(last_event(&bench).0, "environment-healed");
    assert_eq!(bench.boot(), Some(Slot::A));
}

#[test]
fn a_daemon_without_a_usable_state_file_still_commits() {
    let bench = on_trial();
    fs::remove_dir_all(bench.path("var/lib")).unwrap();
    fs::write(bench.path("var/lib"), "not a folder").unwrap();
    let mut daemon = Daemon::start(&bench);
    daemon.says("healthy and committed");
    let ended = daemon.stop();
    ended.succeeded();
    assert!(ended.stderr.contains("state.json"), "{ended:?}");
    assert_eq!(bench.state().trial, None);
}

#[test]
fn a_restarted_daemon_does_not_check_a_healthy_system_again() {
    let bench = on_trial();
    let mut daemon = Daemon::start(&bench);
    daemon.says("healthy and committed");
    daemon.stop().succeeded();
    bench.config_with_reboot("deadline-s = 1\n");
    bench.check("10-fails", "exit 1");
    let mut daemon = Daemon::start(&bench);
    daemon.says("slot B is healthy");
    daemon.stop().succeeded();
    assert!(!bench.path("rebooted").exists());
}

#[test]
fn signs_of_life_go_to_systemd_and_to_the_configured_watchdog() {
    let bench = Bench::new();
    let device = bench.path("watchdog");
    fs::write(&device, "").unwrap();
    bench.config("[watchdog]\ndevice = \"/watchdog\"\ntimeout-s = 1\n");
    let mut daemon = Daemon::start_with(&bench, &[("WATCHDOG_USEC", "200000")]);
    for _ in 0..4 {
        daemon.says("WATCHDOG=1");
    }
    assert!(bench.path("run/daruma/healthy").exists());
    daemon.stop().succeeded();
    let fed = fs::read(device).unwrap();
    assert!(fed.len() > 4 && fed.ends_with(b"\0V"), "{fed:?}");
}

#[test]
fn a_daemon_that_is_stopped_before_its_verdict_leaves_the_watchdog_armed() {
    let bench = on_trial();
    let device = bench.path("watchdog");
    fs::write(&device, "").unwrap();
    bench.config("[health]\nretry-s = 1\n[watchdog]\ndevice = \"/watchdog\"\ntimeout-s = 1\n");
    bench.check("10-fails", "exit 1");
    let mut daemon = Daemon::start(&bench);
    daemon.says("1 health checks");
    let ended = daemon.stop();
    ended.succeeded();
    let fed = fs::read(device).unwrap();
    assert!(!fed.is_empty() && !fed.contains(&b'V'), "{fed:?}");
}

/// A configuration with a slip in a key's name.
const UNUSABLE: &str = "[health]\ndead-line-s = 3\n";

#[test]
fn an_unusable_configuration_does_not_stop_the_daemon_of_a_committed_system() {
    let bench = Bench::new();
    for _ in 0..5 {
        assert_eq!(bench.boot(), Some(Slot::A));
    }
    bench.config(UNUSABLE);
    // daruma-init has armed the watchdog, and no systemd feeds it here.
    let device = bench.path("dev/watchdog");
    fs::create_dir_all(device.parent().unwrap()).unwrap();
    fs::write(&device, "").unwrap();
    let mut daemon = Daemon::start(&bench);
    daemon.says("the daemon works with the defaults");
    daemon.says("slot A is healthy");
    assert_eq!(bench.state().a.tries, 0);
    // A task of its own feeds the watchdog, beside the checks.
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::read(&device).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the watchdog is not fed");
        std::thread::yield_now();
    }
    // A person sees the error, and sees that the settings do not count.
    let warnings = bench.status()["warnings"].to_string();
    assert!(warnings.contains("line 2: unknown field `dead-line-s`"), "{warnings}");
    assert!(warnings.contains("works with the defaults"), "{warnings}");
    let ended = bench.install(&bench.bundle(&Spec::default()).path);
    ended.refused(23, "dead-line-s");
    daemon.stop().succeeded();
}

#[test]
fn a_system_on_trial_is_not_committed_with_an_unusable_configuration() {
    let bench = on_trial();
    bench.config(UNUSABLE);
    let ended = Daemon::start(&bench).ends();
    // Without a configuration this bench has no command that reboots.
    ended.refused(1, "not the machine");
    assert_eq!(bench.state().trial, Some(Slot::B));
    assert_eq!(last_event(&bench).0, "health-failed");
    assert!(last_event(&bench).1.contains("dead-line-s"));
    while bench.boot() == Some(Slot::B) {}
    bench.config("");
    let mut daemon = Daemon::start(&bench);
    daemon.says("fell back from slot B");
    daemon.stop().succeeded();
}

#[test]
fn a_device_in_a_folder_never_reboots_the_machine_that_it_lies_on() {
    let bench = on_trial();
    bench.config("[health]\nretry-s = 1\ndeadline-s = 1\n");
    bench.check("10-fails", "exit 1");
    let ended = Daemon::start(&bench).ends();
    ended.refused(1, "not the machine");
}

#[test]
fn the_built_in_checks_of_the_configuration_are_run() {
    let bench = on_trial();
    bench.config_with_reboot("deadline-s = 1\nprocess = [\"dnsmasq\"]\n");
    Daemon::start(&bench).ends().succeeded();
    assert!(last_event(&bench).1.contains("process dnsmasq does not run"));
    bench.config_with_reboot("deadline-s = 1\ndefault-route = true\n");
    Daemon::start(&bench).ends().succeeded();
    assert!(last_event(&bench).1.contains("default-route found none"));
}
