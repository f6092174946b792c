//! The verbs with arguments of their own: what they take, and whom they call.
//!
//! The work is left to the library. `main` reads the verbs that are not here.
//! Read `repo`, then `fleet`.

pub(crate) mod fleet;
pub(crate) mod repo;
