//! `daruma install URL`: reads the bundle by range requests while it writes the slot.
//!
//! `pull` reads from the server, and `flip` writes by the same rules as from a file. A bundle that
//! a channel names must be exactly that one.

use std::io::{self, BufReader, Read};
use std::ops::Range;

use bundle::channel::{Delta, Release};
use bundle::{Bundle, Verified};
use image_layout::Disk;
use semver::Version;

use crate::config::Config;
use crate::console::warn;
use crate::device::Device;
use crate::device::slot::running::Reading;
use crate::exit::{Exit, Failure};
use crate::install::chunks::delta_way::DeltaWay;
use crate::install::delta::{DeltaSource, unusable};
use crate::install::flip::install_bundle;
use crate::install::origin::{Options, Origin};
use crate::interrupt::Interrupt;
use crate::pull::Remote;
use crate::trust::keys::bundle_keys;
use image_layout::Amount;

/// A bundle on a web server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WebBundle<'a> {
    /// Its address.
    pub(crate) url: &'a str,
    /// Bytes of its tail, if known. Then the first request asks for exactly these.
    pub(crate) tail: Option<u64>,
    /// The release of a channel that it must be. `None`: a person named the address.
    pub(crate) release: Option<&'a Release>,
    /// Deltas to it, each with its address. The first that can be used counts.
    pub(crate) deltas: &'a [(&'a Delta, String)],
}

/// Installs `wanted` into the idle slot. Returns the version, and what was fetched as the end of a
/// sentence.
///
/// # Errors
/// As [`crate::install()`], and [`Exit::Network`], [`Exit::Server`], [`Exit::Budget`]. What arrives
/// damaged is not written ([`Exit::Content`]).
pub(crate) fn install_from_web(
    device: &Device,
    config: &Config,
    wanted: &WebBundle<'_>,
    options: Options,
    interrupt: &Interrupt,
) -> Result<(Version, String), Failure> {
    let keyring = bundle_keys(config, device)?;
    // Reads the running slot while the network takes its time.
    let running = Reading::begin(device);
    let remote = Remote::open(device, &config.pull, wanted.url, wanted.tail, interrupt)?;
    let doing = format!("installing {}", remote.address());
    let verified = Bundle::open(remote.clone(), &keyring)
        .map_err(|error| Failure::from_bundle(&doing, &error))?;
    if let Some(release) = wanted.release {
        must_be(&verified, release, &doing)?;
    }
    let expect = |missing: &[Range<u64>]| remote.expect(missing);
    // Bytes of deltas that cannot be used were fetched too, and count.
    let mut asked = Vec::new();
    let way = wanted.deltas.iter().find_map(|(delta, url)| {
        let remote = open_delta(device, config, delta, url, interrupt);
        let opened = remote.and_then(|remote| {
            asked.push(remote.clone());
            let from =
                BufReader::with_capacity(DELTA_BUFFER, Stream { remote: remote.clone(), at: 0 });
            let (running, memory) = (device.running()?, config.pull.delta_memory_mib);
            let source = DeltaSource::open(device, running, delta.from, &verified, from, memory);
            let doing = remote.address();
            source.map_err(|cause| {
                Failure::new(Exit::NotABundle, format!("reading {doing}: {cause}"))
            })
        });
        opened.inspect_err(|cause| warn(unusable(cause))).ok().map(|source| (*delta, source))
    });
    let take = |image: &str, index: usize, buf: &mut Vec<u8>| {
        way.as_ref().is_some_and(|(_, source)| source.take(image, index, buf))
    };
    let delta = way.as_ref().map(|(Delta { size, memory_mib, .. }, _)| DeltaWay {
        size: *size,
        memory_mib: *memory_mib,
        take: &take,
    });
    let origin = Origin::Remote { expect: &expect, running, delta };
    let version = install_bundle(device, config, &verified, origin, options, interrupt, &doing)?;
    let mut fetched = remote.fetched();
    for delta in &asked {
        fetched.bytes += delta.fetched().bytes;
        fetched.requests += delta.fetched().requests;
    }
    Ok((version, format!(", {} fetched in {} requests", Amount(fetched.bytes), fetched.requests)))
}

/// Bytes of a delta that are read at once.
const DELTA_BUFFER: usize = 16 << 10;

/// Opens a delta on a web server. Only its last byte has come then.
fn open_delta<'i>(
    device: &Device,
    config: &Config,
    delta: &Delta,
    url: &str,
    interrupt: &'i Interrupt,
) -> Result<Remote<'i>, Failure> {
    let remote = Remote::open(device, &config.pull, url, Some(1), interrupt)?;
    let size = remote.size().unwrap_or(0);
    if size != delta.size {
        let line = format!(
            "fetching {}: the file has {size} bytes, and the channel says {}",
            remote.address(),
            delta.size
        );
        return Err(Failure::new(Exit::Channel, line));
    }
    let whole = 0..size;
    remote.expect(std::slice::from_ref(&whole))?;
    Ok(remote)
}

/// A file on a web server from its beginning to its end.
struct Stream<'i> {
    remote: Remote<'i>,
    at: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.remote.size()? - self.at).unwrap_or(usize::MAX);
        let count = buf.len().min(left);
        self.remote.read_at(&mut buf[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Refuses a bundle that is not the one that the channel names, however well it is signed. It may
/// be another bundle in its place (mix-and-match). A thief of the channel's key may also list an
/// old bundle under a new version.
///
/// # Errors
/// [`Exit::Channel`]: it is another bundle.
pub(crate) fn must_be<D>(
    verified: &Verified<D>,
    release: &Release,
    doing: &str,
) -> Result<(), Failure> {
    let update = &verified.manifest().update;
    let line = if verified.manifest_sha256() != release.manifest_sha256 {
        format!(
            "{doing}: this is not the bundle that the channel names for this address; the \
                publisher, or somebody on the way, has mixed up bundles"
        )
    } else if update.version != release.version || update.compatible != release.compatible {
        format!(
            "{doing}: the bundle is {} {} and the channel calls it {} {}; the signer of the \
                channel has made a mistake, or is not its publisher",
            update.compatible, update.version, release.compatible, release.version
        )
    } else {
        return Ok(());
    };
    Err(Failure::new(Exit::Channel, line))
}
