//! `daruma-bundler delta`: what leads from one bundle to another.
//!
//! Applying a delta, and the form of its records, is left to [`bundle::delta`].
//! Read `make`, then `groups`, `blocks`, `similar`, `mix`, then `kernel`.

mod blocks;
mod groups;
mod kernel;
mod make;
mod mix;
mod similar;

pub use make::{Summary, kernel_text, write};
