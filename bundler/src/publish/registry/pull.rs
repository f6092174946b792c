//! Fetches from a registry into a folder or a file.
//!
//! `blobs` fetches the bytes. Nobody trusts them yet: devices verify them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bundle::oci::{Artifact, ArtifactKind, Reference, Tag};
use serde::Deserialize;
use ureq::http::Method;
use ureq::http::header::LINK;

use crate::publish::registry::answer::read_small;
use crate::publish::registry::blobs::measure;
use crate::publish::registry::client::{Content, Registry, Rights};
use crate::publish::registry::error::RegistryError;
use crate::publish::registry::newer::must_not_be_older;
use crate::publish::repo::Repository;
use image_layout::Amount;

/// Most tags of a repository that are read.
const TAGS: usize = 10_000;
/// Most bytes of one list of tags.
const PAGE: usize = 2 << 20;
/// Most lists of tags.
const PAGES: usize = 100;

/// Fetches one artifact into `output`. Only the registry says what the artifact is. `daruma-bundler
/// verify` checks it.
///
/// # Errors
/// The artifact does not exist, is not one of Daruma's, or differs from its manifest.
pub fn pull_file(from: &Reference, output: &Path) -> Result<String> {
    let pulling = || format!("pulling {from}");
    let tag =
        from.tag.as_ref().ok_or_else(|| anyhow::anyhow!("{}: a tag is missing", pulling()))?;
    if output.is_dir() {
        bail!("{}: {} is a folder; name the file to write", pulling(), output.display());
    }
    let mut registry = Registry::open(from, Rights::Pull).with_context(pulling)?;
    let artifact = registry.artifact(tag).with_context(pulling)?;
    registry.fetch_file(&artifact, output).with_context(pulling)?;
    Ok(format!("{}: {}\n", output.display(), Amount(artifact.size)))
}

/// Makes `output` equal to the repository in the registry. Files that are there already are not
/// fetched again. No file is removed.
///
/// # Errors
/// As [`pull_file`], or the folder has a newer channel or root.
pub fn pull_repository(from: &Reference, output: &Path) -> Result<String> {
    let pulling = || format!("pulling {from}");
    let mut registry = Registry::open(from, Rights::Pull).with_context(pulling)?;
    let tags = registry.tags().with_context(pulling)?;
    let mut files: Vec<(ArtifactKind, String, Tag)> = tags
        .iter()
        .filter_map(|tag| {
            let path = tag.path()?;
            Some((ArtifactKind::of_path(&path)?, path, tag.clone()))
        })
        .collect();
    // The order is that of `push`: a file that a document names is there before the document.
    files.sort();
    if files.is_empty() {
        bail!(
            "{}: none of its {} tags is a repository's file; name a tag to pull one file",
            pulling(),
            tags.len()
        );
    }
    let repo = Repository::create(output)?;
    let (mut fetched, mut bytes) = (0, 0);
    for (kind, name, tag) in &files {
        let pulling = || format!("pulling {}", from.with_tag(tag.clone()));
        let artifact = registry.artifact(tag).with_context(pulling)?;
        if artifact.kind != *kind {
            bail!(RegistryError::Server(format!(
                "{}: the file is of another kind than its tag says",
                pulling()
            )));
        }
        let path = repo.path(name);
        let here = path.metadata().is_ok_and(|here| here.len() == artifact.size);
        if here && measure(&path).with_context(pulling)?.0 == artifact.digest {
            continue;
        }
        if kind.is_document() && path.exists() {
            let (ours, theirs) =
                (fs::read(&path).with_context(pulling)?, registry.document(&artifact));
            must_not_be_older(*kind, &ours, &theirs.with_context(pulling)?)
                .with_context(|| format!("{}: there is {}", pulling(), path.display()))?;
        }
        registry.fetch_file(&artifact, &path).with_context(pulling)?;
        fetched += 1;
        bytes += artifact.size;
    }
    let (there, others) = (files.len() - fetched, tags.len() - files.len());
    let mut text = format!(
        "{}: {fetched} files fetched ({}), {there} were there already\n",
        output.display(),
        Amount(bytes)
    );
    if others > 0 {
        text.push_str(&format!("{others} other tags of {from} are no files of a repository\n"));
    }
    Ok(text)
}

impl Registry {
    fn artifact(&mut self, tag: &Tag) -> Result<Artifact, RegistryError> {
        let manifest = self.manifest(tag)?.ok_or(RegistryError::Missing)?;
        Ok(Artifact::parse(&manifest)?)
    }

    /// Returns all tags.
    fn tags(&mut self) -> Result<Vec<Tag>, RegistryError> {
        #[derive(Deserialize)]
        struct List {
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let mut url = self.at.url("tags/list?n=1000");
        for _ in 0..PAGES {
            let response = self.ask(&Method::GET, &url, &[], Content::Nothing, PAGE as u64)?;
            if response.status().as_u16() != 200 {
                return Err(self.refused(response));
            }
            let next =
                response.headers().get(LINK).and_then(|link| link.to_str().ok()).map(str::to_owned);
            let list: List =
                serde_json::from_slice(&read_small(response, PAGE)?).map_err(|error| {
                    RegistryError::Server(format!(
                        "the registry's list of tags cannot be read: {error}"
                    ))
                })?;
            // A text that is no tag cannot be requested.
            tags.extend(list.tags.unwrap_or_default().iter().filter_map(|tag| tag.parse().ok()));
            if tags.len() > TAGS {
                break;
            }
            // `</v2/NAME/tags/list?…>; rel="next"`: the next page belongs to the same list.
            let path = next
                .as_deref()
                .and_then(|link| link.strip_prefix('<')?.split_once('>'))
                .map(|(path, _)| path);
            let here = format!("/v2/{}/", self.at.name);
            match path.and_then(|path| path[path.find(&here)?..].strip_prefix(here.as_str())) {
                Some(rest) if rest.starts_with("tags/list?") => url = self.at.url(rest),
                _ => {
                    tags.sort();
                    tags.dedup();
                    return Ok(tags);
                }
            }
        }
        Err(RegistryError::Server(format!(
            "the repository has more than {TAGS} tags, or the list of tags never ends"
        )))
    }
}
