//! A client that asks one address, in a registry too.
//! Leaves to its users what they ask for, and when they try again.
//! Read: `http`.

pub(crate) mod http;
