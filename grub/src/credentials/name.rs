//! Names and limits of credentials.
//!
//! They are systemd's (`credential_name_valid` in `src/shared/creds-util.c`: `filename_is_valid`
//! and `fdname_is_valid`; sizes in `src/shared/creds-util.h`), and those of a FAT.

use thiserror::Error;

/// The folder of the EFI system partition that holds the credentials.
pub const CREDENTIALS_FOLDER: &str = "credentials";
/// The ending of their files.
pub const CREDENTIAL_ENDING: &str = ".cred";
/// Bytes of all credentials together. systemd takes over no more (`CREDENTIALS_TOTAL_SIZE_MAX`),
/// and the memory of a small router is not for more. One credential may be as large
/// (`CREDENTIAL_SIZE_MAX`).
pub const CREDENTIALS_BYTES: usize = 1 << 20;
/// Number of credentials.
pub const MOST_CREDENTIALS: usize = 128;
/// Bytes of the longest name. With its ending it is the longest name that a FAT can have.
const LONGEST: usize = image_layout::LONGEST_FAT_NAME - CREDENTIAL_ENDING.len();
/// Characters that no name on a FAT can have. Of these systemd forbids only `/` and `:`.
const NOT_ON_FAT: &str = "\"*/:<>?\\|";

/// Why a credential is refused. Each text is the rest of a sentence about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadCredential {
    /// A character that is not allowed.
    #[error(
        "has a character that a name cannot have: only ASCII, without control characters and \
             any of \" * / : < > ? \\ |"
    )]
    Character,
    /// systemd passes over files whose name begins with a dot.
    #[error("is empty or begins with a dot")]
    Start,
    /// The name is too long.
    #[error("has a name of more than {LONGEST} bytes")]
    Length,
    /// The content is too large, or the last one that fits was before it.
    #[error("does not fit: all credentials together may have {CREDENTIALS_BYTES} bytes")]
    Bytes,
    /// There are too many.
    #[error("is one too many: there may be {MOST_CREDENTIALS} credentials")]
    Number,
    /// Names on a FAT differ by more than the case of their letters.
    #[error("is there already with other capital letters; remove that one first")]
    Case,
}

/// Checks the name of a credential, without the ending of its file.
///
/// # Errors
/// What is wrong with it.
pub fn check_credential_name(name: &str) -> Result<(), BadCredential> {
    if name.is_empty() || name.starts_with('.') {
        return Err(BadCredential::Start);
    }
    if !name
        .bytes()
        .all(|byte| (b' '..0x7f).contains(&byte) && !NOT_ON_FAT.as_bytes().contains(&byte))
    {
        return Err(BadCredential::Character);
    }
    if name.len() > LONGEST { Err(BadCredential::Length) } else { Ok(()) }
}

/// Returns the path on the EFI system partition of a credential's file.
#[must_use]
pub fn credential_path(name: &str) -> String {
    format!("{CREDENTIALS_FOLDER}/{name}{CREDENTIAL_ENDING}")
}

/// Counts credentials and their bytes against the limits.
#[derive(Clone, Debug, Default)]
pub struct CredentialRoom {
    count: usize,
    bytes: usize,
}

impl CredentialRoom {
    /// Takes the room for one more credential of `size` bytes.
    ///
    /// # Errors
    /// It has no room. Then nothing is taken.
    pub fn take(&mut self, size: usize) -> Result<(), BadCredential> {
        if self.count == MOST_CREDENTIALS {
            return Err(BadCredential::Number);
        }
        if size > CREDENTIALS_BYTES - self.bytes {
            return Err(BadCredential::Bytes);
        }
        self.count += 1;
        self.bytes += size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_systemd_that_a_fat_can_have() {
        for name in ["ssh.authorized_keys.root", "network.network.50-lan", "a b", "A@x_1", "x."] {
            assert_eq!(check_credential_name(name), Ok(()), "{name}");
        }
        assert_eq!(check_credential_name(&"n".repeat(250)), Ok(()));
        for (name, why) in [
            ("", BadCredential::Start),
            (".", BadCredential::Start),
            ("..", BadCredential::Start),
            (".hidden", BadCredential::Start),
            ("a/b", BadCredential::Character),
            ("a:b", BadCredential::Character),
            ("a?", BadCredential::Character),
            ("a\nb", BadCredential::Character),
            ("\u{fc}", BadCredential::Character),
            ("a\u{7f}", BadCredential::Character),
            (&"n".repeat(251), BadCredential::Length),
        ] {
            assert_eq!(check_credential_name(name), Err(why), "{name}");
        }
    }

    #[test]
    fn the_room_ends_with_the_bytes_or_the_number() {
        let mut room = CredentialRoom::default();
        room.take(CREDENTIALS_BYTES - 1).unwrap();
        assert_eq!(room.take(2), Err(BadCredential::Bytes));
        room.take(1).unwrap();
        (2..MOST_CREDENTIALS).for_each(|_| room.take(0).unwrap());
        assert_eq!(room.take(0), Err(BadCredential::Number));
    }
}
