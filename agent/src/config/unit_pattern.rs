//! Names of systemd units, with `*` for any text.
//!
//! `health` compares. A pattern that could be no unit's name is refused.

use std::str::FromStr;

use serde::Deserialize;

/// What the name of a unit ends with, after its last point.
const KINDS: [&str; 4] = ["service", "socket", "mount", "timer"];

/// The name of a unit, or a pattern such as `getty@*.service`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct UnitPattern(String);

impl UnitPattern {
    /// Returns true if the pattern names the unit `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        // Taking the first place of each piece leaves most for the pieces behind it.
        for piece in pieces {
            match rest.split_once(piece) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl TryFrom<String> for UnitPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for UnitPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@*".contains(c);
        let is_kind = text
            .rsplit_once('.')
            .is_some_and(|(name, kind)| !name.is_empty() && (kind == "*" || KINDS.contains(&kind)));
        if !is_kind || !text.chars().all(allowed) {
            let kinds = KINDS.join(", .");
            return Err(format!("{text:?} is no unit's name that ends with .{kinds}"));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, matches) in [
            ("foo.service", "foo.service", true),
            ("foo.service", "foo.services", false),
            ("bar@*.service", "bar@1.service", true),
            ("bar@*.service", "bar@.service", true),
            ("bar@*.service", "bar@1.socket", false),
            ("*-wait-online.service", "systemd-networkd-wait-online.service", true),
            ("a*b*.service", "a1b2.service", true),
            ("a*b*.service", "a1c2.service", false),
            ("ab*b.service", "ab.service", false),
            ("foo.*", "foo.socket", true),
        ] {
            let pattern = pattern.parse::<UnitPattern>().unwrap();
            assert_eq!(pattern.matches(name), matches, "{pattern:?} {name}");
        }
    }

    #[test]
    fn what_is_no_units_name_is_refused() {
        for text in ["", "ssh", ".service", "ssh.servise", "a b.service", "a/b.service", "a.target"]
        {
            assert!(text.parse::<UnitPattern>().is_err(), "{text:?}");
        }
    }
}
