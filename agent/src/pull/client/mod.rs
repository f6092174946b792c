//! A client that asks one address, in a registry too.
//! Leaves to its users what they ask for, and when they try again.
//! Read: `waiting`, `status`, `registry`, `http`.

pub(crate) mod http;
pub(crate) mod registry;
pub(crate) mod status;
pub(crate) mod waiting;
