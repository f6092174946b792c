//! Installs from far away: they fetch only what the slots lack, and go on where they were cut off.
//!
//! `Far` counts the fetched bytes instead of a web server. `pull` has the installs over the
//! network.

use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use agent::{
    Access, AnyDisk, Config, Device, Exit, Failure, InstallOptions, Interrupt, Opener, Origin,
};
use bundle::{Bundle, Chunk, ROOT_CHUNKS, Sha256, SlotChunks, StoredSquashfs};
use image_layout::{Disk, FileDisk, Slot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proptest::prelude::*;

use crate::bench::{Bench, Made, Spec, Tree};

/// Most fetched bytes that a killed install may lose.
const LOST: u64 = 200 << 10;

/// The end of an install whose link is down.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Fails,
    Killed,
}

/// A bundle far away: a file whose fetched bytes are counted. After `most` bytes the link is down.
struct Far {
    file: FileDisk,
    /// Bytes of the file in front of its tail.
    payload: u64,
    most: u64,
    end: End,
    fetched: Arc<AtomicU64>,
}

impl Disk for Far {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset < self.payload {
            let fetched = self.fetched.load(Ordering::Relaxed) + buf.len() as u64;
            if fetched > self.most {
                if self.end == End::Killed {
                    kill(Pid::this(), Signal::SIGKILL).unwrap();
                }
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the link is down"));
            }
            self.fetched.store(fetched, Ordering::Relaxed);
        }
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes that an install fetched, the bytes that it announced before, and its result.
struct Fetched {
    bytes: u64,
    announced: u64,
    result: Result<(), Failure>,
}

/// Installs `path` from far away on `device`. After `most` bytes the link is down, and `end`
/// follows.
fn install_on(
    device: &Device,
    keyring: &bundle::Keyring,
    path: &Path,
    most: u64,
    end: End,
) -> Fetched {
    let open = || FileDisk::open_read_only(path).unwrap();
    let payload = Bundle::read(open()).unwrap().claimed_manifest().unwrap().bundle.size;
    let fetched = Arc::new(AtomicU64::new(0));
    let far =
        Bundle::open(Far { file: open(), payload, most, end, fetched: fetched.clone() }, keyring)
            .unwrap();
    let announced = Mutex::new(Vec::new());
    let expect = |ranges: &[Range<u64>]| {
        *announced.lock().unwrap() = ranges.to_vec();
        Ok(())
    };
    let result = agent::install_bundle(
        device,
        &Config::default(),
        &far,
        Origin::Remote { expect: &expect, running: None, delta: None },
        InstallOptions::default(),
        &Interrupt::never(),
        "installing from far away",
    );
    let announced = announced.into_inner().unwrap();
    assert!(
        announced.windows(2).all(|pair| pair[0].end < pair[1].start),
        "ascending and not touching"
    );
    let announced = announced.iter().map(|range| range.end - range.start).sum();
    Fetched { bytes: fetched.load(Ordering::Relaxed), announced, result: result.map(drop) }
}

fn install(bench: &Bench, made: &Made) -> Fetched {
    let fetched = install_on(&bench.device(), &bench.keyring(), &made.path, u64::MAX, End::Fails);
    fetched.result.as_ref().unwrap();
    assert!(made.is_in_slot_b(bench));
    assert_eq!(bench.state().select().slot, Some(Slot::B));
    fetched
}

/// Returns the chunks of the bundle's images, boot first.
fn chunks(bench: &Bench, made: &Made) -> [Vec<Chunk>; 2] {
    let bundle =
        Bundle::open(FileDisk::open_read_only(&made.path).unwrap(), &bench.keyring()).unwrap();
    ["boot", "root"].map(|image| bundle.chunks(image).to_vec())
}

fn bytes<'a>(chunks: impl IntoIterator<Item = &'a Chunk>) -> u64 {
    chunks.into_iter().map(|chunk| u64::from(chunk.len)).sum()
}

/// Returns the bytes of the chunks of `new` that must be fetched.
///
/// Such a chunk is not among those of `old`, and not in its place in slot B. (An empty slot has
/// zeros, which are in many places of an image.)
fn missing(bench: &Bench, old: &[Vec<Chunk>; 2], new: &[Vec<Chunk>; 2]) -> u64 {
    let missing = |(image, label): (usize, &str)| {
        let held = bench.bytes(label);
        let has: BTreeSet<Sha256> = old[image].iter().map(|chunk| chunk.sha256).collect();
        bytes(new[image].iter().filter(|chunk| {
            !has.contains(&chunk.sha256) && Sha256::of(&held[place(chunk)]) != chunk.sha256
        }))
    };
    [(0, "boot-b"), (1, "root-b")].map(missing).iter().sum()
}

fn place(chunk: &Chunk) -> Range<usize> {
    chunk.offset as usize..chunk.offset as usize + chunk.len as usize
}

fn spec<'a>(version: &'a str, files: &'a [u64]) -> Spec<'a> {
    Spec { version, files, boot_padding: 300_000, ..Spec::default() }
}

/// Returns a device that runs 1.0.0 of these files.
fn running(files: &[u64]) -> (Bench, Made) {
    let bench = Bench::new();
    let made = bench.bundle(&spec("1.0.0", files));
    bench.put_system(Slot::A, &made);
    (bench, made)
}

const OLD: [u64; 60] = {
    let mut files = [0; 60];
    let mut index = 0;
    while index < 60 {
        files[index] = index as u64;
        index += 1;
    }
    files
};

/// Returns [`OLD`] with a larger file at the beginning, a few changed files, and one removed file.
fn updated() -> Vec<u64> {
    let mut files = OLD.to_vec();
    files[0] = 605;
    for index in [20, 21, 40] {
        files[index] += 600;
    }
    files.remove(50);
    files
}

#[test]
fn what_the_running_slot_has_is_not_fetched() {
    let (bench, old) = running(&OLD);
    let made = bench.bundle(&spec("2.0.0", &updated()));
    let (old, new) = (chunks(&bench, &old), chunks(&bench, &made));
    let expected = missing(&bench, &old, &new);
    let fetched = install(&bench, &made);
    assert_eq!(fetched.bytes, expected);
    assert_eq!(fetched.announced, fetched.bytes);
    assert!(fetched.bytes * 3 < bytes(new.iter().flatten()), "{}", fetched.bytes);
}

/// Returns the chunks of the dm-verity tree.
fn tree_chunks(bench: &Bench, made: &Made) -> Vec<Chunk> {
    let bundle =
        Bundle::open(FileDisk::open_read_only(&made.path).unwrap(), &bench.keyring()).unwrap();
    let data = bundle.manifest().image("root").unwrap().verity.unwrap().size;
    bundle.chunks("root").iter().filter(|chunk| chunk.offset >= data).copied().collect()
}

#[test]
fn the_dm_verity_tree_is_made_and_not_fetched() {
    let (bench, old) = running(&OLD);
    let made = bench.bundle(&Spec { tree: Tree::Real, ..spec("2.0.0", &updated()) });
    let tree = bytes(&tree_chunks(&bench, &made));
    assert!(tree > 32 << 10, "{tree}");
    let total = missing(&bench, &chunks(&bench, &old), &chunks(&bench, &made)) - tree;
    let mut all = 0;
    // The second install finds part of the data in its place. It does not fetch the tree either.
    for most in [total / 2, u64::MAX] {
        let fetched = install_on(&bench.device(), &bench.keyring(), &made.path, most, End::Fails);
        all += fetched.bytes;
        assert_eq!(fetched.result.is_ok(), most == u64::MAX);
        assert!(most < u64::MAX || fetched.announced == fetched.bytes);
    }
    assert!(made.is_in_slot_b(&bench));
    assert!(all <= total + LOST, "{all} of {total}");
}

#[test]
fn a_tree_that_is_not_that_of_the_data_is_fetched() {
    let (bench, old) = running(&OLD);
    let made = bench.bundle(&Spec { tree: Tree::Wrong, ..spec("2.0.0", &updated()) });
    let tree = bytes(&tree_chunks(&bench, &made));
    let expected = missing(&bench, &chunks(&bench, &old), &chunks(&bench, &made));
    let fetched = install(&bench, &made);
    assert_eq!((fetched.announced, fetched.bytes), (expected - tree, expected));
}

#[test]
fn installing_what_is_in_the_slot_already_fetches_and_writes_nothing() {
    let (bench, _) = running(&OLD);
    let made = bench.bundle(&spec("2.0.0", &updated()));
    install(&bench, &made);
    let before = bench.untouchables();
    // The opener opens every partition except the ESP read-only.
    let opener = Opener::new(|path: &Path, access| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let read_only = access != Access::Write || name != "esp";
        let disk = if read_only { FileDisk::open_read_only(path)? } else { FileDisk::open(path)? };
        Ok(Box::new(disk) as AnyDisk)
    });
    let device = bench.device().with_opener(opener);
    let fetched = install_on(&device, &bench.keyring(), &made.path, 0, End::Fails);
    fetched.result.unwrap();
    assert_eq!((fetched.bytes, fetched.announced), (0, 0));
    assert!(before[1..] == bench.untouchables()[1..]);
    assert_eq!(bench.boot(), Some(Slot::B));
}

#[test]
fn an_install_whose_link_went_down_goes_on_with_what_is_missing() {
    let (bench, old) = running(&OLD);
    let made = bench.bundle(&spec("2.0.0", &updated()));
    let total = missing(&bench, &chunks(&bench, &old), &chunks(&bench, &made));
    let mut all = 0;
    for most in [100_000, total / 3, u64::MAX] {
        let fetched = install_on(&bench.device(), &bench.keyring(), &made.path, most, End::Fails);
        all += fetched.bytes;
        match fetched.result {
            Ok(()) => assert_eq!(most, u64::MAX),
            Err(failure) => {
                assert!(failure.message.contains("the link is down"), "{failure}");
                assert_eq!(bench.state().select().slot, Some(Slot::A));
            }
        }
    }
    assert!(made.is_in_slot_b(&bench));
    assert!(all <= total + 2 * LOST, "{all} of {total}");
}

/// Child of the next test. It installs into the device that the environment names, until it is
/// killed.
#[test]
fn install_for_the_test_that_kills() {
    let Some(folder) = env::var_os("DARUMA_KILLED_IN") else { return };
    let most: u64 = env::var("DARUMA_KILLED_AFTER").unwrap().parse().unwrap();
    let folder = Path::new(&folder);
    let keyring = bundle::Keyring::load(&folder.join("etc/daruma/keyring")).unwrap();
    let path = folder.join("2.0.0.daruma");
    let fetched = install_on(&Device::at(folder).unwrap(), &keyring, &path, most, End::Killed);
    panic!("not killed: {:?}", fetched.result);
}

#[test]
fn a_killed_install_loses_little_of_what_it_fetched() {
    let bench = Bench::new();
    let files: Vec<u64> = (1000..1100).collect();
    let made = bench.bundle(&spec("2.0.0", &files));
    let total = bytes(chunks(&bench, &made).iter().flatten());
    let mut at = 0;
    for part in 1..8 {
        // Each life fetches a seventh. The last life fetches the rest.
        let most = if part == 7 { u64::MAX } else { total / 7 };
        let fetched = if part == 7 {
            install(&bench, &made).bytes
        } else {
            let mut child = Command::new(env::current_exe().unwrap());
            child.args(["--exact", "reuse::install_for_the_test_that_kills"]).stdout(Stdio::null());
            child
                .env("DARUMA_KILLED_IN", bench.path(""))
                .env("DARUMA_KILLED_AFTER", most.to_string());
            let status = child.stderr(Stdio::null()).status().unwrap();
            assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");
            assert_eq!(bench.state().select().slot, Some(Slot::A));
            most
        };
        at += fetched;
    }
    assert!(at <= total + 6 * LOST, "{at} bytes fetched of {total} in 6 lives that were cut off");
}

#[test]
fn a_chunk_that_is_damaged_in_the_running_slot_is_fetched() {
    let (bench, old) = running(&OLD);
    let made = bench.bundle(&spec("2.0.0", &updated()));
    let (old, new) = (chunks(&bench, &old), chunks(&bench, &made));
    let kept: Vec<&Chunk> =
        old[1].iter().filter(|chunk| new[1].iter().any(|new| new.sha256 == chunk.sha256)).collect();
    let partition = File::options().read(true).write(true).open(bench.path("root-a")).unwrap();
    let damaged = [kept[3], kept[kept.len() / 2]];
    for chunk in damaged {
        let mut byte = [0];
        partition.read_exact_at(&mut byte, chunk.offset + 1).unwrap();
        partition.write_all_at(&[!byte[0]], chunk.offset + 1).unwrap();
    }
    let expected = missing(&bench, &old, &new);
    let fetched = install(&bench, &made);
    assert_eq!(fetched.announced, expected);
    assert_eq!(fetched.bytes, fetched.announced + bytes(damaged));
}

/// Writes that the disk has taken and not made durable: partition, place, bytes.
type Pending = Arc<Mutex<Vec<(String, u64, Vec<u8>)>>>;

/// A partition behind a cache that a power cut empties. After `left` more operations it fails.
struct Cached {
    name: String,
    file: FileDisk,
    pending: Pending,
    left: Arc<AtomicU64>,
}

impl Cached {
    fn operation(&self) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other("the process is dead"));
        }
        self.left.store(left - 1, Ordering::Relaxed);
        Ok(())
    }

    fn opener(pending: &Pending, left: &Arc<AtomicU64>) -> Opener {
        let (pending, left) = (pending.clone(), left.clone());
        Opener::new(move |path: &Path, access| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let open =
                if access == Access::Write { FileDisk::open } else { FileDisk::open_read_only };
            Ok(Box::new(Cached {
                name,
                file: open(path)?,
                pending: pending.clone(),
                left: left.clone(),
            }) as AnyDisk)
        })
    }
}

impl Disk for Cached {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)?;
        let end = offset + buf.len() as u64;
        for (name, at, bytes) in self.pending.lock().unwrap().iter() {
            let (from, to) = (offset.max(*at), end.min(at + bytes.len() as u64));
            if *name == self.name && from < to {
                let range = |start: u64| (from - start) as usize..(to - start) as usize;
                buf[range(offset)].copy_from_slice(&bytes[range(*at)]);
            }
        }
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.operation()?;
        self.pending.lock().unwrap().push((self.name.clone(), offset, buf.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.operation()?;
        let mut pending = self.pending.lock().unwrap();
        for (_, offset, bytes) in pending.iter().filter(|(name, ..)| *name == self.name) {
            self.file.write_at(bytes, *offset)?;
        }
        pending.retain(|(name, ..)| *name != self.name);
        Ok(())
    }
}

#[test]
fn an_install_that_died_at_any_operation_is_finished_by_the_next_and_survives_a_power_cut() {
    let (bench, _) = running(&OLD[..6]);
    let made = bench.bundle(&Spec { boot_padding: 20_000, ..spec("2.0.0", &updated()[..8]) });
    let labels = ["esp", "boot-b", "root-b"];
    let before = labels.map(|label| bench.bytes(label));
    let install = |pending: &Pending, operations: u64| {
        let left = Arc::new(AtomicU64::new(operations));
        let device = bench.device().with_opener(Cached::opener(pending, &left));
        install_on(&device, &bench.keyring(), &made.path, u64::MAX, End::Fails)
    };
    for is_power_cut in [false, true] {
        let mut saved = 0;
        for operations in 0.. {
            for (label, bytes) in labels.iter().zip(&before) {
                File::options()
                    .write(true)
                    .open(bench.path(label))
                    .unwrap()
                    .write_all_at(bytes, 0)
                    .unwrap();
            }
            let pending = Pending::default();
            let first = install(&pending, operations);
            if first.result.is_ok() {
                println!(
                    "{operations} operations, cut {is_power_cut}: {saved} bytes need not be \
                        fetched twice"
                );
                assert!(operations > 15 && saved > 0);
                break;
            }
            if is_power_cut {
                pending.lock().unwrap().clear();
            }
            assert!(bench.state().select().slot == Some(Slot::A) || made.is_in_slot_b(&bench));
            let second = install(&pending, u64::MAX);
            second.result.unwrap();
            saved += first.announced.saturating_sub(second.bytes);
            // Both installs' writes were made durable before the environment was written. So the
            // cache may be lost now.
            pending.lock().unwrap().clear();
            assert!(made.is_in_slot_b(&bench), "{operations} operations, cut {is_power_cut}");
            assert_eq!(bench.state().select().slot, Some(Slot::B));
        }
    }
}

/// Gives slot A the boot image of 1.0.0 with another file `root.chunks`, or without one.
fn put_table(bench: &Bench, table: Option<Vec<u8>>) {
    let path = bench.path("boot-a");
    let disk = FileDisk::open_read_only(&path).unwrap();
    let mut boot = StoredSquashfs::new();
    for name in ["vmlinuz", "slot.cfg"] {
        boot.add_bytes(name, StoredSquashfs::read_file(&disk, name).unwrap()).unwrap();
    }
    if let Some(table) = table {
        boot.add_bytes(ROOT_CHUNKS, table).unwrap();
    }
    let mut image = Vec::new();
    boot.write(&mut image).unwrap();
    File::options().write(true).open(path).unwrap().write_all_at(&image, 0).unwrap();
}

#[test]
fn a_slot_that_lies_about_its_root_does_no_harm() {
    let (bench, _) = running(&OLD);
    let made = bench.bundle(&spec("2.0.0", &updated()));
    let new = chunks(&bench, &made);
    let lies = SlotChunks::root_table(
        &FileDisk::open_read_only(&bench.path("2.0.0.root")).unwrap(),
        &new[1].iter().map(|chunk| chunk.offset).collect(),
    );
    // The table says that slot A holds the new image. That is true only of chunks that did not
    // move.
    put_table(&bench, Some(lies.unwrap()));
    let boot = FileDisk::open_read_only(&bench.path("boot-a")).unwrap();
    let slot = SlotChunks::read(&boot, 1 << 30).unwrap();
    let believed = missing(&bench, &[slot.boot.clone(), slot.root.unwrap()], &new);
    let root_a = bench.bytes("root-a");
    let is_there = |chunk: &&Chunk| Sha256::of(&root_a[place(chunk)]) == chunk.sha256;
    let there = new[1].iter().filter(is_there).copied().collect();
    let expected = missing(&bench, &[slot.boot, there], &new);
    let fetched = install(&bench, &made);
    assert_eq!((fetched.announced, fetched.bytes), (believed, expected), "believed, and found out");
    assert!(believed < expected);
}

#[test]
fn a_slot_that_says_nothing_or_nonsense_of_its_root_gives_nothing() {
    for table in
        [None, Some(vec![7; 35]), Some(vec![0; 36]), Some([0x00, 0, 0x10, 0].repeat(9 * 40))]
    {
        let (bench, _) = running(&OLD);
        let made = bench.bundle(&spec("2.0.0", &OLD));
        put_table(&bench, table);
        let new = chunks(&bench, &made);
        // The boot image of slot A differs, too, except in the kernel.
        let kernel = 3 * (128 << 10);
        let expected = missing(&bench, &[Vec::new(), Vec::new()], &new);
        let fetched = install(&bench, &made);
        assert!(
            fetched.bytes <= expected && fetched.bytes + kernel >= expected,
            "{}",
            fetched.bytes
        );
    }
}

#[test]
fn a_bundle_that_is_damaged_far_away_is_refused_and_does_not_boot() {
    let (bench, old) = running(&OLD);
    let made = bench.bundle(&spec("2.0.0", &updated()));
    let (old, new) = (chunks(&bench, &old), chunks(&bench, &made));
    let fetched =
        new[1].iter().find(|new| old[1].iter().all(|old| old.sha256 != new.sha256)).unwrap();
    let bundle = File::options().read(true).write(true).open(&made.path).unwrap();
    let root =
        Bundle::open(FileDisk::open_read_only(&made.path).unwrap(), &bench.keyring()).unwrap();
    let at = root.manifest().image("root").unwrap().offset + fetched.offset;
    let mut byte = [0];
    bundle.read_exact_at(&mut byte, at).unwrap();
    bundle.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let failure = install_on(&bench.device(), &bench.keyring(), &made.path, u64::MAX, End::Fails);
    assert_eq!(failure.result.unwrap_err().exit, Exit::Content);
    assert_eq!(bench.state().select().slot, Some(Slot::A));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_slots_hold_the_new_system_is_whole_and_only_what_they_lack_is_fetched(
        old in proptest::collection::vec(0..24_u64, 1..20),
        idle in proptest::collection::vec(0..24_u64, 0..20),
        new in proptest::collection::vec(0..24_u64, 1..20),
        shift in 0..3_u64,
    ) {
        let (bench, old) = running(&old);
        let old = chunks(&bench, &old);
        if !idle.is_empty() {
            let idle = bench.bundle(&spec("1.5.0", &idle));
            bench.put_system(Slot::B, &idle);
            let partition = File::options().write(true).open(bench.path("root-b")).unwrap();
            partition.write_all_at(&vec![7; 5000], shift * 100_000).unwrap();
        }
        let made = bench.bundle(&spec("2.0.0", &new));
        let new = chunks(&bench, &made);
        let expected = missing(&bench, &old, &new);
        let fetched = install(&bench, &made);
        prop_assert_eq!(fetched.bytes, expected);
        prop_assert_eq!(fetched.announced, expected);
    }
}
