//! Rows 1 to 3: measures how long an install takes, how much memory it needs, and how many writes
//! it makes.
//!
//! `daruma` and `rauc` install, and `process` measures. All contenders install the same two images
//! into the same slots.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bundle::{
    Bundle, BundleWriter, ImageInput, ImageName, Keyring, ROOT_CHUNKS, SecretKey, SlotChunks,
    StoredSquashfs, Verity, verity_tree_size,
};
use image_layout::{Disk, FileDisk};
use tests::fixture::Fixture;

use crate::daruma::Daruma;
use crate::medium::Speed;
use crate::process::{self, Usage};
use crate::rauc::{Images, Rauc};
use crate::sample::{self, in_turns};
use crate::sandbox::Sandbox;
use crate::slots::settle;
use crate::table::{Row, Target, mib};

/// Number of installs of each contender.
const ROUNDS: usize = 9;
/// Bytes of the root image's data in the large bundle: 600 MB that do not compress.
const LARGE: u64 = 600_000_000 / 4096 * 4096;

/// The same two images in the form that each contender needs.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) bundle: PathBuf,
    pub(crate) images: Images,
}

impl Workload {
    /// Takes the images out of a bundle.
    pub(crate) fn of(fixture: &Fixture, bundle: &Path, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let keyring = Keyring::load(&fixture.key("keyring"))?;
        let verified = Bundle::open(FileDisk::open_read_only(bundle)?, &keyring)?;
        let take = |name: &str| -> Result<PathBuf> {
            let path = dir.join(format!("{name}.img"));
            let mut out = File::create(&path)?;
            let mut chunk = Vec::new();
            for index in 0..verified.chunks(name).len() {
                verified.read_chunk(name, index, &mut chunk)?;
                out.write_all(&chunk)?;
            }
            Ok(path)
        };
        let images = Images { boot: take(ImageName::BOOT)?, root: take(ImageName::ROOT)? };
        Ok(Self { bundle: bundle.to_owned(), images })
    }

    /// Returns the same workload with a root image of [`LARGE`] random bytes.
    pub(crate) fn large(&self, fixture: &Fixture, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let keyring = Keyring::load(&fixture.key("keyring"))?;
        let manifest =
            Bundle::open(FileDisk::open_read_only(&self.bundle)?, &keyring)?.manifest().clone();
        let verity = manifest.image(ImageName::ROOT).and_then(|image| image.verity);
        let root = dir.join("root.img");
        let noise = File::open("/dev/urandom")?;
        std::io::copy(&mut noise.take(LARGE + verity_tree_size(LARGE)), &mut File::create(&root)?)?;
        let boot = dir.join("boot.img");
        boot_for(&root, &self.images.boot, &boot)?;
        let keys = [SecretKey::load(&fixture.key("release.key.pem"))?];
        let writer = BundleWriter {
            update: manifest.update,
            images: vec![
                ImageInput { name: ImageName::BOOT.parse()?, path: &boot, verity: None },
                ImageInput {
                    name: ImageName::ROOT.parse()?,
                    path: &root,
                    verity: Some(Verity {
                        size: LARGE,
                        ..verity.context("a root image without verity")?
                    }),
                },
            ],
            meta: manifest.meta,
            keys: &keys,
        };
        let bundle = dir.join("large.daruma");
        writer.write(&bundle)?;
        Ok(Self { bundle, images: Images { boot, root } })
    }
}

/// Writes the boot image `from` to `to`, with the chunk table of another root image.
fn boot_for(root: &Path, from: &Path, to: &Path) -> Result<()> {
    let disk = FileDisk::open_read_only(from)?;
    let mut boot = StoredSquashfs::new();
    for file in StoredSquashfs::list(&disk)? {
        let mut content = vec![0; usize::try_from(file.size)?];
        disk.read_at(&mut content, file.offset)?;
        if file.name.as_str() == ROOT_CHUNKS {
            content =
                SlotChunks::root_table(&FileDisk::open_read_only(root)?, &BTreeSet::from([LARGE]))?;
        }
        boot.add_bytes(file.name.as_str(), content)?;
    }
    boot.write_to(to)?;
    Ok(())
}

/// The contenders, which all install into the same slots.
#[derive(Debug)]
pub(crate) struct Contest<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) daruma: &'a Daruma,
    pub(crate) rauc: Option<&'a Rauc>,
}

/// Tells if the page cache has the bundle or images before the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Warm,
    Cold,
}

impl Contest<'_> {
    /// Returns all rows and prints the progress.
    pub(crate) fn rows(&self, small: &Workload, large: &Workload) -> Result<Vec<Row>> {
        let small_rauc = self.rauc.map(|rauc| rauc.bundle("small", &small.images)).transpose()?;
        let warm = self.runs(small, small_rauc.as_deref(), Source::Warm)?;
        let mut rows = times(&warm, "install, bundle in the page cache");
        // Only root can drop the page cache.
        if self.sandbox.is_root {
            let cold = self.runs(small, small_rauc.as_deref(), Source::Cold)?;
            rows.extend(times(&cold, "install, nothing in the page cache"));
        }
        let hungriest = |runs: Vec<Usage>| runs.into_iter().max_by_key(|run| run.peak_bytes);
        let small_runs: Vec<Usage> = warm.into_iter().filter_map(hungriest).collect();
        let large_rauc = self.rauc.map(|rauc| rauc.bundle("large", &large.images)).transpose()?;
        let mut large_runs = Vec::new();
        for contender in 0..small_runs.len() {
            large_runs.push(self.run(contender, large, large_rauc.as_deref(), Source::Warm)?);
        }
        rows.extend(costs(&small_runs, &large_runs));
        Ok(rows)
    }

    /// Returns the row of a slow medium. RAUC has no row, because its writes of 8 KiB are slow on
    /// FUSE and only there.
    pub(crate) fn slow_rows(&self, small: &Workload, speed: Speed) -> Result<Vec<Row>> {
        let runs = self.runs(small, None, Source::Warm)?;
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let (write, read) = (megabytes(speed.write), megabytes(speed.read));
        Ok(times(&runs, &format!("install, disk of {write} MB/s (reads {read})")))
    }

    fn runs(
        &self,
        workload: &Workload,
        rauc: Option<&Path>,
        source: Source,
    ) -> Result<Vec<Vec<Usage>>> {
        let count = if rauc.is_some() { 3 } else { 2 };
        in_turns(ROUNDS, count, |contender| self.run(contender, workload, rauc, source))
    }

    /// Runs one install from the same state of slots and page cache. `contender` is 0 for Daruma, 1
    /// for dd and 2 for RAUC.
    fn run(
        &self,
        contender: usize,
        workload: &Workload,
        rauc: Option<&Path>,
        source: Source,
    ) -> Result<Usage> {
        let (boot, root) = workload.images.sizes()?;
        let slots = self.daruma.slots();
        slots.clear("boot-b", boot)?;
        slots.clear("root-b", root)?;
        let from: Vec<&Path> = match (contender, rauc) {
            (0, _) => vec![&workload.bundle],
            (2, Some(bundle)) => vec![bundle],
            _ => vec![&workload.images.boot, &workload.images.root],
        };
        match contender {
            0 => self.daruma.reset()?,
            2 => self.rauc.context("no RAUC")?.reset()?,
            _ => {}
        }
        settle(self.sandbox.is_root, (source == Source::Warm).then_some(&from))?;
        match (contender, rauc) {
            (0, _) => self.daruma.install(&workload.bundle),
            (2, Some(bundle)) => self.rauc.context("no RAUC")?.install(bundle),
            _ => {
                let boot = dd(&workload.images.boot, &slots.path("boot-b")?)?;
                Ok(boot.then(dd(&workload.images.root, &slots.path("root-b")?)?))
            }
        }
    }
}

fn dd(from: &Path, to: &Path) -> Result<Usage> {
    let of = |name: &str, path: &Path| format!("{name}={}", path.display());
    process::measure(process::command("dd").args([of("if", from), of("of", to)]).args([
        "bs=1M",
        "conv=fsync,notrunc",
        "status=none",
    ]))
}

fn times(runs: &[Vec<Usage>], what: &str) -> Vec<Row> {
    let samples = sample::times(runs);
    let peers = [("dd conv=fsync", 1.25), ("RAUC", 1.0)];
    samples[1..]
        .iter()
        .zip(peers)
        .map(|(theirs, (peer, target))| Row {
            what: what.to_owned(),
            ours: samples[0].to_string(),
            peer: peer.to_owned(),
            theirs: theirs.to_string(),
            ratio: Some(samples[0].median() / theirs.median()),
            target: Target::Ratio(target),
            mib: 0.0,
        })
        .collect()
}

/// Returns the rows of memory and calls. `small` and `large` have the runs of Daruma, dd and RAUC
/// for each bundle.
fn costs(small: &[Usage], large: &[Usage]) -> Vec<Row> {
    let rauc = small.get(2).zip(large.get(2));
    let memory = |what: &str, ours: &Usage, theirs: Option<&Usage>| {
        let theirs = theirs.map(|usage| usage.peak_bytes);
        Row::sizes(what, ours.peak_bytes, "RAUC's service", theirs, Target::Mib(16.0))
    };
    let mut rows = vec![
        memory("peak memory of an install", &small[0], rauc.map(|(small, _)| small)),
        memory("peak memory, bundle of 600 MB", &large[0], rauc.map(|(_, large)| large)),
    ];
    let calls = |usage: &Usage| {
        let each = usage.io.write_bytes / usage.io.write_calls.max(1);
        format!("{} ({} KiB each)", usage.io.write_calls, each / 1024)
    };
    let peers = [("dd bs=1M", small.get(1)), ("RAUC's service", small.get(2))];
    rows.extend(peers.into_iter().filter_map(|(peer, theirs)| {
        let theirs = theirs?;
        Some(Row {
            what: "write calls of an install".to_owned(),
            ours: calls(&small[0]),
            peer: peer.to_owned(),
            theirs: calls(theirs),
            ratio: Some(small[0].io.write_calls as f64 / theirs.io.write_calls as f64),
            target: Target::None,
            mib: 0.0,
        })
    }));
    let read = |usage: &Usage| mib(usage.io.read_bytes);
    rows.push(Row {
        what: "bytes read by an install".to_owned(),
        ours: read(&small[0]),
        peer: "RAUC's service".to_owned(),
        theirs: small.get(2).map_or("-".to_owned(), read),
        ratio: small.get(2).map(|rauc| small[0].io.read_bytes as f64 / rauc.io.read_bytes as f64),
        target: Target::None,
        mib: 0.0,
    });
    rows
}
