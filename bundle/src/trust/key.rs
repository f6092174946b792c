//! Ed25519 keys as PEM that OpenSSL reads and makes.
//!
//! `keyring` says which keys count. Secret keys are PKCS#8 and public keys SPKI, both of RFC 8410.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::{BundleError, KeyId, Sha256, Signature, signed_message};

/// A public key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey(VerifyingKey);

/// The bytes in front of the 32 bytes of the key in every SPKI DER of an Ed25519 key (RFC 8410,
/// section 10.1).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A secret key. Its memory is wiped when it is dropped.
pub struct SecretKey(SigningKey);

impl PublicKey {
    /// Reads an SPKI PEM.
    ///
    /// # Errors
    /// The text is not one Ed25519 public key. Or the key is weak: a key of small order signs
    /// anything.
    pub fn from_pem(pem: &str) -> Result<Self, BundleError> {
        let key = VerifyingKey::from_public_key_pem(pem)
            .map_err(|e| BundleError::Pem("public", e.to_string()))?;
        if key.is_weak() {
            return Err(BundleError::Pem("public", "the key is weak".to_owned()));
        }
        Ok(Self(key))
    }

    /// Returns the key as SPKI PEM.
    ///
    /// # Errors
    /// None in practice: the encoding is of fixed form.
    pub fn to_pem(&self) -> Result<String, BundleError> {
        self.0
            .to_public_key_pem(LineEnding::LF)
            .map_err(|e| BundleError::Pem("public", e.to_string()))
    }

    /// Reads what [`PublicKey::to_base64`] wrote.
    ///
    /// # Errors
    /// See [`PublicKey::from_pem`].
    pub fn from_base64(line: &str) -> Result<Self, BundleError> {
        let key = Self::from_pem(&format!(
            "-----BEGIN PUBLIC KEY-----\n{line}\n-----END PUBLIC KEY-----\n"
        ))?;
        // One key has one spelling.
        if key.to_base64() != line {
            return Err(BundleError::Pem(
                "public",
                format!("{line:?} is not its base64 on one line"),
            ));
        }
        Ok(key)
    }

    /// Returns the SPKI in base64: the middle line of the PEM.
    #[must_use]
    pub fn to_base64(&self) -> String {
        self.to_pem().unwrap_or_default().lines().nth(1).unwrap_or_default().to_owned()
    }

    /// Returns the key's name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0; 8];
        id.copy_from_slice(&Sha256::of(&[&SPKI[..], self.0.as_bytes()].concat()).0[..8]);
        KeyId(id)
    }

    /// Returns true if `signature` is this key's signature of `message`. The check is strict:
    /// nobody else can make a second good signature from the first.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &Signature) -> bool {
        let bytes = ed25519_dalek::Signature::from_bytes(&signature.bytes);
        self.0.verify_strict(message, &bytes).is_ok()
    }
}

impl SecretKey {
    /// Returns a new key from the system's random numbers.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, BundleError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|e| BundleError::Pem("secret", format!("no random numbers: {e}")))?;
        Ok(Self::from_seed(seed))
    }

    /// Returns the key of RFC 8032's 32-byte secret. Tests and the simulator of roll-outs need the
    /// same key every time.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// Reads a PKCS#8 PEM.
    ///
    /// # Errors
    /// The text is not one Ed25519 secret key without a passphrase.
    pub fn from_pem(pem: &str) -> Result<Self, BundleError> {
        SigningKey::from_pkcs8_pem(pem)
            .map(Self)
            .map_err(|e| BundleError::Pem("secret", e.to_string()))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// The file cannot be read or holds no secret key.
    pub fn load(path: &Path) -> Result<Self, BundleError> {
        let pem = std::fs::read_to_string(path).map_err(BundleError::file("read", path))?;
        Self::from_pem(&pem)
            .map_err(|e| BundleError::Key { path: path.to_owned(), why: e.to_string() })
    }

    /// Writes a key file that only its owner can read. Never overwrites a file.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), BundleError> {
        let open = File::options().write(true).create_new(true).mode(0o600).open(path);
        let write = |mut file: File| {
            file.write_all(self.to_pem()?.as_bytes()).map_err(BundleError::file("write", path))
        };
        open.map_err(BundleError::file("create", path)).and_then(write)
    }

    /// Returns the key as PKCS#8 PEM.
    ///
    /// # Errors
    /// None in practice: the encoding is of fixed form.
    pub fn to_pem(&self) -> Result<String, BundleError> {
        // OpenSSL 3.0 refuses the newer form that carries the public key as well.
        let bytes = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = bytes
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|e| BundleError::Pem("secret", e.to_string()))?;
        Ok(pem.to_string())
    }

    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a manifest, in the form of [`signed_message`].
    #[must_use]
    pub fn sign(&self, manifest: &[u8]) -> Signature {
        self.sign_message(&signed_message(manifest))
    }

    /// Signs bytes that begin with their domain.
    pub(crate) fn sign_message(&self, message: &[u8]) -> Signature {
        Signature { key: self.public().id(), bytes: self.0.sign(message).to_bytes() }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}
