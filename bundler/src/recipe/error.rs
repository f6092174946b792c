//! Why a recipe cannot be used.
//!
//! Every file of this folder says it with the file and the line in front, which `node` knows.

/// A recipe that cannot be used; the text starts with `file:line:`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RecipeError(pub String);
