//! The error of a recipe that cannot be used.
//!
//! Every file of this folder returns it. The text begins with file and line, which `node` knows.

/// An error in a recipe; the text starts with `file:line:`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RecipeError(pub String);
