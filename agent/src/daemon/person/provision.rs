//! `daruma provision`: shows and changes the credentials that the next boot hands to systemd.
//!
//! `device::esp::credentials` writes them. Only names and sizes are ever shown.

use std::fs::File;
use std::io::{self, Read};

use grub_env::CREDENTIALS_BYTES;

use crate::device::Device;
use crate::device::disk::opener::Access;
use crate::device::esp::credentials::{Credentials, Provisioned};
use crate::exit::{Exit, Failure};

/// The end of every answer about a change.
const FROM_THEN_ON: &str = "it acts from the next boot on";

/// Returns what the next boot takes.
///
/// # Errors
/// [`Exit::Credential`] when the partition cannot be read.
pub fn list(device: &Device) -> Result<Provisioned, Failure> {
    Credentials::open(device, Access::Read)?.list()
}

/// Sets a credential. `assignment` is `NAME=VALUE`, `NAME=@FILE`, or `NAME`: then the value comes
/// from the standard input.
///
/// # Errors
/// [`Exit::Credential`] when the name, the size or the partition refuses it; the lock.
pub fn set(device: &Device, assignment: &str) -> Result<String, Failure> {
    let (name, value) = assignment.split_once('=').unwrap_or((assignment, "@/dev/stdin"));
    let content = match value.strip_prefix('@') {
        Some(file) => bounded(file).map_err(|error| {
            let line = format!("reading the value of {name} from {file}: {error}");
            Failure::new(Exit::Credential, line)
        })?,
        None => value.as_bytes().to_vec(),
    };
    let _lock = device.lock()?;
    if Credentials::open(device, Access::Write)?.set(name, &content)? {
        return Ok(format!("{name} is set ({} bytes); {FROM_THEN_ON}", content.len()));
    }
    Ok(format!("{name} was set like this before"))
}

/// Removes credentials. Names that are not there are told.
///
/// # Errors
/// [`Exit::Credential`] when the partition cannot be written, or a name is not there; the lock.
pub fn remove(device: &Device, names: &[String]) -> Result<String, Failure> {
    let _lock = device.lock()?;
    let credentials = Credentials::open(device, Access::Write)?;
    let mut missing = Vec::new();
    for name in names {
        if !credentials.remove(name)? {
            missing.push(name.as_str());
        }
    }
    if missing.is_empty() {
        return Ok(format!("removed: {}; {FROM_THEN_ON}", names.join(", ")));
    }
    let line = format!("removing credentials: {} was not there", missing.join(", "));
    Err(Failure::new(Exit::Credential, line))
}

/// Returns the list as text: one line for each credential, and one for each that is refused.
#[must_use]
pub fn text(provisioned: &Provisioned) -> String {
    let line = |credential: &crate::device::esp::credentials::Credential| {
        let form = match credential.encrypted {
            Some(true) => ", encrypted",
            Some(false) => "",
            None => ", not readable",
        };
        format!("{} ({} bytes{form})\n", credential.name, credential.size_bytes)
    };
    let mut text: String = provisioned.credentials.iter().map(line).collect();
    if text.is_empty() {
        text += "no credentials\n";
    }
    for refused in &provisioned.refused {
        text += &format!("not taken: {refused}\n");
    }
    text
}

/// Reads a value, and one byte more than the largest has.
fn bounded(file: &str) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(file)?.take(CREDENTIALS_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}
