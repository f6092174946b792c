//! Matches paths with the patterns of recipes.
//!
//! The recipes decide what a pattern is for. `*` is anything within a folder, `**` is anything at
//! all, and `?` is one character. A trailing `/` means everything below.

/// Returns true if the pattern matches the whole path.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    if let Some(dir) = pattern.strip_suffix('/') {
        // The pattern means everything below a folder, whose own name may also hold wildcards.
        return path
            .match_indices('/')
            .any(|(at, _)| at > 0 && glob(dir.as_bytes(), &path.as_bytes()[..at]));
    }
    glob(pattern.as_bytes(), path.as_bytes())
}

fn glob(pattern: &[u8], path: &[u8]) -> bool {
    match pattern {
        [] => path.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=path.len()).any(|skip| glob(rest, &path[skip..])),
        [b'*', rest @ ..] => {
            let within = path.iter().position(|c| *c == b'/').unwrap_or(path.len());
            (0..=within).any(|skip| glob(rest, &path[skip..]))
        }
        [b'?', rest @ ..] => matches!(path, [c, tail @ ..] if *c != b'/' && glob(rest, tail)),
        [c, rest @ ..] => matches!(path, [d, tail @ ..] if c == d && glob(rest, tail)),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stays_within_a_folder_and_two_do_not() {
        assert!(matches("/usr/share/doc/*", "/usr/share/doc/bash"));
        assert!(!matches("/usr/share/doc/*", "/usr/share/doc/bash/copyright"));
        assert!(matches("/usr/**/*.py", "/usr/lib/python3/os.py"));
        assert!(!matches("/usr/**/*.py", "/usr/lib/python3/os.pyc"));
    }

    #[test]
    fn a_trailing_slash_means_everything_below_and_not_the_folder() {
        assert!(matches("/usr/share/man/", "/usr/share/man/man1/ls.1"));
        assert!(matches("kernel/drivers/*/intel/", "kernel/drivers/net/intel/e1000/e1000.ko"));
        assert!(!matches("/usr/share/man/", "/usr/share/man"));
        assert!(!matches("/usr/share/man/", "/usr/share/manual/x"));
    }
}
