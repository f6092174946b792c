//! Keeps the recovery partition a copy of the committed system's boot image.
//!
//! `boot_image` checks the source. Nothing else writes to the partition, so no lock is needed. A
//! copy that breaks off does no harm: GRUB checks its hashes, and starts recovery from a slot
//! instead.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use image_layout::{Disk, FileDisk, label};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::device::Device;
use crate::device::esp::environment::Environment;
use crate::device::slot::boot_image;
use crate::exit::{Exit, Failure};

/// Bytes copied and compared at once.
const PIECE: usize = 1 << 20;

/// Copies the running slot's boot image to the recovery partition if they differ. Writes, syncs,
/// reads back and compares. Returns what to tell, if anything was done. An install is not held up.
///
/// # Errors
/// [`Exit::Content`] when the running slot's own boot image is damaged; it is not copied then.
/// [`Exit::TooLarge`]. [`Exit::SlotIo`] when the partition cannot be written.
pub fn refresh(device: &Device) -> Result<Option<String>, Failure> {
    let running = device.running()?;
    if Environment::load(device)?.state().trial == Some(running) {
        return Ok(None);
    }
    let Ok(to) = device.partition(label::RECOVERY) else { return Ok(None) };
    let from = device.partition(running.boot_label())?;
    let doing = format!("copying the boot image of slot {running} to {}", to.display());
    let length = boot_image::check_at(from).map_err(|cause| {
        Failure::new(Exit::Content, format!("{doing}: {}: {cause}", from.display()))
    })?;
    let io = |error: io::Error| Failure::new(Exit::SlotIo, format!("{doing}: {error}"));
    if !differs(from, to, length).map_err(io)? {
        return Ok(None);
    }
    let target = FileDisk::open(to).map_err(io)?;
    let capacity = target.size().map_err(io)?;
    if length > capacity {
        let line = format!(
            "{doing}: the boot image has {length} bytes and the partition holds {capacity}"
        );
        return Err(Failure::new(Exit::TooLarge, line));
    }
    copy(from, &target, length).map_err(io)?;
    // The next reads must come from the disk.
    let _ = posix_fadvise(target.file().as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    if differs(from, to, length).map_err(io)? {
        let line =
            format!("{doing}: the disk does not give back what was written; is the disk failing?");
        return Err(Failure::new(Exit::SlotIo, line));
    }
    Ok(Some(format!("recovery is now that of slot {running}")))
}

fn copy(from: &Path, to: &FileDisk, length: u64) -> io::Result<()> {
    let from = FileDisk::open_read_only(from)?;
    let mut buf = vec![0; PIECE];
    for (offset, count) in pieces(length) {
        from.read_at(&mut buf[..count], offset)?;
        to.write_at(&buf[..count], offset)?;
        // Keeps few dirty pages, because health checks and services run meanwhile.
        if offset % (8 << 20) == 0 {
            to.sync()?;
        }
    }
    to.sync()
}

fn differs(a: &Path, b: &Path, length: u64) -> io::Result<bool> {
    let (a, b) = (FileDisk::open_read_only(a)?, FileDisk::open_read_only(b)?);
    if b.size()? < length {
        return Ok(true);
    }
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    for (offset, count) in pieces(length) {
        a.read_at(&mut left[..count], offset)?;
        b.read_at(&mut right[..count], offset)?;
        if left[..count] != right[..count] {
            return Ok(true);
        }
    }
    drop_cache(a.file());
    drop_cache(b.file());
    Ok(false)
}

/// Drops the pages of `file`: a small device has better use for that memory.
fn drop_cache(file: &File) {
    let _ = posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}

fn pieces(length: u64) -> impl Iterator<Item = (u64, usize)> {
    let piece = PIECE as u64;
    (0..length.div_ceil(piece)).map(move |index| {
        let offset = index * piece;
        (offset, (length - offset).min(piece) as usize)
    })
}
