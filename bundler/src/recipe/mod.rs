//! Reads a recipe, which says what an image is built from, and checks it before anything runs.
//!
//! `bundling` does what a recipe says. `docs/recipes.md` lists all keys.
//! Read `whole`, `action`, `load`, `assemble`, then `keys`, `node` and `error`.
//!
//! The form is that of debos: `architecture` and a list of `actions`. debos ignores unknown keys.
//! Here every unknown key is an error with its line.

mod action;
mod assemble;
mod error;
mod keys;
mod load;
mod node;
mod whole;

pub use action::{Bootstrap, BundleSettings, Kernel, Pattern, Run, Step};
pub use error::RecipeError;
pub use node::Place;
pub use whole::Recipe;
