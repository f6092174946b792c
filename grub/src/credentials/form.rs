//! Tells an encrypted credential from a plain one.
//!
//! systemd takes over the files of `@initrd` as plain ones. An encrypted credential
//! (`systemd-creds encrypt`) has to lie in another folder.
//!
//! An encrypted credential is Base64. It begins with one of the 16-byte ids that
//! `src/shared/creds-util.h` of systemd names, which say what it is encrypted with.

/// The first 21 characters of Base64 of each id: 126 of its 128 bits.
const IDS: [&str; 9] = [
    "Whxqht+dQJax1aZeCGLxm", // CRED_AES256_GCM_BY_HOST
    "VbntHThZTUOoMZ0uuzMqx", // CRED_AES256_GCM_BY_HOST_SCOPED
    "DHzAexF2RZGcSwvqCLwg/", // CRED_AES256_GCM_BY_TPM2_HMAC
    "+vfrk0HjQSyhpDb5Wik2L", // CRED_AES256_GCM_BY_TPM2_HMAC_WITH_PK
    "k6iUCUh0RJCQyvL8k8q1U", // CRED_AES256_GCM_BY_HOST_AND_TPM2_HMAC
    "70rBNnmpSA6n22iJf58WX", // CRED_AES256_GCM_BY_HOST_AND_TPM2_HMAC_SCOPED
    "r0lQqEkTTrGnOEYwT/MMB", // CRED_AES256_GCM_BY_HOST_AND_TPM2_HMAC_WITH_PK
    "rbxMo++2QgG6iBtvLkCV6", // CRED_AES256_GCM_BY_HOST_AND_TPM2_HMAC_WITH_PK_SCOPED
    "BYRp2vb1QySABUnaD46i+", // CRED_AES256_GCM_BY_NULL
];

/// Returns true if the content is encrypted, so that systemd must decrypt it.
#[must_use]
pub fn is_encrypted(content: &[u8]) -> bool {
    let content = content.trim_ascii_start();
    IDS.iter().any(|id| content.starts_with(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids as systemd's header spells them.
    const HEX: [&str; 9] = [
        "5a1c6a86df9d4096b1d5a65e0862f19a",
        "55b9ed1d38594d43a8319d2ebb332ac6",
        "0c7cc07b117645919c4b0bea08bc20fe",
        "faf7eb9341e3412ca1a436f95a29362f",
        "93a894094874449090caf2fc93cab553",
        "ef4ac13679a9480ea7db68897f9f165d",
        "af4950a849134eb1a73846304ff30c05",
        "adbc4ca3efb64201ba881b6f2e4095ea",
        "058469daf6f54324800549da0f8ea2fb",
    ];

    #[test]
    fn the_ids_are_those_of_systemds_source() {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for (hex, id) in HEX.iter().zip(IDS) {
            let bits = u128::from_str_radix(hex, 16).unwrap();
            let base64: String = (0..21)
                .map(|at| char::from(DIGITS[(bits >> (122 - 6 * at)) as usize & 63]))
                .collect();
            assert_eq!(base64, id, "{hex}");
        }
    }

    #[test]
    fn text_and_other_base64_is_plain() {
        // The beginning of the example in systemd's page on credentials.
        assert!(is_encrypted(b"k6iUCUh0RJCQyvL8k8q1UyAAAAABAAAADAAAABAAAAC1lFmbWAqWZ8dCCQkAAAAA"));
        assert!(is_encrypted(b"\n  Whxqht+dQJax1aZeCGLxmiAAAAABAAAA\nDAAA"));
        for plain in ["", "router-7\n", "k6iUCUh0RJCQyvL8k8q1", "ssh-ed25519 AAAAC3Nza", "$y$j9T$"]
        {
            assert!(!is_encrypted(plain.as_bytes()), "{plain}");
        }
    }
}
