//! All tests that need real bundles and this machine only: builds, servers, a device in a folder.
//!
//! They are one program, so that two tests always run side by side.

mod contents;
mod host_traces;
mod packings;
mod pull;
mod reproducible;
mod threshold;
