//! The partitions of a disk: their names, their sizes, and the table that says where they lie.
//!
//! `fat` and `factory` make the content of a partition, and the bundles fill it. Read `label`,
//! `layout`, then the table: `gpt`, `table`, `settle`, `partition_type`.

pub(crate) mod gpt;
pub mod label;
pub(crate) mod layout;
pub(crate) mod partition_type;
pub(crate) mod settle;
pub(crate) mod table;
