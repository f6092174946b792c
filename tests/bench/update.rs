//! Measures how long an update by a delta takes.
//!
//! `Publisher` makes the channel, and `Server` serves it on loopback. The peer is a plain install
//! of the same bundle from a file.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use tests::fixture::Fixture;
use tests::publisher::Publisher;
use tests::server::{Place, Server};

use crate::daruma::Daruma;
use crate::install::Workload;
use crate::sample::{self, Sample, in_turns};
use crate::sandbox::Sandbox;
use crate::slots::settle;
use crate::table::{Row, Target};

/// Number of runs of each contender.
const ROUNDS: usize = 9;
/// The update may take at most this many times the time of the install.
const TARGET: f64 = 3.0;
/// Chunks alone fetch more than this share of the bundle. A smaller share shows that the delta was
/// used.
const SHARE: f64 = 0.3;

/// A channel with the new bundle and a delta to it, and the server that has both.
#[derive(Debug)]
pub(crate) struct Channel<'a> {
    sandbox: &'a Sandbox,
    publisher: Publisher,
    server: Server,
    new: &'a Workload,
}

impl<'a> Channel<'a> {
    /// Publishes `old` and then `new` from the folder `dir`.
    pub(crate) fn new(
        fixture: &Fixture,
        sandbox: &'a Sandbox,
        dir: &Path,
        old: &Path,
        new: &'a Workload,
    ) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let publisher = Publisher::new(fixture, dir)?;
        publisher.publish(old, &[])?;
        publisher.publish(&new.bundle, &["--deltas", "1"])?;
        let repo = publisher.path("repo");
        let server =
            Server::nginx(fixture, &Place::here(), repo.as_ref(), &dir.join("nginx"), None)?;
        Ok(Self { sandbox, publisher, server, new })
    }

    /// Returns two rows for the same device. `what` names its disk.
    ///
    /// An update finds nothing in the page cache: neither the old system nor what the server sends.
    /// The first peer finds nothing either, and reads its bundle from the disk of this machine. The
    /// second peer has the bundle in memory.
    pub(crate) fn rows(&self, daruma: &Daruma, what: &str) -> Result<Vec<Row>> {
        daruma.follow(&self.publisher.path("repo"), &self.server.url(""))?;
        let (bundle, (boot, root)) = (&self.new.bundle, self.new.images.sizes()?);
        let peers = ["install of the file", "with the file in memory"];
        let runs = in_turns(ROUNDS, 1 + peers.len(), |contender| {
            daruma.slots().clear("boot-b", boot)?;
            daruma.slots().clear("root-b", root)?;
            daruma.reset()?;
            let in_memory: &[&Path] = &[bundle];
            settle(self.sandbox.is_root, (contender == 2).then_some(in_memory))?;
            if contender == 0 { daruma.update() } else { daruma.install(bundle) }
        })?;
        let samples = sample::times(&runs);
        let row = |(theirs, peer): (&Sample, &str)| Row {
            what: format!("update by delta, {what}"),
            ours: samples[0].to_string(),
            peer: peer.to_owned(),
            theirs: theirs.to_string(),
            ratio: Some(samples[0].median() / theirs.median()),
            target: Target::Ratio(TARGET),
            mib: 0.0,
        };
        Ok(samples[1..].iter().zip(peers).map(row).collect())
    }

    /// Ends the server. Checks that the updates on `devices` devices fetched, on average, too
    /// little for chunks.
    pub(crate) fn close(self, devices: usize) -> Result<()> {
        let size = fs::metadata(&self.new.bundle)?.len();
        let sent: u64 = self.server.requests()?.iter().map(|request| request.bytes).sum();
        let share = sent as f64 / (size * (devices * ROUNDS) as u64) as f64;
        ensure!(
            share < SHARE,
            "the updates fetched {share:.2} of the bundle each: that was no delta"
        );
        Ok(())
    }
}
