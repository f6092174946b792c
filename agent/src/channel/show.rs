//! `daruma channel`: what is trusted and why. Asks nobody.

use std::fmt::Write as _;

use bundle::channel::{Role, Timestamp};

use crate::channel::contact::{self, Contact};
use crate::channel::source::Source;
use crate::config::Config;
use crate::device::Device;
use crate::exit::Failure;
use crate::state::now_s;
use crate::trust::{self, Trust};

/// The text.
///
/// # Errors
/// The root document in the image cannot be used.
pub fn show(device: &Device, config: &Config) -> Result<String, Failure> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let Some(Trust { root, anchor }) = Trust::load(device)? else {
        return Ok(format!(
            "there is no {}: bundles are believed by the keyring {}, and no channel can be followed",
            trust::ANCHOR,
            config.keyring.display()
        ));
    };
    let now = Timestamp::from_seconds(now_s());
    let origin = if root.version == anchor {
        "it is in the image".to_owned()
    } else {
        format!(
            "version {anchor} is in the image, and each one since was signed by the keys of the one before"
        )
    };
    let _ = writeln!(
        text,
        "root version {}, expires {}{}: {origin}",
        root.version,
        root.expires,
        past(now, root.expires)
    );
    for role in Role::ALL {
        let ring = root.roles.of(role);
        let keys: Vec<String> = ring.keys().map(|key| key.id().to_string()).collect();
        let what = match role {
            Role::Root => "the next root",
            Role::Channel => "channels",
            Role::Release => "bundles, from the channel, a file or a stick",
        };
        let _ = writeln!(
            text,
            "{:<8} {} of {} must sign {what}: {}",
            role.name(),
            ring.threshold(),
            keys.len(),
            keys.join(", ")
        );
    }
    let Ok(source) = Source::of(device, config) else {
        let _ = writeln!(text, "channel  none (url of [channel] is not set)");
        return Ok(text);
    };
    let _ = writeln!(text, "channel  {} of {}", config.channel.name, source.folder());
    match contact::kept(&source, &root) {
        Some((_, channel)) => {
            let _ = writeln!(
                text,
                "         serial {} of {}, expires {}{}; {} releases; nothing older is accepted",
                channel.serial,
                channel.issued,
                channel.expires,
                past(now, channel.expires),
                channel.releases.len()
            );
        }
        None => {
            let _ = writeln!(text, "         never seen, or not since its keys were replaced");
        }
    }
    let contact = Contact::load(&source);
    if contact.time_s > 0 {
        let _ = writeln!(text, "         last contact {}", Timestamp::from_seconds(contact.time_s));
    }
    Ok(text)
}

fn past(now: Timestamp, expires: Timestamp) -> &'static str {
    if now >= expires { " (EXPIRED, by this device's clock)" } else { "" }
}
