//! Bundles and channels in an OCI registry: the part that works on text and bytes alone.
//!
//! The agent and the bundler talk to the registry. They trust nothing that a registry says before
//! Daruma's signatures are verified.
//!
//! A registry is one more place for the files of a repository. Each file is one artifact, and its
//! tag is made of the file's path. `docs/oci.md` has the mapping.

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
