//! The build host: its programs, its terminal, and a folder for a cache.
//!
//! The callers decide what a program does.
//! Read `tool` with `debian`, `shell`, `emulator`, `progress`, `report`, `processors`,
//! `cache`.

pub mod cache;
pub mod debian;
pub mod emulator;
pub mod processors;
pub mod progress;
pub mod report;
pub mod shell;
pub mod tool;
