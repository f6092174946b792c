//! Lines for the person at the console, and the bar below them while something takes its time.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The bar that the terminal shows in its last line; empty: none. Held while a line is printed, so
/// that two threads' lines and the bar do not mix.
static BAR: Mutex<String> = Mutex::new(String::new());
/// Back to the beginning of the line, and nothing in it.
const CLEAR: &str = "\r\x1b[K";

/// Prints a line. Nobody listening (a closed terminal, a pager that was left) is no reason to stop
/// an install, let alone to panic, as `println!` does.
pub fn say(line: impl fmt::Display) {
    above_the_bar(|| {
        let _ = writeln!(io::stdout(), "{line}");
    });
}

/// Prints a warning where errors go.
pub fn warn(line: impl fmt::Display) {
    above_the_bar(|| {
        let _ = writeln!(io::stderr(), "daruma: {line}");
    });
}

/// Puts `bar` in the place of the one that the terminal shows on stderr; empty: takes it away. What
/// cannot be shown does not matter.
pub(crate) fn show_bar(bar: String) {
    let mut shown = shown();
    let _ = write!(io::stderr(), "{CLEAR}{bar}");
    *shown = bar;
}

/// The bar gives its line to what `print` prints, and stands below it again.
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
