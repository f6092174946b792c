//! A file on a server that is read by range requests.
//! Leaves to `client/` how one request is made.
//! Read: `answer`, `spans`, `line`, `transfer`, `remote`.

pub(crate) mod answer;
pub(crate) mod line;
pub(crate) mod remote;
pub(crate) mod spans;
pub(crate) mod transfer;
