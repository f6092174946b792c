//! Debian's short names of licences and SPDX's.
//!
//! Debian's are in the machine-readable copyright format 1.0. A name that is not known here stays
//! Debian's: `licence` makes a reference of it, with its text.

/// Names that SPDX spells in the same way, but for the case.
const SAME: &[&str] = &[
    "0BSD",
    "AFL-2.1",
    "AFL-3.0",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-2.0",
    "Beerware",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSD-4-Clause-UC",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "curl",
    "EPL-1.0",
    "EPL-2.0",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "HPND",
    "ICU",
    "ISC",
    "LPPL-1.3c",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "NTP",
    "OFL-1.1",
    "OpenSSL",
    "PSF-2.0",
    "Python-2.0",
    "TCL",
    "Unicode-DFS-2016",
    "Unlicense",
    "WTFPL",
    "X11",
    "Zlib",
];

/// Names that SPDX spells otherwise.
const OTHER: &[(&str, &str)] = &[
    ("Expat", "MIT"),
    ("CC0", "CC0-1.0"),
    ("Boost-1.0", "BSL-1.0"),
    ("PSF-2", "PSF-2.0"),
    ("WTFPL-2", "WTFPL"),
    ("bzip2", "bzip2-1.0.6"),
];

/// Exceptions by Debian's name, without the word "exception".
const EXCEPTIONS: &[(&str, &str)] = &[
    ("Autoconf", "Autoconf-exception-2.0"),
    ("Autoconf-2.0", "Autoconf-exception-2.0"),
    ("Autoconf-3.0", "Autoconf-exception-3.0"),
    ("Bison", "Bison-exception-2.2"),
    ("Bison-2.2", "Bison-exception-2.2"),
    ("Classpath", "Classpath-exception-2.0"),
    ("Font", "Font-exception-2.0"),
    ("GCC", "GCC-exception-3.1"),
    ("GCC-3.1", "GCC-exception-3.1"),
    ("Libtool", "Libtool-exception"),
    ("Linux-syscall-note", "Linux-syscall-note"),
    ("LLVM", "LLVM-exception"),
];

/// Returns SPDX's name of a licence.
pub(super) fn licence(name: &str) -> Option<String> {
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    if let Some(known) = SAME.iter().find(|known| is(known)) {
        return Some((*known).to_owned());
    }
    let other = OTHER.iter().find(|(known, _)| is(known));
    other.map(|(_, spdx)| (*spdx).to_owned()).or_else(|| gnu(name))
}

/// Returns SPDX's name of an exception.
pub(super) fn exception(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix(" exception").unwrap_or(name);
    let name = name.strip_suffix("-exception").unwrap_or(name);
    let found = EXCEPTIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, spdx)| *spdx)
}

/// `GPL-2+` is `GPL-2.0-or-later`, and `LGPL-2.1` is `LGPL-2.1-only`.
fn gnu(name: &str) -> Option<String> {
    let (family, rest) = name.split_once('-')?;
    let known: &[&str] = match family {
        "GPL" => &["1.0", "2.0", "3.0"],
        "LGPL" => &["2.0", "2.1", "3.0"],
        "AGPL" => &["1.0", "3.0"],
        "GFDL" => &["1.1", "1.2", "1.3"],
        _ => return None,
    };
    let (version, later) = match rest.strip_suffix('+').or(rest.strip_suffix("-or-later")) {
        Some(version) => (version, "or-later"),
        None => (rest.strip_suffix("-only").unwrap_or(rest), "only"),
    };
    let is = |known: &&&str| **known == version || known.strip_suffix(".0") == Some(version);
    Some(format!("{family}-{}-{later}", known.iter().find(is)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_or_not_known() {
        for (debian, spdx) in [
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-1", "GPL-1.0-only"),
            ("GPL-3.0", "GPL-3.0-only"),
            ("LGPL-2.1+", "LGPL-2.1-or-later"),
            ("LGPL-2.0-or-later", "LGPL-2.0-or-later"),
            ("GFDL-1.3", "GFDL-1.3-only"),
            ("BSD-3-clause", "BSD-3-Clause"),
            ("Expat", "MIT"),
            ("zlib", "Zlib"),
        ] {
            assert_eq!(licence(debian).as_deref(), Some(spdx), "{debian}");
        }
        for unknown in ["GPL", "GPL-4", "GPL-2+-x", "LGPL-1", "MIT", "Artistic", "public-domain"] {
            assert_eq!(licence(unknown), None, "{unknown}");
        }
        assert_eq!(exception("Bison exception"), Some("Bison-exception-2.2"));
        assert_eq!(exception("Linux-syscall-note exception"), Some("Linux-syscall-note"));
        assert_eq!(exception("OpenSSL exception"), None);
    }
}
