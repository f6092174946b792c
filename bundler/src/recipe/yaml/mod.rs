//! YAML with places, and the reading of its keys.
//!
//! The actions give the keys a meaning.
//! Read `node`, `fields`, `keys`, then `error`.

mod error;
mod fields;
mod keys;
mod node;

pub use error::RecipeError;
pub(in crate::recipe) use fields::{Field, Kind, Table, with_description};
pub(in crate::recipe) use keys::{Keys, Notes, closest};
pub use node::Place;
pub(in crate::recipe) use node::{Key, Node, Value};
