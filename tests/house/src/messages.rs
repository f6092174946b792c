//! The check that messages of the device are plain ASCII.
//!
//! The agent and daruma-init print to serial consoles, which may not show anything else. They print
//! the report of etc-merge too. The scan of `imports` finds the string literals. Comments and tests
//! may hold any character.

use crate::imports::Target;
use crate::violation::{Check, Violation};

/// The crates whose messages go to a console.
pub(crate) const CRATES: [&str; 3] = ["agent", "initramfs", "etc-merge"];

/// One violation for each string literal with a character outside ASCII.
pub(crate) fn check(targets: &[Target]) -> Vec<Violation> {
    let found = targets.iter().flat_map(|target| &target.non_ascii);
    found
        .map(|(file, line, odd)| Violation {
            check: Check::Messages,
            path: file.clone(),
            line: *line,
            what: format!("{odd:?} (U+{:04X}) in a string", u32::from(*odd)),
            remedy: "a serial console may not show it: use ASCII",
            details: Vec::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crates;
    use crate::imports::walk;
    use crate::tree::made_up;

    #[test]
    fn a_dash_that_is_not_ascii_is_found_in_messages_and_not_in_comments_or_tests() {
        let source = "/// Fine – here.\nfn f() {\n    println!(\"not {} – here\", 1);\n}\n\
            fn g() -> &'static str { \"nor \\u{2026}\" }\n\
            #[cfg(test)]\nmod tests { const FINE: &str = \"–\"; }\n";
        let (_dir, tree) = made_up(&[
            ("Cargo.toml", "[workspace]\nmembers = ['agent']"),
            ("agent/Cargo.toml", ""),
            ("agent/src/main.rs", source),
        ]);
        let packages = crates::of(&tree).unwrap();
        let found = check(&walk::targets(&tree, &packages[0]).unwrap());
        let lines: Vec<_> = found.iter().map(|violation| violation.line).collect();
        assert_eq!(lines, [3, 5]);
    }
}
