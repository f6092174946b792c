//! Makes images of USB sticks as an ordinary user, and reads the results that a device wrote.
//!
//! `usb` plugs an image into a machine. No image is ever mounted on the host.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use image_layout::{FileDisk, PartitionTable};

/// Where the partition of a stick begins, in bytes.
const PARTITION: u64 = 1 << 20;

/// Makes a FAT32 with the given files, in a partition (MBR) or on the whole disk. A file may lie in
/// one folder.
pub fn fat(out: &Path, files: &[(&str, &Path)], in_partition: bool) -> Result<()> {
    // Clusters have 4 KiB, as on real sticks. With fewer than 65,525 clusters it would not be a
    // FAT32.
    let mut bytes = 280 << 20;
    for (_, path) in files {
        bytes += fs::metadata(path)?.len();
    }
    let bytes = bytes.next_multiple_of(1 << 20);
    let _ = fs::remove_file(out);
    File::create(out)?.set_len(bytes)?;
    let image = if in_partition {
        let table = out.with_extension("table");
        fs::write(&table, "label: dos\nstart=2048, type=c\n")?;
        let mut sfdisk = Command::new("sfdisk");
        sfdisk.args(["-q", "--no-reread", "--no-tell-kernel"]).arg(out).stdin(File::open(&table)?);
        run(&mut sfdisk)?;
        let blocks = (bytes - PARTITION) / 1024;
        run(Command::new("mkfs.vfat")
            .args(["-F", "32", "-s", "8", "--offset", "2048"])
            .arg(out)
            .arg(blocks.to_string()))?;
        format!("{}@@{PARTITION}", out.display())
    } else {
        run(Command::new("mkfs.vfat").args(["-I", "-F", "32", "-s", "8"]).arg(out))?;
        out.display().to_string()
    };
    for (name, path) in files {
        if let Some((folder, _)) = name.rsplit_once('/') {
            run(Command::new("mmd").args(["-D", "s", "-i", &image]).arg(format!("::{folder}")))?;
        }
        run(Command::new("mcopy").args(["-i", &image]).arg(path).arg(format!("::{name}")))?;
    }
    Ok(())
}

/// Makes an empty exFAT on the whole disk. (A guest writes its files: without root, the host has no
/// tool for that.)
pub fn exfat(out: &Path, bytes: u64) -> Result<()> {
    let _ = fs::remove_file(out);
    File::create(out)?.set_len(bytes)?;
    run(Command::new("mkfs.exfat").arg(out))?;
    Ok(())
}

/// Returns the result file on a FAT or ext4 stick, with Unix line ends.
pub fn result(image: &Path) -> Result<String> {
    let mut magic = [0; 2];
    File::open(image)?.read_exact_at(&mut magic, 1080)?;
    let output = if magic == [0x53, 0xef] {
        run(Command::new("debugfs").args(["-R", "cat /daruma-result.txt"]).arg(image))?
    } else {
        let whole = image.display().to_string();
        let part = format!("{whole}@@{PARTITION}");
        let read =
            |image: &str| run(Command::new("mtype").args(["-i", image, "::daruma-result.txt"]));
        read(&whole).or_else(|_| read(&part))?
    };
    ensure!(!output.is_empty(), "there is no result on {}", image.display());
    Ok(output.replace('\r', ""))
}

/// Overwrites the partition `label` of a raw disk image with noise.
pub fn overwrite(disk: &Path, label: &str, seed: u64) -> Result<()> {
    let table = PartitionTable::read(&FileDisk::open(disk)?)?;
    let partition =
        table.find(label).with_context(|| format!("{} has no {label}", disk.display()))?;
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    })
    .take(usize::try_from(partition.size)? / 8)
    .flatten()
    .collect();
    File::options().write(true).open(disk)?.write_all_at(&noise, partition.offset)?;
    Ok(())
}

/// Returns the bytes of the partition `label` of a raw disk image.
pub fn partition(disk: &Path, label: &str) -> Result<Vec<u8>> {
    let file = FileDisk::open_read_only(disk)?;
    let table = PartitionTable::read(&file)?;
    let partition =
        table.find(label).with_context(|| format!("{} has no {label}", disk.display()))?;
    let mut bytes = vec![0; usize::try_from(partition.size)?];
    file.file().read_exact_at(&mut bytes, partition.offset)?;
    Ok(bytes)
}

/// Copies a disk image. The copy stays sparse.
pub fn copy_disk(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("--sparse=always").arg(from).arg(to)).map(drop)
}

fn run(command: &mut Command) -> Result<String> {
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    let out = command.output().with_context(|| format!("{command:?} does not start"))?;
    if !out.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
