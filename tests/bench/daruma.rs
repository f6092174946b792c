//! A Daruma device in a folder, with the real agent.
//!
//! `slots` makes the partitions, and `process` measures the agent. Version 1.0.0 is committed in
//! slot A; installs write slot B.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use image_layout::{FileDisk, Partition, PartitionTable};
use tests::fixture::Fixture;

use crate::process::{self, Usage};
use crate::rauc::wait_for;
use crate::slots::{Kind, Slots};

/// A device in a folder and the agent that runs on it.
#[derive(Debug)]
pub(crate) struct Daruma {
    program: PathBuf,
    dir: PathBuf,
    slots: Slots,
    disk: PathBuf,
    esp: Partition,
}

impl Daruma {
    /// Takes ESP and slot A from the factory image `disk`. Slot B gets the given sizes (bytes).
    ///
    /// # Errors
    /// A file cannot be read or written, or the agent does not accept the folder as a device.
    pub(crate) fn new(
        fixture: &Fixture,
        dir: &Path,
        disk: &Path,
        boot_b: u64,
        root_b: u64,
        kind: Kind,
    ) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let table = PartitionTable::read(&FileDisk::open_read_only(disk)?)?;
        let find = |label: &str| {
            table.find(label).cloned().with_context(|| format!("no partition {label}"))
        };
        let [esp, boot_a, root_a] = [find("esp")?, find("boot-a")?, find("root-a")?];
        let sizes = [
            ("esp", esp.size),
            ("boot-a", boot_a.size),
            ("root-a", root_a.size),
            ("boot-b", boot_b),
            ("root-b", root_b),
        ];
        let slots = Slots::make(dir, &sizes, kind)?;
        for partition in [&boot_a, &root_a] {
            slots.load(&partition.label, disk, partition.offset, partition.size)?;
        }
        for folder in ["etc/daruma/keyring", "var/lib", "run/daruma"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        fs::write(dir.join("cmdline"), "daruma.slot=A daruma.try=1\n")?;
        fs::copy(fixture.repo("agent/dist/daruma.toml"), dir.join("etc/daruma/daruma.toml"))?;
        fs::copy(fixture.key("release.pub.pem"), dir.join("etc/daruma/keyring/release.pub.pem"))?;
        let (dir, disk) = (dir.to_owned(), disk.to_owned());
        let this = Self { program: fixture.program("daruma"), dir, slots, disk, esp };
        this.reset()?;
        process::run(&mut this.verb("status"))?;
        Ok(this)
    }

    /// Returns the partitions.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Restores the factory's environment and forgets the installs before.
    pub(crate) fn reset(&self) -> Result<()> {
        self.slots.load("esp", &self.disk, self.esp.offset, self.esp.size)?;
        let state = self.dir.join("var/lib/daruma");
        if state.exists() {
            fs::remove_dir_all(state)?;
        }
        fs::create_dir_all(self.dir.join("var/lib/daruma"))?;
        Ok(())
    }

    /// Installs a bundle. Returns the cost.
    pub(crate) fn install(&self, bundle: &Path) -> Result<Usage> {
        process::measure(self.verb("install").arg(bundle))
    }

    /// Makes the device follow the channel at `url`. The folder `repo` has the root document.
    pub(crate) fn follow(&self, repo: &str, url: &str) -> Result<()> {
        let etc = self.dir.join("etc");
        fs::copy(Path::new(repo).join("1.root.json"), etc.join("daruma/root.json"))?;
        fs::write(etc.join("machine-id"), "0123456789abcdef0123456789abcdef\n")?;
        Ok(fs::write(etc.join("daruma/daruma.toml"), format!("[channel]\nurl = \"{url}\"\n"))?)
    }

    /// Installs what the channel offers. Returns the cost.
    pub(crate) fn update(&self) -> Result<Usage> {
        process::measure(&self.verb("update"))
    }

    /// Runs the daemon until it has committed the running slot. Returns its resident memory in
    /// bytes.
    pub(crate) fn idle_daemon(&self) -> Result<u64> {
        let healthy = self.dir.join("run/daruma/healthy");
        if healthy.exists() {
            fs::remove_file(&healthy)?;
        }
        let mut command = self.verb("daemon");
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut daemon = Ended(child);
        wait_for("the daemon's verdict", || healthy.exists())?;
        wait_for("the daemon at rest", || is_asleep(daemon.0.id()))?;
        let resident = process::memory(daemon.0.id(), "VmRSS")?;
        ensure!(daemon.0.try_wait()?.is_none(), "the daemon has ended by itself");
        Ok(resident)
    }

    fn verb(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.dir).arg(verb);
        command
    }
}

/// A child that is killed when this value is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It is no error if the child has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns true if a process waits for something. In proc_pid_stat(5), the state stands behind the
/// name in parentheses.
fn is_asleep(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}
