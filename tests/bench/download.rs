//! Computes how much of an update each method fetches, from 1.0.0 to 2.0.0 of the real router.
//!
//! `apply` measures what Daruma's deltas cost, and `main` prints the tables. The full size is what
//! a plain install of 2.0.0 fetches.
//!
//! All methods get the same two images. Every method pays for its index and for what lists it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bundle::{Bundle, Chunk, Keyring, Verified};
use image_layout::FileDisk;
use sha2::{Digest, Sha256};
use tests::fixture::Fixture;

use crate::apply::{Costs, Place};
use crate::install::Workload;
use crate::process::{command, run};
use crate::rauc::Images;
use crate::table::mib;

/// Size of the blocks that RAUC's adaptive method hashes (`block-hash-index`). Each has 32 bytes in
/// the index.
const RAUC_BLOCK: usize = 4096;

/// The bytes that one method fetches.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) method: String,
    /// All fetched bytes.
    pub(crate) bytes: u64,
    /// The fetched bytes that only say what to fetch.
    pub(crate) index: u64,
    /// The most MiB that an update may fetch.
    pub(crate) target: Option<f64>,
}

/// The two versions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) old: &'a Workload,
    pub(crate) new: &'a Workload,
}

impl Pair<'_> {
    /// Returns the bytes of the new images.
    pub(crate) fn full(&self) -> Result<u64> {
        let (boot, root) = self.new.images.sizes()?;
        Ok(boot + root)
    }

    /// Returns what Daruma fetches by chunks and by each delta, and what the deltas cost. Each
    /// figure includes the tail.
    ///
    /// # Errors
    /// The bundler fails.
    pub(crate) fn daruma(&self, fixture: &Fixture, dir: &Path) -> Result<(Vec<Fetch>, Costs)> {
        fs::create_dir_all(dir)?;
        let keyring = Keyring::load(&fixture.key("keyring"))?;
        let open = |bundle: &Path| -> Result<Verified<FileDisk>> {
            Ok(Bundle::open(FileDisk::open_read_only(bundle)?, &keyring)?)
        };
        let (old, new) = (open(&self.old.bundle)?, open(&self.new.bundle)?);
        let tail = fs::metadata(&self.new.bundle)?.len() - new.manifest().bundle.size;
        let mut chunks = tail;
        for image in ["boot", "root"] {
            let have: HashMap<_, _> =
                old.chunks(image).iter().map(|chunk| (chunk.sha256, chunk.len)).collect();
            // The root image is cut where its dm-verity tree begins. A device makes the tree
            // itself.
            let verity = new.manifest().image(image).and_then(|image| image.verity);
            let is_tree = |chunk: &Chunk| verity.is_some_and(|verity| chunk.offset >= verity.size);
            let missing = new
                .chunks(image)
                .iter()
                .filter(|chunk| !have.contains_key(&chunk.sha256) && !is_tree(chunk));
            chunks += missing.map(|chunk| u64::from(chunk.len)).sum::<u64>();
        }
        let (patch, kernel) = (dir.join("update.delta"), dir.join("kernel.delta"));
        let text =
            |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
        fixture.bundler(&[
            "delta",
            &text(&self.old.bundle)?,
            &text(&self.new.bundle)?,
            "--keyring",
            &text(&fixture.key("keyring"))?,
            "-o",
            &text(&patch)?,
            "--with-kernel",
            &text(&kernel)?,
        ])?;
        let [delta, with_kernel] =
            [tail + fs::metadata(&patch)?.len(), tail + fs::metadata(&kernel)?.len()];
        let fetch = |method: &str, bytes, target| Fetch {
            method: method.to_owned(),
            bytes,
            index: tail,
            target: Some(target),
        };
        let keyring = fixture.key("keyring");
        let Images { boot, root } = &self.old.images;
        let place =
            Place { keyring: &keyring, new: &self.new.bundle, old_boot: boot, old_root: root };
        let costs = vec![
            place.cost("the bundle, read and hashed", None)?,
            place.cost("delta", Some(&patch))?,
            place.floor(
                "of it, compressing blocks again",
                &patch,
                [&self.new.images.boot, &self.new.images.root],
            )?,
            place.cost("delta, kernel's payload too", Some(&kernel))?,
        ];
        let fetches = vec![
            fetch("Daruma, delta, kernel's payload too", with_kernel, 9.7),
            fetch("Daruma, delta", delta, 16.7),
            fetch("Daruma, chunks", chunks, 44.0),
        ];
        Ok((fetches, Costs(costs)))
    }

    /// Returns what the peers fetch.
    ///
    /// # Errors
    /// A peer's program is missing (`tests/setup bench` installs them) or fails.
    pub(crate) fn peers(&self, dir: &Path) -> Result<Vec<Fetch>> {
        fs::create_dir_all(dir)?;
        let images = [
            ("boot", &self.old.images.boot, &self.new.images.boot),
            ("root", &self.old.images.root, &self.new.images.root),
        ];
        let mut fetches: Vec<Fetch> = Vec::new();
        for (index, (name, method)) in PEERS.iter().enumerate() {
            let mut total = Fetch { method: (*name).to_owned(), bytes: 0, index: 0, target: None };
            for (image, old, new) in images {
                let work = dir.join(format!("{index}-{image}"));
                fs::create_dir_all(&work)?;
                let (bytes, listing) =
                    method(old, new, &work).with_context(|| format!("{name}, image {image}"))?;
                total.bytes += bytes;
                total.index += listing;
                fs::remove_dir_all(&work)?;
            }
            fetches.push(total);
        }
        Ok(fetches)
    }
}

/// Returns all bytes to be fetched, and the bytes of the index among them.
type Method = fn(&Path, &Path, &Path) -> Result<(u64, u64)>;

const PEERS: [(&str, Method); 4] = [
    ("RAUC, adaptive", rauc_adaptive),
    ("casync", casync),
    ("zsync", zsync),
    ("xdelta3 -9", xdelta3),
];

/// Counts the blocks of the new image that the old one has nowhere, and the index of all blocks.
fn rauc_adaptive(old: &Path, new: &Path, _: &Path) -> Result<(u64, u64)> {
    let have: HashSet<[u8; 32]> = blocks(old)?.into_iter().collect();
    let wanted = blocks(new)?;
    let index = 32 * wanted.len() as u64;
    let missing: HashSet<[u8; 32]> =
        wanted.into_iter().filter(|hash| !have.contains(hash)).collect();
    Ok(((missing.len() * RAUC_BLOCK) as u64 + index, index))
}

fn blocks(image: &Path) -> Result<Vec<[u8; 32]>> {
    let mut bytes = Vec::new();
    File::open(image)?.read_to_end(&mut bytes)?;
    Ok(bytes.chunks(RAUC_BLOCK).map(|block| Sha256::digest(block).into()).collect())
}

/// Counts the chunk files (zstd) of the new image that the old image's store lacks, and the list of
/// chunks.
fn casync(old: &Path, new: &Path, dir: &Path) -> Result<(u64, u64)> {
    let make = |name: &str, image: &Path| -> Result<(Vec<(PathBuf, u64)>, u64)> {
        let (store, list) = (dir.join(format!("{name}.castr")), dir.join(format!("{name}.caibx")));
        run(command("casync")
            .arg("make")
            .arg(format!("--store={}", store.display()))
            .arg(&list)
            .arg(image))?;
        let mut files = Vec::new();
        for folder in fs::read_dir(&store)? {
            for file in fs::read_dir(folder?.path())? {
                let file = file?;
                files.push((file.file_name().into(), file.metadata()?.len()));
            }
        }
        Ok((files, fs::metadata(&list)?.len()))
    };
    let have: HashSet<PathBuf> = make("old", old)?.0.into_iter().map(|(name, _)| name).collect();
    let (wanted, list) = make("new", new)?;
    let missing: u64 =
        wanted.iter().filter(|(name, _)| !have.contains(name)).map(|(_, size)| size).sum();
    Ok((missing + list, list))
}

/// Counts what zsync reports as missing, and its control file.
fn zsync(old: &Path, new: &Path, dir: &Path) -> Result<(u64, u64)> {
    let control = dir.join("new.zsync");
    // Nobody answers at the port of this address. zsync counts what it has before it asks the
    // server.
    run(command("zsyncmake")
        .args(["-u", "http://127.0.0.1:9/new.img", "-o"])
        .arg(&control)
        .arg(new))?;
    let mut zsync = command("zsync");
    zsync.arg("-i").arg(old).arg("-o").arg(dir.join("out.img")).arg(&control).current_dir(dir);
    zsync.stdin(std::process::Stdio::null());
    let output = zsync.output().context("starting zsync")?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // The last line of zsync looks like this: "###########--------- 58.3% 0.0 kBps aborted"
    let share = text
        .rsplit_once('%')
        .and_then(|(before, _)| before.split_whitespace().last()?.parse().ok());
    let share: f64 =
        share.with_context(|| format!("zsync does not say how much it has: {text}"))?;
    ensure!((0.0..=100.0).contains(&share), "zsync says {share} %");
    let (size, index) = (fs::metadata(new)?.len(), fs::metadata(&control)?.len());
    Ok(((size as f64 * (1.0 - share / 100.0)) as u64 + index, index))
}

fn xdelta3(old: &Path, new: &Path, dir: &Path) -> Result<(u64, u64)> {
    let patch = dir.join("patch");
    // The window covers the whole source.
    let window = fs::metadata(old)?.len().next_power_of_two().to_string();
    run(command("xdelta3").args(["-e", "-9", "-B", &window, "-s"]).arg(old).arg(new).arg(&patch))?;
    Ok((fs::metadata(&patch)?.len(), 0))
}

/// The table of all methods.
#[derive(Debug)]
pub(crate) struct Shares {
    pub(crate) full: u64,
    pub(crate) fetches: Vec<Fetch>,
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |bytes: u64| 100.0 * bytes as f64 / self.full as f64;
        writeln!(
            f,
            "| {:35} | fetched    | of it index | share   | index  | MiB     |            |",
            "method"
        )?;
        writeln!(
            f,
            "|{}|------------|-------------|---------|--------|---------|------------|",
            "-".repeat(37)
        )?;
        for Fetch { method, bytes, index, target } in &self.fetches {
            let (share, index_share) = (percent(*bytes), percent(*index));
            let met = match target {
                None => "-",
                Some(most) if *bytes as f64 <= most * f64::from(1 << 20) => "met",
                Some(_) => "**missed**",
            };
            let target = target.map_or("-".to_owned(), |most| format!("≤ {most}"));
            let (bytes, index) = (mib(*bytes), mib(*index));
            writeln!(
                f,
                "| {method:35} | {bytes:10} | {index:11} | {share:5.1} % | {index_share:4.2} % | \
                    {target:7} | {met:10} |"
            )?;
        }
        Ok(())
    }
}
