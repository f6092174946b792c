//! A device in a folder: the partitions of a factory disk as files, and the real agent.
//!
//! `Fixture` makes the disk. No machine runs, so such a test is fast.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bundle::StoredSquashfs;
use image_layout::{FileDisk, PartitionTable};
use serde_json::Value;

use crate::fixture::Fixture;

/// The partitions that the agent works on.
const LABELS: [&str; 6] = ["esp", "boot-a", "root-a", "boot-b", "root-b", "recovery"];

/// A device that runs slot A, which is committed.
#[derive(Debug)]
pub struct FolderDevice {
    /// The folder with its files and partitions.
    pub dir: PathBuf,
    program: PathBuf,
}

impl FolderDevice {
    /// Splits the factory image `disk` into the files of its partitions, in the folder `dir`.
    ///
    /// # Errors
    /// The disk cannot be read, or the agent does not accept the folder as a device.
    pub fn new(fixture: &Fixture, dir: &Path, disk: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let table = PartitionTable::read(&FileDisk::open_read_only(disk)?)?;
        let source = File::open(disk)?;
        for label in LABELS {
            let partition = table.find(label).with_context(|| format!("no partition {label}"))?;
            let target = File::create(dir.join(label))?;
            target.set_len(partition.size)?;
            copy_sparse(&source, partition.offset, partition.size, &target)?;
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

    /// Removes everything from slot A that an update could copy. Only the name of the system stays.
    ///
    /// # Errors
    /// The boot image cannot be read or written.
    pub fn forget_content(&self) -> Result<()> {
        let path = self.dir.join("boot-a");
        let config = StoredSquashfs::read_file(&FileDisk::open_read_only(&path)?, "slot.cfg")?;
        let mut boot = StoredSquashfs::new();
        boot.add_bytes("slot.cfg", config)?;
        Ok(boot.write_to(&path).map(drop)?)
    }

    /// Makes the device follow the channel `stable` at `url`. The root document in the folder
    /// `repo` counts as that of the image.
    pub fn follow(&self, repo: &str, url: &str) -> Result<()> {
        fs::copy(Path::new(repo).join("1.root.json"), self.dir.join("etc/daruma/root.json"))?;
        fs::write(self.dir.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n")?;
        self.configure(&format!("[channel]\nurl = \"{url}\"\n[pull]\nlow-speed-s = 60\n"))
    }

    /// Writes this text as `daruma.toml`.
    pub fn configure(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.dir.join("etc/daruma/daruma.toml"), text)?)
    }

    /// Returns the program, which may also run in another place (see [`FolderDevice::arguments`]).
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns `--root DIR` and `words`.
    #[must_use]
    pub fn arguments(&self, words: &[&str]) -> Vec<String> {
        let root = ["--root".to_owned(), self.dir.display().to_string()];
        root.into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// Returns a command of the agent with these words.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments(words));
        command
    }

    /// Returns the output of `daruma status --json`.
    pub fn status(&self) -> Result<Value> {
        let output = self.command(&["status", "--json"]).output().context("starting daruma")?;
        ensure!(output.status.success(), "status: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Checks that slot B holds exactly the images of a bundle, and is on trial.
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

    /// Checks that slot B cannot be booted.
    pub fn expect_not_bootable(&self) -> Result<()> {
        let status = self.status()?;
        ensure!(status["slots"]["B"]["ok"] == false, "slot B may be booted: {status}");
        Ok(())
    }
}

/// Copies the parts that are not zero.
fn copy_sparse(from: &File, offset: u64, size: u64, to: &File) -> Result<()> {
    let mut buf = vec![0; 1 << 20];
    for at in (0..size).step_by(buf.len()) {
        let piece = &mut buf[..(size - at).min(1 << 20) as usize];
        from.read_exact_at(piece, offset + at)?;
        if piece.iter().any(|byte| *byte != 0) {
            to.write_all_at(piece, at)?;
        }
    }
    Ok(())
}
