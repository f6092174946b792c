//! Hands the credentials on the EFI system partition to systemd.
//!
//! `grub_env` reads the partition and has the limits. PID 1 of systemd takes over what is in
//! `@initrd` (`import_credentials_initrd` in `src/core/import-creds.c`) and removes that folder. It
//! takes all of it for plain text, so encrypted credentials lie where `ImportCredential=` and
//! `LoadCredentialEncrypted=` look for them (`credential_search_path` in
//! `src/core/exec-credential.c`).
//!
//! Nothing here keeps a system from booting, and no content reaches a line of text. Another init
//! finds two folders in memory that it does not know.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context, Result};
use grub_env::{CREDENTIALS_FOLDER, CredentialStore, is_encrypted};
use image_layout::{Disk, FileDisk};

/// Where systemd takes plain credentials over, below /run.
const PLAIN: &str = "credentials/@initrd";
/// Where systemd finds encrypted ones, below /run.
const ENCRYPTED: &str = "credstore.encrypted";

/// Copies the credentials of the partition `esp` to memory below `run`. Returns one line for each
/// that is left out.
pub(crate) fn hand_over(esp: &Path, run: &Path) -> Vec<String> {
    let context = || format!("reading {CREDENTIALS_FOLDER}/ on {}", esp.display());
    let copied = FileDisk::open_read_only(esp).map_err(Into::into).and_then(|disk| copy(disk, run));
    match copied.with_context(context) {
        Ok(refused) => {
            let line = |why| format!("{CREDENTIALS_FOLDER}/ on {}: {why}", esp.display());
            refused.into_iter().map(line).collect()
        }
        Err(error) => vec![format!("{error:#}; the boot goes on without credentials")],
    }
}

fn copy(esp: impl Disk, run: &Path) -> Result<Vec<String>> {
    let store = CredentialStore::open(esp)?;
    let listing = store.list()?;
    let mut refused = listing.refused;
    for credential in &listing.credentials {
        let copied = store.read(credential).map_err(Into::into).and_then(|content| {
            let folder = if is_encrypted(&content) { ENCRYPTED } else { PLAIN };
            write(&run.join(folder), &credential.name, &content)
        });
        if let Err(error) = copied {
            refused.push(format!("{}: {error:#}", credential.name));
        }
    }
    Ok(refused)
}

/// Writes a file that only root can read, into a folder that only root can enter. Services enter
/// the folder above it.
fn write(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    let context = || format!("writing to {}", folder.display());
    if let Some(above) = folder.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above).with_context(context)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(context)?;
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(folder.join(name))
        .with_context(context)?;
    file.write_all(content).with_context(context)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Returns a partition of 36 MiB with these files, made by mkfs.fat and mtools.
    fn esp(dir: &Path, files: &[(&str, &[u8])]) -> std::path::PathBuf {
        let esp = dir.join("esp");
        let run = |program: &str, arguments: &[&str]| {
            let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
            let mut command = std::process::Command::new(program);
            let output = command.args(arguments).env("PATH", path).output().unwrap();
            assert!(output.status.success(), "{program}: {output:?}");
        };
        let image = esp.to_str().unwrap();
        run("mkfs.fat", &["-F", "32", "-s", "1", "-C", image, "36864"]);
        run("mmd", &["-i", image, "::/credentials"]);
        for (name, content) in files {
            let file = dir.join("file");
            fs::write(&file, content).unwrap();
            let target = format!("::/credentials/{name}");
            run("mcopy", &["-i", image, file.to_str().unwrap(), &target]);
        }
        esp
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn plain_and_encrypted_ones_lie_where_systemd_looks_and_only_for_root() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let encrypted = b"Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAAC1lFmbWAqWZ8dCCQk=";
        let large = vec![b'!'; grub_env::CREDENTIALS_BYTES + 1];
        let esp = esp(
            dir.path(),
            &[
                ("ssh.authorized_keys.root.cred", b"ssh-ed25519 AAAA"),
                ("database.password.cred", encrypted),
                ("too-large.cred", &large),
                ("readme.txt", b"no credential"),
            ],
        );
        let lines = hand_over(&esp, &run);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("too-large does not fit") && !lines[0].contains("!!"));
        let (plain, store) = (run.join(PLAIN), run.join(ENCRYPTED));
        assert_eq!(fs::read(plain.join("ssh.authorized_keys.root")).unwrap(), b"ssh-ed25519 AAAA");
        assert_eq!(fs::read(store.join("database.password")).unwrap(), encrypted);
        assert_eq!((fs::read_dir(&plain).unwrap().count(), mode(&plain)), (1, 0o700));
        assert_eq!((fs::read_dir(&store).unwrap().count(), mode(&store)), (1, 0o700));
        assert_eq!(mode(&plain.join("ssh.authorized_keys.root")), 0o400);
        assert_eq!(mode(&run.join("credentials")), 0o755, "services go through it");
    }

    #[test]
    fn without_credentials_or_a_fat_there_is_nothing_and_at_most_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        assert_eq!(hand_over(&esp(dir.path(), &[]), &run), Vec::<String>::new());
        let zeros = dir.path().join("zeros");
        fs::write(&zeros, vec![0; 1 << 20]).unwrap();
        for broken in [zeros, dir.path().join("missing")] {
            let lines = hand_over(&broken, &run);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].ends_with("the boot goes on without credentials"), "{lines:?}");
        }
        assert!(!run.exists());
    }
}
