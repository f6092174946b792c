//! The shell text that makes each filesystem in a plain file, and fills it from a folder.
//!
//! disk.sh runs it with `$file` (as large as the partition) and `$tree` (a folder, which may be
//! empty). It runs as root of the root filesystem's user namespace, so owners are right.
//!
//! The options are those of debos. Ids and times are added, because the programs would choose
//! others each time.

use anyhow::Result;

use crate::bundling::disk::identity::Identity;
use crate::host::shell::quote;
use crate::recipe::{Disk, Partition};

/// mkfs.btrfs takes a smaller partition only with data and metadata mixed.
const SMALLEST_BTRFS: u64 = 114_294_784;

/// Filesystems that the kernel fills better than their programs: with every owner of the top
/// folder, all extended attributes, all links.
pub(super) const MOUNTED: [&str; 3] = ["btrfs", "f2fs", "xfs"];

/// Returns the text for a partition, or `None` if it has no filesystem. `loops`: the kernel fills
/// the filesystems of [`MOUNTED`].
pub(super) fn format(
    disk: &Disk,
    partition: &Partition,
    identity: &Identity,
    loops: bool,
) -> Result<Option<String>> {
    let label = quote(&partition.fs_label)?;
    let uuid = identity.filesystem(partition);
    let features = |option: &str| list(option, &partition.features);
    let large = disk.sector > 512;
    let kind = partition.filesystem.mounted;
    if loops && MOUNTED.contains(&kind) {
        let options = match kind {
            "btrfs" => format!("-q -f -L {label} -U {uuid}{}", features("-O")?),
            "f2fs" => format!("-q -f -l {label} -U {uuid}{}", features("-O")?),
            _ => format!("-q -f -L {label} -m uuid={uuid} -s size={}", disk.sector),
        };
        return Ok(Some(format!(
            "mkfs.{kind} {options} \"$file\" >/dev/null\nfill_mounted \"$tree\" \"$file\" {kind}\n"
        )));
    }
    Ok(Some(match kind {
        "vfat" => {
            let kind = match partition.filesystem.name {
                "fat12" => " -F12",
                "fat16" => " -F16",
                "fat" => "",
                _ => " -F32",
            };
            let sector = if large { " -S 4096" } else { "" };
            let (volume, hidden) = (identity.volume(partition), partition.sectors.first);
            format!(
                "mkfs.fat --invariant{kind}{sector} -i {volume} -h {hidden} -n {label} \"$file\" \
                 >/dev/null\nfill_fat \"$tree\" \"$file\"\n"
            )
        }
        name @ ("ext2" | "ext3" | "ext4") => {
            // Two features of newer mke2fs that GRUB of Debian 12 cannot read. The recipe's come
            // after them.
            let mut features = partition.features.clone();
            if name == "ext4" {
                features.splice(0..0, ["^metadata_csum_seed", "^orphan_file"].map(str::to_owned));
            }
            let block = if large { " -b 4096" } else { "" };
            let features = list("-O", &features)?;
            let mut options = vec![format!("hash_seed={}", identity.uuid(&partition.name))];
            options.extend(partition.extended_options.clone());
            let options = list("-E", &options)?;
            format!(
                "export E2FSPROGS_FAKE_TIME=\"$SOURCE_DATE_EPOCH\"\nmke2fs -q -F -t {name}{block} \
                 -L {label} -U {uuid}{features}{options} -d \"$tree\" \"$file\"\n\
                 mend_ext \"$tree\" \"$file\"\n"
            )
        }
        "btrfs" => {
            let bytes = (partition.sectors.last - partition.sectors.first + 1) * disk.sector;
            let mixed = if bytes < SMALLEST_BTRFS { " --mixed" } else { "" };
            format!(
                "top_is_plain \"$tree\"\n\
                 mkfs.btrfs -q -f{mixed} -L {label} -U {uuid}{} --rootdir \"$tree\" \"$file\"\n",
                features("-O")?
            )
        }
        "f2fs" => {
            let options = list("-E", &partition.extended_options)?;
            format!(
                "mkfs.f2fs -q -f -r -T \"$SOURCE_DATE_EPOCH\" -l {label} -U {uuid}{}{options} \
                 \"$file\" >/dev/null\nfill_f2fs \"$tree\" \"$file\"\n",
                features("-O")?
            )
        }
        "xfs" => {
            format!("fill_xfs \"$tree\" \"$file\" {label} {uuid} {}\n", disk.sector)
        }
        // The program makes its own file, and takes its time from SOURCE_DATE_EPOCH.
        "squashfs" => "rm \"$file\"\nmksquashfs \"$tree\" \"$file\" -noappend -no-progress -quiet \
             >/dev/null\n"
            .to_owned(),
        "swap" => format!("mkswap -L {label} -U {uuid} \"$file\" >/dev/null\n"),
        _ => return Ok(None),
    }))
}

/// An option with a list, or nothing.
fn list(option: &str, items: &[String]) -> Result<String> {
    if items.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(" {option} {}", quote(&items.join(","))?))
}
