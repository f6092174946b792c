//! Says what this device is: its kind, and the oldest version that may be installed.
//!
//! `slot_config` parses the file with these facts. In recovery no slot runs. There the recovery
//! archive has the facts, and the floor of each committed slot counts too.

use std::fs;

use grub_env::BootState;
use image_layout::Slot;

use crate::device::command_line::Booted;
use crate::device::machine::Device;
use crate::device::slot_config::SlotConfig;

/// Tells recovery what the device is. The bundler puts it into the recovery archive.
const RECOVERY_CFG: &str = "/etc/daruma/recovery.cfg";

/// Returns the identity of the running system. In recovery, it is that of the recovery archive,
/// with the highest floor of the committed slots. So an older release cannot come in while both
/// kernels are dead.
///
/// # Errors
/// The cause, for one line.
pub(crate) fn identity(device: &Device) -> Result<SlotConfig, String> {
    if let Booted::Slot(running) = device.command_line().booted {
        return device.slot_config(running);
    }
    let path = device.path(RECOVERY_CFG);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut own =
        SlotConfig::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let boot = device.environment_read_only().ok().and_then(|store| store.load().ok());
    let boot = boot.map_or_else(BootState::unknown, |loaded| loaded.state());
    for slot in [Slot::A, Slot::B] {
        let committed = boot.slot(slot).ok && boot.trial != Some(slot);
        let Some(config) = device.slot_config(slot).ok().filter(|_| committed) else { continue };
        if config.compatible == own.compatible && config.min_version > own.min_version {
            own.min_version = config.min_version;
        }
    }
    Ok(own)
}
