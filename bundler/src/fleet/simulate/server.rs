//! The simulated web server with its access log, and the publisher behind it.
//!
//! `watch` reads the log. The documents are real: they are signed, and they are opened as a device
//! opens them.

use anyhow::Result;
use bundle::channel::{Channel, Later, Report, Roles, Root, Timestamp};
use bundle::{Compatible, Keyring, SecretKey};
use semver::Version;

use crate::fleet::simulate::scenario::Offer;
use crate::fleet::watch::{Finding, StopRule, Tally, findings};

/// Size of the head of an answer, in bytes. nginx' 304 has about 180, and its 200 about 250. TLS is
/// not counted.
const HEAD: u64 = 250;
/// Time until a channel expires, in seconds.
const LIFE_S: u64 = 90 * 86_400;

/// The traffic of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Number of polls that were answered "unchanged" (304).
    pub unchanged: u64,
    /// Number of polls that were answered with the channel (200).
    pub channels: u64,
    /// Bytes of the answers to both kinds of poll.
    pub poll_bytes: u64,
    /// Number of requests for a newer root document. There is none (404).
    pub roots: u64,
    /// Number of downloads of a release by delta.
    pub deltas: u64,
    /// Number of downloads of a release by its missing chunks.
    pub bundles: u64,
    /// Bytes of the downloads.
    pub download_bytes: u64,
}

/// The server and the publisher.
#[derive(Debug)]
pub(crate) struct Server {
    key: SecretKey,
    pub(crate) root: Root,
    /// The channel, opened as the devices open it.
    pub(crate) channel: Channel,
    /// Size of the channel's file.
    bytes: u64,
    start: Timestamp,
    pub(crate) tally: Tally,
    pub(crate) traffic: Traffic,
}

impl Server {
    pub(crate) fn new(offer: &Offer) -> Result<Self> {
        // The key need not be secret, because the documents stay in this program.
        let key = SecretKey::from_seed([0; 32]);
        let ring = Keyring::new([key.public()], 1)?;
        let roles = Roles { root: ring.clone(), channel: ring.clone(), release: ring };
        let root = Root {
            version: offer.channel.root,
            expires: Timestamp::from_seconds(u64::MAX),
            roles,
            later: Later::default(),
        };
        let mut server = Self {
            key,
            root,
            channel: offer.channel.clone(),
            bytes: 0,
            start: offer.start,
            tally: Tally::new(&offer.channel.name),
            traffic: Traffic::default(),
        };
        server.sign()?;
        Ok(server)
    }

    /// Answers a device that has the channel of that serial. Returns true if the channel has
    /// changed. The device's report goes through a line of the log, in the form of nginx and
    /// Apache.
    pub(crate) fn poll(&mut self, now: u64, serial: u64, report: Option<Report>) -> bool {
        let is_changed = serial != self.channel.serial;
        self.traffic.poll_bytes += HEAD;
        if is_changed {
            self.traffic.channels += 1;
            self.traffic.poll_bytes += self.bytes;
        } else {
            self.traffic.unchanged += 1;
        }
        // `watch` would skip lines without a report, so they are not made.
        if let Some(report) = report {
            let (name, time) = (&self.channel.name, self.start.after(now));
            let (status, length) = if is_changed { (200, self.bytes) } else { (304, 0) };
            let line = format!(
                "192.0.2.1 - - [{time}] \"GET /{name}.channel.json HTTP/1.1\" {status} {length} \
                    \"-\" \"daruma {report}\""
            );
            self.tally.line(line.as_bytes());
        }
        is_changed
    }

    /// Does what the publisher's `watch` does. Returns the reason if the release is withdrawn now.
    pub(crate) fn watch(
        &mut self,
        now: u64,
        rule: StopRule,
        compatible: &Compatible,
        version: &Version,
    ) -> Result<Option<String>> {
        let found = findings(&self.channel, &self.tally, rule);
        let is_it =
            |finding: &&Finding<'_>| finding.stops && finding.release.is(compatible, version);
        let Some(reason) = found.iter().find(is_it).map(|finding| rule.reason(finding.results))
        else {
            return Ok(None);
        };
        let release =
            self.channel.releases.iter_mut().find(|release| release.is(compatible, version));
        let Some(release) = release else { return Ok(None) };
        release.withdrawn = Some(reason.clone());
        self.channel.serial += 1;
        self.channel.issued = self.start.after(now);
        self.channel.expires = self.channel.expires.max(self.channel.issued.after(LIFE_S));
        self.sign()?;
        Ok(Some(reason))
    }

    /// Signs the channel and opens it once for all devices, because each would find the same.
    fn sign(&mut self) -> Result<()> {
        let mut signed = self.channel.to_signed()?;
        signed.sign(&self.key)?;
        let bytes = signed.to_bytes();
        self.bytes = bytes.len() as u64;
        self.channel = Channel::open(&bytes, &self.channel.name, &self.root)?;
        Ok(())
    }
}
