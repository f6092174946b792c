//! Decides if the signatures on some bytes are enough.
//!
//! A caller brings the signed bytes and the keyring. A signature of a key that is not in the
//! keyring counts for nothing. One wrong signature of a trusted key is fatal.

use crate::{BundleError, KeyId, Keyring, Signature};

/// Why signatures are not enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unsigned {
    /// There is no signature.
    None,
    /// No signature is by a trusted key.
    Stranger(Vec<KeyId>),
    /// A signature that claims to be by a trusted key is wrong.
    Wrong(KeyId),
    /// Too few trusted keys have signed.
    Threshold {
        /// How many trusted keys have signed.
        have: usize,
        /// How many trusted keys must sign.
        need: usize,
    },
}

impl From<Unsigned> for BundleError {
    fn from(cause: Unsigned) -> Self {
        match cause {
            Unsigned::None => Self::NotSigned,
            Unsigned::Stranger(keys) => Self::Stranger(keys),
            Unsigned::Wrong(key) => Self::BadSignature(key),
            Unsigned::Threshold { have, need } => Self::Threshold { have, need },
        }
    }
}

/// Returns the keys of `keyring` that have signed `message`, if they are enough.
pub(crate) fn check(
    message: &[u8],
    signatures: &[Signature],
    keyring: &Keyring,
) -> Result<Vec<KeyId>, Unsigned> {
    if signatures.is_empty() {
        return Err(Unsigned::None);
    }
    let mut signers = Vec::new();
    for signature in signatures {
        let Some(key) = keyring.get(signature.key) else { continue };
        if !key.has_signed(message, signature) {
            return Err(Unsigned::Wrong(signature.key));
        }
        signers.push(signature.key);
    }
    match signers.len() {
        0 => Err(Unsigned::Stranger(signatures.iter().map(|s| s.key).collect())),
        have if have < keyring.threshold() => {
            Err(Unsigned::Threshold { have, need: keyring.threshold() })
        }
        _ => Ok(signers),
    }
}
