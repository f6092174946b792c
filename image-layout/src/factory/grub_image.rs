//! GRUB's images for both firmwares.
//!
//! The callers say which modules the images have. This file does not use `grub-install`, because it
//! wants root and a mounted disk.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::ImageError;
use crate::factory::aside::Aside;
use crate::factory::host_tool::{HostTool, require_file};
use crate::partition::gpt::{SECTOR, protective_mbr};

/// What a core image does before grub.cfg, unless [`crate::FactoryImage::early_grub_cfg`] says
/// otherwise.
///
/// GRUB's rescue parser runs it. That parser knows commands and variables but no `if`.
pub const EARLY_GRUB_CFG: &str = include_str!("early.cfg");

/// The ESP on the disk that GRUB was loaded from: the firmware's drive, our partition number. A
/// stick with the same image may be plugged in. A search by UUID would then find another disk's
/// ESP.
const PREFIX: &str = "(,gpt2)/grub";

/// Where Debian's packages (and most others) put GRUB's modules, below the root.
const GRUB_FOLDER: &str = "usr/lib/grub";

/// Bytes of code in the first sector. The id of an msdos disk follows.
const BOOT_CODE: usize = 440;

const PURPOSE_BIOS: &str = "make the boot loader for BIOS";
const PURPOSE_EFI: &str = "make the boot loader for UEFI";

/// Sector 0 of the disk, and the content of the BIOS boot partition.
pub(crate) struct BiosLoader {
    pub(crate) mbr: [u8; SECTOR as usize],
    pub(crate) core: Vec<u8>,
}

/// Makes both images with one GRUB.
pub(crate) struct GrubMaker<'a> {
    pub(crate) aside: &'a Aside,
    /// The root of the system that has GRUB. `None`: the build host.
    pub(crate) root: Option<&'a Path>,
    pub(crate) early_cfg: &'a str,
}

impl GrubMaker<'_> {
    /// Makes GRUB for BIOS. Its core image is to lie at byte `core_offset` of the disk.
    pub(crate) fn bios(
        &self,
        modules: &[&str],
        core_offset: u64,
    ) -> Result<BiosLoader, ImageError> {
        let boot_path = self.folder("i386-pc").join("boot.img");
        require_file(&boot_path, PURPOSE_BIOS, "grub-pc-bin")?;
        let boot = fs::read(&boot_path).map_err(ImageError::io("read", &boot_path))?;
        let core_path = self.make("i386-pc", PURPOSE_BIOS, modules)?;
        let core = fs::read(&core_path).map_err(ImageError::io("read", &core_path))?;
        let placed = place_grub(&boot, core, core_offset / SECTOR);
        let (code, core) = placed.ok_or_else(|| ImageError::ToolFailed {
            purpose: PURPOSE_BIOS,
            command: "grub-mkimage".to_owned(),
            outcome: "made images of a form that is not known here".to_owned(),
            stderr: format!("{} and its core image; use GRUB 2.06 or 2.12", boot_path.display()),
        })?;
        let mut mbr = [0; SECTOR as usize];
        mbr[..BOOT_CODE].copy_from_slice(&code);
        mbr[446..].copy_from_slice(&protective_mbr());
        Ok(BiosLoader { mbr, core })
    }

    /// Makes `EFI/BOOT/BOOTX64.EFI`.
    pub(crate) fn efi(&self, modules: &[&str]) -> Result<Vec<u8>, ImageError> {
        let info = self.folder("x86_64-efi").join("modinfo.sh");
        require_file(&info, PURPOSE_EFI, "grub-efi-amd64-bin")?;
        let path = self.make("x86_64-efi", PURPOSE_EFI, modules)?;
        fs::read(&path).map_err(ImageError::io("read", &path))
    }

    /// Returns the folder of the modules for a platform.
    fn folder(&self, platform: &str) -> PathBuf {
        self.root.unwrap_or(Path::new("/")).join(GRUB_FOLDER).join(platform)
    }

    fn make(
        &self,
        platform: &str,
        purpose: &'static str,
        modules: &[&str],
    ) -> Result<PathBuf, ImageError> {
        let early = self.aside.path("early.cfg");
        fs::write(&early, self.early_cfg).map_err(ImageError::io("write", &early))?;
        let image = self.aside.path(platform);
        let folder = self.folder(platform);
        let mut args: Vec<&OsStr> =
            vec![OsStr::new("-O"), OsStr::new(platform), OsStr::new("-d"), folder.as_ref()];
        args.extend([OsStr::new("-p"), OsStr::new(PREFIX), OsStr::new("-c"), early.as_ref()]);
        args.extend([OsStr::new("-o"), image.as_ref()]);
        args.extend(modules.iter().map(OsStr::new));
        let tool = HostTool { name: "grub-mkimage", package: "grub-common", purpose };
        match self.root {
            None => tool.run(&args, &[])?,
            Some(root) => tool.run_in(root, &args)?,
        }
        Ok(image)
    }
}

/// Fills in what grub-install would fill in: where the BIOS finds the core image's first sector,
/// and where that sector finds the rest. Returns the code for the disk's first bytes, and the core
/// image for the sectors (of 512 bytes) from `core_lba` on. Returns `None` when the images do not
/// look as GRUB 2.06 and 2.12 make them.
#[must_use]
pub fn place_grub(
    boot: &[u8],
    mut core: Vec<u8>,
    core_lba: u64,
) -> Option<([u8; BOOT_CODE], Vec<u8>)> {
    const KERNEL_SECTOR: usize = 0x5c; // boot.S: GRUB_BOOT_MACHINE_KERNEL_SECTOR
    const BLOCKLIST: usize = 512 - 12; // diskboot.S: start (8), sectors (2), segment (2)
    const SEGMENT: u16 = 0x820;
    core.resize(core.len().next_multiple_of(SECTOR as usize), 0);
    let rest = u16::try_from(core.len() as u64 / SECTOR - 1).ok().filter(|&rest| rest > 0)?;
    if boot.len() != 512 || boot[KERNEL_SECTOR..KERNEL_SECTOR + 8] != 1_u64.to_le_bytes() {
        return None;
    }
    if core[BLOCKLIST + 10..BLOCKLIST + 12] != SEGMENT.to_le_bytes() {
        return None;
    }
    core[BLOCKLIST..BLOCKLIST + 8].copy_from_slice(&(core_lba + 1).to_le_bytes());
    core[BLOCKLIST + 8..BLOCKLIST + 10].copy_from_slice(&rest.to_le_bytes());

    let mut code = [0; BOOT_CODE];
    code.copy_from_slice(&boot[..BOOT_CODE]);
    code[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&core_lba.to_le_bytes());
    Some((code, core))
}
