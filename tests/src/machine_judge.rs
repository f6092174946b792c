//! Judges a disk after a power cut: what GRUB boots, if that system is whole, and if /var is whole.
//!
//! `cut_disk` makes the disks, and `grub_emu` runs the real GRUB. Each part of the disk is judged
//! apart, and each different content only once.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use bundle::Keyring;
use grub_env::{EnvStore, FactoryReset};
use image_layout::{FileDisk, PartitionTable, Slot, TableCopy, label, mend_torn_superblock};
use tempfile::TempDir;

use crate::cut_disk::{Change, Cut, CutDisk, View, copy_data};
use crate::fixture::Fixture;
use crate::grub_emu;
use crate::recording::{KEPT, Phase, Recording, Taken};
use crate::trial_disk;
use crate::write_log::SECTOR;

/// Parts of the disk that are judged apart. The part of a partition has its place in [`label::ALL`]
/// plus one.
const TABLE: usize = 0;
const ESP: usize = 2;
const VAR: usize = 8;
/// The sectors of the two environment files, which lie within the EFI system partition.
const ENVIRONMENT: usize = 9;
const PARTS: usize = 10;
/// Parts that nobody may write after the factory: GRUB's own, and recovery.
const CONSTANT: [(usize, &str); 3] =
    [(1, "bios"), (ESP, "esp but for the environment"), (7, "recovery")];

/// The fault of a state. No state of a right recording may have one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing would start, or not what the phase allows. Or Linux would not find its partitions or
    /// /var.
    DoesNotBoot(String),
    /// The images that would start are not, byte for byte, those of one bundle.
    Mixed(String),
    /// The committed system's images have changed, or GRUB takes another slot in its place.
    CommittedLost(String),
}

/// An image that a slot should hold.
#[derive(Debug)]
struct Expected {
    slot: Slot,
    first: u64,
    bytes: Vec<u8>,
}

/// Judges states of one recording.
#[derive(Debug)]
pub struct Judge<'a> {
    disk: &'a CutDisk,
    phases: &'a [Phase],
    grub_cfg: String,
    images: Vec<Expected>,
    /// First sector of each partition.
    starts: [u64; 8],
    environment: HashSet<u64>,
    /// Verdicts of GRUB by the hash of everything that GRUB can read.
    grub: Mutex<HashMap<Vec<u128>, Started>>,
    /// Verdicts of e2fsck by the hash of the partition table and of /var, and by whether a folder
    /// was to be kept.
    var: Mutex<HashMap<(u128, u128, bool), Option<String>>>,
}

/// What GRUB did: the slot that it took and if it is on trial, or the text that it printed.
type Started = Result<Taken, String>;

/// One worker: a state as a file, and the facts that are known about it.
#[derive(Debug)]
pub struct Bench<'a> {
    judge: &'a Judge<'a>,
    view: View<'a>,
    dir: TempDir,
    hashes: [u128; PARTS],
    /// For each image, the sectors that differ, and their number.
    differs: Vec<(Vec<bool>, usize)>,
}

impl<'a> Judge<'a> {
    /// Returns a judge of the states of `disk`. The disk is that of `recording`, or a lie about it.
    pub fn new(recording: &'a Recording, disk: &'a CutDisk) -> Result<Self> {
        let fixture = Fixture::open()?;
        let keyring = Keyring::load(&fixture.key("keyring"))?;
        let table = PartitionTable::read(&FileDisk::open_read_only(&recording.base)?)?;
        let mut starts = [0; 8];
        for (start, name) in starts.iter_mut().zip(label::ALL) {
            *start =
                table.find(name).with_context(|| format!("the factory disk has no {name}"))?.offset
                    / SECTOR as u64;
        }
        let mut images = Vec::new();
        for (slot, path) in Slot::ALL.into_iter().zip(&recording.bundles) {
            for (name, label) in [("boot", slot.boot_label()), ("root", slot.root_label())] {
                let bytes = trial_disk::image(path, &keyring, name)?;
                ensure!(bytes.len() % SECTOR == 0, "image {name} of {}", path.display());
                let place = label::ALL.iter().position(|other| *other == label).context("label")?;
                images.push(Expected { slot, first: starts[place], bytes });
            }
        }
        let environment = environment_sectors(&recording.base, starts[1], starts[2])?;
        Ok(Self {
            disk,
            phases: &recording.phases,
            grub_cfg: std::fs::read_to_string(fixture.repo("grub/src/grub.cfg"))?,
            images,
            starts,
            environment,
            grub: Mutex::default(),
            var: Mutex::default(),
        })
    }

    /// Returns the runs of grub-emu and of e2fsck so far. Every other verdict was about content
    /// seen before.
    #[must_use]
    pub fn runs(&self) -> (usize, usize) {
        let length = |n: Result<usize, usize>| n.unwrap_or_else(|n| n);
        (
            length(self.grub.lock().map(|memo| memo.len()).map_err(|_| 0)),
            length(self.var.lock().map(|memo| memo.len()).map_err(|_| 0)),
        )
    }

    /// Returns the phase of a cut after `at` entries: it says what may follow.
    #[must_use]
    pub fn phase(&self, at: usize) -> &'a Phase {
        let later = self.phases.iter().rposition(|phase| phase.from <= at);
        &self.phases[later.unwrap_or(0)]
    }

    fn part(&self, sector: u64) -> usize {
        if self.environment.contains(&sector) {
            return ENVIRONMENT;
        }
        self.starts.iter().rposition(|start| *start <= sector).map_or(TABLE, |place| place + 1)
    }

    /// Returns true if an entry writes the boot environment.
    #[must_use]
    pub fn is_environment(&self, entry: usize) -> bool {
        self.disk.sectors(entry).any(|sector| self.part(sector) == ENVIRONMENT)
    }

    /// Returns the first sector of /var.
    #[must_use]
    pub fn start_of_var(&self) -> u64 {
        self.starts[VAR - 1]
    }

    /// Returns true if an entry writes the partition table.
    #[must_use]
    pub fn is_table(&self, entry: usize) -> bool {
        self.disk.sectors(entry).any(|sector| self.part(sector) == TABLE)
    }

    /// Returns true if an entry writes only the images of a slot.
    #[must_use]
    pub fn is_payload(&self, entry: usize) -> bool {
        let sectors = self.disk.sectors(entry);
        let part = |sector| (3..=6).contains(&self.part(sector));
        !sectors.is_empty() && part(sectors.start) && part(sectors.end - 1)
    }
}

/// Returns the sectors of `grubenv` and `grubenv.bak`: 1,024 bytes each, contiguous
/// (docs/disk-layout.md).
fn environment_sectors(base: &Path, start: u64, end: u64) -> Result<HashSet<u64>> {
    use std::os::unix::fs::FileExt as _;
    let file = File::open(base)?;
    let mut sectors = HashSet::new();
    let mut bytes = vec![0; 1 << 20];
    for at in (start * SECTOR as u64..end * SECTOR as u64).step_by(bytes.len()) {
        file.read_exact_at(&mut bytes, at)?;
        for (number, sector) in (at / SECTOR as u64..).zip(bytes.chunks_exact(SECTOR)) {
            if sector.starts_with(b"# GRUB Environment Block\n") {
                sectors.extend([number, number + 1]);
            }
        }
    }
    ensure!(sectors.len() == 4, "the factory disk has {} environment sectors", sectors.len());
    Ok(sectors)
}

impl<'a> Bench<'a> {
    /// Returns a worker that begins with the disk from before the recording.
    pub fn new(judge: &'a Judge<'a>) -> Result<Self> {
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())?;
        let view = View::new(judge.disk, &dir.path().join("disk.img"))?;
        let mut differs = Vec::new();
        for image in &judge.images {
            use std::os::unix::fs::FileExt as _;
            let mut found = vec![0; image.bytes.len()];
            view.file.read_exact_at(&mut found, image.first * SECTOR as u64)?;
            let sectors = found.chunks_exact(SECTOR).zip(image.bytes.chunks_exact(SECTOR));
            let differs_at: Vec<bool> = sectors.map(|(found, wanted)| found != wanted).collect();
            let count = differs_at.iter().filter(|differs| **differs).count();
            differs.push((differs_at, count));
        }
        Ok(Self { judge, view, dir, hashes: [0; PARTS], differs })
    }

    /// Returns the path of the file that holds the state.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.dir.path().join("disk.img")
    }

    /// Moves to a state. Returns the hash of its content.
    pub fn go_to(&mut self, cut: &Cut) -> Result<u128> {
        let Self { judge, view, hashes, differs, .. } = self;
        view.move_to(cut, |Change { sector, bytes, mark }| {
            let part = judge.part(*sector);
            hashes[part] ^= mark;
            for (image, (sectors, count)) in judge.images.iter().zip(differs.iter_mut()) {
                let Some(index) = sector.checked_sub(image.first).map(|index| index as usize)
                else {
                    continue;
                };
                let Some(wanted) = image.bytes.get(index * SECTOR..(index + 1) * SECTOR) else {
                    continue;
                };
                let now = bytes != wanted;
                *count = *count + usize::from(now) - usize::from(sectors[index]);
                sectors[index] = now;
            }
        })?;
        Ok(self.hashes.iter().fold(0, |all, hash| all ^ hash))
    }

    /// Judges the current state. `at` tells the phase.
    pub fn judge(&mut self, at: usize) -> Result<(Option<Taken>, Option<Fault>)> {
        let phase = self.judge.phase(at);
        let table = match self.table() {
            Ok(table) => table,
            Err(fault) => return Ok((None, Some(fault))),
        };
        let constant = CONSTANT.iter().find(|(part, _)| self.hashes[*part] != 0);
        if let Some((_, name)) = constant {
            return Ok((None, Some(Fault::DoesNotBoot(format!("{name} was written")))));
        }
        let taken = match self.grub()? {
            Ok(taken) => taken,
            Err(screen) => {
                return Ok((
                    None,
                    Some(Fault::DoesNotBoot(format!("GRUB starts nothing: {screen}"))),
                ));
            }
        };
        let whole = |slot| {
            let images = self.judge.images.iter().zip(&self.differs);
            images.filter(|(image, _)| image.slot == slot).all(|(_, (_, count))| *count == 0)
        };
        // A is committed first, and later it is the way back from B. So nothing may ever write to
        // A.
        if !whole(Slot::A) {
            return Ok((Some(taken), Some(Fault::CommittedLost("slot A was written".to_owned()))));
        }
        if !whole(taken.0) {
            return Ok((Some(taken), Some(Fault::Mixed(format!("slot {} is not whole", taken.0)))));
        }
        if !phase.may_boot.contains(&taken) {
            let (slot, trial) = taken;
            let text = format!(
                "GRUB takes slot {slot}, trial: {trial}, which {:?} does not allow",
                phase.may_boot
            );
            return Ok((Some(taken), Some(Fault::CommittedLost(text))));
        }
        let fault =
            self.var(&table, phase.keeps)?.map(|text| Fault::DoesNotBoot(format!("/var: {text}")));
        // daruma-init makes a new /var, whatever is there.
        let fault = if fault.is_some() && self.resets(&table)? { None } else { fault };
        Ok((Some(taken), fault))
    }

    /// Returns true if the environment asks for a factory reset that keeps nothing.
    fn resets(&self, table: &PartitionTable) -> Result<bool> {
        let esp = table.find(label::ESP).context("esp")?;
        let path = self.dir.path().join("esp.img");
        let copy = File::create(&path)?;
        copy.set_len(esp.size)?;
        copy_data(&self.view.file, &copy, esp.offset, 0, esp.size)?;
        let env = EnvStore::open(FileDisk::open_read_only(&path)?)?.load()?.env;
        Ok(FactoryReset::of(&env).is_some_and(|reset| reset.keep().is_empty()))
    }

    /// Linux never looks for the backup table, so the primary table must be whole.
    fn table(&self) -> Result<PartitionTable, Fault> {
        let fault = |text: String| Fault::DoesNotBoot(format!("the partition table: {text}"));
        let disk =
            FileDisk::open_read_only(&self.disk()).map_err(|error| fault(error.to_string()))?;
        let table = PartitionTable::read(&disk).map_err(|error| fault(error.to_string()))?;
        if table.copy != TableCopy::Primary {
            return Err(fault("the primary copy is damaged".to_owned()));
        }
        match label::ALL.iter().find(|name| table.find(name).is_none()) {
            Some(name) => Err(fault(format!("{name} is missing"))),
            None => Ok(table),
        }
    }

    fn grub(&mut self) -> Result<Started> {
        let readable: Vec<u128> =
            [TABLE, 1, ESP, 3, 5, 7, ENVIRONMENT].map(|part| self.hashes[part]).to_vec();
        let known = self.judge.grub.lock().ok().and_then(|memo| memo.get(&readable).cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        // GRUB writes when it counts the try. Its writes are undone.
        use std::os::unix::fs::FileExt as _;
        let mut kept = Vec::new();
        for &sector in &self.judge.environment {
            let mut bytes = [0; SECTOR];
            self.view.file.read_exact_at(&mut bytes, sector * SECTOR as u64)?;
            kept.push((sector, bytes));
        }
        let emu = self.dir.path().join("emu");
        std::fs::create_dir_all(&emu)?;
        let (line, screen) = grub_emu::boot_disk(&self.judge.grub_cfg, &self.disk(), &emu)?;
        for (sector, bytes) in kept {
            self.view.file.write_all_at(&bytes, sector * SECTOR as u64)?;
        }
        let line = line.unwrap_or_default();
        let slot =
            line.iter().find_map(|word| word.strip_prefix("daruma.slot=")?.parse::<Slot>().ok());
        let trial = line.iter().any(|word| word == "daruma.trial=1");
        let started = slot.map(|slot| (slot, trial)).ok_or(screen);
        if let Ok(mut memo) = self.judge.grub.lock() {
            memo.insert(readable, started.clone());
        }
        Ok(started)
    }

    /// `keeps`: what a reset was told to keep must be there.
    fn var(&self, table: &PartitionTable, keeps: bool) -> Result<Option<String>> {
        let key = (self.hashes[TABLE], self.hashes[VAR], keeps);
        let known = self.judge.var.lock().ok().and_then(|memo| memo.get(&key).cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        let var = table.find(label::VAR).context("var")?;
        let path = self.dir.path().join("var.img");
        let copy = File::create(&path)?;
        copy.set_len(var.size)?;
        copy_data(&self.view.file, &copy, var.offset, 0, var.size)?;
        let mut verdict = check_ext4(&path)?;
        if verdict.is_none() && keeps {
            verdict = check_kept(&path)?;
        }
        if let Ok(mut memo) = self.judge.var.lock() {
            memo.insert(key, verdict.clone());
        }
        Ok(verdict)
    }
}

/// Replays the journal and drops orphans, as a mount does. After that, e2fsck must find nothing to
/// repair, and the agent's state must be whole or absent.
fn check_ext4(image: &Path) -> Result<Option<String>> {
    // daruma-init does the same.
    mend_torn_superblock(&FileDisk::open(image)?)?;
    let (status, text) = run("e2fsck", &["-p"], image)?;
    let harmless = |line: &str| {
        ["recovering journal", "orphan", "clean", "eleted inode"]
            .iter()
            .any(|word| line.contains(word))
    };
    if status > 1 || !text.lines().all(harmless) {
        return Ok(Some(format!("after the replay, status {status}: {text}")));
    }
    let (status, text) = run("e2fsck", &["-fn"], image)?;
    if status != 0 {
        return Ok(Some(format!("status {status}: {text}")));
    }
    let (_, state) = run("debugfs", &["-R", "cat /lib/daruma/state.json"], image)?;
    let json = state.find('{').map(|at| serde_json::from_str::<serde_json::Value>(&state[at..]));
    match json {
        Some(Err(error)) => Ok(Some(format!("state.json: {error}"))),
        _ => check_etc(image),
    }
}

/// An upper of slot B that has its name, `identity`, is what the merge of the whole upper of slot A
/// gives (`recording::SETTINGS`). An upper without the name is made anew by the next boot.
fn check_etc(image: &Path) -> Result<Option<String>> {
    let read = |path: &str| -> Result<String> {
        let request = format!("cat /lib/daruma/etc/{path}");
        Ok(run("debugfs", &["-R", &request], image)?.1)
    };
    if read("B/identity")?.len() < 64 {
        return Ok(None);
    }
    for slot in ["A", "B"] {
        let wanted = [("setting", "mine"), ("passwd", "ann:x:1000:1000::/:/bin/sh")];
        for (file, line) in wanted {
            let text = read(&format!("{slot}/upper/{file}"))?;
            if !text.lines().any(|found| found == line) {
                return Ok(Some(format!("/etc/{file} of slot {slot} is {text:?}")));
            }
        }
        let request = format!("stat /lib/daruma/etc/{slot}/upper/issue.net");
        if !run("debugfs", &["-R", &request], image)?.1.contains("Type: character special") {
            return Ok(Some(format!("/etc/issue.net is not deleted in slot {slot}")));
        }
    }
    let report = read("B/merge.json")?;
    Ok((!report.contains("\"method\":\"merged\"")).then(|| format!("merge.json: {report:?}")))
}

/// What a reset keeps is whole at every moment of it.
fn check_kept(image: &Path) -> Result<Option<String>> {
    let [folder, file, content] = KEPT;
    let folder = folder.strip_prefix("/var").context("a folder of /var")?;
    let (_, text) = run("debugfs", &["-R", &format!("cat {folder}/{file}")], image)?;
    Ok((text != content).then(|| format!("{folder}/{file}, which was to be kept, is {text:?}")))
}

fn run(program: &str, arguments: &[&str], image: &Path) -> Result<(i32, String)> {
    let output = Command::new(program)
        .args(arguments)
        .arg(image)
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .output()
        .with_context(|| format!("starting {program} (package e2fsprogs)"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.code().unwrap_or(-1), text.trim().to_owned()))
}
