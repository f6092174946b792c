//! Opens a bundle: from bytes to something that may be used.
//!
//! `payload` and the agent read the payload. Data that is not verified has no type that lets
//! anybody use it.

use std::collections::BTreeMap;

use image_layout::Disk;

use crate::file::footer::Footer;
use crate::image::chunk;
use crate::trust::{signature, verdict};
use crate::value::limits;
use crate::{
    BundleError, Chunk, ImageName, KeyId, Keyring, Manifest, ManifestError, Policy, Sha256,
    Signature, signed_message,
};

/// A bundle whose parts were found, and of which nothing was verified. What the bundle says about
/// itself ([`Bundle::claimed_manifest`], [`Bundle::signatures`]) is only for showing to people.
#[derive(Debug)]
pub struct Bundle<D> {
    disk: D,
    footer: Footer,
    /// All bytes behind the SquashFS.
    tail: Vec<u8>,
    signatures: Vec<Signature>,
}

/// A bundle whose manifest is valid, signed by enough trusted keys, and in agreement with the file.
/// A payload can be read only through this type. The type hands out no payload that does not match
/// its hash.
#[derive(Debug)]
pub struct Verified<D> {
    pub(crate) disk: D,
    manifest: Manifest,
    manifest_sha256: Sha256,
    signers: Vec<KeyId>,
    tables: BTreeMap<ImageName, Vec<Chunk>>,
}

impl<D: Disk> Bundle<D> {
    /// Reads the tail (two reads, both in the last MiB) and verifies it. This covers footer,
    /// signatures, manifest and chunk tables, and that they agree. Reads nothing of the payload.
    ///
    /// # Errors
    /// All that [`Bundle::read`] and [`Bundle::verify`] refuse.
    pub fn open(disk: D, keyring: &Keyring) -> Result<Verified<D>, BundleError> {
        Self::read(disk)?.verify(keyring)
    }

    /// Reads the tail and finds its parts.
    ///
    /// # Errors
    /// The file cannot be read or is no bundle. It is torn, over-long, or of a later format.
    pub fn read(disk: D) -> Result<Self, BundleError> {
        let size = disk.size().map_err(BundleError::read("the size of the bundle"))?;
        let mut last = [0; limits::FOOTER];
        let at = size.checked_sub(limits::FOOTER as u64).ok_or(BundleError::NotABundle)?;
        disk.read_at(&mut last, at).map_err(BundleError::read("the footer of the bundle"))?;
        let footer = Footer::decode(&last, size)?;
        let mut tail = vec![0; footer.tables + footer.manifest + footer.signatures];
        disk.read_at(&mut tail, footer.squashfs)
            .map_err(BundleError::read("the tail of the bundle"))?;
        let block = &tail[footer.tables + footer.manifest..];
        if !Footer::covers(&last, block) {
            return Err(BundleError::Torn(
                "the footer and the signatures do not match their check".to_owned(),
            ));
        }
        let signatures = signature::decode(block)?;
        Ok(Self { disk, footer, tail, signatures })
    }

    /// Returns the signatures on the bundle, not verified.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Returns what the manifest says, not verified.
    ///
    /// # Errors
    /// The manifest is invalid.
    pub fn claimed_manifest(&self) -> Result<Manifest, BundleError> {
        let text = str::from_utf8(self.manifest_bytes());
        let text = text.map_err(|_| ManifestError::whole("it is not UTF-8"))?;
        Ok(Manifest::parse(text)?)
    }

    /// Verifies everything in the tail. The signature comes first: bytes that no trusted key has
    /// signed are not even parsed.
    ///
    /// # Errors
    /// There are too few good signatures. Or the manifest is invalid or contradicts the file,
    /// whoever has signed it.
    pub fn verify(self, keyring: &Keyring) -> Result<Verified<D>, BundleError> {
        let signers =
            verdict::check(&signed_message(self.manifest_bytes()), &self.signatures, keyring)?;
        let manifest = self.claimed_manifest()?;
        let tables = self.tables(&manifest)?;
        let manifest_sha256 = Sha256::of(self.manifest_bytes());
        Ok(Verified { disk: self.disk, manifest, manifest_sha256, signers, tables })
    }

    fn manifest_bytes(&self) -> &[u8] {
        &self.tail[self.footer.tables..][..self.footer.manifest]
    }

    fn tables(&self, manifest: &Manifest) -> Result<BTreeMap<ImageName, Vec<Chunk>>, BundleError> {
        if manifest.bundle.size != self.footer.squashfs {
            let (says, has) = (manifest.bundle.size, self.footer.squashfs);
            let why =
                format!("size is {says} and the SquashFS in front of the tail has {has} bytes");
            return Err(ManifestError::at("bundle", why).into());
        }
        let mut rest = &self.tail[..self.footer.tables];
        let mut tables = BTreeMap::new();
        for (name, image) in &manifest.images {
            let lie = |why: &str| ManifestError::at(&format!("image.{name}"), why);
            // A table has at most 2^32 entries of 36 bytes, so nothing overflows on the 64-bit
            // devices that Daruma is for.
            let table = rest.split_at_checked(image.chunks as usize * chunk::ENTRY);
            let (table, behind) = table.ok_or_else(|| lie("it has fewer chunks than it says"))?;
            rest = behind;
            if Sha256::of(table) != image.chunks_sha256 {
                return Err(BundleError::Content(format!("the chunk table of image {name}")));
            }
            tables.insert(name.clone(), chunk::decode(table, image.size).map_err(lie)?);
        }
        if !rest.is_empty() {
            return Err(ManifestError::whole("there are more chunk tables than images").into());
        }
        Ok(tables)
    }
}

impl<D> Verified<D> {
    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the SHA-256 of the manifest's bytes, which is the identity of a release.
    #[must_use]
    pub fn manifest_sha256(&self) -> Sha256 {
        self.manifest_sha256
    }

    /// Returns the keys of the keyring that have signed the bundle.
    #[must_use]
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// Returns the chunks of an image, in their order. Returns none if there is no image of that
    /// name. (`boot` and `root` always exist and are not empty.)
    #[must_use]
    pub fn chunks(&self, name: &str) -> &[Chunk] {
        self.tables.get(name).map_or(&[], Vec::as_slice)
    }

    /// Checks that a device may install the bundle.
    ///
    /// # Errors
    /// See [`Policy::check`].
    pub fn check(&self, policy: &Policy<'_>) -> Result<(), BundleError> {
        policy.check(&self.manifest)
    }
}

impl<D: Disk> Verified<D> {
    /// Reads chunk `index` of image `name` into `buf`. The old content of `buf` is dropped, and its
    /// memory is used again. On an error `buf` is empty: bytes that do not match their hash are not
    /// handed out.
    ///
    /// # Errors
    /// There is no such chunk, it cannot be read, or it does not match its hash.
    pub fn read_chunk(
        &self,
        name: &str,
        index: usize,
        buf: &mut Vec<u8>,
    ) -> Result<(), BundleError> {
        let found = self.manifest.image(name).zip(self.chunks(name).get(index));
        let Some((image, chunk)) = found else {
            buf.clear();
            return Err(BundleError::Input(format!(
                "the bundle has no chunk {index} of image {name}"
            )));
        };
        // The buffer is not cleared first, because zeros that are overwritten anyway cost time.
        // Clearing it took a sixth of an install's processor time.
        buf.resize(chunk.len as usize, 0);
        let read = self.disk.read_at(buf, image.offset + chunk.offset);
        let verdict = read.map_err(BundleError::read("a chunk of the bundle")).and_then(|()| {
            if Sha256::of(buf) == chunk.sha256 { Ok(()) } else { Err(damaged(name, index)) }
        });
        if verdict.is_err() {
            buf.clear();
        }
        verdict
    }
}

pub(crate) fn damaged(name: &str, index: usize) -> BundleError {
    BundleError::Content(format!("chunk {index} of image {name}"))
}
