//! Judges the bundles on the sticks, chooses the best one and installs it.
//!
//! `offer` judges one bundle, and `sticks` lists the bundles. Recovery and the running system
//! differ only in their [`Purpose`].

use std::path::PathBuf;

use image_layout::Slot;
use semver::Version;

use crate::config::Config;
use crate::console::{say, warn};
use crate::device::Device;
use crate::exit::Failure;
use crate::install::flip::{Begin, write_slot};
use crate::install::origin::Origin;
use crate::interrupt::Interrupt;
use crate::stick::offer::{Offer, Wanted, best};

/// The purpose of a bundle on a stick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    pub(crate) target: Slot,
    pub(crate) wanted: Wanted,
    pub(crate) begin: Begin,
    /// The reason of the event.
    pub(crate) how: &'static str,
}

/// The result of the sticks.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A bundle is in the slot and on trial.
    Installed(Version),
    /// Nothing on them may be installed.
    Nothing,
    /// The stick went away.
    Pulled,
}

/// Judges each bundle and tells the person.
pub(crate) fn judge(
    device: &Device,
    config: &Config,
    bundles: &[PathBuf],
    purpose: &Purpose,
) -> Vec<Offer> {
    let judge = |path: &PathBuf| {
        let offer = Offer::of(device, config, path, purpose.target, purpose.wanted);
        match (&offer.refused, &offer.version) {
            (Some(failure), _) => warn(failure),
            (None, Some(version)) => say(format_args!("{}: version {version}", offer.name())),
            (None, None) => {}
        }
        offer
    };
    bundles.iter().map(judge).collect()
}

/// Installs the best of `offers`. If its payload is damaged, it is refused and the next best is
/// taken. `is_gone` says if the stick was pulled out.
pub(crate) fn install_best(
    device: &Device,
    config: &Config,
    offers: &mut [Offer],
    purpose: &Purpose,
    interrupt: &Interrupt,
    is_gone: &dyn Fn() -> bool,
) -> Result<Outcome, Failure> {
    while let Some(index) = best(offers) {
        let name = offers[index].name();
        if offers[index].failed_before {
            say(format_args!(
                "{name} failed on this device before; the device tries it again, because no other \
                    bundle can be installed"
            ));
        }
        say(format_args!("checking {name}; do not pull the stick out"));
        let verified = match offers[index].verify(device, config, interrupt) {
            Ok(verified) => verified,
            Err(_) if is_gone() => return Ok(Outcome::Pulled),
            Err(failure) => {
                warn(&failure);
                offers[index].refused = Some(failure);
                continue;
            }
        };
        let doing = format!("installing {name}");
        let Purpose { target, begin, how, .. } = *purpose;
        return match write_slot(
            device,
            &verified,
            Origin::File,
            target,
            begin,
            how,
            interrupt,
            &doing,
        ) {
            Ok(version) => Ok(Outcome::Installed(version)),
            Err(_) if is_gone() => Ok(Outcome::Pulled),
            Err(failure) => Err(failure),
        };
    }
    Ok(Outcome::Nothing)
}
