//! `daruma channel`: shows what the device trusts, and why.
//!
//! `trust::root` and `contact::remembered` have the facts. This file asks no server.

use std::fmt::Write as _;

use bundle::channel::{Role, Root, Timestamp};

use crate::channel::contact::remembered::{Contact, kept};
use crate::channel::contact::source::Source;
use crate::channel::trusted::{Followed, Seen, Trusted, TrustedRole, TrustedRoot};
use crate::config::Config;
use crate::device::Device;
use crate::exit::Failure;
use crate::status::state::now_s;
use crate::trust::root::{ANCHOR, Trust};

/// Says what is trusted on `device`, and why.
///
/// # Errors
/// The root document in the image cannot be used.
pub fn show(device: &Device, config: &Config) -> Result<Trusted, Failure> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let Some(Trust { root, anchor }) = Trust::load(device)? else {
        let text = format!(
            "{} is missing: the keyring {} says whose bundles are trusted, and no channel can be \
                followed",
            ANCHOR,
            config.keyring.display()
        );
        return Ok(Trusted { root: None, channel: None, text });
    };
    let now = Timestamp::from_seconds(now_s());
    let origin = if root.version == anchor {
        "from the image".to_owned()
    } else {
        format!(
            "version {anchor} is in the image, and the keys of each version have signed the next \
                one"
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
    let trusted = Some(of_root(&root, anchor, now));
    let Ok(source) = Source::of(device, config) else {
        let _ = writeln!(text, "channel  none (url of [channel] is not set)");
        return Ok(Trusted { root: trusted, channel: None, text });
    };
    let _ = writeln!(text, "channel  {} of {}", config.channel.name, source.shown(""));
    let known = kept(&source, &root).map(|(_, channel)| channel);
    match &known {
        Some(channel) => {
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
    let seen = known.map(|channel| Seen {
        serial: channel.serial,
        issued: channel.issued.to_string(),
        expires: channel.expires.to_string(),
        expired: now >= channel.expires,
        releases: channel.releases.len(),
    });
    let time = (contact.time_s > 0).then(|| Timestamp::from_seconds(contact.time_s).to_string());
    let (name, url) = (config.channel.name.to_string(), source.shown(""));
    Ok(Trusted {
        root: trusted,
        channel: Some(Followed { name, url, seen, last_contact: time }),
        text,
    })
}

fn of_root(root: &Root, anchor: u64, now: Timestamp) -> TrustedRoot {
    let roles = Role::ALL.map(|role| {
        let ring = root.roles.of(role);
        let keys = ring.keys().map(|key| key.id().to_string()).collect();
        (role.name(), TrustedRole { threshold: ring.threshold(), keys })
    });
    TrustedRoot {
        version: root.version,
        anchor_version: anchor,
        expires: root.expires.to_string(),
        expired: now >= root.expires,
        roles: roles.into(),
    }
}

fn past(now: Timestamp, expires: Timestamp) -> &'static str {
    if now >= expires { " (EXPIRED, by this device's clock)" } else { "" }
}
