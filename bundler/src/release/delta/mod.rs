//! `daruma-bundler delta`: makes the delta from one bundle to another.
//!
//! [`bundle::delta`] applies a delta and defines the form of its records.
//! Read `make`, then `groups`, `again`, `blocks`, `similar`, `mix`, then `kernel`.

mod again;
mod blocks;
mod groups;
mod kernel;
mod make;
mod mix;
mod similar;

pub use make::{Outputs, Summary, Written, write};
