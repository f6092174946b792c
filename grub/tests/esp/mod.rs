//! EFI system partitions in memory, and a disk whose power is cut.

use std::cell::{Cell, RefCell};
use std::io::{self, Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use grub_env::{BootState, Env};
use image_layout::Disk;

/// A disk that keeps what is durable apart from what was only written, and can lose its power.
#[derive(Debug)]
pub(crate) struct MemoryDisk {
    live: RefCell<Vec<u8>>,
    /// Durable bytes. Except for `pending`, a read finds them after the power came back.
    durable: RefCell<Vec<u8>>,
    /// Writes since the last sync: offset and bytes.
    pending: RefCell<Vec<(u64, Vec<u8>)>>,
    /// Writes and syncs until the power goes.
    operations_left: Cell<usize>,
    /// All writes: offset, length.
    pub(crate) writes: RefCell<Vec<(u64, usize)>>,
    /// Transfers must be multiples of this size and lie on multiples of it, as with `O_DIRECT`.
    pub(crate) sector: usize,
}

impl MemoryDisk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            live: RefCell::new(bytes.clone()),
            durable: RefCell::new(bytes),
            pending: RefCell::default(),
            operations_left: Cell::new(usize::MAX),
            writes: RefCell::default(),
            sector: 512,
        }
    }

    pub(crate) fn cut_after(self, operations: usize) -> Self {
        self.operations_left.set(operations);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.live.borrow().clone()
    }

    /// Returns what may be on the disk after the cut. Of the writes that were not synced, none, the
    /// first ones, each one alone, or all but one may have arrived.
    pub(crate) fn after_the_cut(&self) -> Vec<Vec<u8>> {
        let pending = self.pending.borrow();
        let count = pending.len();
        let with = |arrived: &dyn Fn(usize) -> bool| {
            let mut bytes = self.durable.borrow().clone();
            for (_, (offset, data)) in
                pending.iter().enumerate().filter(|(index, _)| arrived(*index))
            {
                bytes[*offset as usize..*offset as usize + data.len()].copy_from_slice(data);
            }
            bytes
        };
        let mut outcomes: Vec<_> = (0..=count).map(|first| with(&|index| index < first)).collect();
        for one in 0..count {
            outcomes.extend([with(&|index| index == one), with(&|index| index != one)]);
        }
        outcomes.sort();
        outcomes.dedup();
        outcomes
    }

    fn operate(&self) -> io::Result<()> {
        let left = self.operations_left.get();
        if left == 0 {
            return Err(io::Error::other("the power is gone"));
        }
        self.operations_left.set(left - 1);
        Ok(())
    }

    fn check(&self, address: *const u8, offset: u64, len: usize) {
        assert_eq!(
            (offset as usize % self.sector, len % self.sector, address as usize % self.sector),
            (0, 0, 0),
            "not aligned"
        );
    }
}

impl Disk for MemoryDisk {
    fn size(&self) -> io::Result<u64> {
        Ok(self.live.borrow().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(buf.as_ptr(), offset, buf.len());
        let live = self.live.borrow();
        let from = live
            .get(offset as usize..offset as usize + buf.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(from);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check(buf.as_ptr(), offset, buf.len());
        self.writes.borrow_mut().push((offset, buf.len()));
        self.pending.borrow_mut().push((offset, buf.to_vec()));
        self.operate()?;
        self.live.borrow_mut()[offset as usize..offset as usize + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.operate()?;
        self.durable.borrow_mut().copy_from_slice(&self.live.borrow());
        self.pending.borrow_mut().clear();
        Ok(())
    }
}

pub(crate) fn block(state: BootState) -> Vec<u8> {
    let mut env = Env::new();
    state.apply_to(&mut env);
    env.encode().to_vec()
}

/// Returns a FAT of `kib` KiB with these files below `grub/`. Its clusters have one sector if `fat`
/// is 12.
pub(crate) fn fat(fat: u8, kib: usize, sector: u16, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; kib << 10]);
    let width = match fat {
        12 => fatfs::FatType::Fat12,
        16 => fatfs::FatType::Fat16,
        _ => fatfs::FatType::Fat32,
    };
    let options = FormatVolumeOptions::new()
        .fat_type(width)
        .bytes_per_sector(sector)
        .bytes_per_cluster(u32::from(sector));
    fatfs::format_volume(&mut disk, options).unwrap();
    let fs = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
    let dir = fs.root_dir().create_dir("grub").unwrap();
    // There are more entries than one cluster holds, so that directories have chains too.
    for number in 0..20 {
        dir.create_file(&format!("filler{number}")).unwrap();
    }
    for (name, content) in files {
        let mut file = dir.create_file(name).unwrap();
        file.write_all(content).unwrap();
    }
    drop(dir);
    fs.unmount().unwrap();
    disk.into_inner()
}

/// The usual FATs: width, size in KiB, bytes per sector.
pub(crate) const FATS: [(u8, usize, u16); 4] =
    [(12, 512, 512), (16, 8192, 512), (32, 40_000, 512), (16, 40_000, 4096)];

pub(crate) fn esp(state: BootState) -> Vec<u8> {
    let block = block(state);
    fat(12, 512, 512, &[("grub.cfg", b"#"), ("grubenv", &block), ("grubenv.bak", &block)])
}
