//! The credentials that a disk image carries in its EFI system partition.
//!
//! `grub_env` has the names and limits, which are those of the device. `image` writes the files. A
//! value never reaches a message.

use std::fs;

use grub_env::{BadCredential, CredentialRoom, check_credential_name, credential_path};
use thiserror::Error;

/// Credentials by their paths on the partition, in the order of their names.
#[derive(Clone, Default)]
pub struct Credentials {
    files: Vec<(String, Vec<u8>)>,
}

/// An argument `NAME=VALUE` or `NAME=@FILE` that is refused.
#[derive(Debug, Error)]
pub enum CredentialArgument {
    /// It has no `=`.
    #[error("--credential {0}: write NAME=VALUE or NAME=@FILE")]
    Form(String),
    /// The name, the size or the number.
    #[error("--credential {0}: it {1}")]
    Bad(String, BadCredential),
    /// Two have one name. A FAT does not tell capital letters from small ones.
    #[error("--credential {0}: the name is given twice, and capital letters make no difference")]
    Twice(String),
    /// The file cannot be read.
    #[error("--credential {0}: reading {1}: {2}")]
    Read(String, String, std::io::Error),
}

impl Credentials {
    /// Reads the arguments of `--credential`.
    ///
    /// # Errors
    /// See [`CredentialArgument`].
    pub fn of_arguments(arguments: &[String]) -> Result<Self, CredentialArgument> {
        let (mut files, mut room) = (Vec::new(), CredentialRoom::default());
        for argument in arguments {
            // What has no `=` may be a value, so it is not shown.
            let (name, value) = argument
                .split_once('=')
                .ok_or_else(|| CredentialArgument::Form("argument".to_owned()))?;
            let bad = |why| CredentialArgument::Bad(name.escape_default().to_string(), why);
            check_credential_name(name).map_err(bad)?;
            let content = match value.strip_prefix('@') {
                None => value.as_bytes().to_vec(),
                Some(file) => fs::read(file).map_err(|error| {
                    CredentialArgument::Read(name.to_owned(), file.to_owned(), error)
                })?,
            };
            room.take(content.len()).map_err(bad)?;
            files.push((credential_path(name), content));
        }
        files.sort();
        let twice = files.iter().enumerate().find(|(at, (path, _))| {
            files[..*at].iter().any(|(other, _)| other.eq_ignore_ascii_case(path))
        });
        match twice {
            Some((_, (path, _))) => Err(CredentialArgument::Twice(path.clone())),
            None => Ok(Self { files }),
        }
    }

    /// Returns the files of the partition: path and content.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, content)| (path.as_str(), content.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> String {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        Credentials::of_arguments(&arguments).err().unwrap().to_string()
    }

    #[test]
    fn values_and_files_become_files_of_the_partition_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key.pub");
        fs::write(&key, "ssh-ed25519 AAAA").unwrap();
        let file = format!("ssh.authorized_keys.root=@{}", key.display());
        let read = Credentials::of_arguments(&[file, "a=b=c".into(), "empty=".into()]).unwrap();
        let expected: [(&str, &[u8]); 3] = [
            ("credentials/a.cred", b"b=c"),
            ("credentials/empty.cred", b""),
            ("credentials/ssh.authorized_keys.root.cred", b"ssh-ed25519 AAAA"),
        ];
        assert_eq!(read.files().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_refused_is_named_without_its_value() {
        assert_eq!(refused(&["secret"]), "--credential argument: write NAME=VALUE or NAME=@FILE");
        assert!(refused(&["a/b=secret"]).starts_with("--credential a/b: it has a character"));
        assert!(refused(&["=secret"]).contains("it is empty or begins with a dot"));
        assert!(refused(&["a=1", "A=2"]).contains("given twice"));
        assert!(refused(&["a=@/nowhere/key"]).contains("a: reading /nowhere/key: No such file"));
        let large = format!("a={}", "!".repeat(grub_env::CREDENTIALS_BYTES + 1));
        assert!(refused(&[&large]).starts_with("--credential a: it does not fit"));
    }
}
