//! Looks for, sends and fetches the manifests and blobs of a registry.
//!
//! `push` and `pull` choose them. A blob is named by its hash, and the hash is checked when the
//! blob is fetched.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use bundle::oci::{Artifact, EMPTY_CONFIG, MANIFEST_TYPE, Tag};
use bundle::{Sha256, limits};
use sha2::Digest;
use ureq::http::Method;

use crate::host::progress::Progress;
use crate::publish::registry::answer::{broke_off, location, read_small};
use crate::publish::registry::client::{Content, Registry};
use crate::publish::registry::error::RegistryError;

/// Number of bytes that are hashed and written at once.
const PIECE: usize = 1 << 20;

impl Registry {
    /// Returns the bytes of the manifest of `tag`. `None`: the tag does not exist.
    pub(crate) fn manifest(&mut self, tag: &Tag) -> Result<Option<Vec<u8>>, RegistryError> {
        let url = self.at.manifest_url(tag);
        let length = limits::OCI_MANIFEST as u64;
        let response =
            self.ask(&Method::GET, &url, &[("accept", MANIFEST_TYPE)], Content::Nothing, length)?;
        match response.status().as_u16() {
            200 => Ok(Some(read_small(response, limits::OCI_MANIFEST)?)),
            404 => Ok(None),
            _ => Err(self.refused(response)),
        }
    }

    /// Gives `tag` to these bytes.
    pub(crate) fn put_manifest(&mut self, tag: &Tag, manifest: &[u8]) -> Result<(), RegistryError> {
        let url = self.at.manifest_url(tag);
        let response =
            self.ask(&Method::PUT, &url, &[], Content::Bytes(manifest, MANIFEST_TYPE), 0)?;
        if response.status().is_success() { Ok(()) } else { Err(self.refused(response)) }
    }

    /// Sends the config that all artifacts share.
    pub(crate) fn put_empty_config(&mut self) -> Result<(), RegistryError> {
        self.put_blob(
            &Sha256::of(EMPTY_CONFIG),
            EMPTY_CONFIG.len() as u64,
            &mut &EMPTY_CONFIG[..],
        )?;
        Ok(())
    }

    /// Sends a blob unless the registry has it. Returns true if the blob was sent.
    pub(crate) fn put_blob(
        &mut self,
        digest: &Sha256,
        size: u64,
        bytes: &mut dyn Read,
    ) -> Result<bool, RegistryError> {
        let there = self.ask(&Method::HEAD, &self.at.blob_url(digest), &[], Content::Nothing, 0)?;
        match there.status().as_u16() {
            200 => return Ok(false),
            404 => {}
            _ => return Err(self.refused(there)),
        }
        let uploads = self.at.url("blobs/uploads/");
        let begun = self.ask(&Method::POST, &uploads, &[], Content::Nothing, 0)?;
        if begun.status().as_u16() != 202 {
            return Err(self.refused(begun));
        }
        let place = location(&uploads, begun.headers())?;
        drop(begun);
        let url =
            format!("{place}{}digest=sha256:{digest}", if place.contains('?') { '&' } else { '?' });
        let response = self.ask(&Method::PUT, &url, &[], Content::Stream(bytes, size), 0)?;
        if response.status().as_u16() == 201 { Ok(true) } else { Err(self.refused(response)) }
    }

    /// Returns the blob of a small artifact.
    pub(crate) fn document(&mut self, artifact: &Artifact) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        self.fetch(artifact, &mut bytes, None)?;
        Ok(bytes)
    }

    /// Writes the blob of an artifact to a new file. The file gets its name when the whole blob is
    /// right.
    pub(crate) fn fetch_file(&mut self, artifact: &Artifact, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!(".{name}.partial"));
        let writing = || format!("writing {}", path.display());
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(writing)?;
        }
        let mut file = File::create(&partial).with_context(writing)?;
        let progress = Progress::bytes(&format!("fetching {name}"), artifact.size);
        let outcome = self
            .fetch(artifact, &mut file, Some(&progress))
            .map_err(anyhow::Error::from)
            .and_then(|()| {
                file.sync_all().and_then(|()| fs::rename(&partial, path)).with_context(writing)
            });
        if outcome.is_err() {
            // A wrong file is removed. The user needs the first error, not an error of this
            // removal.
            let _ = fs::remove_file(&partial);
        }
        outcome
    }

    fn fetch(
        &mut self,
        artifact: &Artifact,
        to: &mut dyn Write,
        progress: Option<&Progress>,
    ) -> Result<(), RegistryError> {
        let url = self.at.blob_url(&artifact.digest);
        let response = self.ask(&Method::GET, &url, &[], Content::Nothing, artifact.size)?;
        if response.status().as_u16() != 200 {
            return Err(self.refused(response));
        }
        if let Some(length) =
            response.body().content_length().filter(|length| *length != artifact.size)
        {
            return Err(RegistryError::Content(format!(
                "the manifest says {} bytes, and the registry has {length}",
                artifact.size
            )));
        }
        let mut body = response.into_body().into_reader();
        let (mut hash, mut left, mut piece) = (sha2::Sha256::new(), artifact.size, vec![0; PIECE]);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let count = body.read(&mut piece[..most]).map_err(|error| broke_off(&error))?;
            if count == 0 {
                return Err(RegistryError::Network(format!(
                    "the transfer ended {left} bytes too early"
                )));
            }
            hash.update(&piece[..count]);
            to.write_all(&piece[..count])
                .map_err(|error| RegistryError::Server(format!("writing it: {error}")))?;
            left -= count as u64;
            if let Some(progress) = progress {
                progress.advance(count as u64);
            }
        }
        if body.read(&mut piece[..1]).map_err(|error| broke_off(&error))? > 0 {
            return Err(RegistryError::Content(
                "the registry sends more than the manifest says".to_owned(),
            ));
        }
        if Sha256(hash.finalize().into()) != artifact.digest {
            return Err(RegistryError::Content(
                "what came is not what the manifest's digest says".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Returns SHA-256 and size of a file.
pub(crate) fn measure(path: &Path) -> io::Result<(Sha256, u64)> {
    let (mut file, mut hash, mut size, mut piece) =
        (File::open(path)?, sha2::Sha256::new(), 0, vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((Sha256(hash.finalize().into()), size)),
            count => {
                hash.update(&piece[..count]);
                size += count as u64;
            }
        }
    }
}
