//! Machines whose /var is broken, or is to be emptied.
//!
//! `tests::trial_disk` breaks it from outside.

mod factory_reset;
mod var_faults;
