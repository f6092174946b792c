//! An empty /var as a factory reset makes it. mke2fs makes the same, e2fsck judges it, and the
//! power is cut at every write.
// clippy.toml allows `unwrap` in tests, but clippy does not see that the tests' helpers are tests
// too.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use image_layout::{Disk, FileDisk, make_empty_var, mend_torn_superblock};

const MIB: usize = 1 << 20;
const SECTOR: usize = 512;
const BLOCK: usize = 4096;
/// The superblock's place and length.
const SUPERBLOCK: std::ops::Range<usize> = 1024..2048;
/// Size and journal of each template, MiB.
const TEMPLATES: [(usize, usize); 2] = [(16, 4), (34, 16)];

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

/// Makes the filesystem of a template. The features are those of the factory image's `var`, and
/// `metadata_csum_seed`: the UUID can then change without the other checksums. `-N` is the number
/// of inodes that each block group gets, also those that are added later. `resize=` sets
/// descriptors aside for 256 GiB.
fn mke2fs(path: &Path, size: usize, journal: usize) {
    File::create(path).unwrap().set_len((size * MIB) as u64).unwrap();
    let features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,\
                    flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,\
                    metadata_csum,metadata_csum_seed";
    let extended = "hash_seed=00000000-0000-4000-8000-000000000002,root_owner=0:0,\
                    lazy_itable_init=0,lazy_journal_init=0,nodiscard,resize=67108864";
    let uuid = "00000000-0000-4000-8000-000000000001";
    let output = tool("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-O", features, "-b", "4096", "-I", "256"])
        .args(["-N", "8192", "-m", "1", "-J", &format!("size={journal}"), "-L", "var"])
        .args(["-U", uuid, "-E", extended])
        .arg(path)
        .arg((size * MIB / BLOCK).to_string())
        .env("E2FSPROGS_FAKE_TIME", "1")
        .env("SOURCE_DATE_EPOCH", "1")
        .env("MKE2FS_CONFIG", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns an image in the form of the templates.
fn template(image: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut add = |start: usize, length: usize, bytes: &[u8]| {
        let repeated = if bytes.len() == 1 && length > 1 { 0x8000 } else { 0 };
        text.extend(u32::try_from(start).unwrap().to_le_bytes());
        text.extend((u16::try_from(length).unwrap() | repeated).to_le_bytes());
        text.extend(bytes);
    };
    for (number, block) in image.chunks(BLOCK).enumerate() {
        let mut at = 0;
        while at < BLOCK {
            let run = block[at..].iter().take_while(|byte| **byte == block[at]).count();
            if run >= 12 || block[at] == 0 {
                if block[at] != 0 {
                    add(number * BLOCK + at, run, &block[at..=at]);
                }
                at += run;
                continue;
            }
            // A span ends before a long run.
            let mut end = at;
            while end < BLOCK {
                let run = block[end..].iter().take_while(|byte| **byte == block[end]).count();
                if run >= 12 {
                    break;
                }
                end += run;
            }
            add(number * BLOCK + at, end - at, &block[at..end]);
            at = end;
        }
    }
    text
}

fn template_path(size: usize) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/var/empty-{size}.bin"))
}

/// Returns random bytes for a test: never the same twice.
fn counter() -> impl FnMut() -> io::Result<[u8; 16]> {
    let mut next = 0;
    move || {
        next += 1;
        Ok([next; 16])
    }
}

fn make(disk: &impl Disk) -> io::Result<()> {
    make_empty_var(disk, &mut counter(), &mut || {})
}

fn e2fsck(image: &Path) {
    let output = tool("e2fsck").arg("-fn").arg(image).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_templates_are_what_mke2fs_makes() {
    let dir = tempfile::tempdir().unwrap();
    for (size, journal) in TEMPLATES {
        let path = dir.path().join("var");
        mke2fs(&path, size, journal);
        e2fsck(&path);
        let made = template(&fs::read(&path).unwrap());
        // After a change of the arguments this makes the templates anew.
        if std::env::var_os("DARUMA_TEMPLATES").is_some() {
            fs::write(template_path(size), &made).unwrap();
        }
        assert!(fs::read(template_path(size)).unwrap() == made, "{size} MiB");
        assert!(made.len() < 2048, "{} bytes", made.len());
    }
}

#[test]
fn a_partition_of_any_size_gets_an_empty_filesystem_in_which_e2fsck_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (mib, blocks) in [(16, 4096), (33, 4096), (34, 8704), (300, 8704)] {
        let path = dir.path().join(format!("{mib}"));
        // The old content must not shine through.
        fs::write(&path, vec![0xa5; mib * MIB]).unwrap();
        make(&FileDisk::open(&path).unwrap()).unwrap();
        e2fsck(&path);
        let output = tool("dumpe2fs").arg("-h").arg(&path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let value = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            line.rsplit(' ').next().unwrap().to_owned()
        };
        assert_eq!(value("Block count:"), blocks.to_string());
        assert_eq!(value("Filesystem volume name:"), "var");
        assert_eq!(value("Filesystem UUID:"), "01010101-0101-4101-8101-010101010101");
        assert_eq!(value("Directory Hash Seed:"), "02020202-0202-4202-8202-020202020202");
        assert_eq!(value("Inodes per group:"), "8192");
        assert_eq!(value("Reserved GDT blocks:"), "31");
    }
}

#[test]
fn what_is_too_small_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("var");
    fs::write(&path, vec![7; 16 * MIB - SECTOR]).unwrap();
    make(&FileDisk::open(&path).unwrap()).unwrap_err();
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 7));
}

/// A disk whose power is cut after some operations. It keeps what was written since the last sync.
struct CutDisk {
    durable: RefCell<Vec<u8>>,
    pending: RefCell<Vec<(usize, Vec<u8>)>>,
    left: Cell<usize>,
}

impl CutDisk {
    fn new(bytes: Vec<u8>, operations: usize) -> Self {
        let (durable, pending) = (RefCell::new(bytes), RefCell::default());
        Self { durable, pending, left: Cell::new(operations) }
    }

    fn spend(&self) -> io::Result<()> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| io::Error::other("the power is cut"))?);
        Ok(())
    }

    /// Returns the bytes after the cut. `arrives` decides for each sector that is on its way.
    fn after(&self, mut arrives: impl FnMut() -> bool) -> Vec<u8> {
        let mut bytes = self.durable.borrow().clone();
        for (at, content) in self.pending.borrow().iter() {
            for (nth, sector) in content.chunks(SECTOR).enumerate() {
                if arrives() {
                    bytes[at + nth * SECTOR..][..SECTOR].copy_from_slice(sector);
                }
            }
        }
        bytes
    }
}

impl Disk for CutDisk {
    fn size(&self) -> io::Result<u64> {
        Ok(self.durable.borrow().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(self.pending.borrow().is_empty(), "nothing is read between a write and its sync");
        buf.copy_from_slice(&self.durable.borrow()[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        assert_eq!((offset % 512, buf.len() % SECTOR), (0, 0), "whole sectors only");
        self.pending.borrow_mut().push((offset as usize, buf.to_vec()));
        self.spend()
    }

    fn sync(&self) -> io::Result<()> {
        self.spend()?;
        let bytes = self.after(|| true);
        self.pending.borrow_mut().clear();
        *self.durable.borrow_mut() = bytes;
        Ok(())
    }
}

/// Returns true if the kernel would look further: the magic is there, and the checksum is right.
fn has_superblock(bytes: &[u8]) -> bool {
    let block = &bytes[SUPERBLOCK];
    let sum = |bytes: &[u8]| {
        bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
        })
    };
    block[0x38..0x3a] == [0x53, 0xef] && block[0x3fc..] == sum(&block[..0x3fc]).to_le_bytes()
}

#[test]
fn a_power_cut_at_any_write_leaves_the_old_filesystem_or_none_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    // The old one has a backup of its superblock, by which a torn superblock can be mended.
    let old_path = dir.path().join("old");
    mke2fs(&old_path, 130, 4);
    let old = fs::read(&old_path).unwrap();
    // Only the part in front of the template and the backup count, and a short disk is faster.
    for start in [old[..18 * MIB].to_vec(), vec![0xa5; 18 * MIB]] {
        let whole = CutDisk::new(start.clone(), usize::MAX);
        make(&whole).unwrap();
        let new = whole.after(|| true);
        assert!(has_superblock(&new));
        let operations = usize::MAX - whole.left.get();
        assert_eq!(operations, 21, "1 + 16 + 1 writes and 3 syncs");
        let (mut seed, mut seen) = (20_261_121_u64, [0; 3]);
        for cut in 0..operations {
            let disk = CutDisk::new(start.clone(), cut);
            make(&disk).unwrap_err();
            for choice in 0..5 {
                let bytes = disk.after(|| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    match choice {
                        0 => true,
                        1 => false,
                        _ => seed >> 63 == 1,
                    }
                });
                let what = if bytes == start {
                    0
                } else if bytes == new {
                    2
                } else {
                    assert!(!has_superblock(&bytes), "cut {cut}, choice {choice}");
                    1
                };
                seen[what] += 1;
                let rest = CutDisk::new(bytes, usize::MAX);
                assert!(!mend_torn_superblock(&rest).unwrap(), "cut {cut}: nothing may be mended");
                make(&rest).unwrap();
                assert!(rest.after(|| true) == new, "cut {cut}: the next run finishes");
            }
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }
}

#[test]
fn no_torn_superblock_is_mended_by_the_old_filesystems_backup() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("var");
    mke2fs(&path, 130, 4);
    let disk = FileDisk::open(&path).unwrap();
    make(&disk).unwrap();
    e2fsck(&path);
    disk.write_at(&[77, 0], SUPERBLOCK.start as u64 + 0x34).unwrap();
    assert!(!mend_torn_superblock(&disk).unwrap());
}
