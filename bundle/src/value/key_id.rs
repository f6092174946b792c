//! The name of a public key.
//!
//! `key` computes the name; signatures and messages carry it. An attacker may make two keys of one
//! name, so a keyring refuses two keys of one name.

use std::fmt;

use crate::value::digest::to_hex;

/// Name of a public key: the first 8 bytes of the SHA-256 of its SPKI DER. People see it in
/// hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
