//! Which file of a crate takes which names from which other file, and the circles among them.
//!
//! Read in this order: module (what a module binds), tokens (paths inside macros), scan (one file),
//! walk (all files of a target), resolve (path to file), circles (the check). The program does not
//! see types: a method call ties nothing. A name that a macro defines counts for the macro's file.

pub(crate) mod circles;
mod module;
mod resolve;
mod scan;
mod tokens;
pub(crate) mod walk;

pub(crate) use module::Target;
