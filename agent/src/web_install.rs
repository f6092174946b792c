//! `daruma install URL`: the same rules and the same writing as from a file; the bundle is read by range requests while the
//! slot is written.

use std::ops::Range;

use bundle::{Bundle, Image, ImageName, Sha256};
use grub_env::BootState;
use semver::Version;

use crate::config::Config;
use crate::console::say;
use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::install::{Options, check_fitness, check_quarantine, load_keyring, write_slot};
use crate::interrupt::Interrupt;
use crate::progress::megabytes;
use crate::pull::Remote;

/// A bundle on a web server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WebBundle<'a> {
    /// Where it is.
    pub(crate) url: &'a str,
    /// Bytes of its tail, if they are known: then not one more is asked for.
    pub(crate) tail: Option<u64>,
    /// The release that it must be.
    pub(crate) manifest: Option<Sha256>,
}

/// Installs `wanted` into the slot that does not run. Returns the version, and what was fetched, as the end of a sentence.
///
/// # Errors
/// As [`crate::install`], and [`Exit::Network`], [`Exit::Server`], [`Exit::Budget`]. What arrives damaged
/// ([`Exit::Content`]) is not written.
pub(crate) fn install_from_web(
    device: &Device,
    config: &Config,
    wanted: &WebBundle<'_>,
    options: Options,
    interrupt: &Interrupt,
) -> Result<(Version, String), Failure> {
    let target = !device.running()?;
    // Nothing of this touches the slot: signature, fitness for this device, and what it will cost.
    let keyring = load_keyring(config, device)?;
    let remote = Remote::open(device, &config.pull, wanted.url, wanted.tail, interrupt)?;
    let doing = format!("installing {}", remote.address());
    let verified =
        Bundle::open(remote.clone(), &keyring).map_err(|error| Failure::from_bundle(&doing, &error))?;
    if wanted.manifest.is_some_and(|manifest| manifest != verified.manifest_sha256()) {
        let line = format!("{doing}: it is another release than the one that was announced for this address");
        return Err(Failure::new(Exit::Manifest, line));
    }
    check_fitness(device, config, &verified, target, &doing)?;
    check_quarantine(device, &verified, options, &doing)?;
    let place = |image: &Image| -> Range<u64> { image.offset..image.offset + image.size };
    let images = [ImageName::BOOT, ImageName::ROOT];
    let missing: Vec<_> =
        images.iter().filter_map(|name| verified.manifest().image(name).map(place)).collect();
    say(format_args!("{} to fetch from {}", megabytes(remote.expect(&missing)?), remote.address()));
    interrupt.check()?;
    let version = write_slot(device, &verified, target, BootState::begin_install, "", interrupt, &doing)?;
    let fetched = remote.fetched();
    Ok((version, format!(", {} fetched in {} requests", megabytes(fetched.bytes), fetched.requests)))
}
