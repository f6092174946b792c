//! Prints lines for the person at the console, and a progress bar below them.
//!
//! `progress` decides what the bar shows. One lock guards the terminal, so lines and bar never mix.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The bar in the terminal's last line. Empty: there is no bar. The lock is held while a line is
/// printed.
static BAR: Mutex<String> = Mutex::new(String::new());
/// Moves to the beginning of the line and clears the line.
const CLEAR: &str = "\r\x1b[K";

/// Prints a line. A closed terminal or a pager that was left must not stop an install, so errors
/// are ignored. `println!` would panic.
pub fn say(line: impl fmt::Display) {
    above_the_bar(|| {
        let _ = writeln!(io::stdout(), "{line}");
    });
}

/// Prints a warning on stderr.
pub fn warn(line: impl fmt::Display) {
    above_the_bar(|| {
        let _ = writeln!(io::stderr(), "daruma: {line}");
    });
}

/// Replaces the bar on stderr by `bar`. Empty: removes the bar. Errors do not matter.
pub(crate) fn show_bar(bar: String) {
    let mut shown = shown();
    let _ = write!(io::stderr(), "{CLEAR}{bar}");
    *shown = bar;
}

/// Clears the bar, prints, and shows the bar again below.
fn above_the_bar(print: impl FnOnce()) {
    let bar = shown();
    if bar.is_empty() {
        return print();
    }
    let _ = write!(io::stderr(), "{CLEAR}");
    print();
    let _ = write!(io::stderr(), "{bar}");
}

fn shown() -> MutexGuard<'static, String> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}
