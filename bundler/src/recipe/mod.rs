//! What an image is built from: the recipe, read and checked before anything is run.
//!
//! Doing what a recipe says is left to `bundling`. `docs/recipes.md` lists all keys.
//! Read `whole`, `action`, `load`, `assemble`, then `keys`, `node` and `error`.
//!
//! The form is debos's: `architecture` and a list of `actions`. debos ignores what it does not
//! know. Here every unknown key is an error with its line.

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
