//! Merges real folders.
//!
//! `bench` makes the three sides. `rows` has the table of docs/etc.md. `kernel` lets a real
//! overlayfs make the uppers and show the results. Nothing here needs root.

#![allow(clippy::unwrap_used)] // a test may

mod accounts;
mod bench;
mod differences;
mod fallback;
mod kernel;
mod places;
mod rows;
mod texts;
