//! A publisher in a folder: root documents, a channel and bundles.
//!
//! `bench` makes the bundles, and `web_server` serves the folder. A key follows from its number.

use std::fs;
use std::path::PathBuf;

use bundle::channel::{Channel, Kind, Later, Release, Roles, Root, Signed, Timestamp};
use bundle::{Bundle, Keyring, SecretKey};
use image_layout::{Disk, FileDisk};

use crate::bench::{Bench, Made};
use crate::web_server::{Answer, Asked, Server};

pub(crate) const DAY: u64 = 86_400;

/// The publisher's documents and folder.
///
/// Two of the root keys 101, 102 and 103 must sign. The channel key is 111. The release key is 1,
/// which signs the bundles of [`Bench`]. Key 2 is in the device's keyring, but not in the release
/// role.
pub(crate) struct Publisher {
    folder: tempfile::TempDir,
    pub(crate) root: Root,
    pub(crate) channel: Channel,
}

pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

pub(crate) fn ring(numbers: &[u8], threshold: usize) -> Keyring {
    Keyring::new(numbers.iter().map(|number| key(*number).public()), threshold).unwrap()
}

pub(crate) fn now() -> Timestamp {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_seconds(elapsed.as_secs())
}

impl Publisher {
    /// Makes a publisher whose channel `bench` follows.
    ///
    /// Root version 1 is in the publisher's folder and in the image of `bench`. Nothing is
    /// published.
    pub(crate) fn of(bench: &Bench) -> Self {
        let roles = Roles {
            root: ring(&[101, 102, 103], 2),
            channel: ring(&[111], 1),
            release: ring(&[1], 1),
        };
        let root =
            Root { version: 1, expires: now().after(365 * DAY), roles, later: Later::default() };
        let channel = Channel {
            name: "stable".parse().unwrap(),
            serial: 1,
            root: 1,
            issued: now(),
            expires: now().after(30 * DAY),
            releases: Vec::new(),
            later: Later::default(),
        };
        let this = Self { folder: tempfile::tempdir().unwrap(), root, channel };
        fs::create_dir(this.path("bundles")).unwrap();
        this.put_root(&[101, 102]);
        fs::copy(this.path("1.root.json"), bench.path("etc/daruma/root.json")).unwrap();
        fs::write(bench.path("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        this.follow(bench, this.folder.path().to_str().unwrap(), "");
        this
    }

    /// Makes `bench` follow the channel at `url`. `more` are further lines of the section.
    pub(crate) fn follow(&self, bench: &Bench, url: &str, more: &str) {
        let rebooted = bench.path("rebooted");
        bench.config(&format!(
            "reboot-command = [\"touch\", {rebooted:?}]\n[health]\nretry-s = 1\ndeadline-s = \
                1\n[channel]\nurl = \"{url}\"\njitter-s = 0\n{more}\n"
        ));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Serves the folder as nginx does. `twist` may change each answer.
    pub(crate) fn serve(
        &self,
        twist: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let folder = self.folder.path().to_owned();
        Server::start(move |asked| {
            let path = folder.join(asked.target.trim_start_matches('/'));
            let Ok(file) = fs::read(path) else { return twist(asked, Answer::of("404 Not Found")) };
            let etag = format!("\"{:.16}\"", bundle::Sha256::of(&file).to_string());
            let answer = if asked.header("if-none-match") == Some(&etag) {
                Answer::of("304 Not Modified").without("Content-Length")
            } else {
                Answer::honest(asked, &file)
            };
            twist(asked, answer.with("ETag", etag))
        })
    }

    /// Signs the root document and puts it where devices look for it.
    pub(crate) fn put_root(&self, keys: &[u8]) {
        let mut signed = self.root.to_signed().unwrap();
        keys.iter().for_each(|number| signed.sign(&key(*number)).unwrap());
        fs::write(self.path(&format!("{}.root.json", self.root.version)), signed.to_bytes())
            .unwrap();
    }

    /// Signs the channel as it is.
    pub(crate) fn signed(&self, keys: &[u8]) -> Signed {
        let mut signed = self.channel.to_signed().unwrap();
        keys.iter().for_each(|number| signed.sign(&key(*number)).unwrap());
        signed
    }

    pub(crate) fn put_bytes(&self, bytes: &[u8]) {
        // The file is replaced as a publisher does it. A server that is reading the old file can go
        // on.
        fs::write(self.path("next"), bytes).unwrap();
        fs::rename(self.path("next"), self.path("stable.channel.json")).unwrap();
    }

    /// Publishes the channel with the next serial.
    pub(crate) fn put_channel(&mut self) {
        self.channel.serial += 1;
        self.put_bytes(&self.signed(&[111]).to_bytes());
    }

    /// Puts a bundle into the folder and the channel's list.
    pub(crate) fn offer(&mut self, made: &Made) -> &mut Release {
        let disk = FileDisk::open_read_only(&made.path).unwrap();
        let size = disk.size().unwrap();
        let bundle = Bundle::read(disk).unwrap();
        let manifest = bundle.claimed_manifest().unwrap();
        let hash = bundle::Sha256::of(manifest.to_ini().as_bytes());
        let url =
            format!("bundles/{}-{}.daruma", manifest.update.compatible, manifest.update.version);
        fs::copy(&made.path, self.path(&url)).unwrap();
        self.channel.releases.push(Release {
            compatible: manifest.update.compatible,
            version: manifest.update.version,
            build: manifest.update.build,
            manifest_sha256: hash,
            url: url.parse().unwrap(),
            size,
            tail: size - manifest.bundle.size,
            from_version: None,
            deltas: Vec::new(),
            rollout: None,
            withdrawn: None,
            later: Later::default(),
        });
        self.channel.releases.last_mut().unwrap()
    }

    /// Changes the text of the channel and signs it again, as a holder of the key could do.
    pub(crate) fn put_changed(&mut self, from: &str, to: &str) {
        self.channel.serial += 1;
        let text = String::from_utf8(self.signed(&[]).to_bytes()).unwrap();
        assert!(text.contains(from), "{from:?} is not in {text}");
        let mut signed = Signed::parse(Kind::Channel, text.replace(from, to).as_bytes()).unwrap();
        signed.sign(&key(111)).unwrap();
        self.put_bytes(&signed.to_bytes());
    }
}
