//! Writes the text of the result file on the stick.
//!
//! `volume::mount` writes the file. A person reads it later, without the device. It has no date,
//! because the clock may be wrong.

use std::fs;

use image_layout::Slot;

use crate::device::Device;
use crate::device::identity::identity;
use crate::exit::Failure;
use crate::stick::choice::Outcome;
use crate::stick::offer::Offer;

/// Says what the device is, what was found, why each bundle was refused, and what was done.
/// `credentials` are the lines about those.
pub(crate) fn result_text(
    device: &Device,
    credentials: &[String],
    offers: &[Offer],
    outcome: &Result<Outcome, Failure>,
    target: Slot,
) -> String {
    let mut text = device_text(device, credentials);
    if offers.is_empty() {
        text += "The root folder of the stick holds no *.daruma.\n";
    }
    for offer in offers {
        let verdict = match &offer.refused {
            Some(failure) => format!("REFUSED (code {}): {failure}", failure.exit as u8),
            None => "acceptable".to_owned(),
        };
        let version =
            offer.version.as_ref().map(|version| format!(" ({version})")).unwrap_or_default();
        text += &format!("{}{version}: {verdict}\n", offer.name());
    }
    text += "\n";
    text += &match outcome {
        Ok(Outcome::Installed(version)) => {
            format!(
                "INSTALLED: version {version} into slot {target}. It is on trial: the device \
                    commits it when it is healthy.\n"
            )
        }
        Ok(Outcome::Nothing | Outcome::Pulled) => "NOTHING WAS INSTALLED.\n".to_owned(),
        Err(failure) => format!("FAILED (code {}): {failure}\n", failure.exit as u8),
    };
    text
}

/// Says what the device is, and what was done with the credentials on the stick.
pub(crate) fn device_text(device: &Device, credentials: &[String]) -> String {
    let mut text = String::from("Daruma: what this device did with this stick\n\n");
    match identity(device) {
        Ok(here) => text += &format!("Device: {}, version {}\n", here.compatible, here.version),
        Err(cause) => text += &format!("Device: not known ({cause})\n"),
    }
    for (title, path) in [
        ("Product", "/sys/class/dmi/id/product_name"),
        ("Serial number", "/sys/class/dmi/id/product_serial"),
        ("Machine id", "/etc/machine-id"),
    ] {
        let value = fs::read_to_string(device.path(path)).unwrap_or_default();
        if !value.trim().is_empty() {
            text += &format!("{title}: {}\n", value.trim());
        }
    }
    text += "\n";
    for line in credentials {
        text += &format!("{line}\n");
    }
    text
}
