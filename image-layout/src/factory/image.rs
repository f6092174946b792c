//! The factory image: a whole disk in one sparse file.
//!
//! `partition` says where everything lies. Slot A is filled and slot B is empty.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use uuid::{Uuid, uuid};

use crate::factory::aside::Aside;
use crate::factory::grub_image::GrubMaker;
use crate::factory::{sparse, var};
use crate::fat::esp;
use crate::partition::gpt::{
    BACKUP_SECTORS, ENTRIES_BYTES, ENTRY_BYTES, Entry, Header, PRIMARY_ENTRIES, SECTOR,
};
use crate::partition::partition_type;
use crate::{ALIGNMENT, EARLY_GRUB_CFG, Extent, ImageError, Layout};

/// Name space of the GUIDs. A UUIDv5 is made of this and of "seed/what".
const NAME_SPACE: Uuid = uuid!("5f0b3c1e-6a3c-4bd0-9a0e-0d6a7f3f9d11");

/// The contents of a disk image. The same values give the same bytes, in any folder and at any
/// time. Only GRUB and e2fsprogs of the host must be the same.
#[derive(Clone, Debug)]
pub struct FactoryImage<'a> {
    /// Sizes of the partitions
    pub layout: Layout,
    /// Boot image for `boot-a`
    pub boot: &'a Path,
    /// Root image with its dm-verity tree, for `root-a`
    pub root: &'a Path,
    /// Boot image for `recovery`
    pub recovery: &'a Path,
    /// Folders of the ESP's root that may stay empty
    pub esp_folders: &'a [&'a str],
    /// Files of the ESP besides `EFI/BOOT/BOOTX64.EFI`: path with `/`, content
    pub esp_files: &'a [(&'a str, &'a [u8])],
    /// What the core images do first; [`EARLY_GRUB_CFG`] when `None`
    pub early_grub_cfg: Option<&'a str>,
    /// The root of a Debian system that has GRUB's programs and modules; the build host's `/` when
    /// `None`
    pub grub: Option<&'a Path>,
    /// Modules in the core image for BIOS
    pub grub_modules_bios: &'a [&'a str],
    /// Modules in the core image for UEFI
    pub grub_modules_efi: &'a [&'a str],
    /// The seed. All GUIDs, UUIDs and the FAT's volume id are made from it
    pub seed: &'a str,
    /// The time of everything in the image that has a time, in seconds (`SOURCE_DATE_EPOCH`)
    pub epoch: u64,
}

impl FactoryImage<'_> {
    /// Writes the image to `out` as a sparse file. It builds the file aside, syncs it, and renames
    /// it when it is complete.
    ///
    /// # Errors
    /// See [`ImageError`]. After an error `out` is as it was, and nothing is left next to it.
    pub fn write_raw(&self, out: &Path) -> Result<(), ImageError> {
        self.layout.validate()?;
        let [bios, esp, boot_a, root_a, _, _, recovery, var] = self.layout.extents();
        let contents = [(self.boot, boot_a), (self.root, root_a), (self.recovery, recovery)];
        // Every size is known before the first tool runs.
        for (path, extent) in contents {
            let size = fs::metadata(path).map_err(ImageError::io("read", path))?.len();
            check_fits(&path.display().to_string(), size, extent)?;
        }

        let aside = Aside::new(out)?;
        let early_cfg = self.early_grub_cfg.unwrap_or(EARLY_GRUB_CFG);
        let maker = GrubMaker { aside: &aside, root: self.grub, early_cfg };
        let loader = maker.bios(self.grub_modules_bios, bios.offset)?;
        check_fits("GRUB's core image", loader.core.len() as u64, bios)?;
        let efi = maker.efi(self.grub_modules_efi)?;

        let disk_path = aside.path("disk");
        let failed = || ImageError::io("write", out);
        let disk = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&disk_path)
            .map_err(failed())?;
        disk.set_len(self.layout.disk_size()).map_err(failed())?;
        sparse::copy(&loader.mbr[..], &disk, 0).map_err(failed())?;
        sparse::copy(&loader.core[..], &disk, bios.offset).map_err(failed())?;

        let mut files: Vec<(&str, &[u8])> = vec![("EFI/BOOT/BOOTX64.EFI", &efi)];
        files.extend(self.esp_files);
        let used: u64 = files.iter().map(|(_, content)| content.len() as u64).sum();
        check_fits("the files of the ESP", used, esp)?;
        let volume_id = self.guid("esp/volume-id").as_fields().0;
        let fat = esp::format(esp.size, volume_id, self.esp_folders, &files)
            .map_err(ImageError::io("make the ESP of", out))?;
        sparse::copy(&fat[..], &disk, esp.offset).map_err(failed())?;
        drop(fat);

        for (path, extent) in contents {
            let source = File::open(path).map_err(ImageError::io("read", path))?;
            // The code reads one byte more than fits. So it notices a file that grows meanwhile,
            // and does not cut it.
            let source = std::io::Read::take(source, extent.size + 1);
            let size =
                sparse::copy(source, &disk, extent.offset).map_err(ImageError::io("copy", path))?;
            check_fits(&path.display().to_string(), size, extent)?;
        }

        let var_path = aside.path("var");
        var::make(
            &var_path,
            var.size,
            self.guid("var/fs"),
            self.guid("var/hash-seed"),
            self.epoch,
        )?;
        let var_file = File::open(&var_path).map_err(ImageError::io("read", &var_path))?;
        sparse::copy(var_file, &disk, var.offset).map_err(failed())?;

        for (offset, bytes) in self.tables() {
            disk.write_all_at(&bytes, offset).map_err(failed())?;
        }
        aside.publish("disk")
    }

    /// Returns both copies of the partition table as pieces of the disk, each with its offset in
    /// bytes.
    fn tables(&self) -> [(u64, Vec<u8>); 4] {
        let mut entries = vec![0; ENTRIES_BYTES];
        for (place, extent) in entries.chunks_exact_mut(ENTRY_BYTES).zip(self.layout.extents()) {
            let (type_guid, attributes) = partition_type::of(extent.label);
            let entry = Entry {
                type_guid,
                guid: self.guid(extent.label),
                first_lba: extent.offset / SECTOR,
                last_lba: (extent.offset + extent.size) / SECTOR - 1,
                attributes,
                label: extent.label.to_owned(),
            };
            place.copy_from_slice(&entry.encode());
        }
        let sectors = self.layout.disk_size() / SECTOR;
        let primary = Header {
            my_lba: 1,
            alternate_lba: sectors - 1,
            first_usable: ALIGNMENT / SECTOR,
            last_usable: sectors - BACKUP_SECTORS - 1,
            disk_guid: self.guid("disk"),
            entries_lba: PRIMARY_ENTRIES[0],
            entries_crc: crc32fast::hash(&entries),
        };
        let backup = primary.backup();
        [
            (primary.my_lba * SECTOR, primary.encode().to_vec()),
            (primary.entries_lba * SECTOR, entries.clone()),
            (backup.entries_lba * SECTOR, entries),
            (backup.my_lba * SECTOR, backup.encode().to_vec()),
        ]
    }

    fn guid(&self, what: &str) -> Uuid {
        Uuid::new_v5(&NAME_SPACE, format!("{}/{what}", self.seed).as_bytes())
    }
}

fn check_fits(path: &str, size: u64, extent: Extent) -> Result<(), ImageError> {
    if size <= extent.size {
        return Ok(());
    }
    Err(ImageError::TooLarge {
        path: path.to_owned(),
        size,
        label: extent.label,
        room: extent.size,
    })
}
