//! The two copies of the environment block, read and written without mounting the partition.
//!
//! `env` knows what is in a block, and `state` what it means. Read `copies`, then `fat` and
//! `aligned`, then `heal`.

pub(crate) mod aligned;
pub(crate) mod copies;
pub(crate) mod fat;
pub(crate) mod heal;
