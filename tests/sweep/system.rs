//! Makes the systems that the sweep installs.
//!
//! They are boot images that GRUB loads, root images of noise, and signed bundles of both.
//! `scenario` chooses among them, and `judge` compares slots with them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use bundle::{
    BundleWriter, ImageInput, ROOT_CHUNKS, Salt, SecretKey, Sha256, SlotChunks, StoredSquashfs,
    Update, Verity,
};
use image_layout::{FileDisk, Slot};
use tests::grub_disk;

use crate::content::{BLOCK, Content, Medium};
use crate::random::Random;

/// Bytes of one file in a root image.
const FILE: usize = 30_001;

/// One version of the system.
#[derive(Clone, Debug)]
pub(crate) struct System {
    pub(crate) version: String,
    pub(crate) bundle: PathBuf,
    boot: Content,
    boot_len: usize,
    root: Content,
}

/// All systems, in the order of [`Which`], the recovery image, and the key that the device trusts.
#[derive(Clone, Debug)]
pub(crate) struct Systems {
    all: Vec<System>,
    pub(crate) recovery: Content,
    pub(crate) public_key: String,
}

/// A system: an old one, the one that runs, an update, a large update, and `Alike`. The running
/// system has the greater part of `Alike`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Which {
    Old,
    Running,
    Update,
    Large,
    Alike,
}

impl Systems {
    /// Makes all systems in `folder`.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let key = SecretKey::from_seed([1; 32]);
        // In the last one, a step of the writer ends within the image, and the last piece is not
        // whole.
        let sizes = [(1, 0), (1, BLOCK), (1, 13 * BLOCK), (9, 5 * BLOCK)];
        let mut all = Vec::new();
        let mut roots: Vec<Vec<u8>> = sizes
            .into_iter()
            .enumerate()
            .map(|(number, (mib, more))| Random::new(number as u64, &[7]).bytes((mib << 20) + more))
            .collect();
        // `Alike` has the bytes of the running system at another place. One file in three is
        // another file.
        let mut alike = roots[Which::Running as usize].clone();
        alike.rotate_right(FILE);
        for (number, file) in alike.chunks_mut(FILE).enumerate().step_by(3) {
            file.copy_from_slice(&Random::new(number as u64, &[8]).bytes(file.len()));
        }
        roots.push(alike);
        for (number, root) in roots.iter().enumerate() {
            all.push(System::make(folder, number, root, &key)?);
        }
        let recovery = Content::new(&boot_image("recovery", 99, None)?, grub_disk::PARTITION);
        Ok(Self { all, recovery, public_key: key.public().to_pem()? })
    }

    pub(crate) fn get(&self, which: Which) -> &System {
        &self.all[which as usize]
    }

    /// Returns the system whose boot image is in `slot`.
    pub(crate) fn boots(&self, medium: &Medium, slot: Slot) -> Option<Which> {
        let content = medium.get(slot.boot_label());
        [Which::Old, Which::Running, Which::Update, Which::Large, Which::Alike]
            .into_iter()
            .find(|which| content.begins_like(&self.get(*which).boot, self.get(*which).boot_len))
    }

    /// Returns the system whose two images are in `slot`, byte for byte.
    pub(crate) fn whole(&self, medium: &Medium, slot: Slot) -> Option<Which> {
        let which = self.boots(medium, slot)?;
        let system = self.get(which);
        medium.get(slot.root_label()).begins_like(&system.root, system.root.len()).then_some(which)
    }

    /// Puts a whole system into a slot, as the factory does.
    pub(crate) fn put(&self, medium: &mut Medium, slot: Slot, which: Which) {
        *medium.get_mut(slot.boot_label()) = self.get(which).boot.clone();
        let root = medium.get_mut(slot.root_label());
        *root = self.get(which).root.padded(root.len());
    }
}

impl System {
    fn make(folder: &Path, number: usize, root: &[u8], key: &SecretKey) -> Result<Self> {
        let version = format!("{number}.0.0");
        let paths = ["boot", "root", "daruma"].map(|kind| folder.join(format!("{version}.{kind}")));
        fs::write(&paths[1], root)?;
        let boundaries = (0..root.len() as u64).step_by(FILE).collect();
        let chunks = SlotChunks::root_table(&FileDisk::open_read_only(&paths[1])?, &boundaries)?;
        let boot = boot_image(&version, number as u64, Some(chunks))?;
        fs::write(&paths[0], &boot)?;
        let verity = Verity {
            hash: Sha256([3; 32]),
            salt: Salt([4; 32]),
            size: (root.len() as u64 * 9 / 10) / BLOCK as u64 * BLOCK as u64,
        };
        let writer = BundleWriter {
            update: Update {
                compatible: "router".parse()?,
                version: version.parse()?,
                build: format!("build-{number}").parse()?,
                description: String::new(),
                min_version: "0.0.0".parse()?,
            },
            images: vec![
                ImageInput { name: "boot".parse()?, path: &paths[0], verity: None },
                ImageInput { name: "root".parse()?, path: &paths[1], verity: Some(verity) },
            ],
            meta: BTreeMap::new(),
            keys: std::slice::from_ref(key),
        };
        writer.write(&paths[2])?;
        Ok(Self {
            version,
            bundle: paths[2].clone(),
            boot_len: boot.len(),
            boot: Content::new(&boot, grub_disk::PARTITION),
            root: Content::new(root, root.len()),
        })
    }
}

/// Makes a boot image as the bundler does, with a kernel and an initramfs of a few KiB.
fn boot_image(version: &str, seed: u64, root_chunks: Option<Vec<u8>>) -> Result<Vec<u8>> {
    let mut squashfs = StoredSquashfs::new();
    let mut sums = String::new();
    let mut add = |name: &str, blocks: u64, sums: &mut String| -> Result<()> {
        let bytes = Random::new(seed, &[blocks]).bytes(usize::try_from(blocks)? * BLOCK - 100);
        writeln!(sums, "{}  {name}", Sha256::of(&bytes))?;
        squashfs.add_bytes(name, bytes)?;
        Ok(())
    };
    add("vmlinuz", 3, &mut sums)?;
    add("initrd", 2, &mut sums)?;
    let mut recovery_sums = String::new();
    add("recovery.img", 1, &mut recovery_sums)?;
    squashfs.add_bytes("SHA256SUMS", sums.into_bytes())?;
    squashfs.add_bytes("RECOVERY.SHA256SUMS", recovery_sums.into_bytes())?;
    let slot_cfg = format!(
        "set daruma_compatible=router\nset daruma_version={version}\nset \
            daruma_build=build-{seed}\n\
         set daruma_min_version=0.0.0\nset daruma_verity=hash-{seed}:salt:1\n"
    );
    squashfs.add_bytes("slot.cfg", slot_cfg.into_bytes())?;
    if let Some(table) = root_chunks {
        squashfs.add_bytes(ROOT_CHUNKS, table)?;
    }
    let mut image = Vec::new();
    squashfs.write(&mut image)?;
    image.resize(image.len().next_multiple_of(BLOCK), 0);
    Ok(image)
}
