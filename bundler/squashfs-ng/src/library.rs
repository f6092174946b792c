//! The functions of libsquashfs.
//!
//! `build.rs` finds them in the headers of the build host, and `writer` and `inode` call them.
//! Nobody edits this by hand.

#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "written by bindgen"
)]

include!(concat!(env!("OUT_DIR"), "/libsquashfs.rs"));
