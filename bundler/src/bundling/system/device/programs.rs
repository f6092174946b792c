//! Finds the programs that run on the device. `make build` builds them.
//!
//! `device` puts the agent into the root filesystem. `make` puts the other two into the boot image.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The programs that run on the device.
#[derive(Debug)]
pub struct DevicePrograms {
    /// `daruma` for the root filesystem.
    pub agent: Vec<u8>,
    /// `daruma-init` for the initramfs, a static program.
    pub init: Vec<u8>,
    /// `daruma` for the recovery archive, a static program.
    pub recovery_agent: Vec<u8>,
}

/// The names of the programs' files, in the order of the fields.
const PROGRAMS: [&str; 3] = ["daruma", "daruma-init", "daruma-static"];

impl DevicePrograms {
    /// Reads the programs from `dir`. Without `dir`, reads them from this program's own folder, or
    /// from `../lib/daruma` of an installation.
    ///
    /// # Errors
    /// The programs are missing; the message says where this function looked and how to build them.
    pub fn find(dir: Option<&Path>) -> Result<Self> {
        let dirs: Vec<PathBuf> = match dir {
            Some(dir) => vec![dir.to_owned()],
            None => {
                let own = std::env::current_exe().context("finding this program's own folder")?;
                let own = own.parent().unwrap_or(Path::new(".")).to_owned();
                vec![own.clone(), own.join("../lib/daruma")]
            }
        };
        let Some(dir) =
            dirs.iter().find(|dir| PROGRAMS.iter().all(|name| dir.join(name).is_file()))
        else {
            let looked: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            bail!(
                "the device programs {} are not in {}; build them with `make build` and name \
                    their folder with \
                 --device-programs",
                PROGRAMS.join(", "),
                looked.join(" or ")
            );
        };
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path)
                .with_context(|| format!("reading the device program {}", path.display()))
        };
        let [agent, init, recovery_agent] = PROGRAMS.map(read);
        Ok(Self { agent: agent?, init: init?, recovery_agent: recovery_agent? })
    }
}
