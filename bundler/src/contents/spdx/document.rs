//! The SPDX 2.3 document of an output, in JSON.
//!
//! The same output gives the same document: its time is `SOURCE_DATE_EPOCH`, and its name space is
//! made from its content.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bundle::channel::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::{Uuid, uuid};

use super::copyright;
use super::licence::{References, plain};
use crate::bundling::tree::Tree;
use crate::contents::package::Package;
use crate::contents::system::System;
use crate::contents::text;
use crate::host::cache::hex;
use crate::lock::{self, Lock, Origin};

/// Name space of the documents' name spaces. A UUIDv5 is made of this and of the document.
const NAME_SPACE: Uuid = uuid!("5a4c7a0e-9d0b-4b57-9f0a-2f4de9a7c1b3");
/// What nobody says.
const NOT_SAID: &str = "NOASSERTION";
/// The id of the output in its document.
const OUTPUT: &str = "SPDXRef-Output";

/// Writes `FILE.spdx.json` beside an output, and returns its path. `system` is what the output
/// holds, if that can be read. `lock` is what the output was built by, if anything: it knows the
/// sums of the package files. `epoch` is `SOURCE_DATE_EPOCH` in seconds.
///
/// # Errors
/// The output cannot be read, or the document cannot be written.
pub fn write_beside(
    output: &Path,
    system: Option<&System>,
    lock: Option<&Lock>,
    epoch: u64,
) -> Result<PathBuf> {
    let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sum = sum(output).with_context(|| format!("reading {}", output.display()))?;
    let document = document(&name, &sum, system, &files(lock), epoch);
    let path = output.with_file_name(format!("{name}.spdx.json"));
    let part = output.with_file_name(format!("{name}.spdx.json.part"));
    let written = fs::write(&part, format!("{document:#}\n"));
    let written = written.and_then(|()| fs::rename(&part, &path));
    written.with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn sum(output: &Path) -> io::Result<String> {
    let mut file = File::open(output)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&hash.finalize())),
            more => hash.update(&piece[..more]),
        }
    }
}

/// Package files by name, version and architecture.
type Files<'a> = BTreeMap<(&'a str, &'a str, &'a str), &'a Origin>;

fn files(lock: Option<&Lock>) -> Files<'_> {
    let packages = lock.into_iter().flat_map(|lock| &lock.packages);
    packages
        .filter_map(|package| {
            let lock::Package { name, version, architecture, origin } = package;
            Some(((name.as_str(), version.as_str(), architecture.as_str()), origin.as_ref()?))
        })
        .collect()
}

fn document(
    name: &str,
    sum: &str,
    system: Option<&System>,
    files: &Files<'_>,
    epoch: u64,
) -> Value {
    let mut packages = vec![json!({
        "SPDXID": OUTPUT,
        "name": name,
        "downloadLocation": NOT_SAID,
        "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": sum }],
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    })];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", OUTPUT)];
    let mut references = References::new();
    if let Some(system) = system {
        let release = Release::of(&system.tree);
        for package in system.packages.iter().flatten() {
            let licence = copyright::declared(&system.tree, package, &mut references);
            let mut entry = entry(package, licence, &release);
            let key = (package.plain_name(), &*package.version, &*package.architecture);
            if let Some(file) = files.get(&key) {
                let name = file.file.rsplit('/').next().unwrap_or_default();
                entry["packageFileName"] = name.into();
                entry["checksums"] =
                    json!([{ "algorithm": "SHA256", "checksumValue": file.sha256 }]);
            }
            relations.push(relation(OUTPUT, "CONTAINS", &id(package)));
            packages.push(entry);
        }
    }
    let texts: Vec<Value> = references
        .into_iter()
        .map(|(id, reference)| {
            let named_only = "The copyright file names this licence without its text.";
            json!({
                "licenseId": id,
                "name": reference.name,
                "extractedText": reference.text.as_deref().unwrap_or(named_only),
            })
        })
        .collect();
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "creationInfo": {
            "created": Timestamp::from_seconds(epoch).to_string(),
            "creators": [concat!("Tool: daruma-bundler-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relations,
    });
    if !texts.is_empty() {
        document["hasExtractedLicensingInfos"] = texts.into();
    }
    let space = Uuid::new_v5(&NAME_SPACE, document.to_string().as_bytes());
    document["documentNamespace"] = space.urn().to_string().into();
    document
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn id(package: &Package) -> String {
    format!("SPDXRef-Package-{}", plain(&package.name))
}

fn entry(package: &Package, licence: Option<String>, release: &Release) -> Value {
    let Package { version, architecture, source, maintainer, origin, .. } = package;
    let name = package.plain_name();
    let maker = person(maintainer);
    let mut entry = json!({
        "SPDXID": id(package),
        "name": name,
        "versionInfo": version,
        "supplier": maker.as_deref().unwrap_or(NOT_SAID),
        "downloadLocation": NOT_SAID,
        "filesAnalyzed": false,
        "sourceInfo": format!("built from the source package {} {}", source.0, source.1),
        "licenseConcluded": NOT_SAID,
        "licenseDeclared": licence.as_deref().unwrap_or(NOT_SAID),
        "copyrightText": NOT_SAID,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": release.purl(name, version, architecture),
        }],
    });
    if let Some(origin) = origin {
        entry["supplier"] = format!("Organization: {origin}").into();
        if let Some(maker) = maker {
            entry["originator"] = maker.into();
        }
    }
    entry
}

/// `NAME <ADDRESS>` in SPDX's form. A maintainer may be a group, which Debian does not mark.
fn person(maintainer: &str) -> Option<String> {
    let (name, address) = match maintainer.split_once('<') {
        Some((name, rest)) => (name.trim(), rest.trim_end_matches('>').trim()),
        None => (maintainer.trim(), ""),
    };
    if name.is_empty() {
        return None;
    }
    let is_group = ["Team", "Maintainers", "Developers", "Group", "Debian", "Packagers"]
        .iter()
        .any(|word| name.contains(word));
    let kind = if is_group { "Organization" } else { "Person" };
    let address = if address.is_empty() { String::new() } else { format!(" ({address})") };
    Some(format!("{kind}: {name}{address}"))
}

/// What os-release says of the distribution.
struct Release {
    id: String,
    codename: String,
}

impl Release {
    fn of(tree: &Tree) -> Self {
        let text = text::read(tree, "usr/lib/os-release").unwrap_or_default();
        let value = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_default().trim_matches('"').to_owned()
        };
        let id = value("ID");
        let id = if id.is_empty() { "debian".to_owned() } else { id };
        Self { id, codename: value("VERSION_CODENAME") }
    }

    /// Returns the package URL (purl-spec, type deb).
    fn purl(&self, name: &str, version: &str, architecture: &str) -> String {
        let distro = if self.codename.is_empty() {
            String::new()
        } else {
            format!("&distro={}", escaped(&self.codename))
        };
        format!(
            "pkg:deb/{}/{}@{}?arch={}{distro}",
            escaped(&self.id),
            escaped(name),
            escaped(version),
            escaped(architecture)
        )
    }
}

/// Escapes what is no letter, digit or one of `-._~`.
fn escaped(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}
