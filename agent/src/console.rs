//! Lines for the person at the console.

use std::fmt;
use std::io::{self, Write};

/// Prints a line. Nobody listening (a closed terminal, a pager that was left) is no reason to stop an install, let
/// alone to panic, as `println!` does.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a warning where errors go.
pub fn warn(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "daruma: {line}");
}
