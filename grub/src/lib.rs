//! The boot state of a device, and the choice of the slot that GRUB boots.
//!
//! The agent and daruma-init decide when to change the state. The allowed moves are methods of
//! [`BootState`].
//!
//! GRUB runs `grub.cfg` ([`GRUB_CFG`]). [`BootState::select`] is its twin: it computes what the
//! script does in every state. The state lives in an environment block ([`Env`]). The EFI system
//! partition has two copies of the block. [`EnvStore`] reads and writes them in place, without
//! mounting the partition. A machine may have several disks with Daruma's partitions.
//! [`choose_disk`] finds the disk that GRUB started from. `docs/boot-protocol.md` describes all of
//! it.
//!
//! The same partition holds systemd credentials in a folder of their own. [`CredentialStore`] reads
//! and changes them in the same way.

mod credentials;
mod env;
mod factory_reset;
mod script;
mod started_disk;
mod state;
mod store;

pub use credentials::change::CredentialError;
pub use credentials::form::is_encrypted;
pub use credentials::listing::{CredentialListing, CredentialStore, StoredCredential};
pub use credentials::name::{
    BadCredential, CREDENTIAL_ENDING, CREDENTIALS_BYTES, CREDENTIALS_FOLDER, CredentialRoom,
    MOST_CREDENTIALS, check_credential_name, credential_path,
};
pub use env::{Env, EnvError};
pub use factory_reset::{CannotKeep, FactoryReset};
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
