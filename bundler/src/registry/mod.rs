//! The files of a repository in an OCI registry. `docs/oci.md` says how they lie there.

mod answer;
mod blobs;
mod client;
mod credentials;
mod error;
mod pull;
mod push;
mod tls;

pub use client::{Registry, Rights};
pub use error::RegistryError;
pub use pull::{pull_file, pull_repository};
pub use push::{push_file, push_repository};

use bundle::channel::{Channel, ChannelError, Kind, Root, Signed};
use bundle::oci::ArtifactKind;

/// Refuses to put a channel or root in the place of a newer one: devices that have seen that would
/// take this for an attack. Signatures are not looked at: whose they are is for devices to know.
fn must_not_be_older(kind: ArtifactKind, there: &[u8], ours: &[u8]) -> Result<(), ChannelError> {
    match kind {
        ArtifactKind::Bundle | ArtifactKind::Delta => Ok(()),
        ArtifactKind::Root => {
            let (there, ours) = (Root::anchor(there), Root::anchor(ours)?);
            match there {
                Ok(there) if there.version > ours.version => {
                    Err(ChannelError::RootOrder { trusted: there.version, got: ours.version })
                }
                _ => Ok(()),
            }
        }
        ArtifactKind::Channel => {
            let claimed = |bytes: &[u8]| Channel::claimed(&Signed::parse(Kind::Channel, bytes)?);
            let (there, ours) = (claimed(there), claimed(ours)?);
            match there {
                Ok(there) if there.serial > ours.serial => {
                    Err(ChannelError::RolledBack { seen: there.serial, got: ours.serial })
                }
                Ok(there) if there.serial == ours.serial && there != ours => {
                    Err(ChannelError::TwoFaced(ours.serial))
                }
                _ => Ok(()),
            }
        }
    }
}
