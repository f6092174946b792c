//! Installs from sticks in the running system, as `usb.policy` allows.
//!
//! `sticks` and `choice` do the work, and the daemon reboots. The bundle goes into the idle slot,
//! by the rules of `daruma install`.

use grub_env::BootState;

use crate::config::{Config, UsbPolicy};
use crate::console::{say, warn};
use crate::device::Device;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::stick::choice::{Outcome, Purpose};
use crate::stick::led::Pattern;
use crate::stick::offer::Wanted;
use crate::stick::sticks::Sticks;

/// Returns the bundles that the policy wants. `None`: none, and no stick is mounted.
pub(crate) fn wanted(policy: UsbPolicy) -> Option<Wanted> {
    match policy {
        UsbPolicy::Off => None,
        UsbPolicy::Newer => Some(Wanted::Newer),
        UsbPolicy::AnySigned => Some(Wanted::Other),
    }
}

/// Waits until a stick has brought a bundle into the idle slot. The caller then reboots. Returns
/// what to tell.
///
/// # Errors
/// The kernel's announcements cannot be heard. A bad stick or bundle is told and does not stop the
/// wait.
pub(crate) fn watch(device: &Device, config: &Config, wanted: Wanted) -> Result<String, Failure> {
    let purpose = Purpose {
        target: !device.running()?,
        wanted,
        begin: BootState::begin_install,
        how: "from a USB stick",
    };
    let mut sticks = Sticks::listen(device, config)?;
    loop {
        sticks.wait(None, &|| ());
        match sticks.install(&purpose, &Interrupt::never()) {
            Ok(Outcome::Installed(version)) => {
                sticks.release();
                sticks.led.show(Pattern::Done);
                return Ok(format!(
                    "version {version} is installed in slot {} from a USB stick; pull the stick \
                        out, the device restarts now",
                    purpose.target
                ));
            }
            Ok(Outcome::Pulled) => {
                warn("the stick was pulled out before the end; plug it in again to start over");
                sticks.start_over();
                continue;
            }
            Ok(Outcome::Nothing) => {
                say("nothing on the stick is installed; the reason is in daruma-result.txt on the \
                    stick")
            }
            Err(failure) => warn(&failure),
        }
        sticks.led.show(Pattern::Failed);
        // Nobody needs the stick any more, so it may be pulled out at any time.
        sticks.release();
    }
}
