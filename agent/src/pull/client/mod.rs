//! A client that sends requests to one address, on a web server or in a registry. The users of the
//! client choose the requests, and when to try again.
//! Read: `waiting`, `status`, `registry`, `http`.

pub(crate) mod http;
pub(crate) mod registry;
pub(crate) mod status;
pub(crate) mod waiting;
