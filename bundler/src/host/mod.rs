//! The build host: its programs, its terminal, and a folder for a cache.
//!
//! The callers decide what a program does.
//! Read `tool`, `shell`, `emulator`, `progress`, `report`, `cache`.

pub mod cache;
pub mod emulator;
pub mod progress;
pub mod report;
pub mod shell;
pub mod tool;
