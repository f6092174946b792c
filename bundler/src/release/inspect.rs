//! Shows what a bundle says about itself, for people and as JSON.
//!
//! `verify` checks a bundle. Nothing that this file shows has been checked.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use bundle::{Bundle, Manifest};
use image_layout::{Disk, FileDisk};
use serde_json::{Value, json};

use image_layout::Amount;

/// The claims of a bundle.
#[derive(Debug)]
pub struct Inspection {
    manifest: Manifest,
    /// Size of the whole file, in bytes.
    bytes: u64,
    signers: Vec<String>,
}

impl Inspection {
    /// Reads the end of a bundle.
    ///
    /// # Errors
    /// The file is not a bundle, or its manifest cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let reading = || format!("inspecting the bundle {}", path.display());
        let disk = FileDisk::open_read_only(path).with_context(reading)?;
        let bytes = disk.size().with_context(reading)?;
        let bundle = Bundle::read(disk).with_context(reading)?;
        let signers =
            bundle.signatures().iter().map(|signature| signature.key.to_string()).collect();
        Ok(Self { manifest: bundle.claimed_manifest().with_context(reading)?, bytes, signers })
    }

    /// Returns the claims as text for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Manifest { update, images, meta, .. } = &self.manifest;
        let mut text = format!(
            "compatible   {}\nversion      {}\nbuild        {}\nmin-version  {}\n",
            update.compatible, update.version, update.build, update.min_version
        );
        if !update.description.is_empty() {
            let _ = writeln!(
                text,
                "description  {}",
                update.description.replace('\n', "\n             ")
            );
        }
        let _ = writeln!(text, "size         {}", Amount(self.bytes));
        for (name, image) in images {
            let kind = if image.verity.is_some() { ", dm-verity" } else { "" };
            let _ = writeln!(
                text,
                "image {:<6} {} in {} chunks{kind}, sha256 {}",
                name.to_string(),
                Amount(image.size),
                image.chunks,
                image.sha256
            );
        }
        for (section, facts) in meta {
            for (key, value) in facts {
                let _ = writeln!(text, "{section}.{key}: {value}");
            }
        }
        let _ = writeln!(
            text,
            "signed by    {} (not verified here; use `daruma-bundler verify`)",
            self.signers.join(", ")
        );
        text
    }

    /// Returns the claims as JSON for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Manifest { update, images, meta, .. } = &self.manifest;
        let images: serde_json::Map<String, Value> = images
            .iter()
            .map(|(name, image)| {
                let verity = image.verity.as_ref().map(|verity| {
                    json!({
                        "hash": verity.hash.to_string(),
                        "salt": verity.salt.to_string(),
                        "size": verity.size,
                    })
                });
                let value = json!({
                    "offset": image.offset, "size": image.size, "sha256": image.sha256.to_string(),
                    "chunks": image.chunks, "verity": verity,
                });
                (name.to_string(), value)
            })
            .collect();
        json!({
            "compatible": update.compatible.to_string(), "version": update.version.to_string(),
            "build": update.build.to_string(), "min_version": update.min_version.to_string(),
            "description": update.description, "size": self.bytes, "images": images, "meta": meta,
            "signers": self.signers,
        })
    }
}
