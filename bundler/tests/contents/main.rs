//! What a system holds, read from a tar and from a bundle of the same small tree.
//!
//! Each test runs the program as a user does.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

mod differences;
mod packages;
mod refusals;
mod sizes;
mod small;
mod unpacking;
#[path = "../validators/mod.rs"]
mod validators;
