//! A repository: on a web server, in an OCI registry, or in a folder (a mounted stick, NFS).
//!
//! `pull` fetches from servers. The callers verify what this file returns: nothing is trusted yet.

use std::io;
use std::path::Path;

use bundle::oci::beside;

use crate::config::Config;
use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::pull::{self, Document};
use crate::trust::kept::read;

/// The repository of the configuration.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) device: &'a Device,
    pub(crate) config: &'a Config,
    /// Its address, without a `/` at its end.
    folder: &'a str,
}

impl<'a> Source<'a> {
    /// Returns the repository that the configuration names.
    ///
    /// # Errors
    /// [`Exit::Config`]: no channel is configured.
    pub(crate) fn of(device: &'a Device, config: &'a Config) -> Result<Self, Failure> {
        let folder = config.channel.url.as_deref().ok_or_else(|| {
            let path = device.path(crate::config::FILE);
            let line = format!(
                "no channel is configured; name its repository in `url` of [channel] in {}",
                path.display()
            );
            Failure::new(Exit::Config, line)
        })?;
        Ok(Self { device, config, folder: folder.trim_end_matches('/') })
    }

    /// Returns the address of the file `name` in the repository.
    pub(crate) fn address(&self, name: &str) -> String {
        beside(self.folder, name)
    }

    /// Returns the repository's own address.
    pub(crate) fn folder(&self) -> &str {
        self.folder
    }

    /// Returns the same address for people, without a login. With an empty `name`, returns the
    /// repository's own address.
    pub(crate) fn shown(&self, name: &str) -> String {
        let address = if name.is_empty() { self.folder.to_owned() } else { self.address(name) };
        let Some((scheme, rest)) = address.split_once("://") else { return address };
        let host = rest.split('/').next().unwrap_or(rest);
        match host.rsplit_once('@') {
            Some((login, _)) => format!("{scheme}://{}", &rest[login.len() + 1..]),
            None => address,
        }
    }

    /// Returns true if the repository is on a server.
    fn is_web(&self) -> bool {
        !self.folder.starts_with('/')
    }

    /// Gets the document `name`, of at most `limit` bytes. With `etag`, only if it has changed. A
    /// server is told the words of the `report`.
    ///
    /// # Errors
    /// The document cannot be fetched, or is longer than `limit`.
    pub(crate) fn fetch(
        &self,
        name: &str,
        limit: usize,
        etag: Option<&str>,
        report: Option<&str>,
        interrupt: &Interrupt,
    ) -> Result<Document, Failure> {
        interrupt.check()?;
        let address = self.address(name);
        if self.is_web() {
            return pull::fetch(
                self.device,
                &self.config.pull,
                &address,
                limit,
                etag,
                report,
                interrupt,
            );
        }
        let failure = |cause: &dyn std::fmt::Display| {
            Failure::new(Exit::Unexpected, format!("reading {address}: {cause}"))
        };
        match read(Path::new(&address), limit) {
            Ok(bytes) if bytes.len() > limit => {
                Err(failure(&format!("the document is longer than {limit} bytes")))
            }
            Ok(bytes) => Ok(Document::Is { bytes, etag: None }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Document::Missing),
            Err(error) => Err(failure(&error)),
        }
    }
}
