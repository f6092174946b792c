//! The bundle as one file: how it is written, opened and verified.
//!
//! `docs/bundle-format.md` says where every byte lies. The agent installs a bundle. Read `footer`,
//! `writer`, `reader`, `policy`, `payload`.

pub(crate) mod footer;
pub(crate) mod payload;
pub(crate) mod policy;
pub(crate) mod reader;
pub(crate) mod writer;
