//! Loads kernel modules: those that hardware asks for, and those that the program asks for by name.
//!
//! The build decides which modules the archive has. The index of the archive says which other
//! modules a module needs first.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use initramfs::index::{self, Index};
use initramfs::wanted;
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::kernel::console;

#[derive(Clone, Default)]
/// The modules of the initramfs and which of them are loaded.
pub(crate) struct Drivers {
    dir: PathBuf,
    index: Index,
    tried: BTreeSet<String>,
}

impl Drivers {
    /// Reads the index in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(index::FILE);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self { dir: dir.to_owned(), index: Index::parse(&text), tried: BTreeSet::new() })
    }

    /// Loads a module after those that it needs. Does nothing if the module is built in (not here)
    /// or was tried before.
    pub(crate) fn load(&mut self, name: &str) -> Result<()> {
        let order: Vec<String> =
            self.index.load_order(name).into_iter().map(str::to_owned).collect();
        for name in order {
            if self.tried.insert(name.clone()) {
                self.insert(&name)?;
            }
        }
        Ok(())
    }

    fn insert(&self, name: &str) -> Result<()> {
        let path = self.dir.join(format!("{name}.ko"));
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let start = Instant::now();
        let result = finit_module(&file, c"", ModuleInitFlags::empty());
        console::detail(&format!("module {name}: {} ms", start.elapsed().as_millis()));
        match result {
            // ENODEV: this processor lacks the instructions, or there is no such hardware.
            Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("loading the kernel module {name}")),
        }
    }

    /// Loads the modules that one device asks for, except watchdogs: the code that arms one loads
    /// it. A driver that fails must not stop the boot, because the disk may hang on another one.
    pub(crate) fn load_for(&mut self, modalias: &str) {
        let matching: Vec<String> = self.index.matching(modalias).map(str::to_owned).collect();
        for name in matching {
            let special = [wanted::WATCHDOG, wanted::WATCHDOG_BUS].concat();
            if special.contains(&name.as_str()) {
                continue;
            }
            if let Err(error) = self.load(&name) {
                console::warn(&format!("{error:#}"));
            }
        }
    }

    /// Loads the modules that the present devices ask for.
    pub(crate) fn load_for_all(&mut self, sys: &Path) {
        for modalias in modaliases(sys) {
            self.load_for(&modalias);
        }
    }

    /// Loads a module if a device asks for it. Returns `true` if a device did and the module is
    /// there. A driver that fails must not stop the boot, because the disk may hang on another one.
    pub(crate) fn load_if_asked(&mut self, name: &str, modaliases: &BTreeSet<String>) -> bool {
        let Some(entry) = self.index.modules.get(name) else { return false };
        if !modaliases.iter().any(|modalias| entry.matches(modalias)) {
            return false;
        }
        let loaded = self.load(name);
        if let Err(error) = &loaded {
            console::warn(&format!("{error:#}"));
        }
        loaded.is_ok()
    }
}

/// Returns the `modalias` of every device there is, each once.
pub(crate) fn modaliases(sys: &Path) -> BTreeSet<String> {
    let entries =
        |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries(sys.join("bus"))
        .flat_map(|bus| entries(bus.join("devices")))
        // The processors have one `modalias` for all of them, in another folder.
        .chain([sys.join("devices/system/cpu")])
        .filter_map(|device| fs::read_to_string(device.join("modalias")).ok())
        .map(|text| text.trim_end().to_owned())
        .filter(|text| !text.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_and_the_processor_is_asked_for_its_driver() {
        let sys = tempfile::tempdir().unwrap();
        for (device, modalias) in
            [("bus/pci/devices/0", "pci:v1\n"), ("bus/usb/devices/1", "usb:v2\n")]
        {
            fs::create_dir_all(sys.path().join(device)).unwrap();
            fs::write(sys.path().join(device).join("modalias"), modalias).unwrap();
        }
        fs::create_dir_all(sys.path().join("bus/pci/devices/without")).unwrap();
        fs::create_dir_all(sys.path().join("devices/system/cpu")).unwrap();
        fs::write(sys.path().join("devices/system/cpu/modalias"), "cpu:type:x86\n").unwrap();
        assert_eq!(
            modaliases(sys.path()).into_iter().collect::<Vec<_>>(),
            ["cpu:type:x86", "pci:v1", "usb:v2"]
        );
    }
}
