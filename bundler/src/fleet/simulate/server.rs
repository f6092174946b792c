//! The simulated web server with its access log, and the publisher behind it.
//!
//! `watch` reads the log. The documents are real: they are signed, and opened as a device opens
//! them.

use anyhow::Result;
use bundle::channel::{Channel, Later, Report, Roles, Root, Timestamp};
use bundle::{Compatible, Keyring, SecretKey};
use semver::Version;

use crate::fleet::simulate::scenario::Offer;
use crate::fleet::watch::{Finding, StopRule, Tally, findings};

/// The head of an answer, in bytes: nginx' 304 has about 180, and its 200 about 250. TLS is not
/// counted.
const HEAD: u64 = 250;
/// How long a channel lives, in seconds.
const LIFE_S: u64 = 90 * 86_400;

/// What the server has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Polls that were answered "unchanged" (304).
    pub unchanged: u64,
    /// Polls that were answered with the channel (200).
    pub channels: u64,
    /// Bytes of the answers to both.
    pub poll_bytes: u64,
    /// Requests for a newer root document, of which there is none (404).
    pub roots: u64,
    /// Downloads of a release by delta.
    pub deltas: u64,
    /// Downloads of a release by its missing chunks.
    pub bundles: u64,
    /// Bytes of the downloads.
    pub download_bytes: u64,
}

/// Server and publisher.
#[derive(Debug)]
pub(crate) struct Server {
    key: SecretKey,
    pub(crate) root: Root,
    /// As the devices open it.
    pub(crate) channel: Channel,
    /// Of the channel's file.
    bytes: u64,
    start: Timestamp,
    pub(crate) tally: Tally,
    pub(crate) traffic: Traffic,
}

impl Server {
    pub(crate) fn new(offer: &Offer) -> Result<Self> {
        // Nobody is to be convinced by it.
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

    /// Answers a device that has the channel of that serial; true: it has changed. What the device
    /// tells goes through a line of the log, as nginx and Apache write it.
    pub(crate) fn poll(&mut self, now: u64, serial: u64, report: Option<Report>) -> bool {
        let is_changed = serial != self.channel.serial;
        self.traffic.poll_bytes += HEAD;
        if is_changed {
            self.traffic.channels += 1;
            self.traffic.poll_bytes += self.bytes;
        } else {
            self.traffic.unchanged += 1;
        }
        // The lines without a report would be skipped.
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

    /// What the publisher's `watch` does: returns why the release is withdrawn now, if it is.
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

    /// Every device would find the same: one opens it for all.
    fn sign(&mut self) -> Result<()> {
        let mut signed = self.channel.to_signed()?;
        signed.sign(&self.key)?;
        let bytes = signed.to_bytes();
        self.bytes = bytes.len() as u64;
        self.channel = Channel::open(&bytes, &self.channel.name, &self.root)?;
        Ok(())
    }
}
