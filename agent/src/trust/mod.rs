//! Whose signatures count on this device: those of the root document, or else of the keyring.
//! `bundle` verifies signatures, and `channel` fetches newer root documents.
//! Read: `root`, `kept`, `keys`.

pub(crate) mod kept;
pub(crate) mod keys;
pub(crate) mod root;
