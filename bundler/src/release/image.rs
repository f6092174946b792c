//! Makes a disk image that boots from a bundle.
//!
//! The crate `image-layout` writes the disk. Slot A gets the images of the bundle, and the
//! environment is fresh.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bundle::{Bundle, Keyring, Verified};
use grub_env::{
    BootState, CREDENTIALS_FOLDER, Env, GRUB_CFG, GRUB_CFG_PATH, GRUB_MODULES_BIOS,
    GRUB_MODULES_EFI, GRUBENV_BAK_PATH, GRUBENV_PATH,
};
use image_layout::{FactoryImage, FileDisk, Layout, convert_to_qcow2};

use crate::bundling::layout;
use crate::host::progress::Progress;
use crate::release::credentials::Credentials;
use crate::release::grub::Source;
use image_layout::Amount;

/// Opens a bundle and checks its signature, its tables and every byte.
///
/// # Errors
/// See [`bundle::BundleError`].
pub fn open_verified(path: &Path, keyring: &Keyring) -> Result<Verified<FileDisk>> {
    let disk = FileDisk::open_read_only(path)
        .with_context(|| format!("opening the bundle {}", path.display()))?;
    let checking = || format!("verifying the bundle {}", path.display());
    let verified = Bundle::open(disk, keyring).with_context(checking)?;
    let total = verified.manifest().images.values().map(|image| image.size).sum();
    let progress = Progress::bytes(&format!("Verifying {}", path.display()), total);
    verified.verify_payload(&mut |bytes| progress.advance(bytes)).with_context(checking)?;
    progress.done("whole and signed");
    Ok(verified)
}

/// Writes the disk image. The name of `out` decides its format: `.raw` or `.qcow2`.
///
/// Without a `layout` the partitions have the sizes that the bundle carries, or the default ones.
/// `credentials` go into the EFI system partition. Without `grub` GRUB is the build host's.
///
/// # Errors
/// The bundle is refused, an image does not fit its partition, or a host tool is missing or fails.
pub fn write(
    bundle: &Path,
    keyring: &Keyring,
    layout: Option<Layout>,
    credentials: &Credentials,
    grub: Option<&Source<'_>>,
    epoch: u64,
    out: &Path,
) -> Result<()> {
    let qcow2 = match out.extension().and_then(|extension| extension.to_str()) {
        Some("raw" | "img") => false,
        Some("qcow2") => true,
        _ => bail!("the disk image {} must be called *.raw or *.qcow2", out.display()),
    };
    let verified = open_verified(bundle, keyring)?;
    let layout = match layout {
        Some(layout) => layout,
        None => layout::of_meta(&verified.manifest().meta)?.unwrap_or_default(),
    };
    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let work = tempfile::Builder::new().prefix(".daruma-image-").tempdir_in(dir);
    let work = work.with_context(|| format!("making a temporary folder in {}", dir.display()))?;
    let (boot, root) = (work.path().join("boot.img"), work.path().join("root.img"));
    extract(&verified, "boot", &boot)?;
    extract(&verified, "root", &root)?;

    let mut env = Env::new();
    BootState::factory().apply_to(&mut env);
    let block = env.encode();
    let update = &verified.manifest().update;
    let mut esp_files = vec![
        (GRUB_CFG_PATH, GRUB_CFG.as_bytes()),
        (GRUBENV_PATH, &block[..]),
        (GRUBENV_BAK_PATH, &block),
    ];
    esp_files.extend(credentials.files());
    let grub = grub.map(|grub| grub.unpack(epoch, work.path())).transpose()?.flatten();
    let image = FactoryImage {
        grub: grub.as_deref(),
        layout,
        boot: &boot,
        root: &root,
        // Every boot image can start recovery. The command line tells daruma-init which job it has.
        recovery: &boot,
        // The folder is there even without credentials, so a device or `mcopy` need not make it.
        esp_folders: &[CREDENTIALS_FOLDER],
        esp_files: &esp_files,
        early_grub_cfg: None,
        grub_modules_bios: GRUB_MODULES_BIOS,
        grub_modules_efi: GRUB_MODULES_EFI,
        seed: &format!("{}/{}", update.compatible, update.build),
        epoch,
    };
    let progress = Progress::steps(&format!("Writing {}", out.display()), 0);
    let raw = if qcow2 { work.path().join("disk.raw") } else { out.to_owned() };
    image.write_raw(&raw).with_context(|| format!("making the disk image {}", out.display()))?;
    if qcow2 {
        convert_to_qcow2(&raw, out)
            .with_context(|| format!("making the disk image {}", out.display()))?;
    }
    progress.done(&format!("a disk of {}", Amount(layout.disk_size())));
    Ok(())
}

fn extract(verified: &Verified<FileDisk>, name: &str, out: &Path) -> Result<()> {
    let writing = || format!("extracting {name} to {}", out.display());
    let mut file = File::create(out).with_context(writing)?;
    let mut buf = Vec::new();
    for index in 0..verified.chunks(name).len() {
        verified.read_chunk(name, index, &mut buf).with_context(writing)?;
        file.write_all(&buf).with_context(writing)?;
    }
    Ok(())
}
