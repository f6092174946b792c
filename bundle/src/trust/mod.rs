//! Signatures: who has signed what, and if the signatures are enough.
//!
//! The callers say which keys a device trusts, and which bytes are signed. Read `key`, `keyring`,
//! `signature`, `verdict`.

pub(crate) mod key;
pub(crate) mod keyring;
pub(crate) mod signature;
pub(crate) mod verdict;
