//! The manifest of one file in a registry: an image manifest with one layer.
//!
//! The agent and the bundler fetch the layer. Nobody trusts anything in a manifest before Daruma's
//! signatures are verified.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Sha256;
use crate::error::quoting;
use crate::oci::error::OciError;
use crate::value::limits;

/// Media type of the manifests.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The config of an artifact that has no config. All such artifacts have these two bytes.
pub const EMPTY_CONFIG: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const TITLE: &str = "org.opencontainers.image.title";

/// The kind of a file of a repository.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ArtifactKind {
    /// A bundle, which is an update.
    Bundle,
    /// A delta, which makes one update from another.
    Delta,
    /// A root document.
    Root,
    /// A channel.
    Channel,
}

impl ArtifactKind {
    /// All kinds, in the order of the push: a channel's files are there before the channel.
    pub const ALL: [Self; 4] = [Self::Bundle, Self::Delta, Self::Root, Self::Channel];

    /// Returns the media type of the artifact and of its layer.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Bundle => "application/vnd.daruma.bundle.v1",
            Self::Delta => "application/vnd.daruma.delta.v1",
            Self::Root => "application/vnd.daruma.root.v1+json",
            Self::Channel => "application/vnd.daruma.channel.v1+json",
        }
    }

    /// Returns the most bytes that such a file may have.
    #[must_use]
    pub fn limit(self) -> u64 {
        match self {
            Self::Bundle | Self::Delta => limits::SQUASHFS + limits::TAIL,
            Self::Root => limits::ROOT as u64,
            Self::Channel => limits::CHANNEL as u64,
        }
    }

    /// Returns true for a small signed document. Such a document has newer and older versions.
    #[must_use]
    pub fn is_document(self) -> bool {
        matches!(self, Self::Root | Self::Channel)
    }

    /// Returns the kind of the file at `path` of a repository, by its name. `None`: devices do not
    /// ask for such a file.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let is_bundles =
            path.strip_prefix("bundles/").is_some_and(|name| !name.contains(['/', '\\']));
        let is_top = !path.contains(['/', '\\']) && !path.starts_with('.');
        let version = path.strip_suffix(".root.json");
        if is_bundles && path.ends_with(".daruma") {
            Some(Self::Bundle)
        } else if is_bundles && path.ends_with(".delta") {
            Some(Self::Delta)
        } else if path == "root.json"
            || version.is_some_and(|version| version.parse::<u64>().is_ok())
        {
            Some(Self::Root)
        } else if is_top && path.ends_with(".channel.json") {
            Some(Self::Channel)
        } else {
            None
        }
    }
}

/// One file in a registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Artifact {
    /// The kind of the file.
    pub kind: ArtifactKind,
    /// SHA-256 of the file.
    pub digest: Sha256,
    /// Bytes of the file.
    pub size: u64,
}

/// What an image manifest must say. Other fields (annotations, a subject) mean nothing here.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
}

impl Artifact {
    /// Returns the manifest. The same file always gives the same bytes.
    #[must_use]
    pub fn to_manifest(&self, title: &str) -> Vec<u8> {
        let media_type = self.kind.media_type().to_owned();
        let document = Document {
            schema_version: 2,
            media_type: Some(MANIFEST_TYPE.to_owned()),
            artifact_type: Some(media_type.clone()),
            config: Descriptor {
                media_type: EMPTY_TYPE.to_owned(),
                digest: format!("sha256:{}", Sha256::of(EMPTY_CONFIG)),
                size: EMPTY_CONFIG.len() as u64,
                annotations: None,
            },
            layers: vec![Descriptor {
                media_type,
                digest: format!("sha256:{}", self.digest),
                size: self.size,
                annotations: Some(BTreeMap::from([(TITLE.to_owned(), title.to_owned())])),
            }],
        };
        serde_json::to_vec_pretty(&document).unwrap_or_default()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// The manifest is longer than [`limits::OCI_MANIFEST`], is no image manifest, or does not have
    /// exactly one file that Daruma knows.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let wrong = |why: &str| OciError::Manifest(why.to_owned());
        if bytes.len() > limits::OCI_MANIFEST {
            return Err(wrong("it is longer than 64 KiB"));
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| OciError::Manifest(quoting(&error)))?;
        if document.schema_version != 2
            || document.media_type.is_some_and(|kind| kind != MANIFEST_TYPE)
        {
            return Err(wrong("it is no OCI image manifest"));
        }
        let [layer] = document.layers.as_slice() else {
            return Err(wrong("it has not exactly one layer"));
        };
        let kind = ArtifactKind::ALL.into_iter().find(|kind| kind.media_type() == layer.media_type);
        let kind =
            kind.ok_or_else(|| wrong("its layer is of a media type that Daruma does not know"))?;
        let digest =
            layer.digest.strip_prefix("sha256:").map(|hex| Sha256::try_from(hex.to_owned()));
        let Some(Ok(digest)) = digest else {
            return Err(wrong("its layer's digest is no SHA-256"));
        };
        if layer.size == 0 || layer.size > kind.limit() {
            return Err(wrong("its layer is empty or larger than any such file"));
        }
        Ok(Self { kind, digest, size: layer.size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUNDLE: Artifact =
        Artifact { kind: ArtifactKind::Bundle, digest: Sha256([7; 32]), size: 75_000_000 };

    fn changed(from: &str, to: &str) -> Result<Artifact, OciError> {
        let text = String::from_utf8(BUNDLE.to_manifest("x.daruma")).unwrap();
        assert!(text.contains(from), "{from}");
        Artifact::parse(text.replacen(from, to, 1).as_bytes())
    }

    #[test]
    fn a_manifest_says_what_was_put_into_it() {
        for kind in ArtifactKind::ALL {
            let artifact = Artifact { kind, size: 1000, ..BUNDLE };
            assert_eq!(Artifact::parse(&artifact.to_manifest("a \"name\"")), Ok(artifact));
        }
        assert_eq!(changed("artifactType", "org.example.other"), Ok(BUNDLE));
    }

    #[test]
    fn a_manifest_of_something_else_is_refused() {
        let huge = (1_u64 << 60).to_string();
        for (from, to) in [
            ("\"schemaVersion\": 2", "\"schemaVersion\": 1"),
            (MANIFEST_TYPE, "application/vnd.oci.image.index.v1+json"),
            ("75000000", huge.as_str()),
            ("75000000", "0"),
            ("75000000", "-1"),
            ("75000000", "1.5"),
            ("sha256:0707", "sha256:07"),
            ("sha256:0707", "sha512:0707"),
            ("sha256:0707", "sha256:0G07"),
            ("sha256:0707", "../sha256:07"),
            ("\"layers\": [", "\"layers\": [], \"x\": ["),
        ] {
            assert!(changed(from, to).is_err(), "{to}");
        }
        let layer =
            r#"{"mediaType":"application/vnd.daruma.root.v1+json","size":1,"digest":"sha256:00"},"#;
        assert!(changed("\"layers\": [", &format!("\"layers\": [{layer}")).is_err());
        let long = [BUNDLE.to_manifest("x"), vec![b' '; limits::OCI_MANIFEST]].concat();
        assert!(Artifact::parse(&long).is_err());
    }

    #[test]
    fn only_what_devices_ask_for_is_an_artifact() {
        for (path, kind) in [
            ("bundles/router-1.0.0-00.daruma", Some(ArtifactKind::Bundle)),
            ("bundles/router-1.0.0.delta", Some(ArtifactKind::Delta)),
            ("root.json", Some(ArtifactKind::Root)),
            ("3.root.json", Some(ArtifactKind::Root)),
            ("stable.channel.json", Some(ArtifactKind::Channel)),
            ("next.root.json", None),
            (".daruma.lock", None),
            (".stable.channel.json", None),
            ("bundles/../x.daruma", None),
            ("a/stable.channel.json", None),
            ("x.daruma", None),
        ] {
            assert_eq!(ArtifactKind::of_path(path), kind, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            at in 0_usize..700,
            byte: u8,
        ) {
            let _ = Artifact::parse(&bytes);
            let mut manifest = BUNDLE.to_manifest("x.daruma");
            if let Some(here) = manifest.get_mut(at) {
                *here = byte;
            }
            let _ = Artifact::parse(&manifest);
        }
    }
}
