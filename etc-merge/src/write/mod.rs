//! Writes a new upper.
//!
//! `merge` decides what is in it; the caller syncs and renames it. Read `entry`, `copy`, `planned`,
//! `mine`.

mod copy;
mod entry;
mod mine;
mod planned;

pub use mine::mine_wins;
