//! The script that GRUB runs, and the files that it reads on the EFI system partition.
//!
//! The crate `image-layout` makes GRUB's images, with the modules listed here. `state` tells the
//! script's decisions again in Rust.

/// The script that GRUB runs on every boot, from [`GRUB_CFG_PATH`] of the EFI system partition.
///
/// The script expects `root` to be that partition, such as `hd0,gpt2`. It finds the other
/// partitions on the same disk by their numbers. It needs the modules of [`GRUB_MODULES_BIOS`] or
/// [`GRUB_MODULES_EFI`] in the core image.
pub const GRUB_CFG: &str = include_str!("grub.cfg");

/// Where [`GRUB_CFG`] lies on the EFI system partition.
pub const GRUB_CFG_PATH: &str = "grub/grub.cfg";
/// Where the environment block lies on the EFI system partition.
pub const GRUBENV_PATH: &str = "grub/grubenv";
/// Where the second copy of the block lies. Daruma always writes it first.
pub const GRUBENV_BAK_PATH: &str = "grub/grubenv.bak";

/// The modules of every platform's core image, between those that only one platform has. Everything
/// that `grub.cfg` needs is in the core image, so GRUB never reads a module from a disk.
macro_rules! grub_modules {
    ([$($before:literal),*], [$($after:literal),*]) => {
        &[
            $($before,)*
            "part_gpt", "fat", "squash4", "gzio", "normal", "configfile", "test", "echo", "eval",
            "regexp", "loadenv", "hashsum", "gcry_sha256", "datehook", "sleep", "reboot", "boot",
            "linux", "serial", "terminal", "minicmd", "ls", "cat", "probe",
            $($after,)*
        ]
    };
}

/// Modules for `grub-mkimage -O i386-pc`.
pub const GRUB_MODULES_BIOS: &[&str] = grub_modules!(["biosdisk"], []);

/// Modules for `grub-mkimage -O x86_64-efi`.
pub const GRUB_MODULES_EFI: &[&str] = grub_modules!([], ["efi_gop", "efi_uga"]);
