//! The six account files, which merge by entries and fields.
//!
//! Only bytes come in and go out. Where the files lie is known to the crate's `merge`. Read `file`,
//! `table`, `fields`, `merge`, `primary`, `numbers`, `together`; `renumbered` stands alone.

mod fields;
pub(crate) mod file;
mod merge;
mod numbers;
mod primary;
pub(crate) mod renumbered;
pub(crate) mod table;
pub(crate) mod together;

pub use file::{AccountFile, AccountFiles};
pub use together::merge_accounts;
