//! The list of a system's packages as an SPDX 2.3 document.
//!
//! `contents` has read the system, and its callers know which output it belongs to.
//! Read `names`, `licence`, `copyright`, then `document`.

mod copyright;
mod document;
mod licence;
mod names;

pub use document::write_beside;
