//! Bundles and channels in an OCI registry: what is pure of it, on text and bytes.
//!
//! A registry is one more place for the files of a repository: each file is one artifact, its tag
//! is made of the file's path. `docs/oci.md` has the mapping. Asking the registry is left to the
//! agent and to the bundler; nothing that a registry says is trusted before the signatures of
//! Daruma are verified.

mod artifact;
mod challenge;
mod error;
mod reference;
mod tag;

pub use artifact::{Artifact, ArtifactKind, EMPTY_CONFIG, MANIFEST_TYPE};
pub use challenge::{Challenge, token};
pub use error::OciError;
pub use reference::{Reference, beside, is_oci};
pub use tag::Tag;
