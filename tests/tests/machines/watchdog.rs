//! Lets parts of the system hang, and checks that the hardware watchdog resets the machine.
//!
//! `tests::trial_disk` makes the disks, and `tests::qmp` reports the reset. GRUB then takes the old
//! system, because the new system begins on its last try. So every case is one boot, one hang and
//! the way back. The printed times are those of `docs/operating.md`. The watchdog is set to 10 s.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::fixture::Fixture;
use tests::qmp::{Qmp, QmpListener};
use tests::trial_disk;
use tests::vm::{Firmware, Machine, Size, Vm};

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 300;
/// Seconds within which a hanging machine must be reset: the 10 s of the watchdog, and much more
/// for a slow host.
const RESET: u64 = 60;
const TINY: &str = "tests/recipes/tiny.yaml";

/// A machine with 1.0.0 in slot A. If there is a recipe, B holds 3.0.0 of it, on its last try.
struct Bench {
    vm: Vm,
    qmp: Qmp,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn start(on_trial: Option<&str>) -> Result<Self> {
        let fixture = Fixture::open()?;
        let factory = fixture.disk(&fixture.bundle(TINY, "1.0.0")?)?;
        let dir = tempfile::tempdir()?;
        let disk = dir.path().join("disk.raw");
        trial_disk::copy(&factory, &disk)?;
        if let Some(recipe) = on_trial {
            trial_disk::put_on_trial(&disk, &fixture.bundle(recipe, "3.0.0")?, 2)?;
        }
        let log = dir.path().join("serial.log");
        let machine = Machine {
            disk,
            format: "raw",
            data: None,
            firmware: Firmware::Bios,
            size: Size::Tiny,
            log,
        };
        let listener = QmpListener::new(dir.path())?;
        let drive = format!("file={},if=virtio,format=raw,cache=writeback", machine.disk.display());
        let options: Vec<&str> = listener.options.iter().map(String::as_str).collect();
        let vm = Vm::start_with(&machine, &drive, &options)?;
        let qmp = listener.accept()?;
        Ok(Self { vm, qmp, _dir: dir })
    }

    /// Limits the disk to `bytes_per_s`; 0 removes the limit.
    fn throttle(&mut self, bytes_per_s: u64) -> Result<()> {
        let limits = json!({ "device": "virtio0", "bps": bytes_per_s, "bps_rd": 0, "bps_wr": 0,
            "iops": 0, "iops_rd": 0, "iops_wr": 0 });
        self.qmp.command("block_set_io_throttle", limits).map(drop)
    }

    /// Waits until slot A is healthy again after the watchdog's reset, and prints how long that
    /// took.
    fn comes_back(&mut self, what: &str, hung: Instant, try_line: &str) -> Result<()> {
        self.qmp.event("WATCHDOG", RESET).with_context(|| what.to_owned())?;
        let reset_s = hung.elapsed().as_secs();
        self.throttle(0)?;
        let before = self.vm.expect(try_line, BOOT)?;
        ensure!(!before.contains("; rebooting"), "it was not the watchdog alone: {before}");
        self.vm.expect_all(&["tiny# ", "slot A is healthy"], BOOT)?;
        println!(
            "{what}: reset after {reset_s} s, slot A healthy after {} s",
            hung.elapsed().as_secs()
        );
        let status = self.vm.json("daruma status --json", 60)?;
        ensure!(
            status["running"] == "A"
                && status["state"] == "committed"
                && status["health"] == "healthy",
            "{status}"
        );
        Ok(())
    }
}

/// Boots the last try of a trial, lets `hang` do its work, and checks that the old system comes
/// back.
fn falls_back(what: &str, recipe: &str, hang: impl FnOnce(&mut Bench) -> Result<()>) -> Result<()> {
    let mut bench = Bench::start(Some(recipe))?;
    bench.vm.expect("slot B, try 3 of 3", BOOT)?;
    hang(&mut bench)?;
    let hung = Instant::now();
    bench.comes_back(what, hung, "slot B (on trial) has used up its 3 tries")?;
    let text = bench.vm.run("daruma status", 60)?.success()?;
    ensure!(
        text.contains("never reached its health checks"),
        "the status does not say why:\n{text}"
    );
    Ok(())
}

/// Does the same with a system whose checks never pass. Its shell runs `command` while the checks
/// run.
fn falls_back_after(what: &str, command: &str) -> Result<()> {
    falls_back(what, "tests/recipes/tiny-unhealthy.yaml", |bench| {
        bench.vm.expect_all(&["tiny# ", "slot B: 1 health checks"], BOOT)?;
        bench.vm.type_line(command)
    })
}

#[test]
fn a_disk_that_stalls_in_the_initramfs() -> Result<()> {
    falls_back("initramfs: the disk stalls", "tests/recipes/tiny-loud.yaml", |bench| {
        bench.vm.expect("daruma-init: watchdog armed, 10 s", BOOT)?;
        bench.throttle(1)
    })
}

#[test]
fn an_init_that_hangs() -> Result<()> {
    falls_back("init hangs", "tests/recipes/tiny-hang.yaml", |bench| {
        bench.vm.expect("doing nothing for ever (broken on purpose)", BOOT).map(drop)
    })
}

#[test]
fn an_agent_that_is_killed_before_its_verdict() -> Result<()> {
    falls_back_after("agent killed (SIGKILL) before its verdict", "kill -KILL $(pidof daruma)")
}

#[test]
fn an_agent_that_is_terminated_before_its_verdict() -> Result<()> {
    falls_back_after(
        "agent ended in order (SIGTERM) before its verdict",
        "kill -TERM $(pidof daruma)",
    )
}

#[test]
fn an_agent_that_is_stopped_before_its_verdict() -> Result<()> {
    falls_back_after("agent frozen (SIGSTOP) before its verdict", "kill -STOP $(pidof daruma)")
}

#[test]
fn a_kernel_that_panics_and_does_not_restart_by_itself() -> Result<()> {
    let command = "echo 0 > /proc/sys/kernel/panic; echo c > /proc/sysrq-trigger";
    falls_back_after("kernel panic without panic=", command)
}

#[test]
fn an_agent_that_dies_on_a_committed_system() -> Result<()> {
    let mut bench = Bench::start(None)?;
    bench.vm.expect_all(&["tiny# ", "slot A is healthy"], BOOT)?;
    for signal in ["STOP", "KILL"] {
        bench.vm.type_line(&format!("kill -{signal} $(pidof daruma)"))?;
        let what = format!("agent of a committed system, SIG{signal}");
        bench.comes_back(&what, Instant::now(), "slot A, try 1 of 9 (committed)")?;
    }
    Ok(())
}
