//! A device in a folder: the partitions of a factory disk as files, with the real agent on them.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use image_layout::{FileDisk, PartitionTable};
use serde_json::Value;

use crate::fixture::Fixture;

/// The partitions that the agent works on.
const LABELS: [&str; 6] = ["esp", "boot-a", "root-a", "boot-b", "root-b", "recovery"];

/// A device whose slot A runs, committed.
#[derive(Debug)]
pub struct FolderDevice {
    /// Where its files and partitions lie.
    pub dir: PathBuf,
    program: PathBuf,
}

impl FolderDevice {
    /// Takes the partitions of the factory image `disk` apart, into the folder `dir`.
    ///
    /// # Errors
    /// Also when the agent does not take the folder for a device.
    pub fn new(fixture: &Fixture, dir: &Path, disk: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let table = PartitionTable::read(&FileDisk::open_read_only(disk)?)?;
        let mut source = File::open(disk)?;
        for label in LABELS {
            let partition = table.find(label).with_context(|| format!("no partition {label}"))?;
            source.seek(SeekFrom::Start(partition.offset))?;
            std::io::copy(&mut (&source).take(partition.size), &mut File::create(dir.join(label))?)?;
        }
        for folder in ["etc/daruma/keyring", "var/lib/daruma", "run/daruma"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        fs::write(dir.join("cmdline"), "daruma.slot=A daruma.try=1\n")?;
        fs::copy(fixture.key("release.pub.pem"), dir.join("etc/daruma/keyring/release.pub.pem"))?;
        let this = Self { dir: dir.to_owned(), program: fixture.program("daruma") };
        this.configure("")?;
        let status = this.status()?;
        ensure!(status["running"] == "A", "not a device: {status}");
        Ok(this)
    }

    /// Writes this text as `daruma.toml`.
    pub fn configure(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.dir.join("etc/daruma/daruma.toml"), text)?)
    }

    /// The program, which may be run elsewhere (see [`FolderDevice::arguments`]).
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// `--root DIR` and `words`.
    #[must_use]
    pub fn arguments(&self, words: &[&str]) -> Vec<String> {
        let root = ["--root".to_owned(), self.dir.display().to_string()];
        root.into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// The agent with these words.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments(words));
        command
    }

    /// `daruma status --json`.
    pub fn status(&self) -> Result<Value> {
        let output = self.command(&["status", "--json"]).output().context("starting daruma")?;
        ensure!(output.status.success(), "status: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Whether slot B holds exactly the images of a bundle, and is on trial.
    pub fn expect_installed(&self, fixture: &Fixture, bundle: &Path) -> Result<()> {
        let keyring = bundle::Keyring::load(&fixture.key("keyring"))?;
        let verified = bundle::Bundle::open(FileDisk::open_read_only(bundle)?, &keyring)?;
        for (image, label) in [("boot", "boot-b"), ("root", "root-b")] {
            let mut slot = File::open(self.dir.join(label))?;
            let (mut wanted, mut found) = (Vec::new(), Vec::new());
            for index in 0..verified.chunks(image).len() {
                verified.read_chunk(image, index, &mut wanted)?;
                found.resize(wanted.len(), 0);
                slot.read_exact(&mut found)?;
                ensure!(found == wanted, "{label} differs in chunk {index}");
            }
        }
        let status = self.status()?;
        ensure!(status["slots"]["B"]["ok"] == true, "slot B may not be booted: {status}");
        Ok(())
    }

    /// Whether slot B may not be booted.
    pub fn expect_not_bootable(&self) -> Result<()> {
        let status = self.status()?;
        ensure!(status["slots"]["B"]["ok"] == false, "slot B may be booted: {status}");
        Ok(())
    }
}
