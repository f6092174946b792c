//! Values that are checked once and then carried everywhere: names, hashes, sizes.
//!
//! Text becomes one of these at the door. What a value is good for is left to whoever carries it.
//! Read `name`, `digest`, `key_id`; `limits` has every upper bound of the formats.

pub(crate) mod digest;
pub(crate) mod key_id;
pub mod limits;
pub(crate) mod name;
