//! The target for keys in PEM and for the folder of a keyring.
//!
//! `lib` lists the target with its limits. The input becomes real files, because a keyring is read
//! from a folder.

use std::sync::LazyLock;

use bundle::{Keyring, PublicKey, SecretKey, limits};

use crate::is_one_line;

/// The folder of this process. Each input replaces its files.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// The input is texts that a byte 0 separates: the file `threshold`, and the `*.pem` of a keyring.
/// An empty first text means that there is no file `threshold`.
pub(crate) fn keys(input: &[u8]) {
    let mut parts = input.split(|byte| *byte == 0).take(1 + 70);
    let threshold = parts.next().unwrap_or_default();
    let pems: Vec<&[u8]> = parts.collect();
    let mut public = 0;
    for text in pems.iter().filter_map(|pem| str::from_utf8(pem).ok()) {
        match PublicKey::from_pem(text) {
            Ok(key) => {
                public += 1;
                let again = PublicKey::from_pem(&key.to_pem().unwrap()).unwrap();
                assert_eq!(
                    (again.id(), &again),
                    (key.id(), &key),
                    "written and read again it is another"
                );
                assert!(SecretKey::from_pem(text).is_err(), "public and secret at once");
            }
            Err(error) => is_one_line(&error.to_string()),
        }
        if let Ok(key) = SecretKey::from_pem(text) {
            let again = SecretKey::from_pem(&key.to_pem().unwrap()).unwrap();
            assert_eq!(again.public(), key.public(), "written and read again it is another");
        }
    }
    let folder = FOLDER.path();
    for file in std::fs::read_dir(folder).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    if !threshold.is_empty() {
        std::fs::write(folder.join("threshold"), threshold).unwrap();
    }
    for (number, pem) in pems.iter().enumerate() {
        std::fs::write(folder.join(format!("{number}.pem")), pem).unwrap();
    }
    match Keyring::load(folder) {
        Ok(keyring) => {
            let count = keyring.keys().count();
            assert_eq!(pems.len(), public, "a file that is no key was passed over");
            assert!((1..=public.min(limits::KEYS)).contains(&count));
            assert!((1..=count).contains(&keyring.threshold()));
        }
        Err(error) => is_one_line(&error.to_string()),
    }
}
