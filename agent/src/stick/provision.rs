//! Takes credentials from the folder `daruma-credentials/` of a stick, as `usb.provision` allows.
//!
//! `sticks` finds the folder and writes the result. A stick is not trusted: only plain files count,
//! each is read up to the limit, and links are not followed. A value never reaches a message.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use grub_env::{CREDENTIAL_ENDING, CREDENTIALS_BYTES, MOST_CREDENTIALS};
use nix::libc;

use crate::config::Provision;
use crate::device::Device;
use crate::device::disk::opener::Access;
use crate::device::esp::credentials::Credentials;
use crate::exit::Failure;

/// The folder in the root folder of a stick.
pub(crate) const FOLDER: &str = "daruma-credentials";
/// Entries of the folder that are read.
const ENTRIES: usize = 4096;

/// Returns true if a stick may give the device credentials now.
///
/// `once` ends with the first credential and with the first update. A device in service that got
/// this program by an update was never open to sticks.
pub(crate) fn is_open(device: &Device, policy: Provision) -> bool {
    let is_new = || {
        let is_factory_system =
            device.running().is_ok_and(|running| device.slot_config(!running).is_err());
        let provisioned = Credentials::open(device, Access::Read).and_then(|all| all.list());
        is_factory_system
            && provisioned.is_ok_and(|all| all.credentials.is_empty() && all.refused.is_empty())
    };
    // Recovery's program has no running system to provision.
    cfg!(feature = "provision")
        && match policy {
            Provision::Never => false,
            Provision::Once => is_new(),
            Provision::Always => true,
        }
}

/// Sets every credential in `folder`. Returns how many were new, and adds one line for each file to
/// `lines`.
///
/// # Errors
/// The lock; the partition cannot be opened.
pub(crate) fn take(
    device: &Device,
    folder: &Path,
    lines: &mut Vec<String>,
) -> Result<usize, Failure> {
    let _lock = device.lock()?;
    let credentials = Credentials::open(device, Access::Write)?;
    let mut changed = 0;
    for path in files(folder) {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let file = file.escape_default().to_string();
        let name = file.strip_suffix(CREDENTIAL_ENDING).unwrap_or(&file);
        let set = read(&path).map_err(|error| format!("reading it: {error}")).and_then(|content| {
            let size = content.len();
            credentials.set(name, &content).map(|is_new| (is_new, size)).map_err(|f| f.message)
        });
        lines.push(match set {
            Ok((is_new, size)) => {
                changed += usize::from(is_new);
                let was = if is_new { "taken" } else { "was there already" };
                format!("credential {name}: {was} ({size} bytes)")
            }
            Err(cause) => format!("credential {name}: REFUSED: {cause}"),
        });
    }
    Ok(changed)
}

/// Returns the plain files of the folder. Hidden files do not count, because macOS leaves `._name`
/// beside each file.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .take(ENTRIES)
        .flatten()
        .filter(|entry| {
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_file())
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.truncate(MOST_CREDENTIALS + 1);
    found
}

/// Reads a plain file, and one byte more than the largest credential has.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    file.take(CREDENTIALS_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
#[cfg(feature = "provision")]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    /// A device whose slot B is empty and whose partition has no credentials, and a stick.
    struct Bench {
        folder: tempfile::TempDir,
        device: Device,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for file in ["boot-a", "root-a", "boot-b", "root-b"] {
                fs::write(folder.path().join(file), vec![0; 8192]).unwrap();
            }
            fs::write(folder.path().join("cmdline"), "daruma.slot=A").unwrap();
            let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
            let mut mkfs = Command::new("mkfs.fat");
            mkfs.args(["-F", "32", "-s", "1", "-C"]).arg(folder.path().join("esp")).arg("36864");
            assert!(mkfs.env("PATH", path).output().unwrap().status.success());
            fs::create_dir(folder.path().join(FOLDER)).unwrap();
            let device = Device::at(folder.path()).unwrap();
            Self { folder, device }
        }

        fn put(&self, name: &str, content: &[u8]) {
            fs::write(self.folder.path().join(FOLDER).join(name), content).unwrap();
        }

        fn take(&self) -> (usize, Vec<String>) {
            let mut lines = Vec::new();
            let changed = take(&self.device, &self.folder.path().join(FOLDER), &mut lines);
            (changed.unwrap(), lines)
        }
    }

    #[test]
    fn each_plain_file_is_taken_or_refused_with_its_reason_and_without_its_value() {
        let bench = Bench::new();
        bench.put("system.hostname", b"SECRET");
        bench.put("ssh.authorized_keys.root.cred", b"SECRET");
        bench.put("a?b", b"SECRET");
        bench.put("._system.hostname", b"made by a Mac");
        bench.put("large", &vec![b'!'; CREDENTIALS_BYTES + 1]);
        symlink("/etc/hostname", bench.folder.path().join(FOLDER).join("link")).unwrap();
        let (changed, lines) = bench.take();
        assert_eq!((changed, lines.len()), (2, 4), "{lines:?}");
        assert!(
            lines[0].starts_with("credential a?b: REFUSED: ") && lines[0].contains("character")
        );
        assert!(lines[1].contains("large: REFUSED: ") && lines[1].contains("does not fit"));
        assert_eq!(lines[2], "credential ssh.authorized_keys.root: taken (6 bytes)");
        assert_eq!(lines[3], "credential system.hostname: taken (6 bytes)");
        assert!(!lines.concat().contains("SECRET"));
        let (changed, lines) = bench.take();
        assert_eq!(changed, 0);
        assert_eq!(lines[3], "credential system.hostname: was there already (6 bytes)");
    }

    #[test]
    fn once_ends_with_the_first_credential_or_the_first_update() {
        let bench = Bench::new();
        let open = |policy| is_open(&bench.device, policy);
        assert!(open(Provision::Once) && open(Provision::Always) && !open(Provision::Never));
        bench.put("a", b"1");
        bench.take();
        assert!(!open(Provision::Once) && open(Provision::Always) && !open(Provision::Never));
        let credentials = Credentials::open(&bench.device, Access::Write).unwrap();
        assert!(credentials.remove("a").unwrap());
        assert!(open(Provision::Once));
        // An update has filled slot B.
        let mut image = bundle::StoredSquashfs::new();
        let config = "set daruma_compatible=box\nset daruma_version=1.0.0\n\
                      set daruma_build=b\nset daruma_min_version=0.0.0\n";
        image.add_bytes("slot.cfg", config.as_bytes().to_vec()).unwrap();
        image.write_to(&bench.folder.path().join("boot-b")).unwrap();
        assert!(!open(Provision::Once) && open(Provision::Always));
    }
}
