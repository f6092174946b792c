//! The merge of three folders into a plan.
//!
//! `write` carries the plan out. `tree` reads, `accounts` merges the account files. Read `text`,
//! `decide`, `owners`, `account_files`, `walk`.

mod account_files;
mod decide;
mod owners;
mod text;
mod walk;

pub use walk::plan;
