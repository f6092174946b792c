//! The ids of a disk, its partitions and filesystems: those of the recipe, or made from its text.
//!
//! `table`, `format` and `fstab` write them. The same recipe gives the same ids on every host.

use sha2::{Digest, Sha256};
use uuid::{Uuid, uuid};

use crate::host::cache::hex;
use crate::recipe::{Disk, Partition, Recipe};

/// Name space of the ids. A UUIDv5 is made of this and of "sum of the recipe/what".
const NAME_SPACE: Uuid = uuid!("0f6b2b9c-38a5-4f0e-8f1c-5c3a7a4e6d21");

/// Makes the ids of one recipe.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    seed: String,
}

impl Identity {
    pub(super) fn new(recipe: &Recipe) -> Self {
        let mut sum = Sha256::new();
        for (_, text) in &recipe.rendered {
            sum.update(text.as_bytes());
            sum.update([0]);
        }
        Self { seed: hex(&sum.finalize()) }
    }

    pub(super) fn uuid(&self, what: &str) -> Uuid {
        Uuid::new_v5(&NAME_SPACE, format!("{}/{what}", self.seed).as_bytes())
    }

    /// The id of a gpt.
    pub(super) fn disk(&self, disk: &Disk) -> Uuid {
        given(disk.id.as_ref()).unwrap_or_else(|| self.uuid("disk"))
    }

    /// The id of an msdos table.
    pub(super) fn disk_number(&self, disk: &Disk) -> u32 {
        let given = disk.id.as_ref().and_then(|id| u32::from_str_radix(id, 16).ok());
        given.unwrap_or_else(|| self.uuid("disk").as_fields().0)
    }

    pub(super) fn partition(&self, partition: &Partition) -> Uuid {
        let name = format!("partition/{}", partition.name);
        given(partition.uuid.as_ref()).unwrap_or_else(|| self.uuid(&name))
    }

    /// The UUID of a filesystem that has one.
    pub(super) fn filesystem(&self, partition: &Partition) -> Uuid {
        let name = format!("filesystem/{}", partition.name);
        given(partition.fs_uuid.as_ref()).unwrap_or_else(|| self.uuid(&name))
    }

    /// The volume id of a FAT: 8 hexadecimal digits.
    pub(super) fn volume(&self, partition: &Partition) -> String {
        let made = || format!("{:08x}", self.filesystem(partition).as_fields().0);
        partition.fs_uuid.clone().unwrap_or_else(made).to_ascii_lowercase()
    }

    /// The id of a filesystem as `UUID=` of fstab and blkid have it.
    pub(super) fn mounted(&self, partition: &Partition) -> String {
        if partition.filesystem.mounted != "vfat" {
            return self.filesystem(partition).to_string();
        }
        let volume = self.volume(partition).to_ascii_uppercase();
        format!("{}-{}", &volume[..4], &volume[4..])
    }
}

fn given(text: Option<&String>) -> Option<Uuid> {
    text.and_then(|text| Uuid::parse_str(text).ok())
}
