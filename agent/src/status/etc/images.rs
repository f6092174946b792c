//! The root images of both slots, visible to this process only.
//!
//! The overlay hides the running image's /etc. A process with mounts of its own can mount the root
//! once more without what covers it. The mounts end with the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::device::Device;
use crate::exit::{Exit, Failure};

/// Returns the root image that runs. A device laid out in a folder has it at `run/daruma/image`.
///
/// # Errors
/// [`Exit::Unexpected`]: the mount fails; the program is not root.
pub(crate) fn running(device: &Device) -> Result<PathBuf, Failure> {
    let at = device.path("/run/daruma/image");
    if device.is_real() {
        prepare(&at)?;
        mount(Some("/"), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|error| failure("/", &at, error))?;
    }
    Ok(at)
}

/// Returns the root image of the other slot. A device laid out in a folder has it at
/// `run/daruma/other-image`.
///
/// # Errors
/// [`Exit::SlotIo`]: the slot holds no image that can be mounted.
pub(crate) fn other(device: &Device) -> Result<PathBuf, Failure> {
    let at = device.path("/run/daruma/other-image");
    if device.is_real() {
        let slot = !device.running()?;
        let partition = device.partition(slot.root_label())?;
        prepare(&at)?;
        mount(Some(partition), &at, Some("squashfs"), MsFlags::MS_RDONLY, None::<&str>).map_err(
            |error| {
                let line = failure(&partition.display().to_string(), &at, error).message;
                Failure::new(Exit::SlotIo, line)
            },
        )?;
    }
    Ok(at)
}

/// Gives this process mounts of its own, and makes the folder `at`.
fn prepare(at: &Path) -> Result<(), Failure> {
    static ALONE: OnceLock<Result<(), nix::Error>> = OnceLock::new();
    let alone = ALONE.get_or_init(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
    });
    alone.map_err(|error| {
        let line = format!("making mounts of its own: {error}; run it as root");
        Failure::new(Exit::Unexpected, line)
    })?;
    fs::create_dir_all(at).map_err(|error| {
        Failure::new(Exit::Unexpected, format!("creating {}: {error}", at.display()))
    })
}

fn failure(what: &str, at: &Path, error: nix::Error) -> Failure {
    Failure::new(Exit::Unexpected, format!("mounting {what} on {}: {error}", at.display()))
}
