//! The keys that may sign bundles on this device.
//!
//! `root` loads the root document, and `bundle::Keyring` counts signatures. Without a root document
//! the keyring folder counts.

use bundle::Keyring;

use crate::config::Config;
use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::trust::root::Trust;

/// Returns the keys that may sign bundles: those of the root document, or else those of the
/// keyring. The threshold is the higher one of theirs and the configuration's.
///
/// # Errors
/// [`Exit::Config`]: the root document or the keyring cannot be used.
pub(crate) fn bundle_keys(config: &Config, device: &Device) -> Result<Keyring, Failure> {
    let (keyring, place) = match Trust::load(device)? {
        Some(trust) => (
            Ok(trust.root.roles.release),
            format!("the release role of root version {}", trust.root.version),
        ),
        None => {
            let path = device.path(&config.keyring);
            (Keyring::load(&path), format!("the keyring {}", path.display()))
        }
    };
    let with_threshold = keyring.and_then(|keyring| {
        let threshold = keyring.threshold().max(config.keyring_threshold as usize);
        Keyring::new(keyring.keys().cloned(), threshold)
    });
    with_threshold.map_err(|error| Failure::new(Exit::Config, format!("loading {place}: {error}")))
}
