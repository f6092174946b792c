//! `daruma recovery`: the initramfs starts it when GRUB found no slot to boot.
//!
//! `sticks` and `choice` do the work, and the caller restarts the machine. Recovery asks nothing,
//! and needs neither a network nor a clock. daruma-init shows every line on all consoles. It takes
//! every line, even an empty one, as a sign of life.

use std::path::Path;
use std::time::{Duration, Instant};

use grub_env::BootState;
use image_layout::Slot;
use semver::Version;

use crate::config::Config;
use crate::console::{say, warn};
use crate::device::Device;
use crate::device::esp::environment::Environment;
use crate::device::slot::boot_image;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::stick::choice::{Outcome, Purpose, install_best, judge};
use crate::stick::led::Pattern;
use crate::stick::offer::Wanted;
use crate::stick::result::result_text;
use crate::stick::sticks::Sticks;
use crate::stick::volume::mount::{RESULT, bundles_in};

/// Waits up to `wait` for a stick and installs the best bundle. The wait starts again when a stick
/// comes or goes. Returns what to tell the person.
///
/// # Errors
/// [`Exit::NotABundle`] when nothing came that could be installed. The caller then gives the slots
/// their tries back.
pub fn run(device: &Device, config: &Config, wait: Duration) -> Result<String, Failure> {
    let mut sticks = Sticks::listen(device, config)?;
    sticks.led.show(Pattern::Searching);
    say(format_args!(
        "plug in a USB stick with a bundle (*.daruma in its root folder); waiting {} s for it",
        wait.as_secs()
    ));
    loop {
        if !sticks.wait(Some(Instant::now() + wait), &|| say("")) {
            sticks.led.show(Pattern::Failed);
            return Err(Failure::new(Exit::NotABundle, "no bundle that can be installed came"));
        }
        let purpose = purpose(device)?;
        match sticks.install(&purpose, &Interrupt::never()) {
            Ok(Outcome::Installed(version)) => {
                sticks.release();
                sticks.led.show(Pattern::Done);
                return Ok(format!(
                    "DONE: version {version} is installed in slot {}. Pull the stick out; the \
                        device restarts now",
                    purpose.target
                ));
            }
            Ok(Outcome::Pulled) => {
                sticks.start_over();
                sticks.led.show(Pattern::Searching);
                say("THE STICK WAS PULLED OUT before the end. Nothing is lost: plug it in again, \
                    and the install starts over");
            }
            Ok(Outcome::Nothing) => {
                sticks.led.show(Pattern::Failed);
                say(format_args!(
                    "NOTHING on this stick can be installed; the reason is above and in \
                        daruma-result.txt on the stick. Waiting {} s for another stick",
                    wait.as_secs()
                ));
            }
            Err(failure) => {
                sticks.led.show(Pattern::Failed);
                warn(format_args!("{failure}; plug the stick in again to try again"));
            }
        }
    }
}

/// Installs from a folder as if it were a stick. A test or a simulator uses it. Returns the version
/// and the slot.
///
/// # Errors
/// [`Exit::NotABundle`] when nothing in the folder can be installed, and those of an install.
pub fn install_from(
    device: &Device,
    config: &Config,
    folder: &Path,
) -> Result<(Version, Slot), Failure> {
    let purpose = purpose(device)?;
    let bundles = bundles_in(folder).map_err(|error| {
        Failure::new(
            Exit::NotABundle,
            format!("looking for bundles in {}: {error}", folder.display()),
        )
    })?;
    let mut offers = judge(device, config, &bundles, &purpose);
    let outcome =
        install_best(device, config, &mut offers, &purpose, &Interrupt::never(), &|| false);
    let path = folder.join(RESULT);
    std::fs::write(&path, result_text(device, &[], &offers, &outcome, purpose.target)).map_err(
        |error| Failure::new(Exit::Unexpected, format!("writing {}: {error}", path.display())),
    )?;
    match outcome? {
        Outcome::Installed(version) => Ok((version, purpose.target)),
        Outcome::Nothing | Outcome::Pulled => {
            let line = format!(
                "nothing in {} can be installed; the reason is in {RESULT}",
                folder.display()
            );
            Err(Failure::new(Exit::NotABundle, line))
        }
    }
}

fn purpose(device: &Device) -> Result<Purpose, Failure> {
    let begin = |boot: &mut BootState, target| {
        boot.begin_recovery(target);
        Ok(())
    };
    let target = target(device)?;
    Ok(Purpose { target, wanted: Wanted::Any, begin, how: "from a USB stick, in recovery" })
}

/// Returns the slot to overwrite: never the better of the two.
fn target(device: &Device) -> Result<Slot, Failure> {
    let boot: BootState = Environment::load(device)?.state();
    let is_whole = |slot: Slot| match boot_image::is_whole(device, slot) {
        Ok(()) => true,
        Err(cause) => {
            say(format_args!("slot {slot}: {cause}"));
            false
        }
    };
    let target = boot.recovery_target([is_whole(Slot::A), is_whole(Slot::B)]);
    say(format_args!("slot {target} will be overwritten, slot {} stays as it is", !target));
    Ok(target)
}
