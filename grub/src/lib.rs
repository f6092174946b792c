//! How a device chooses the slot that it boots.
//!
//! GRUB runs `grub.cfg` ([`GRUB_CFG`]); [`BootState::select`] is its twin and says for every state
//! what it does. The state lives in an environment block ([`Env`]), of which the EFI system
//! partition has two copies; [`EnvStore`] reads and writes them in place, without mounting the
//! partition. When to change the state is for the agent and daruma-init to decide: the moves that
//! are allowed are methods of [`BootState`]. Of several disks with Daruma's partitions
//! [`choose_disk`] finds the one that GRUB started from. `docs/boot-protocol.md` tells the whole
//! story.

mod aligned;
mod choice;
mod env;
mod fat;
mod heal;
mod recovery;
mod started_disk;
mod state;
mod store;
mod transition;

pub use choice::{Choice, Copy, choose};
pub use env::{Env, EnvError};
pub use started_disk::{
    BOOTED, By, Candidate, Certainty, Counted, DiskRecord, Evidence, PLACE, RootHash, Told,
    choose as choose_disk,
};
pub use state::{BootState, COMMITTED_TRIES, Selection, SlotState, TRIAL_TRIES};
pub use store::{EnvStore, Loaded};
pub use transition::TransitionError;

/// The script that GRUB runs on every boot, from [`GRUB_CFG_PATH`] of the EFI system partition.
///
/// It expects `root` to be that partition, such as `hd0,gpt2`, finds the other partitions on the
/// same disk by their numbers, and needs the modules of [`GRUB_MODULES_BIOS`] or
/// [`GRUB_MODULES_EFI`] in the core image.
pub const GRUB_CFG: &str = include_str!("grub.cfg");

/// Where [`GRUB_CFG`] lies on the EFI system partition.
pub const GRUB_CFG_PATH: &str = "grub/grub.cfg";
/// Where the environment block lies on the EFI system partition.
pub const GRUBENV_PATH: &str = "grub/grubenv";
/// Where its second copy lies, which is always written first.
pub const GRUBENV_BAK_PATH: &str = "grub/grubenv.bak";

/// What every platform's core image holds, between what only one of them has. Everything that
/// `grub.cfg` needs is in the core image, so no module is ever read from a disk.
macro_rules! grub_modules {
    ([$($before:literal),*], [$($after:literal),*]) => {
        &[
            $($before,)*
            "part_gpt", "fat", "squash4", "gzio", "normal", "configfile", "test", "echo", "eval", "regexp", "loadenv",
            "hashsum", "gcry_sha256", "datehook", "sleep", "reboot", "boot", "linux", "serial", "terminal", "minicmd",
            "ls", "cat", "probe",
            $($after,)*
        ]
    };
}

/// Modules for `grub-mkimage -O i386-pc`.
pub const GRUB_MODULES_BIOS: &[&str] = grub_modules!(["biosdisk"], []);

/// Modules for `grub-mkimage -O x86_64-efi`.
pub const GRUB_MODULES_EFI: &[&str] = grub_modules!([], ["efi_gop", "efi_uga"]);
