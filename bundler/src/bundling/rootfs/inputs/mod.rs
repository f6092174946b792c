//! What the actions read on the build host: fetched, packed, or named by a hash.
//!
//! `hooks` knows which action reads what, and `mmdebstrap` asks for the keys of its states.
//! Read `fetch`, `staging`, `states`.

pub(super) mod fetch;
pub(super) mod staging;
pub(super) mod states;
