//! What the build host gives: its programs, a terminal and a place for a cache.
//!
//! What is asked of a program is left to the callers.
//! Read `tool`, `progress`, `cache`.

pub mod cache;
pub mod progress;
pub mod tool;
