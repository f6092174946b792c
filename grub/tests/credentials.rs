//! Credentials on the EFI system partition: what is read, and that a power cut at any write leaves
//! the old one or the new one, and the environment where it was.
// clippy.toml allows `unwrap` in tests, but clippy does not see that the tests' helpers are tests
// too.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use grub_env::{
    BadCredential, BootState, CREDENTIALS_BYTES, CredentialError, CredentialStore, Env, EnvStore,
    credential_path,
};
use image_layout::Disk;

const SECTOR: usize = 512;

/// A partition whose power is cut: sectors that differ from those of `base`.
#[derive(Clone)]
struct CutDisk {
    base: Arc<Vec<u8>>,
    durable: RefCell<BTreeMap<u64, Vec<u8>>>,
    /// Sectors on their way
    pending: RefCell<Vec<(u64, Vec<u8>)>>,
    /// Writes and syncs until the power goes
    left: Cell<usize>,
}

impl CutDisk {
    fn new(base: &Arc<Vec<u8>>) -> Self {
        Self {
            base: base.clone(),
            durable: RefCell::default(),
            pending: RefCell::default(),
            left: Cell::new(usize::MAX),
        }
    }

    fn with(&self, left: usize) -> Self {
        self.left.set(left);
        self.clone()
    }

    fn operate(&self) -> io::Result<()> {
        match self.left.get() {
            0 => Err(io::Error::other("the power is gone")),
            left => {
                self.left.set(left - 1);
                Ok(())
            }
        }
    }

    /// Returns the disks that the cut can leave: any few of the sectors on their way arrived. Of
    /// many sectors, none, the first ones, each one alone, or all but one.
    fn outcomes(&self) -> Vec<Self> {
        let pending = self.pending.borrow();
        let count = pending.len();
        let choices: BTreeSet<Vec<bool>> = if count <= 5 {
            (0..1_u32 << count)
                .map(|bits| (0..count).map(|at| bits >> at & 1 == 1).collect())
                .collect()
        } else {
            let each = |arrived: &dyn Fn(usize) -> bool| (0..count).map(arrived).collect();
            (0..=count)
                .flat_map(|n| [each(&|at| at < n), each(&|at| at == n), each(&|at| at != n)])
                .collect()
        };
        let disk = |choice: Vec<bool>| {
            let disk = Self::new(&self.base);
            let mut durable = self.durable.borrow().clone();
            let arrived = pending.iter().zip(choice).filter(|(_, arrived)| *arrived);
            durable.extend(arrived.map(|(sector, _)| sector.clone()));
            *disk.durable.borrow_mut() = durable;
            disk
        };
        choices.into_iter().map(disk).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.base.to_vec();
        self.read_at(&mut bytes, 0).unwrap();
        bytes
    }
}

impl Disk for CutDisk {
    fn size(&self) -> io::Result<u64> {
        Ok(self.base.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        assert_eq!((offset as usize % SECTOR, buf.len() % SECTOR), (0, 0), "not aligned");
        let from = self.base.get(offset as usize..offset as usize + buf.len());
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        let end = offset + buf.len() as u64;
        let mut put = |place: u64, bytes: &[u8]| {
            if let Some(at) = place.checked_sub(offset).filter(|at| *at < buf.len() as u64) {
                buf[at as usize..][..SECTOR].copy_from_slice(bytes);
            }
        };
        self.durable.borrow().range(offset..end).for_each(|(place, bytes)| put(*place, bytes));
        self.pending.borrow().iter().for_each(|(place, bytes)| put(*place, bytes));
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        assert_eq!((offset as usize % SECTOR, buf.len() % SECTOR), (0, 0), "not aligned");
        let places = (offset..).step_by(SECTOR);
        let sectors = places.zip(buf.chunks(SECTOR).map(<[u8]>::to_vec));
        self.pending.borrow_mut().extend(sectors);
        self.operate()
    }

    fn sync(&self) -> io::Result<()> {
        self.operate()?;
        let pending = std::mem::take(&mut *self.pending.borrow_mut());
        self.durable.borrow_mut().extend(pending);
        Ok(())
    }
}

/// The disk as a stream, for the crate `fatfs`.
struct Stream<'d>(&'d CutDisk, u64);

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let at = self.1 as usize % SECTOR;
        let len = buf.len().min(SECTOR - at);
        let mut sector = [0; SECTOR];
        self.0.read_at(&mut sector, self.1 - at as u64)?;
        buf[..len].copy_from_slice(&sector[at..at + len]);
        self.1 += len as u64;
        Ok(len)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Stream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.1 = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.1.checked_add_signed(by).unwrap(),
            SeekFrom::End(by) => self.0.size()?.checked_add_signed(by).unwrap(),
        };
        Ok(self.1)
    }
}

fn run(program: &str, arguments: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&said));
}

/// Returns a partition of 36 MiB as mkfs.fat makes it, with the files of GRUB and no credentials.
fn esp() -> &'static Arc<Vec<u8>> {
    static ESP: OnceLock<Arc<Vec<u8>>> = OnceLock::new();
    ESP.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (esp, file) = (dir.path().join("esp"), dir.path().join("file"));
        let (image, block) = (esp.to_str().unwrap(), file.to_str().unwrap());
        let mut env = Env::new();
        BootState::factory().apply_to(&mut env);
        fs::write(&file, env.encode()).unwrap();
        run("mkfs.fat", &["-F", "32", "-s", "1", "-C", image, "36864"]);
        run("mmd", &["-i", image, "::/grub"]);
        for name in ["grubenv", "grub.cfg", "grubenv.bak"] {
            run("mcopy", &["-i", image, block, &format!("::/grub/{name}")]);
        }
        Arc::new(fs::read(&esp).unwrap())
    })
}

type Credentials = BTreeMap<String, Vec<u8>>;

/// Reads the credentials as a boot does.
fn read(disk: &CutDisk) -> Credentials {
    let store = CredentialStore::open(disk.clone()).unwrap();
    let listing = store.list().unwrap();
    assert_eq!(listing.refused, Vec::<String>::new());
    let read =
        |listed: &grub_env::StoredCredential| (listed.name.clone(), store.read(listed).unwrap());
    listing.credentials.iter().map(read).collect()
}

/// Reads the credentials as somebody else does.
fn read_by_fatfs(disk: &CutDisk) -> Credentials {
    let volume = fatfs::FileSystem::new(Stream(disk, 0), fatfs::FsOptions::new()).unwrap();
    let Ok(folder) = volume.root_dir().open_dir("credentials") else { return Credentials::new() };
    let files = folder.iter().map(Result::unwrap).filter(fatfs::DirEntry::is_file);
    files
        .filter_map(|file| {
            let mut content = Vec::new();
            file.to_file().read_to_end(&mut content).unwrap();
            Some((file.file_name().strip_suffix(".cred")?.to_owned(), content))
        })
        .collect()
}

/// Fails if the environment is not where it was, or any sector of it was written.
fn assert_environment_is_untouched(disk: &CutDisk) {
    let signature = b"# GRUB Environment Block\n";
    let blocks: Vec<usize> = (0..disk.base.len())
        .step_by(SECTOR)
        .filter(|at| disk.base[*at..].starts_with(signature))
        .collect();
    assert_eq!(blocks.len(), 3);
    let table_sectors = u32::from_le_bytes(disk.base[36..40].try_into().unwrap());
    // The first cluster is the root's. It gets the folder's entry.
    let root = (32 + 2 * u64::from(table_sectors)) * SECTOR as u64;
    for block in blocks {
        let near = (block as u64 - (64 << 10)).max(root + 1)..block as u64 + (64 << 10);
        assert_eq!(disk.durable.borrow().range(near).next(), None, "too near to the environment");
    }
    let loaded = EnvStore::open(disk.clone()).unwrap().load().unwrap();
    assert_eq!((loaded.state(), loaded.damage), (BootState::factory(), vec![]));
}

fn fsck(disk: &CutDisk) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("esp");
    fs::write(&path, disk.bytes()).unwrap();
    run("fsck.fat", &["-vn", path.to_str().unwrap()]);
}

fn long(index: usize) -> String {
    format!("network.network.{index:02}-with-a-name-that-takes-many-entries-{}", "x".repeat(120))
}

/// A partition before a change: no credentials, a few, or as many as make the folder grow.
fn before(count: usize) -> CutDisk {
    let disk = CutDisk::new(esp());
    let store = CredentialStore::open(disk).unwrap();
    for index in 0..count {
        store.set(&long(index), &vec![index as u8; 700 * index]).unwrap();
    }
    store.into_disk()
}

type Action = fn(&CredentialStore<CutDisk>) -> Result<bool, CredentialError>;

#[test]
fn a_power_cut_leaves_the_old_or_the_new_one_and_the_environment_untouched() {
    let add: Action = |store| store.set("ssh.authorized_keys.root", &[7; 3000]);
    let empty: Action = |store| store.set("empty", b"");
    let replace: Action = |store| store.set(&long(2), &[8; 9000]);
    let to_nothing: Action = |store| store.set(&long(2), b"");
    let remove: Action = |store| store.remove(&long(1));
    let mut cuts = 0;
    for (what, action, count) in [
        ("the first one", add, 0),
        ("an empty first one", empty, 0),
        ("one more", add, 2),
        ("a longer folder", add, 4),
        ("another", replace, 3),
        ("emptied", to_nothing, 3),
        ("removed", remove, 3),
    ] {
        let begin = before(count);
        let old = read(&begin);
        let done = CredentialStore::open(begin.clone()).unwrap();
        action(&done).unwrap();
        let done = done.into_disk();
        let new = read(&done);
        let done = CredentialStore::open(done).unwrap();
        later(&done);
        let done = done.into_disk();
        assert_ne!(old, new, "{what}");
        assert_eq!(read_by_fatfs(&done), new, "{what}");
        assert_environment_is_untouched(&done);
        fsck(&done);
        for operations in 0.. {
            let cut = CredentialStore::open(begin.with(operations)).unwrap();
            let ended = action(&cut);
            if ended.is_ok() {
                assert!(operations > 5, "{what}: {operations}");
                break;
            }
            for outcome in cut.into_disk().outcomes() {
                cuts += 1;
                let found = read(&outcome);
                assert!(found == old || found == new, "{what}: cut at {operations}");
                assert_eq!(read_by_fatfs(&outcome), found, "{what}: cut at {operations}");
                assert_environment_is_untouched(&outcome);
                let again = CredentialStore::open(outcome).unwrap();
                action(&again).unwrap();
                later(&again);
                let again = again.into_disk();
                assert_eq!(read(&again), new, "{what}: cut at {operations}");
                assert_eq!(read_by_fatfs(&again), new, "{what}: cut at {operations}");
                assert_environment_is_untouched(&again);
                assert_eq!(free(&again), free(&done), "{what}: lost after a cut at {operations}");
            }
        }
    }
    assert!(cuts > 300, "{cuts}");
}

/// Adds and removes another credential, which takes back what a cut has left.
fn later(store: &CredentialStore<CutDisk>) {
    store.set("later", b"x").unwrap();
    assert!(store.remove("later").unwrap());
}

/// Returns the number of free clusters by the table, and by the count that some programs believe.
fn free(disk: &CutDisk) -> (u32, u32) {
    let volume = fatfs::FileSystem::new(Stream(disk, 0), fatfs::FsOptions::new()).unwrap();
    let believed = volume.stats().unwrap().free_clusters();
    let mut info = [0; SECTOR];
    disk.read_at(&mut info, SECTOR as u64).unwrap();
    let by_hint = u32::from_le_bytes(info[488..492].try_into().unwrap());
    let mut table = vec![0; 72_000 * 4 / SECTOR * SECTOR];
    disk.read_at(&mut table, 32 * SECTOR as u64).unwrap();
    let zeros = table.chunks_exact(4).filter(|entry| entry.iter().all(|byte| *byte == 0)).count();
    assert_eq!(believed, by_hint);
    (zeros as u32, by_hint)
}

#[test]
fn what_is_refused_writes_nothing_and_says_why() {
    let begin = before(1);
    let written = begin.durable.borrow().len();
    let store = CredentialStore::open(begin).unwrap();
    let refused = |name: &str, content: &[u8]| store.set(name, content).unwrap_err().to_string();
    assert!(refused("a/b", b"").starts_with("a/b has a character"));
    assert!(refused(&long(0).to_uppercase(), b"").ends_with("remove that one first"));
    assert!(refused("large", &vec![0; CREDENTIALS_BYTES + 1]).starts_with("large does not fit"));
    assert!(!store.remove("nothing").unwrap());
    // What is there already is not written again.
    assert!(!store.set(&long(0), b"").unwrap());
    assert_eq!(store.into_disk().durable.borrow().len(), written);
}

#[test]
fn a_full_partition_takes_no_more_than_there_is_room_for() {
    let mut bytes = esp().to_vec();
    let dir = tempfile::tempdir().unwrap();
    let (esp, file) = (dir.path().join("esp"), dir.path().join("file"));
    fs::write(&esp, &bytes).unwrap();
    File::create(&file).unwrap().set_len(35 << 20).unwrap();
    run("mcopy", &["-i", esp.to_str().unwrap(), file.to_str().unwrap(), "::/full"]);
    bytes = fs::read(&esp).unwrap();
    let disk = CutDisk::new(&Arc::new(bytes));
    let store = CredentialStore::open(disk).unwrap();
    let error = store.set("a", &vec![1; 900 << 10]).unwrap_err();
    assert!(matches!(error, CredentialError::NoRoom), "{error}");
    assert!(store.into_disk().durable.borrow().is_empty());
}

/// Returns a partition to which mtools has added these files below `credentials/`.
fn with_files(files: &[(&str, &[u8])]) -> CutDisk {
    let dir = tempfile::tempdir().unwrap();
    let esp_path = dir.path().join("esp");
    fs::write(&esp_path, &***esp()).unwrap();
    let image = esp_path.to_str().unwrap();
    run("mmd", &["-i", image, "::/credentials"]);
    for (name, content) in files {
        let file = dir.path().join("file");
        fs::write(&file, content).unwrap();
        let target = format!("::/credentials/{name}");
        run("mcopy", &["-i", image, file.to_str().unwrap(), &target]);
    }
    CutDisk::new(&Arc::new(fs::read(Path::new(image)).unwrap()))
}

#[test]
fn what_mtools_wrote_is_read_and_what_cannot_be_taken_has_its_line() {
    let large = vec![1; CREDENTIALS_BYTES + 1];
    let disk = with_files(&[
        ("system.hostname.cred", b"router-7"),
        ("a.cred", b"short"),
        ("large.cred", &large),
        (".hidden.cred", b"x"),
        ("notes.txt", b"no credential"),
    ]);
    let store = CredentialStore::open(disk).unwrap();
    let listing = store.list().unwrap();
    let names: Vec<_> = listing.credentials.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["system.hostname", "a"]);
    assert_eq!(store.read(&listing.credentials[0]).unwrap(), b"router-7");
    assert_eq!(listing.refused.len(), 2, "{:?}", listing.refused);
    assert!(listing.refused[0].starts_with("large does not fit"), "{:?}", listing.refused);
    assert!(listing.refused[1].starts_with(".hidden is empty or"), "{:?}", listing.refused);
    // What no boot takes can be removed, and what mtools wrote can be replaced.
    assert!(store.remove("large").unwrap());
    store.set("a", b"longer than before").unwrap();
    let disk = store.into_disk();
    fsck(&disk);
    assert_eq!(read_by_fatfs(&disk)["a"], b"longer than before");
}

/// Writes over the partition, for a test of what is damaged.
fn patch(disk: &CutDisk, place: u64, bytes: &[u8]) {
    let start = place / SECTOR as u64 * SECTOR as u64;
    let mut sector = vec![0; SECTOR];
    disk.read_at(&mut sector, start).unwrap();
    sector[(place - start) as usize..][..bytes.len()].copy_from_slice(bytes);
    disk.write_at(&sector, start).unwrap();
    disk.sync().unwrap();
}

/// Returns the place of the short entry with this content's first cluster, and that cluster.
fn entry_of(disk: &CutDisk, content: &[u8]) -> (u64, u32) {
    let bytes = disk.bytes();
    let table_sectors = u32::from_le_bytes(bytes[36..40].try_into().unwrap()) as usize;
    let data = (32 + 2 * table_sectors) * SECTOR;
    let at = (data..bytes.len()).step_by(SECTOR).find(|at| bytes[*at..].starts_with(content));
    let cluster = ((at.unwrap() - data) / SECTOR + 2) as u32;
    let is_it = |at: &usize| {
        let entry = &bytes[*at..*at + 32];
        entry[11] == 0x20
            && entry[26..28] == (cluster as u16).to_le_bytes()
            && entry[28..32] == (content.len() as u32).to_le_bytes()
    };
    ((data..bytes.len()).step_by(32).find(is_it).unwrap() as u64, cluster)
}

#[test]
fn damage_ends_with_an_error_and_changes_nothing() {
    let content: &[u8] = &[9; 1300];
    let whole = with_files(&[("a.cred", content), ("b.cred", b"whole")]);
    let (entry, cluster) = entry_of(&whole, content);
    let table = 32 * SECTOR as u64 + u64::from(cluster) * 4;
    let circle = cluster.to_le_bytes();
    for (what, place, bytes) in [
        ("the chain runs in a circle", table, &circle[..]),
        ("the chain ends too early", table, &[0xff, 0xff, 0xff, 0x0f]),
        ("the chain goes on beyond the end", table, &[0xff, 0xff, 0xff, 0x00]),
        ("the file begins beyond the end", entry + 20, &[0xff, 0x0f]),
        ("the size is absurd for the chain", entry + 28, &[0, 0, 8, 0]),
    ] {
        let disk = whole.clone();
        patch(&disk, place, bytes);
        let written = disk.durable.borrow().len();
        let store = CredentialStore::open(disk).unwrap();
        let listing = store.list().unwrap();
        let [a, b] = &listing.credentials[..] else { panic!("{what}: {listing:?}") };
        assert!(store.read(a).is_err(), "{what}");
        assert_eq!(store.read(b).unwrap(), b"whole", "{what}");
        assert!(matches!(store.set("c", b"x"), Err(CredentialError::Io(_))), "{what}");
        assert!(matches!(store.remove("b"), Err(CredentialError::Io(_))), "{what}");
        assert_eq!(store.into_disk().durable.borrow().len(), written, "{what}");
    }
    // The folder itself: its entry lies in the root, which is the first cluster.
    let root = entry_of(&whole, content).0 / SECTOR as u64 * SECTOR as u64;
    let folder = whole.bytes()[..root as usize]
        .windows(11)
        .rposition(|name| name == b"CREDEN~1   ")
        .unwrap() as u64;
    for (what, place, bytes) in [
        ("the folder is a file", folder + 11, &[0x20][..]),
        ("the folder begins beyond the end", folder + 20, &[0xff, 0x0f]),
        ("there is no FAT", 510, &[0, 0]),
    ] {
        let disk = whole.clone();
        patch(&disk, place, bytes);
        let store = CredentialStore::open(disk).unwrap();
        assert!(store.list().is_err(), "{what}");
        assert!(store.set("c", b"x").is_err(), "{what}");
    }
    assert_eq!(BadCredential::Start.to_string(), "is empty or begins with a dot");
    assert_eq!(credential_path("a"), "credentials/a.cred");
}
