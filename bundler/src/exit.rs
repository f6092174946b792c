//! The exit codes, which are the same as those of `daruma`.
//!
//! `main` prints the error. The table of the codes is in docs/operating.md.

use bundle::BundleError;
use bundle::channel::ChannelError;
use image_layout::ImageError;

use crate::bundling::accounts::OtherNumbers;
use crate::bundling::rootfs::mirror::MirrorError;
use crate::contents::SystemError;
use crate::host::tool::ToolError;
use crate::lock::LockError;
use crate::publish::registry::RegistryError;
use crate::recipe::RecipeError;
use crate::release::credentials::CredentialArgument;
use crate::release::rebuild::Differs;

/// An error without a code of its own.
pub const UNEXPECTED: u8 = 1;
/// Neither a bundle nor the tar of a root filesystem, or torn, or without a list of packages.
pub const NOT_A_SYSTEM: u8 = 10;
/// An image does not fit its partition.
pub const TOO_LARGE: u8 = 15;
/// The recipe is wrong.
pub const RECIPE: u8 = 23;
/// A program of the build host is missing or failed.
pub const TOOL: u8 = 24;
/// A system account has another number than in the previous bundle.
pub const ACCOUNTS: u8 = 29;
/// A credential is refused.
pub const CREDENTIAL: u8 = 30;

/// A recipe gives another bundle than the one that is verified.
pub const DIFFERS: u8 = 32;
/// A lock is refused, or what it names is not to be had.
pub const LOCK: u8 = 31;

/// Returns the code of the first cause that has one.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    error
        .chain()
        .find_map(|cause| {
            if let Some(error) = cause.downcast_ref::<BundleError>() {
                return Some(error.exit_code());
            }
            if let Some(error) = cause.downcast_ref::<ChannelError>() {
                return Some(error.exit_code());
            }
            if let Some(error) = cause.downcast_ref::<RegistryError>() {
                return Some(error.exit_code());
            }
            if cause.is::<RecipeError>()
                || matches!(cause.downcast_ref(), Some(MirrorError::Missing(_)))
            {
                return Some(RECIPE);
            }
            if cause.is::<ToolError>() || matches!(cause.downcast_ref(), Some(MirrorError::Tool(_)))
            {
                return Some(TOOL);
            }
            if cause.is::<SystemError>() {
                return Some(NOT_A_SYSTEM);
            }
            if cause.is::<OtherNumbers>() {
                return Some(ACCOUNTS);
            }
            if cause.is::<Differs>() {
                return Some(DIFFERS);
            }
            if cause.is::<LockError>() {
                return Some(LOCK);
            }
            if cause.is::<CredentialArgument>() {
                return Some(CREDENTIAL);
            }
            image_code(cause.downcast_ref()?)
        })
        .unwrap_or(UNEXPECTED)
}

fn image_code(error: &ImageError) -> Option<u8> {
    match error {
        ImageError::Layout(_) => Some(RECIPE),
        ImageError::TooLarge { .. } => Some(TOO_LARGE),
        ImageError::MissingTool { .. } | ImageError::ToolFailed { .. } => Some(TOOL),
        ImageError::Io { .. } => None,
    }
}
