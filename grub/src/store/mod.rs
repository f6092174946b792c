//! The two copies of the environment block, read and written without mounting the partition.
//!
//! What is in a block is left to `env`, and what it means to `state`.
//! Read `copies`, then `fat` and `aligned`, then `heal`.

pub(crate) mod aligned;
pub(crate) mod copies;
pub(crate) mod fat;
pub(crate) mod heal;
