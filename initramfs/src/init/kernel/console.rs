//! Prints the lines of `daruma-init`.
//!
//! The callers choose the words. All lines go through the kernel's log. So they reach every
//! console, and later the log of the real init.

use std::fs::{self, File};
use std::io::Write as _;
use std::sync::OnceLock;

static KERNEL_LOG: OnceLock<File> = OnceLock::new();

/// Notes for the agent; one line each.
pub(crate) const INIT_LOG: &str = "/run/daruma/init.log";

/// Starts logging; needs /dev and /proc. Without them all lines go to the standard error stream.
pub(crate) fn open() {
    // Without this setting the kernel drops lines after ten quick ones.
    let _ = fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    if let Ok(log) = File::options().write(true).open("/dev/kmsg") {
        let _ = KERNEL_LOG.set(log);
    }
}

/// Says progress. `quiet` on the command line hides it from the console.
pub(crate) fn say(text: &str) {
    line(6, text);
}

/// Says something for a later reader of the kernel's log. It does not appear on the console.
pub(crate) fn detail(text: &str) {
    line(7, text);
}

/// Says something that a person and the agent should know. The boot goes on.
pub(crate) fn warn(text: &str) {
    line(3, &format!("warning: {text}"));
    let _ = fs::create_dir_all("/run/daruma");
    if let Ok(mut log) = File::options().create(true).append(true).open(INIT_LOG) {
        let _ = writeln!(log, "{}", one_line(text));
    }
}

/// Says what a person must see, on every console. Level 3 passes `quiet`.
pub(crate) fn loud(text: &str) {
    line(3, text);
}

fn line(level: u8, text: &str) {
    let text = one_line(text);
    match KERNEL_LOG.get() {
        // One write is one record. A record that the kernel refuses has nowhere else to go.
        Some(mut log) => {
            let _ = log.write_all(format!("<{level}>daruma-init: {text}\n").as_bytes());
        }
        None => eprintln!("daruma-init: {text}"),
    }
}

/// Returns the text without line breaks, at most 700 bytes. The kernel cuts a record at about 1000.
pub(crate) fn one_line(text: &str) -> String {
    let mut flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    while flat.len() > 700 {
        flat.pop();
    }
    flat
}
