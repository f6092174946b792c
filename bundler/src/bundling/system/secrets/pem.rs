//! Finds a private key in a text (RFC 7468, RFC 4716, OpenSSH, OpenPGP).
//!
//! The first line alone is no key: scripts and programs compare with it.

/// Fewest characters of base64 in a key. An Ed25519 key has 64.
const SHORTEST: usize = 40;
/// Longest key, in bytes.
const LONGEST: usize = 64 << 10;

/// Returns the label of the first private key in the text, such as `OPENSSH PRIVATE KEY`.
pub(super) fn private_key(text: &str) -> Option<String> {
    text.match_indices("-----BEGIN ").find_map(|(at, begin)| {
        let (first, body) = text[at + begin.len()..].split_once('\n')?;
        let label = first.trim_end().strip_suffix("-----")?;
        let is_key = label.len() < 40 && label.contains("PRIVATE KEY");
        (is_key && has_key(body)).then(|| label.to_owned())
    })
}

/// Whether enough lines of base64 come before the last line of a key.
fn has_key(body: &str) -> bool {
    let mut end = LONGEST.min(body.len());
    while !body.is_char_boundary(end) {
        end -= 1;
    }
    let Some((body, _)) = body[..end].split_once("-----END ") else { return false };
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    let of_key = body.lines().map(str::trim).filter(|line| line.chars().all(base64));
    of_key.map(str::len).sum::<usize>() >= SHORTEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_key_is_found_and_its_first_line_alone_is_not() {
        let body = "MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let key = |label: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
            assert_eq!(private_key(&format!("# mine\n{}", key(label))).as_deref(), Some(label));
            assert_eq!(private_key(&key(label).replace('\n', "\r\n")).as_deref(), Some(label));
        }
        // A certificate and its key in one file.
        let both = key("CERTIFICATE") + &key("EC PRIVATE KEY");
        assert_eq!(private_key(&both).as_deref(), Some("EC PRIVATE KEY"));
        let pgp = "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n";
        let pgp = format!("{pgp}{body}\n=AAAA\n-----END PGP PRIVATE KEY BLOCK-----\n");
        assert_eq!(private_key(&pgp).as_deref(), Some("PGP PRIVATE KEY BLOCK"));
        for none in [
            key("CERTIFICATE"),
            key("PUBLIC KEY"),
            "grep -q '-----BEGIN PRIVATE KEY-----' \"$1\"\nfi\n".to_owned(),
            format!("-----BEGIN PRIVATE KEY-----\n{body}\n"),
            "-----BEGIN PRIVATE KEY-----\n(the key)\n-----END PRIVATE KEY-----\n".to_owned(),
        ] {
            assert_eq!(private_key(&none), None, "{none}");
        }
    }
}
