//! Prepares a boot before there is a plan: the kernel's file systems, drivers, the watchdog.
//!
//! `partitions` finds the disk, and `drivers` knows how to load a module. A missing driver is no
//! error here: the step that needs it fails later.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use initramfs::wanted;
use sys_mount::MountFlags;

use crate::kernel::console;
use crate::kernel::drivers::{self, Drivers};
use crate::kernel::watchdog::Watchdog;
use crate::root::mounts;

/// Where sysfs is mounted.
pub(crate) const SYS: &str = "/sys";

/// Mounts the kernel's own file systems, and memory at /run.
pub(crate) fn mount_kernel_file_systems() -> Result<()> {
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mounts::mount("proc", "proc", "/proc", strict, "")?;
    mounts::mount("sysfs", "sysfs", SYS, strict, "")?;
    mounts::mount("devtmpfs", "devtmpfs", "/dev", MountFlags::NOSUID, "mode=755")?;
    mounts::mount(
        "tmpfs",
        "tmpfs",
        "/run",
        MountFlags::NOSUID | MountFlags::NODEV,
        "mode=755,size=20%",
    )?;
    DirBuilder::new().mode(0o755).create("/run/daruma").context("creating /run/daruma")
}

/// Loads the modules that mounting /var needs.
pub(crate) fn load_for_var(drivers: &mut Drivers) -> Result<()> {
    [wanted::CRYPTO, wanted::VAR].concat().into_iter().try_for_each(|name| drivers.load(name))
}

/// Loads the modules that mounting a slot's root needs, and those that make hashing fast.
pub(crate) fn load_for_root(drivers: &mut Drivers) -> Result<()> {
    let modaliases = drivers::modaliases(Path::new(SYS));
    for name in wanted::CPU {
        drivers.load_if_asked(name, &modaliases);
    }
    wanted::ROOT.iter().try_for_each(|name| drivers.load(name))
}

/// Loads one watchdog's driver and arms the watchdog. Tries the sure ones first. Starts no second
/// one, because the real init feeds only one.
pub(crate) fn arm_watchdog(drivers: &mut Drivers, timeout_s: u32) -> Watchdog {
    let device = Path::new("/dev/watchdog");
    let modaliases = || drivers::modaliases(Path::new(SYS));
    let now = modaliases();
    if !wanted::WATCHDOG.iter().any(|name| drivers.load_if_asked(name, &now)) && !device.exists() {
        // These drivers only make the device of a watchdog. Then that device asks for its own
        // driver.
        for bus in wanted::WATCHDOG_BUS {
            drivers.load_if_asked(bus, &now);
        }
        let now = modaliases();
        wanted::WATCHDOG.iter().any(|name| drivers.load_if_asked(name, &now));
    }
    Watchdog::arm(device, timeout_s).unwrap_or_else(|| {
        console::say("no watchdog was found");
        Watchdog::none()
    })
}
