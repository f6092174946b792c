//! Refusing to go back in time.
//!
//! `push` and `pull` ask before they replace a document. Whose signatures a document bears is for
//! devices to judge.

use bundle::channel::{Channel, ChannelError, Kind, Root, Signed};
use bundle::oci::ArtifactKind;

/// Refuses to put a channel or root in the place of a newer one: devices that have seen that would
/// take this for an attack. Signatures are not looked at: whose they are is for devices to know.
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
