//! Refuses to replace a document by an older one.
//!
//! `push` and `pull` call it before they replace a document. Devices check the signatures of the
//! document.

use bundle::channel::{Channel, ChannelError, Kind, Root, Signed};
use bundle::oci::ArtifactKind;

/// Refuses to put a channel or a root in the place of a newer one. Devices that have seen the newer
/// one would take the older one for an attack. Devices check the signatures, so this function does
/// not.
pub(crate) fn must_not_be_older(
    kind: ArtifactKind,
    there: &[u8],
    ours: &[u8],
) -> Result<(), ChannelError> {
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
