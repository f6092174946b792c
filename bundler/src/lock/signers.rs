//! Which keys have signed a Release file.
//!
//! apt has verified the signatures. This file only reads the names of the keys, for people.
//!
//! A signature is a packet of RFC 9580 (section 4.2). Its subpacket 33 holds the fingerprint of
//! the key.

use base64ct::{Base64, Encoding as _};

const SIGNATURE: u8 = 2;
const ISSUER_FINGERPRINT: u8 = 33;

/// Returns the fingerprints of the keys that signed an `InRelease` file, in upper-case
/// hexadecimal, sorted. What cannot be read is left out.
pub(super) fn signers(in_release: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(bytes) = unarmour(in_release) {
        let mut rest = &*bytes;
        while let Some((tag, body, next)) = packet(rest) {
            if tag == SIGNATURE {
                found.extend(issuer(body));
            }
            rest = next;
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Returns the bytes between the lines of `BEGIN PGP SIGNATURE` and `END`.
fn unarmour(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once("-----BEGIN PGP SIGNATURE-----")?;
    let (armour, _) = rest.split_once("-----END PGP SIGNATURE-----")?;
    // Headers end with an empty line. The line that begins with `=` is a checksum.
    let (_, lines) = armour.split_once("\n\n")?;
    let lines = lines.lines().map(str::trim).filter(|line| !line.starts_with('='));
    Base64::decode_vec(&lines.collect::<String>()).ok()
}

/// Returns the tag and the body of the first packet, and what follows.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    let (tag, length, at) = if head & 0x40 != 0 {
        let (length, at) = length(rest)?;
        (head & 0x3f, length, at)
    } else {
        let count = 1 << (head & 3);
        (head >> 2 & 0xf, big_endian(rest.get(..count).filter(|_| count <= 4)?), count)
    };
    let body = rest.get(at..)?;
    Some((tag, body.get(..length)?, &body[length..]))
}

/// Returns a length of one, two or five bytes, and how many they are.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.first()? {
        short @ ..192 => Some((short.into(), 1)),
        first @ 192..224 => {
            let second = usize::from(*bytes.get(1)?);
            Some(((usize::from(first) - 192) * 256 + second + 192, 2))
        }
        255 => Some((big_endian(bytes.get(1..5)?), 5)),
        _ => None,
    }
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Returns the fingerprint in the body of a signature of version 4, 5 or 6.
fn issuer(body: &[u8]) -> Option<String> {
    let wide = *body.first()? >= 6;
    let width = if wide { 4 } else { 2 };
    // Version, type, algorithms of key and hash; then the length of the hashed subpackets.
    let count = big_endian(body.get(4..4 + width)?);
    let mut rest = body.get(4 + width..)?.get(..count)?;
    while !rest.is_empty() {
        let (length, at) = length(rest)?;
        let sub = rest.get(at..)?.get(..length)?;
        let (&kind, content) = sub.split_first()?;
        if kind & 0x7f == ISSUER_FINGERPRINT {
            let fingerprint = content.get(1..)?;
            return Some(fingerprint.iter().map(|byte| format!("{byte:02X}")).collect());
        }
        rest = &rest[at + length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_a_signature_is_read_and_rubbish_is_no_signer() {
        // A signature of version 4 with the subpackets 33 and 2.
        let mut body = vec![4, 1, 1, 8, 0, 29, 22, 33, 4];
        body.extend(1..=20);
        body.extend([5, 2, 0, 0, 0, 1, 0, 0]);
        let mut packet = vec![0xc2, u8::try_from(body.len()).unwrap()];
        packet.extend(body);
        let armour = |bytes: &[u8]| {
            format!(
                "x\n-----BEGIN PGP SIGNATURE-----\n\n{}\n=abcd\n-----END PGP SIGNATURE-----\n",
                Base64::encode_string(bytes)
            )
        };
        assert_eq!(signers(&armour(&packet)), ["0102030405060708090A0B0C0D0E0F1011121314"]);
        for end in 0..packet.len() {
            let _ = signers(&armour(&packet[..end]));
        }
        assert!(signers("no signature").is_empty());
    }
}
