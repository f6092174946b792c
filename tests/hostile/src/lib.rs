//! The fuzz targets: claims about every reader of Daruma that must hold for any bytes.
//!
//! `tests/fuzz` gives the targets to libFuzzer. `tests/corpus.rs` runs them over the inputs in the
//! repo, so that `make check` needs no fuzzer.
//!
//! A target is a function of an input that panics when a claim does not hold. The claims go beyond
//! "no panic". Accepted input is written back as it was read, and lies inside its file. Memory and
//! work are bounded.
#![allow(clippy::unwrap_used)] // to panic is how a claim fails

mod boot;
mod bundles;
mod channel;
mod delta;
mod etc;
/// daruma-init's own parser, from the program's own file. A program has no public interface that
/// could be widened.
#[allow(dead_code, missing_docs)]
#[path = "../../../initramfs/src/init/cmdline.rs"]
mod init_cmdline;
mod keys;
mod oci;
mod partitions;
pub mod seeds;
mod sparse;
mod squashfs;
mod tail;
mod texts;

/// A reader's target, and the limits within which libFuzzer must find nothing.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the fuzz target and of its folder in the corpus.
    pub name: &'static str,
    /// Panics when a claim does not hold.
    pub run: fn(&[u8]),
    /// Longest input, bytes (`-max_len`).
    pub max_len: usize,
    /// Most memory of the whole process, with the sanitizer's own, MiB (`-rss_limit_mb`).
    pub rss_mb: usize,
    /// Largest single allocation, MiB (`-malloc_limit_mb`).
    pub malloc_mb: usize,
    /// Most time for one input, seconds (`-timeout`).
    pub timeout_s: usize,
}

/// Every target, in the order of the table in docs/threat-model.md.
pub const TARGETS: &[Target] = &[
    target("footer", bundles::footer, 4 << 10),
    target("manifest", bundles::manifest, 16 << 10),
    target("signatures", bundles::signatures, 2 << 10),
    target("keys", keys::keys, 8 << 10),
    target("chunk_table", bundles::chunk_table, 8 << 10),
    target("bundle", bundles::bundle, 32 << 10),
    target("squashfs", squashfs::squashfs, 16 << 10),
    target("unpack", squashfs::unpack, 16 << 10),
    target("environment", boot::environment, 2 << 10),
    target("fat", boot::fat, 32 << 10),
    target("gpt", partitions::gpt, 16 << 10),
    target("command_line", boot::command_line, 4 << 10),
    target("slot_cfg", boot::slot_cfg, 4 << 10),
    target("recipe", texts::recipe, 8 << 10),
    target("config", texts::config, 8 << 10),
    target("state", texts::state, 8 << 10),
    target("units", texts::units, 8 << 10),
    target("root_document", channel::root_document, 16 << 10),
    target("channel", channel::channel, 16 << 10),
    target("oci", oci::oci, 8 << 10),
    target("accounts", etc::accounts, 8 << 10),
    target("etc_policy", etc::policy, 4 << 10),
    // For a block of 1 MiB at level 19, zstd takes its memory in one allocation.
    Target { malloc_mb: 32, ..target("delta", delta::delta, 8 << 10) },
];

const fn target(name: &'static str, run: fn(&[u8]), max_len: usize) -> Target {
    Target { name, run, max_len, rss_mb: 512, malloc_mb: 4, timeout_s: 10 }
}

/// Runs the target of this name.
///
/// # Panics
/// A claim does not hold, or there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("no target {name}"));
    (target.run)(input);
}

/// Checks that a message is one line and has nothing that moves the cursor of a terminal.
fn is_one_line(message: &str) {
    assert!(
        !message.is_empty() && !message.chars().any(char::is_control),
        "not one plain line: {message:?}"
    );
}
