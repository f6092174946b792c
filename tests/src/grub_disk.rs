//! Boots `grub-emu` many times in a row on a disk with a device's partitions.
//!
//! [`crate::grub_emu`] runs one start with many states. This disk instead takes any bytes for
//! everything that GRUB reads.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

pub use crate::grub_emu::PARTITION;
use crate::grub_emu::{
    BOOT_IMAGES, DRIVER, EnvFile, PARTITIONS, esp_template, offset, partitioned_disk, put,
    replace_words, started, tail,
};

/// One boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Boot {
    /// Command line of the kernel that was started, if GRUB started one.
    pub command_line: Option<String>,
    /// Everything that GRUB printed.
    pub screen: String,
}

impl Boot {
    /// Returns the value of an argument of the kernel command line, such as `daruma.slot`.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.command_line
            .as_ref()?
            .split(' ')
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Returns true if GRUB looked at a boot image that does not load.
    #[must_use]
    pub fn met_damage(&self) -> bool {
        self.screen.contains("is damaged or empty")
    }
}

/// Some boots in a row. No boot is healthy, so only GRUB changes anything between two boots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Boots {
    /// The boots. There is at least one.
    pub boots: Vec<Boot>,
    /// The EFI system partition after the last boot.
    pub esp: Vec<u8>,
}

/// A disk for `grub-emu`.
#[derive(Debug)]
pub struct GrubDisk {
    dir: TempDir,
    disk: File,
}

impl GrubDisk {
    /// The number of EFI system partitions that one start of `grub-emu` can try.
    pub const AT_ONCE: usize = PARTITIONS - BOOT_IMAGES.len();

    /// Makes the disk.
    ///
    /// # Errors
    /// A tool is missing.
    pub fn new() -> Result<Self> {
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())?;
        let (path, disk) = partitioned_disk(dir.path())?;
        fs::create_dir(dir.path().join("emu"))?;
        fs::write(dir.path().join("device.map"), format!("(hd0) {}\n", path.display()))?;
        Ok(Self { dir, disk })
    }

    /// Returns an EFI system partition with `grub_cfg` and these two copies of the environment.
    ///
    /// # Errors
    /// A tool is missing.
    pub fn esp(&self, grub_cfg: &str, main: &EnvFile, bak: &EnvFile) -> Result<Vec<u8>> {
        let mut esp = esp_template(self.dir.path(), &replace_words(grub_cfg)?)?;
        put(&mut esp, b"GRUBENV    ", main)?;
        put(&mut esp, b"GRUBENV BAK", bak)?;
        Ok(esp)
    }

    /// Boots `times` times in a row from each of `esps`, of which there are at most
    /// [`GrubDisk::AT_ONCE`]. `boot` has the boot images of A, B and recovery.
    ///
    /// # Errors
    /// `grub-emu` does not start, or stops early.
    pub fn boot(&self, esps: &[&[u8]], boot: [&[u8]; 3], times: usize) -> Result<Vec<Boots>> {
        ensure!(
            esps.len() <= Self::AT_ONCE && times > 0,
            "{} partitions, {times} times",
            esps.len()
        );
        for (number, bytes) in BOOT_IMAGES.into_iter().zip(boot) {
            self.put(number, bytes)?;
        }
        let numbers = || (1..=PARTITIONS).filter(|number| !BOOT_IMAGES.contains(number));
        let mut script = String::from(DRIVER);
        for (number, esp) in numbers().zip(esps) {
            self.put(number, esp)?;
            for _ in 0..times {
                script += &format!(
                    "echo '@state'\nset root=hd0,gpt{number}\nconfigfile \
                        (hd0,gpt{number})/grub/grub.cfg\n"
                );
            }
        }
        script += "echo '@state'\nexit\n";
        let emu = self.dir.path().join("emu");
        fs::write(emu.join("grub.cfg"), script)?;
        // A boot that cannot be counted depends on the clock's minute. So the clock is always the
        // same here.
        let mut command = Command::new("faketime");
        command.args(["-f", "2026-01-01 12:03:00", "grub-emu", "-m"]);
        command.arg(self.dir.path().join("device.map")).arg("-d").arg(&emu);
        let output = command.env("TERM", "dumb").stdin(Stdio::null()).output();
        let output = output
            .context("grub-emu does not start: install the packages grub-emu and faketime")?;
        let screen = String::from_utf8_lossy(&output.stdout);
        let screens: Vec<_> = screen.split("@state").collect();
        ensure!(
            output.status.success() && screens.len() == esps.len() * times + 2,
            "grub-emu stopped early; its last words: {}",
            tail(&screen)
        );
        let mut all = Vec::with_capacity(esps.len());
        for (number, screens) in numbers().zip(screens[1..=esps.len() * times].chunks(times)) {
            let boots = screens.iter().map(|screen| {
                let screen = without_guid(screen);
                let command_line = started(&screen).map(|words| words.join(" "));
                Boot { command_line, screen }
            });
            let mut esp = vec![0; PARTITION];
            self.disk.read_exact_at(&mut esp, offset(number) as u64)?;
            all.push(Boots { boots: boots.collect(), esp });
        }
        Ok(all)
    }

    fn put(&self, number: usize, bytes: &[u8]) -> Result<()> {
        ensure!(bytes.len() == PARTITION, "a partition of {} bytes", bytes.len());
        Ok(self.disk.write_all_at(bytes, offset(number) as u64)?)
    }
}

/// Returns what GRUB printed, without the GUID of the partition that it started from. In these
/// tests the GUID says where on the test disk a state was tried, and nothing of the state.
fn without_guid(screen: &str) -> String {
    screen.split_inclusive('\n').filter(|line| !line.contains("@ daruma.disk=")).collect()
}
