//! The folder of a device for one run of the agent.
//!
//! It has `/var`, `/etc`, the command line and the names of the partitions. [`Recorder`] holds the
//! bytes of the partitions.

use std::fs;
use std::path::{Path, PathBuf};

use agent::{Device, Failure};
use anyhow::{Result, anyhow};
use tempfile::TempDir;

use crate::content::{LABELS, Medium};
use crate::crash_disk::{Recorder, Recording, Story};
use crate::fault::Fault;
use crate::system::Systems;

/// The folder of one worker. Every run uses it again.
#[derive(Debug)]
pub(crate) struct Folder {
    folder: TempDir,
}

impl Folder {
    pub(crate) fn new(systems: &Systems) -> Result<Self> {
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())?;
        for name in ["var/lib/daruma", "etc/daruma/keyring", "run/daruma", "proc"] {
            fs::create_dir_all(folder.path().join(name))?;
        }
        fs::write(folder.path().join("etc/daruma/keyring/1.pem"), &systems.public_key)?;
        // The description of the device in the recovery archive.
        let recovery =
            "set daruma_compatible=router\nset daruma_version=0.0.99\nset daruma_build=recovery\n";
        fs::write(folder.path().join("etc/daruma/recovery.cfg"), recovery)?;
        for label in LABELS {
            fs::write(folder.path().join(label), "")?;
        }
        Ok(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn story(&self) -> PathBuf {
        self.path().join("var/lib/daruma/state.json")
    }

    /// Runs `run` on a device that booted with `command_line`. Returns the result of `run` and its
    /// operations on the disk.
    pub(crate) fn run<T>(
        &self,
        medium: &Medium,
        story: &Story,
        command_line: &str,
        fault: Option<Fault>,
        run: impl FnOnce(&Device) -> Result<T, Failure>,
    ) -> Result<(Result<T, Failure>, Recording)> {
        fs::write(self.path().join("cmdline"), command_line)?;
        match story {
            Some(story) => fs::write(self.story(), story)?,
            None => drop(fs::remove_file(self.story())),
        }
        let device = Device::at(self.path()).map_err(|failure| anyhow!("{failure}"))?;
        let recorder = Recorder::new(medium.clone(), self.story(), fault);
        let device = device.with_opener(recorder.opener());
        let outcome = run(&device);
        drop(device);
        Ok((outcome, recorder.finish()))
    }
}
