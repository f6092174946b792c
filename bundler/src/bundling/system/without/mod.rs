//! Leaves out of an image what the key `without` of the `bundle` action names.
//!
//! `recipe` knows the names. `clean` leaves out what no image needs.
//! Read `parts`, `packages`, `hwdb`.

mod hwdb;
mod packages;
mod parts;

pub use parts::leave_out;
