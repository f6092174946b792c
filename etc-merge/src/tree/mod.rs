//! Reads the three trees, one entry at a time.
//!
//! What is read is compared and merged elsewhere. Read `entry`, `attributes`, `marks`, `node`,
//! `unchanged`.

pub(crate) mod attributes;
pub(crate) mod entry;
pub(crate) mod marks;
pub(crate) mod node;
pub(crate) mod unchanged;
