//! How a device chooses the slot that it boots.
//!
//! GRUB runs `grub.cfg` ([`GRUB_CFG`]); [`BootState::select`] is its twin and says for every state
//! what it does. The state lives in an environment block ([`Env`]), of which the EFI system
//! partition has two copies; [`EnvStore`] reads and writes them in place, without mounting the
//! partition. When to change the state is for the agent and daruma-init to decide: the moves that
//! are allowed are methods of [`BootState`]. Of several disks with Daruma's partitions
//! [`choose_disk`] finds the one that GRUB started from. `docs/boot-protocol.md` tells the whole
//! story.

mod env;
mod script;
mod started_disk;
mod state;
mod store;

pub use env::{Env, EnvError};
pub use script::{
    GRUB_CFG, GRUB_CFG_PATH, GRUB_MODULES_BIOS, GRUB_MODULES_EFI, GRUBENV_BAK_PATH, GRUBENV_PATH,
};
pub use started_disk::{
    BOOTED, By, Candidate, Certainty, Counted, DiskRecord, Evidence, PLACE, RootHash, Told,
    choose as choose_disk,
};
pub use state::boot::{BootState, COMMITTED_TRIES, Selection, SlotState, TRIAL_TRIES};
pub use state::choice::{Choice, Copy, choose};
pub use state::transition::TransitionError;
pub use store::copies::{EnvStore, Loaded};
