//! The account files.
