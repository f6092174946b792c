//! The systems that the sweep installs: boot images that GRUB loads, root images of noise, and signed bundles of both.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use bundle::{BundleWriter, ImageInput, Salt, SecretKey, Sha256, StoredSquashfs, Update, Verity};
use image_layout::Slot;
use tests::grub_disk;

use crate::content::{BLOCK, Content, Medium};
use crate::random::Random;

/// One version of the system.
#[derive(Clone, Debug)]
pub(crate) struct System {
    pub(crate) version: String,
    pub(crate) bundle: PathBuf,
    boot: Content,
    boot_len: usize,
    root: Content,
}

/// All of them, by their place in [`Systems::make`], and the key that the device trusts.
#[derive(Clone, Debug)]
pub(crate) struct Systems {
    all: Vec<System>,
    pub(crate) recovery: Content,
    pub(crate) public_key: String,
}

/// Index of a system: an old one, the one that runs, an update, and a large update.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Which {
    Old,
    Running,
    Update,
    Large,
}

impl Systems {
    /// Makes them in `folder`.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let key = SecretKey::from_seed([1; 32]);
        // The last one has a step of the writer that ends within the image, and a last piece that is not whole.
        let sizes = [(1, 0), (1, BLOCK), (1, 13 * BLOCK), (9, 5 * BLOCK)];
        let mut all = Vec::new();
        for (number, (mib, more)) in sizes.into_iter().enumerate() {
            all.push(System::make(folder, number, (mib << 20) + more, &key)?);
        }
        let recovery = Content::new(&boot_image("recovery", 99)?, grub_disk::PARTITION);
        Ok(Self { all, recovery, public_key: key.public().to_pem()? })
    }

    pub(crate) fn get(&self, which: Which) -> &System {
        &self.all[which as usize]
    }

    /// The system whose boot image lies in `slot`.
    pub(crate) fn boots(&self, medium: &Medium, slot: Slot) -> Option<Which> {
        let content = medium.get(slot.boot_label());
        [Which::Old, Which::Running, Which::Update, Which::Large]
            .into_iter()
            .find(|which| content.begins_like(&self.get(*which).boot, self.get(*which).boot_len))
    }

    /// The system that lies in `slot`, both images of it, byte for byte.
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
    fn make(folder: &Path, number: usize, root_len: usize, key: &SecretKey) -> Result<Self> {
        let version = format!("{number}.0.0");
        let boot = boot_image(&version, number as u64)?;
        let root = Random::new(number as u64, &[7]).bytes(root_len);
        let paths = ["boot", "root", "daruma"].map(|kind| folder.join(format!("{version}.{kind}")));
        fs::write(&paths[0], &boot)?;
        fs::write(&paths[1], &root)?;
        let verity = Verity {
            hash: Sha256([3; 32]),
            salt: Salt([4; 32]),
            size: (root_len as u64 * 9 / 10) / BLOCK as u64 * BLOCK as u64,
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
            root: Content::new(&root, root_len),
        })
    }
}

/// A boot image as the bundler makes them, with a kernel and an initramfs of a few KiB.
fn boot_image(version: &str, seed: u64) -> Result<Vec<u8>> {
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
        "set daruma_compatible=router\nset daruma_version={version}\nset daruma_build=build-{seed}\n\
         set daruma_min_version=0.0.0\nset daruma_verity=hash-{seed}:salt:1\n"
    );
    squashfs.add_bytes("slot.cfg", slot_cfg.into_bytes())?;
    let mut image = Vec::new();
    squashfs.write(&mut image)?;
    image.resize(image.len().next_multiple_of(BLOCK), 0);
    Ok(image)
}
