//! The signatures on a manifest.
//!
//! `verdict` decides whether they are enough.
//!
//! On disk, all numbers are little endian. The block begins with the count (u32, 1 to
//! [`limits::SIGNATURES`]). Each signature follows: the key id (8 bytes) and the Ed25519 signature
//! (64 bytes). The key ids are in ascending order, and each key comes once.

use crate::value::limits;
use crate::{BundleError, KeyId};

/// One signature on a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature {
    /// The key that has signed.
    pub key: KeyId,
    /// The Ed25519 signature over [`signed_message`].
    pub bytes: [u8; 64],
}

/// Returns the bytes that are signed: a line that says what this is, and the manifest. The line
/// keeps a signature made for something else (a channel, say) from counting as a manifest's.
#[must_use]
pub fn signed_message(manifest: &[u8]) -> Vec<u8> {
    [b"daruma manifest v1\n", manifest].concat()
}

const ENTRY: usize = 72;

pub(crate) fn encode(signatures: &[Signature]) -> Result<Vec<u8>, BundleError> {
    let mut signatures = signatures.to_vec();
    signatures.sort_by_key(|s| s.key);
    if let Some(twice) = signatures.windows(2).find(|pair| pair[0].key == pair[1].key) {
        return Err(BundleError::Input(format!(
            "key {} is named twice; name each key once",
            twice[0].key
        )));
    }
    if signatures.is_empty() || signatures.len() > limits::SIGNATURES {
        return Err(BundleError::Input(format!(
            "a bundle needs 1 to {} keys to sign it",
            limits::SIGNATURES
        )));
    }
    let mut block = (signatures.len() as u32).to_le_bytes().to_vec(); // at most 16
    for signature in signatures {
        block.extend(signature.key.0);
        block.extend(signature.bytes);
    }
    Ok(block)
}

pub(crate) fn decode(block: &[u8]) -> Result<Vec<Signature>, BundleError> {
    let torn = |why: &str| BundleError::Torn(format!("the block of signatures {why}"));
    let (count, entries) = block.split_first_chunk().ok_or_else(|| torn("is cut short"))?;
    let (entries, rest) = entries.as_chunks::<ENTRY>();
    if !rest.is_empty() || usize::try_from(u32::from_le_bytes(*count)) != Ok(entries.len()) {
        return Err(torn("has another length than it says"));
    }
    if entries.len() > limits::SIGNATURES {
        return Err(torn("has more than 16 signatures"));
    }
    let mut signatures: Vec<Signature> = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut signature = Signature { key: KeyId([0; 8]), bytes: [0; 64] };
        signature.key.0.copy_from_slice(&entry[..8]);
        signature.bytes.copy_from_slice(&entry[8..]);
        if signatures.last().is_some_and(|last| last.key >= signature.key) {
            return Err(torn("is not in the order of its keys"));
        }
        signatures.push(signature);
    }
    Ok(signatures)
}
