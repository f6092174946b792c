//! Names in plain ASCII.
//!
//! A file's name is any bytes but `/` and NUL. A serial console and JSON want printable text.

use std::fmt::Write as _;

/// Returns `bytes` in printable ASCII. Other bytes and backslashes become `\xNN`.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if matches!(byte, b' '..=b'~') && *byte != b'\\' {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}
