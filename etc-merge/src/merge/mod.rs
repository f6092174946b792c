//! The merge of three folders into a plan.
//!
//! `write` carries the plan out. `tree` reads, `accounts` merges the account files. Read `text`,
//! `decide`, `owners`, `account_files`, `reader`, `draft`, `walk`.

mod account_files;
mod decide;
mod draft;
mod owners;
mod reader;
mod text;
mod walk;

pub use walk::plan;
