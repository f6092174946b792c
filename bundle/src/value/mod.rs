//! Values that are checked once and then carried everywhere: names, hashes, sizes.
//!
//! The users of a value know what it is good for. Text becomes one of these types where it enters.
//! Read `name`, `digest`, `key_id`; `limits` has every upper bound of the formats.

pub(crate) mod digest;
pub(crate) mod key_id;
pub mod limits;
pub(crate) mod name;
