//! A signed document: JSON, and a last line with the signatures on everything before that line.
//!
//! `root` and `channel` know what the JSON says. The signed bytes are those of the file, so nobody
//! needs a canonical form, and `jq` reads the file.

use serde::{Deserialize, Serialize};

use crate::channel::document::error::ChannelError;
use crate::channel::document::kind::Kind;
use crate::error::quoting;
use crate::trust::verdict;
use crate::value::digest::{from_hex, to_hex};
use crate::value::limits;
use crate::{KeyId, Keyring, SecretKey, Signature};

/// A document with its signatures. The signatures need not be good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    kind: Kind,
    /// The bytes that are signed, with the line feed at their end.
    body: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastLine {
    signatures: Vec<RawSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    key: String,
    sig: String,
}

impl Signed {
    /// Returns a document that nobody has signed yet.
    ///
    /// # Errors
    /// [`ChannelError::TooLarge`].
    pub(crate) fn new<T: Serialize>(kind: Kind, document: &T) -> Result<Self, ChannelError> {
        let invalid =
            |error: serde_json::Error| ChannelError::Invalid { kind, why: error.to_string() };
        let mut body = serde_json::to_vec_pretty(document).map_err(invalid)?;
        body.push(b'\n');
        let signed = Self { kind, body, signatures: Vec::new() };
        // The limit leaves room for all signatures, so a signature added later cannot make the
        // document too large.
        if signed.body.len() + limits::SIGNATURES * 256 > kind.limit() {
            return Err(ChannelError::TooLarge { kind, limit: kind.limit() });
        }
        Ok(signed)
    }

    /// Takes a file apart, and does not look at the body.
    ///
    /// # Errors
    /// [`ChannelError::TooLarge`] or [`ChannelError::Form`].
    pub fn parse(kind: Kind, bytes: &[u8]) -> Result<Self, ChannelError> {
        if bytes.len() > kind.limit() {
            return Err(ChannelError::TooLarge { kind, limit: kind.limit() });
        }
        let form = |why: String| ChannelError::Form { kind, why };
        let text = bytes.strip_suffix(b"\n").ok_or_else(|| form("it is cut short".to_owned()))?;
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (body, last) = text.split_at(end);
        let last: LastLine = serde_json::from_slice(last).map_err(|error| {
            form(format!("its last line is not one of signatures ({})", quoting(&error)))
        })?;
        if last.signatures.len() > limits::SIGNATURES {
            return Err(form(format!("it has more than {} signatures", limits::SIGNATURES)));
        }
        let mut signatures: Vec<Signature> = Vec::new();
        for raw in &last.signatures {
            let key = KeyId(from_hex(&raw.key).map_err(form)?);
            let signature = Signature { key, bytes: from_hex(&raw.sig).map_err(form)? };
            if signatures.last().is_some_and(|last| last.key >= key) {
                return Err(form("its signatures are not in the order of their keys".to_owned()));
            }
            signatures.push(signature);
        }
        Ok(Self { kind, body: body.to_vec(), signatures })
    }

    /// Returns the bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let raw = |s: &Signature| RawSignature { key: s.key.to_string(), sig: to_hex(&s.bytes) };
        let last = LastLine { signatures: self.signatures.iter().map(raw).collect() };
        // `last` holds only strings, so this cannot fail.
        let last = serde_json::to_string(&last).unwrap_or_default();
        [&self.body, last.as_bytes(), b"\n"].concat()
    }

    /// Returns the bytes that are signed.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the keys whose signatures the document claims to have.
    pub fn claimed_signers(&self) -> impl Iterator<Item = KeyId> {
        self.signatures.iter().map(|signature| signature.key)
    }

    /// Adds a signature, and replaces one by the same key.
    ///
    /// # Errors
    /// [`ChannelError::Form`]: there would be too many signatures.
    pub fn sign(&mut self, key: &SecretKey) -> Result<(), ChannelError> {
        let signature = key.sign_message(&self.message());
        self.signatures.retain(|other| other.key != signature.key);
        if self.signatures.len() == limits::SIGNATURES {
            let why = format!("it has {} signatures already", limits::SIGNATURES);
            return Err(ChannelError::Form { kind: self.kind, why });
        }
        self.signatures.push(signature);
        self.signatures.sort_by_key(|signature| signature.key);
        Ok(())
    }

    /// Returns the keys of `keyring` that have signed, if they are enough.
    ///
    /// # Errors
    /// [`ChannelError::Unsigned`].
    pub fn signers(&self, keyring: &Keyring) -> Result<Vec<KeyId>, ChannelError> {
        verdict::check(&self.message(), &self.signatures, keyring)
            .map_err(|cause| ChannelError::Unsigned { kind: self.kind, cause })
    }

    /// Reads the body. A caller should read only a verified body, or one that it shows to the
    /// body's maker.
    pub(crate) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ChannelError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ChannelError::Invalid { kind: self.kind, why: quoting(&error) })
    }

    fn message(&self) -> Vec<u8> {
        [self.kind.domain(), &self.body].concat()
    }
}
