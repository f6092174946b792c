//! Records every write to the disk of a machine while the machine goes through an update.
//!
//! `write_log` reads the recording, and `cut_disk` cuts it. GRUB's writes are in it too.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use image_layout::Slot;

use crate::fixture::Fixture;
use crate::vm::{Firmware, Machine, Size, Vm, data_disk, overlay_disk};
use crate::write_log::WriteLog;

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 300;
const TINY: &str = "tests/recipes/tiny.yaml";
/// The disk is larger than the factory image by this many bytes. So the first boot grows `var` by a
/// block group.
const LARGER: u64 = 160 << 20;

/// What GRUB may take: the slot, and whether it is on trial.
pub type Taken = (Slot, bool);

/// A part of the recording, and what a power cut in it may lead to.
#[derive(Clone, Debug)]
pub struct Phase {
    /// The name of the phase.
    pub name: &'static str,
    /// The number of log entries before the phase.
    pub from: usize,
    /// What GRUB may take at the next boot.
    pub may_boot: Vec<Taken>,
    /// True if [`KEPT`] must be whole in /var.
    pub keeps: bool,
}

/// The recording of a machine's life.
#[derive(Debug)]
pub struct Recording {
    /// The disk before the first boot. It is shorter than `size`; zeros follow.
    pub base: PathBuf,
    /// Size of the disk in bytes.
    pub size: u64,
    /// The recorded writes.
    pub log: WriteLog,
    /// The phases in their order.
    pub phases: Vec<Phase>,
    /// The bundle in slot A, and the one that was installed into B.
    pub bundles: [PathBuf; 2],
}

/// The machine while it is being recorded.
#[derive(Debug)]
struct Recorder {
    vm: Vm,
    log: PathBuf,
    /// The number of log entries before each phase.
    begins: Vec<usize>,
}

/// The folder that a reset keeps, a file in it, and the file's content.
pub const KEPT: [&str; 3] = ["/var/lib/app", "data", "what a person has"];

const A: Taken = (Slot::A, false);
const B_ON_TRIAL: Taken = (Slot::B, true);
const B: Taken = (Slot::B, false);

/// A story to record.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The name of the scenario.
    pub name: &'static str,
    recipe: &'static str,
    version: &'static str,
    /// True if the new system never comes up. The device then ends in slot A whenever the power
    /// fails.
    pub ends_in_a: bool,
    /// True if 2.0.0 is installed into slot B. Otherwise nothing is ever written there.
    installs: bool,
    /// The phases. The first begins with the factory disk, and the story says when another one
    /// begins.
    phases: &'static [(&'static str, &'static [Taken])],
    /// The phases in which [`KEPT`] must be whole.
    keeps: Range<usize>,
    /// The part of the story after the first boot or the install.
    then: fn(&mut Recorder) -> Result<()>,
}

/// Factory image, first boot (`var` grows), install of 2.0.0, reboot, commit, one more boot.
pub const UPDATE: Scenario = Scenario {
    name: "update",
    recipe: TINY,
    version: "2.0.0",
    ends_in_a: false,
    installs: true,
    phases: &[
        ("the first boot", &[A]),
        ("the install", &[A, B_ON_TRIAL]),
        ("the new system is on trial", &[B_ON_TRIAL, B]),
        ("the new system is committed", &[B]),
    ],
    keeps: 0..0,
    then: |recorder| {
        recorder.vm.type_line("reboot -f")?;
        recorder.vm.expect_all(&["tiny# ", "is healthy and committed"], BOOT)?;
        recorder.next_phase()?;
        recorder.vm.run("sync", 60)?.success()?;
        recorder.vm.type_line("reboot -f")?;
        recorder.vm.expect_all(&["tiny# ", "slot B is healthy"], BOOT)
    },
};

/// Factory image, first boot, install of a system whose init ends at once, three tries, fall-back,
/// report.
pub const BROKEN_UPDATE: Scenario = Scenario {
    name: "broken update",
    recipe: "tests/recipes/tiny-panic.yaml",
    version: "3.0.0",
    ends_in_a: true,
    installs: true,
    phases: &[
        ("the first boot", &[A]),
        ("the install", &[A, B_ON_TRIAL]),
        ("the broken system is on trial", &[B_ON_TRIAL]),
        // GRUB does not flush, so its count of a try may be lost. B then has one more try.
        ("the last try and the way back", &[B_ON_TRIAL, A]),
        ("back on the old system", &[A]),
    ],
    keeps: 0..0,
    then: |recorder| {
        recorder.vm.type_line("reboot -f")?;
        for attempt in 1..=3 {
            recorder.vm.expect(&format!("slot B, try {attempt} of 3"), BOOT)?;
            recorder.vm.expect("giving up (broken on purpose)", BOOT)?;
            if attempt == 2 {
                recorder.next_phase()?;
            }
        }
        // The report of the fall-back comes first. The agent writes it to the disk before it tells
        // it.
        recorder.vm.expect_all(&["tiny# ", "slot A is healthy"], BOOT)?;
        recorder.next_phase()
    },
};

/// Factory image, first boot, a factory reset that keeps a folder, one that keeps nothing, and the
/// boots that do them.
pub const FACTORY_RESET: Scenario = Scenario {
    name: "factory reset",
    recipe: TINY,
    version: "2.0.0",
    ends_in_a: true,
    installs: false,
    phases: &[
        ("the first boot", &[A]),
        ("data comes", &[A]),
        ("a reset that keeps the data is asked for and done", &[A]),
        ("the data is kept", &[A]),
        ("the reset is asked for and done", &[A]),
        ("the reset is done", &[A]),
    ],
    keeps: 2..4,
    then: |recorder| {
        let [folder, file, content] = KEPT;
        let data = format!("mkdir -p {folder} && echo '{content}' >{folder}/{file} && sync");
        let reset = |recorder: &mut Recorder, command: &str, says: &str| {
            recorder.next_phase()?;
            recorder.vm.run(command, 60)?.success()?;
            recorder.vm.type_line("reboot -f")?;
            recorder.vm.expect(says, BOOT)?;
            recorder.vm.expect_all(&["tiny# ", "slot A is healthy"], BOOT)?;
            recorder.next_phase()?;
            recorder.vm.run("echo more >/var/more && sync", 60)?.success().map(drop)
        };
        recorder.vm.run(&data, 60)?.success()?;
        let keep = format!("daruma factory-reset --keep {folder}");
        reset(recorder, &keep, "factory reset: of /var only")?;
        reset(recorder, "daruma factory-reset", "factory reset: /var is a new file system")?;
        let gone = recorder.vm.run(&format!("ls {folder}"), 60)?;
        ensure!(gone.text.contains("No such file"), "{gone:?}");
        Ok(())
    },
};

impl Recording {
    /// Records a scenario. If `DARUMA_RECORDINGS` names a folder, recordings are kept there, and an
    /// existing one is used again. A person can then look again at a state that a sweep has found.
    pub fn of(scenario: &Scenario) -> Result<Self> {
        let fixture = Fixture::open()?;
        let factory = fixture.bundle(TINY, "1.0.0")?;
        let base = fixture.disk(&factory)?;
        let update = fixture.bundle(scenario.recipe, scenario.version)?;
        let size = fs::metadata(&base)?.len() + LARGER;
        let own = tempfile::tempdir()?;
        let kept =
            std::env::var_os("DARUMA_RECORDINGS").map(|dir| Path::new(&dir).join(scenario.name));
        let dir = kept.as_deref().unwrap_or(own.path());
        let (log, begins) = (dir.join("writes.log"), dir.join("phases.json"));
        if !begins.exists() {
            fs::create_dir_all(dir)?;
            let begin = Recorder::record(scenario, &base, size, &update, dir)?;
            fs::write(&begins, serde_json::to_string(&begin)?)?;
        }
        let begins: Vec<usize> = serde_json::from_str(&fs::read_to_string(&begins)?)?;
        ensure!(begins.len() == scenario.phases.len(), "the story has not told all its phases");
        let phases = scenario.phases.iter().zip(begins).enumerate();
        let phase =
            |(place, (&(name, may_boot), from)): (usize, (&(&'static str, &[Taken]), _))| {
                let keeps = scenario.keeps.contains(&place);
                Phase { name, from, may_boot: may_boot.to_vec(), keeps }
            };
        let phases = phases.map(phase).collect();
        Ok(Self { base, size, log: WriteLog::read(&log)?, phases, bundles: [factory, update] })
    }
}

/// What a person changes in /etc before the update: a new file, a user, and a file less. The merge
/// must carry all of it over.
const SETTINGS: &str = "echo mine > /etc/setting && \
    echo 'ann:x:1000:1000::/:/bin/sh' >> /etc/passwd && rm /etc/issue.net && sync";

impl Recorder {
    /// Records into `dir`. Returns where each phase begins.
    fn record(
        scenario: &Scenario,
        base: &Path,
        size: u64,
        update: &Path,
        dir: &Path,
    ) -> Result<Vec<usize>> {
        let mut recorder = Self::start(base, size, update, dir)?;
        recorder.vm.expect_all(&["tiny# ", "slot A is healthy"], BOOT)?;
        recorder.vm.run("mount -t ext4 -o ro /dev/vdb /mnt", 60)?.success()?;
        recorder.vm.run(SETTINGS, 60)?.success()?;
        recorder.next_phase()?;
        if scenario.installs {
            recorder.vm.run("daruma install /mnt/update.daruma", 300)?.success()?;
            recorder.next_phase()?;
        }
        (scenario.then)(&mut recorder)?;
        recorder.vm.run("sync", 60)?.success()?;
        recorder.vm.cut_power()?;
        Ok(recorder.begins)
    }

    fn start(base: &Path, size: u64, update: &Path, dir: &Path) -> Result<Self> {
        let data = dir.join("data.ext4");
        data_disk(&data, &[("update.daruma", update)])?;
        let disk = dir.join("disk.qcow2");
        let _ = fs::remove_file(&disk);
        overlay_disk(base, &disk)?;
        let resized = Command::new("qemu-img")
            .args(["resize", "-q"])
            .arg(&disk)
            .arg(size.to_string())
            .status()
            .context("starting qemu-img (package qemu-utils)")?;
        ensure!(resized.success(), "qemu-img resize {}: {resized}", disk.display());
        let log = dir.join("writes.log");
        fs::File::create(&log)?;
        // A flush of the guest is recorded as a flush. The host itself need not flush.
        let drive = format!(
            "driver=blklogwrites,if=virtio,cache=writeback,file.driver=qcow2,file.file.driver=file,\
             file.file.filename={},file.cache.no-flush=on,log.driver=file,log.filename={},\
             log-sector-size=512",
            disk.display(),
            log.display()
        );
        let serial = dir.join("serial.log");
        let firmware = Firmware::Bios;
        let machine = Machine {
            disk,
            format: "qcow2",
            data: Some(data),
            firmware,
            size: Size::Tiny,
            log: serial,
        };
        let vm = Vm::start_with(&machine, &drive, &[])?;
        Ok(Self { vm, log, begins: vec![0] })
    }

    /// Begins the next phase. All writes before it are durable.
    fn next_phase(&mut self) -> Result<()> {
        self.begins.push(WriteLog::length(&self.log)?);
        Ok(())
    }
}
