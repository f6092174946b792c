//! `daruma install URL`: the same rules and the same writing as from a file; the bundle is read by range requests while the
//! slot is written.

use std::ops::Range;

use bundle::channel::Release;
use bundle::{Bundle, Verified};
use semver::Version;

use crate::config::Config;
use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::install::{Options, Origin, install_bundle};
use crate::interrupt::Interrupt;
use crate::progress::megabytes;
use crate::pull::Remote;
use crate::trust::bundle_keys;

/// A bundle on a web server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WebBundle<'a> {
    /// Where it is.
    pub(crate) url: &'a str,
    /// Bytes of its tail, if they are known: then not one more is asked for.
    pub(crate) tail: Option<u64>,
    /// The release of a channel that it must be.
    pub(crate) release: Option<&'a Release>,
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
    let keyring = bundle_keys(config, device)?;
    let remote = Remote::open(device, &config.pull, wanted.url, wanted.tail, interrupt)?;
    let doing = format!("installing {}", remote.address());
    let verified =
        Bundle::open(remote.clone(), &keyring).map_err(|error| Failure::from_bundle(&doing, &error))?;
    if let Some(release) = wanted.release {
        must_be(&verified, release, &doing)?;
    }
    let expect = |missing: &[Range<u64>]| remote.expect(missing);
    let origin = Origin::Remote(&expect);
    let version = install_bundle(device, config, &verified, &origin, options, interrupt, &doing)?;
    let fetched = remote.fetched();
    Ok((version, format!(", {} fetched in {} requests", megabytes(fetched.bytes), fetched.requests)))
}

/// Refuses a bundle, however well signed, that is not the one that the channel means: neither another one in its place
/// (mix-and-match), nor an old one that a thief of the channel's key has listed under a new version.
///
/// # Errors
/// [`Exit::Channel`].
pub(crate) fn must_be<D>(verified: &Verified<D>, release: &Release, doing: &str) -> Result<(), Failure> {
    let update = &verified.manifest().update;
    let line = if verified.manifest_sha256() != release.manifest_sha256 {
        format!(
            "{doing}: it is another bundle than the one that the channel names for this address; its publisher or somebody between has mixed them up"
        )
    } else if update.version != release.version || update.compatible != release.compatible {
        format!(
            "{doing}: it is {} {} and the channel calls it {} {}; whoever signs the channel has made a mistake, or is not its publisher",
            update.compatible, update.version, release.compatible, release.version
        )
    } else {
        return Ok(());
    };
    Err(Failure::new(Exit::Channel, line))
}
