//! A file on a server, read by range requests. `client/` sends one request.
//! Read: `answer`, `spans`, `line`, `transfer`, `remote`.

pub(crate) mod answer;
pub(crate) mod line;
pub(crate) mod remote;
pub(crate) mod spans;
pub(crate) mod transfer;
