//! Puts a release into a channel, withdraws one, and signs the channel again before it expires.
//!
//! `watch` finds out if a release does well. Every change gives the channel a higher serial.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bundle::channel::{
    Channel, Delta, Facts, Kind, Later, Reason, Release, Rollout, Root, Signed, Verdict, decide,
};
use bundle::delta::limits;
use bundle::{Bundle, ChannelName, Compatible, Keyring, Manifest, SecretKey, Sha256, Verified};
use image_layout::{Disk, FileDisk};
use semver::Version;

use crate::publish::repo::place::{partial, replace, take_place};
use crate::publish::repo::repository::{BUNDLES, Repository, days, now};
use crate::release::delta::{self, Outputs};
use crate::release::image::open_verified;
use image_layout::Amount;

/// How many devices may take a release, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stage {
    /// The final share of devices, 0 to 100.
    pub percent: u8,
    /// Hours in which the share rises to `percent`.
    pub hours: u32,
}

/// The release to publish.
#[derive(Debug)]
pub struct Offer<'a> {
    /// The bundle.
    pub bundle: &'a Path,
    /// The lowest version that a device must run.
    pub from_version: Option<Version>,
    /// The stage of the roll-out. `None`: a new release goes to every device, and a release that is
    /// there keeps its stage.
    pub stage: Option<Stage>,
    /// The number of the newest older releases that get a delta to this one.
    pub deltas: usize,
    /// True adds a second, shorter delta to each, for devices that grant it the memory.
    pub with_kernel: bool,
}

/// The result of publishing.
#[derive(Debug)]
pub struct Published {
    /// The channel after the call.
    pub channel: Channel,
    /// The root document that the channel is under.
    pub root: Root,
    /// False if everything was there already.
    pub changed: bool,
}

/// A channel that is being changed.
struct Edit {
    root: Root,
    path: PathBuf,
    before: Option<Channel>,
    channel: Channel,
}

impl Edit {
    /// Opens the channel `name`. `trust` accepts a channel whose signatures no longer count. A
    /// person uses `trust` after a channel key was replaced, and looks at the channel first.
    fn open(repo: &Repository, name: &ChannelName, trust: bool) -> Result<Self> {
        let root = repo.root()?;
        let path = repo.channel_path(name);
        let reading = || format!("reading {}", path.display());
        let before = match repo.read(&format!("{name}.channel.json"))? {
            None => None,
            Some(bytes) if trust => Some(
                Channel::claimed(&Signed::parse(Kind::Channel, &bytes).with_context(reading)?)
                    .with_context(reading)?,
            ),
            Some(bytes) => Some(Channel::open(&bytes, name, &root).with_context(reading)?),
        };
        let channel = before.clone().unwrap_or_else(|| Channel {
            name: name.clone(),
            serial: 0,
            root: root.version,
            issued: now(),
            expires: now(),
            releases: Vec::new(),
            later: Later::default(),
        });
        Ok(Self { root, path, before, channel })
    }

    /// Signs the channel with the next serial and writes it. It does so if `anew` is set or if
    /// anything but the dates has changed.
    fn close(mut self, keys: &[SecretKey], expires_days: u32, anew: bool) -> Result<Published> {
        if let (Some(before), false) = (&self.before, anew)
            && before.releases == self.channel.releases
            && before.root == self.root.version
        {
            return Ok(Published { channel: self.channel, root: self.root, changed: false });
        }
        self.channel.serial += 1;
        self.channel.root = self.root.version;
        self.channel.issued = now();
        self.channel.expires = self.channel.issued.after(days(expires_days));
        let mut signed = self.channel.to_signed()?;
        for key in keys {
            signed.sign(key)?;
        }
        let bytes = signed.to_bytes();
        // A device opens the channel in the same way.
        let writing = || format!("signing {}", self.path.display());
        let channel =
            Channel::open(&bytes, &self.channel.name, &self.root).with_context(writing)?;
        replace(&self.path, &bytes)?;
        Ok(Published { channel, root: self.root, changed: true })
    }
}

impl Repository {
    /// Copies the bundle into the repository and puts it into the channel. A second call changes
    /// nothing.
    ///
    /// # Errors
    /// A device would refuse the bundle or the channel, another bundle of that version is
    /// published, or a file cannot be written.
    pub fn publish(
        &self,
        name: &ChannelName,
        offer: &Offer<'_>,
        keys: &[SecretKey],
        expires_days: u32,
    ) -> Result<Published> {
        let mut edit = Edit::open(self, name, false)?;
        let mut release = look(offer.bundle, &edit.root.roles.release)?;
        release.from_version.clone_from(&offer.from_version);
        let wanted = release.clone();
        let releases = &mut edit.channel.releases;
        let same = |other: &&mut Release| {
            other.compatible == release.compatible
                && other.version.cmp_precedence(&release.version).is_eq()
        };
        match releases.iter_mut().find(same) {
            Some(old) if old.manifest_sha256 != release.manifest_sha256 => bail!(
                "{} {} is published already as another build ({}); give the new one a higher \
                    version",
                old.compatible,
                old.version,
                old.build
            ),
            // A script may repeat this publish. It must not release again what a person has
            // stopped.
            Some(Release { withdrawn: Some(reason), compatible, version, .. }) => bail!(
                "{compatible} {version} is withdrawn ({reason}); give the mended build a higher \
                    version"
            ),
            Some(old) => {
                if offer.from_version.is_some() {
                    old.from_version = release.from_version;
                }
                if let Some(stage) = offer.stage {
                    old.rollout = rollout(stage, old.rollout.take());
                }
            }
            None => {
                release.rollout = offer.stage.and_then(|stage| rollout(stage, None));
                releases.push(release);
            }
        }
        // The bundle is copied after all checks, and before the channel names it.
        self.take_in(offer.bundle, &wanted, &edit.root.roles.release)?;
        self.add_deltas(&mut edit.channel, &wanted, offer, &edit.root.roles.release)?;
        edit.close(keys, expires_days, false)
    }

    /// Makes the offer's missing deltas to `new` from the newest older releases of the same kind of
    /// device.
    fn add_deltas(
        &self,
        channel: &mut Channel,
        new: &Release,
        offer: &Offer<'_>,
        keyring: &Keyring,
    ) -> Result<()> {
        let is_older = |old: &&Release| {
            old.compatible == new.compatible && old.version.cmp_precedence(&new.version).is_lt()
        };
        let mut older: Vec<Release> = channel.releases.iter().filter(is_older).cloned().collect();
        older.sort_by(|a, b| b.version.cmp_precedence(&a.version));
        for old in older.into_iter().take(offer.deltas) {
            let releases = channel.releases.iter_mut();
            let Some(release) =
                releases.into_iter().find(|release| release.manifest_sha256 == new.manifest_sha256)
            else {
                continue;
            };
            let (mut there, others): (Vec<Delta>, Vec<Delta>) =
                release.deltas.iter().cloned().partition(|d| d.from == old.manifest_sha256);
            there.retain(|delta| self.is_there(delta));
            let (kernel, small): (Vec<Delta>, Vec<Delta>) =
                there.into_iter().partition(|delta| delta.memory_mib > limits::MEMORY);
            let missing = [small.is_empty(), offer.with_kernel && kernel.is_empty()];
            if missing == [false, false] {
                continue;
            }
            let most = small.iter().map(|delta| delta.size).min();
            let [new_small, new_kernel] = self.make_deltas(&old, new, missing, most, keyring)?;
            if new_small.is_empty() && new_kernel.is_empty() {
                continue;
            }
            // The delta that every device can use comes first: a device that knows nothing of
            // memory takes the first one.
            release.deltas = [others, small, new_small, kernel, new_kernel].concat();
        }
        Ok(())
    }

    /// True if the file of `delta` is in the repository, as long as the channel says.
    fn is_there(&self, delta: &Delta) -> bool {
        fs::metadata(self.path(delta.url.as_str())).is_ok_and(|file| file.len() == delta.size)
    }

    /// Makes the `missing` deltas between two bundles of the repository, and puts them beside the
    /// bundles: the delta that every device can use, and the delta with the kernel. A delta with
    /// the kernel must have fewer bytes than the other one. The other one has `most` bytes if it is
    /// there already.
    fn make_deltas(
        &self,
        old: &Release,
        new: &Release,
        missing: [bool; 2],
        most: Option<u64>,
        keyring: &Keyring,
    ) -> Result<[Vec<Delta>; 2]> {
        let (from, to) = (old.manifest_sha256.to_string(), new.manifest_sha256.to_string());
        let stem = format!(
            "{BUNDLES}/{}-{}-{}-{from:.12}-{to:.12}",
            new.compatible, old.version, new.version
        );
        let names = [format!("{stem}.delta"), format!("{stem}.kernel.delta")];
        let paths = names.each_ref().map(|name| self.path(name));
        let making = || format!("making {}", paths[0].display());
        fs::create_dir_all(self.path(BUNDLES)).with_context(making)?;
        let (old_path, new_path) = (self.path(old.url.as_str()), self.path(new.url.as_str()));
        let outputs = Outputs {
            small: missing[0].then_some(paths[0].as_path()),
            kernel: missing[1].then_some(paths[1].as_path()),
        };
        let written = delta::write(&old_path, &new_path, keyring, outputs)?;
        eprint!("{}", written.to_text());
        let most = written.small.map(|small| small.bytes).or(most).unwrap_or(u64::MAX);
        let kernel = written.kernel.and_then(Result::ok);
        if kernel.as_ref().is_some_and(|kernel| kernel.bytes >= most) {
            fs::remove_file(&paths[1]).with_context(making)?;
        }
        let shorter = kernel.filter(|kernel| kernel.bytes < most);
        let delta = |number: usize, made: Option<delta::Summary>| -> Result<Vec<Delta>> {
            let Some(summary) = made else { return Ok(Vec::new()) };
            let bytes = fs::read(&paths[number]).with_context(making)?;
            let url = names[number].parse().map_err(anyhow::Error::msg).with_context(making)?;
            Ok(vec![Delta {
                from: old.manifest_sha256,
                url,
                size: bytes.len() as u64,
                sha256: Sha256::of(&bytes),
                memory_mib: summary.memory,
                later: Later::default(),
            }])
        };
        Ok([delta(0, written.small)?, delta(1, shorter)?])
    }

    /// Marks a release so that no more devices take it.
    ///
    /// # Errors
    /// The channel has no such release.
    pub fn withdraw(
        &self,
        name: &ChannelName,
        compatible: Option<&Compatible>,
        version: &Version,
        reason: &str,
        keys: &[SecretKey],
        expires_days: u32,
    ) -> Result<Published> {
        let mut edit = Edit::open(self, name, false)?;
        let meant = |release: &&mut Release| {
            release.version.cmp_precedence(version).is_eq()
                && compatible.is_none_or(|c| release.compatible == *c)
        };
        let mut found: Vec<&mut Release> = edit.channel.releases.iter_mut().filter(meant).collect();
        match found.as_mut_slice() {
            [release] => release.withdrawn = Some(reason.to_owned()),
            [] => bail!(
                "the channel {name} has no release {version}; `jq .releases` shows what it has"
            ),
            several => {
                let kinds: Vec<_> =
                    several.iter().map(|release| release.compatible.as_str()).collect();
                bail!(
                    "the channel {name} has {version} for {}; say which with --compatible",
                    kinds.join(", ")
                )
            }
        }
        edit.close(keys, expires_days, false)
    }

    /// Signs the channel again with a later expiry and under the newest root document.
    ///
    /// # Errors
    /// The channel does not exist. Or the channel role has not signed it and `trust` is not set.
    pub fn renew(
        &self,
        name: &ChannelName,
        keys: &[SecretKey],
        expires_days: u32,
        trust: bool,
    ) -> Result<Published> {
        let edit = Edit::open(self, name, trust)?;
        if edit.before.is_none() {
            bail!("{} is missing; publish a bundle first", edit.path.display());
        }
        edit.close(keys, expires_days, true)
    }

    /// Copies a bundle to its place, unless it is there, and checks every byte of the copy.
    fn take_in(&self, bundle: &Path, release: &Release, keyring: &Keyring) -> Result<()> {
        let path = self.path(release.url.as_str());
        let is_it = |path: &Path| -> Result<()> {
            let there = open_verified(path, keyring)?;
            let len =
                fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
            if there.manifest_sha256() != release.manifest_sha256 || len != release.size {
                bail!("{} has changed while it was being published", bundle.display());
            }
            Ok(())
        };
        if path.exists() && is_it(&path).is_ok() {
            return Ok(());
        }
        let copying = || format!("copying {} to {}", bundle.display(), path.display());
        fs::create_dir_all(self.path(BUNDLES)).with_context(copying)?;
        let partial = partial(&path);
        let copy = || fs::copy(bundle, &partial).and_then(|_| File::open(&partial)?.sync_all());
        if let Err(error) = copy().with_context(copying).and_then(|()| is_it(&partial)) {
            let _ = fs::remove_file(&partial);
            return Err(error.context(format!("publishing {}", bundle.display())));
        }
        take_place(&partial, &path).with_context(copying)
    }
}

/// Returns the release that a signed bundle is.
fn look(bundle: &Path, keyring: &Keyring) -> Result<Release> {
    let disk = FileDisk::open_read_only(bundle)
        .with_context(|| format!("opening the bundle {}", bundle.display()))?;
    let bytes = disk.size().with_context(|| format!("reading {}", bundle.display()))?;
    let publishing = || format!("publishing {}", bundle.display());
    let verified = Bundle::open(disk, keyring).with_context(publishing)?;
    let Manifest { update, bundle, .. } = verified.manifest();
    Ok(Release {
        compatible: update.compatible.clone(),
        version: update.version.clone(),
        build: update.build.clone(),
        manifest_sha256: verified.manifest_sha256(),
        url: url(&verified).parse().map_err(anyhow::Error::msg).with_context(publishing)?,
        size: bytes,
        tail: bytes - bundle.size,
        from_version: None,
        deltas: Vec::new(),
        rollout: None,
        withdrawn: None,
        later: Later::default(),
    })
}

/// Returns the bundle's path in the repository. The path has the manifest's hash in it. A cache can
/// therefore never give another bundle under the same name.
fn url(verified: &Verified<FileDisk>) -> String {
    let update = &verified.manifest().update;
    let hash: Sha256 = verified.manifest_sha256();
    format!("{BUNDLES}/{}-{}-{:.12}.daruma", update.compatible, update.version, hash.to_string())
}

/// Returns the roll-out of a stage. A repeated stage keeps its roll-out. A stage of 100 % within 0
/// hours is no roll-out.
fn rollout(stage: Stage, old: Option<Rollout>) -> Option<Rollout> {
    let Stage { percent, hours } = stage;
    match old {
        Some(old) if (old.percent, old.hours) == (percent, hours) => Some(old),
        _ if (percent, hours) == (100, 0) => None,
        _ => Some(Rollout { start: now(), hours, percent, later: Later::default() }),
    }
}

impl Published {
    /// Returns what devices will see, as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Channel { name, serial, root, expires, releases, .. } = &self.channel;
        let unchanged =
            if self.changed { "" } else { " (nothing to do: all of this was there already)" };
        // A write to a String cannot fail.
        let mut text = format!(
            "channel {name}, serial {serial}, root version {root}, expires {expires}{unchanged}\n"
        );
        let mut sorted: Vec<&Release> = releases.iter().collect();
        sorted.sort_by(|a, b| (&a.compatible, &a.version).cmp(&(&b.compatible, &b.version)));
        for release in sorted {
            let _ = writeln!(
                text,
                "{} {} (build {}, {}): {}; a device that runs it {}",
                release.compatible,
                release.version,
                release.build,
                Amount(release.size),
                state(release),
                self.fate(release)
            );
        }
        text
    }

    /// Returns what a device that runs `release` does.
    fn fate(&self, release: &Release) -> String {
        let nothing = Version::new(0, 0, 0);
        let facts = Facts {
            id: "",
            compatible: &release.compatible,
            version: &release.version,
            manifest: Some(release.manifest_sha256),
            floor: &nothing,
            quarantine: &[],
            delta_memory_mib: limits::MEMORY,
            seen_serial: 0,
            now: now(),
        };
        let decision = decide(&self.channel, &self.root, &facts);
        let coming = decision.passed_over.iter().find_map(|passed| match passed.reason {
            Reason::NotItsTurn(Some(turn)) => {
                Some(format!("goes to {} by {turn} at the latest", passed.release.version))
            }
            Reason::NotItsTurn(None) => {
                Some(format!("goes to {} if it is among the share", passed.release.version))
            }
            _ => None,
        });
        match (coming, decision.verdict) {
            (_, Verdict::Refuse(error)) => format!("refuses the channel: {error}"),
            (Some(coming), Verdict::Install(other, _)) => {
                format!("{coming}, else to {}", other.version)
            }
            (Some(coming), Verdict::Nothing) => coming,
            (None, Verdict::Install(other, _)) => format!("goes to {}", other.version),
            (None, Verdict::Nothing) => "stays".to_owned(),
        }
    }
}

fn state(release: &Release) -> String {
    match (&release.withdrawn, &release.rollout) {
        (Some(reason), _) => format!("withdrawn ({reason})"),
        (None, None) => "for everybody".to_owned(),
        (None, Some(Rollout { start, hours: 0, percent, .. })) => {
            format!("for {percent} % from {start}")
        }
        (None, Some(Rollout { start, hours, percent, .. })) => {
            format!("rising to {percent} % within {hours} h from {start}")
        }
    }
}
