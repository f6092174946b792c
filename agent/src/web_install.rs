//! `daruma install URL`: the same rules and the same writing as from a file; the bundle is read by range requests while the
//! slot is written.

use std::ops::Range;

use bundle::{Bundle, Sha256};
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
    let keyring = bundle_keys(config, device)?;
    let remote = Remote::open(device, &config.pull, wanted.url, wanted.tail, interrupt)?;
    let doing = format!("installing {}", remote.address());
    let verified =
        Bundle::open(remote.clone(), &keyring).map_err(|error| Failure::from_bundle(&doing, &error))?;
    if wanted.manifest.is_some_and(|manifest| manifest != verified.manifest_sha256()) {
        return Err(another_release(&doing));
    }
    let expect = |missing: &[Range<u64>]| remote.expect(missing);
    let origin = Origin::Remote(&expect);
    let version = install_bundle(device, config, &verified, &origin, options, interrupt, &doing)?;
    let fetched = remote.fetched();
    Ok((version, format!(", {} fetched in {} requests", megabytes(fetched.bytes), fetched.requests)))
}

/// A well signed bundle in the place of another.
pub(crate) fn another_release(doing: &str) -> Failure {
    let line = format!(
        "{doing}: it is another bundle than the one that the channel names for this address; its publisher or somebody between has mixed them up"
    );
    Failure::new(Exit::Channel, line)
}
