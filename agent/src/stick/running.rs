//! Installs from sticks in the running system, as `usb.policy` allows, and takes credentials, as
//! `usb.provision` allows.
//!
//! `sticks`, `choice` and `provision` do the work, and the daemon reboots. The bundle goes into the
//! idle slot, by the rules of `daruma install`.

use grub_env::BootState;

use crate::config::{Config, Usb, UsbPolicy};
use crate::console::{say, warn};
use crate::device::Device;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::stick::choice::{Outcome, Purpose};
use crate::stick::led::Pattern;
use crate::stick::offer::Wanted;
use crate::stick::provision;
use crate::stick::sticks::Sticks;

/// What the running system does with a stick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// The bundles that are installed. `None`: none.
    bundles: Option<Wanted>,
}

/// Returns what the configuration wants. `None`: nothing, and no stick is mounted.
pub(crate) fn wish(device: &Device, usb: Usb) -> Option<Wish> {
    let bundles = match usb.policy {
        UsbPolicy::Off => None,
        UsbPolicy::Newer => Some(Wanted::Newer),
        UsbPolicy::AnySigned => Some(Wanted::Other),
    };
    (bundles.is_some() || provision::is_open(device, usb.provision)).then_some(Wish { bundles })
}

/// Waits until a stick has brought a bundle into the idle slot, or credentials. The caller then
/// reboots. Returns what to tell.
///
/// # Errors
/// The kernel's announcements cannot be heard. A bad stick or bundle is told and does not stop the
/// wait.
pub(crate) fn watch(device: &Device, config: &Config, wish: Wish) -> Result<String, Failure> {
    let target = !device.running()?;
    let mut sticks = Sticks::listen(device, config)?;
    loop {
        sticks.wait(None, &|| ());
        let credentials = sticks.provision();
        let installed = match wish.bundles {
            Some(wanted) => {
                let (begin, how) = (BootState::begin_install, "from a USB stick");
                let purpose = Purpose { target, wanted, begin, how };
                sticks.install(&purpose, &Interrupt::never())
            }
            None => {
                sticks.write_credentials_result();
                Ok(Outcome::Nothing)
            }
        };
        let done = match installed {
            Ok(Outcome::Installed(version)) => {
                Some(format!("version {version} is installed in slot {target} from a USB stick"))
            }
            Ok(Outcome::Pulled) if credentials == 0 => {
                warn("the stick was pulled out before the end; plug it in again to start over");
                sticks.start_over();
                continue;
            }
            Ok(Outcome::Nothing | Outcome::Pulled) => {
                if wish.bundles.is_some() {
                    say(
                        "nothing on the stick is installed; the reason is in daruma-result.txt on \
                        the stick",
                    );
                }
                None
            }
            Err(failure) => {
                warn(&failure);
                None
            }
        };
        let new = (credentials > 0)
            .then(|| format!("{credentials} new credentials are taken from a USB stick"));
        sticks.led.show(if done.is_some() || new.is_some() {
            Pattern::Done
        } else {
            Pattern::Failed
        });
        // Nobody needs the stick any more, so it may be pulled out at any time.
        sticks.release();
        if let Some(line) = done.or(new) {
            return Ok(format!("{line}; pull the stick out, the device restarts now"));
        }
    }
}
