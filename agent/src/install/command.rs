//! `daruma install`: installs a bundle from a file or a server.
//!
//! `fitness` judges the bundle, `flip` writes the slot, and `web` reads from a server. Everything
//! that can be refused is refused before the first write to the idle slot.

use std::path::Path;
use std::time::Instant;

use semver::Version;

use crate::config::Config;
use crate::device::Device;
#[cfg(not(feature = "pull"))]
use crate::exit::Exit;
use crate::exit::Failure;
use crate::install::fitness::open;
use crate::install::flip::install_bundle;
use crate::install::origin::{Options, Origin};
#[cfg(feature = "pull")]
use crate::install::web::{WebBundle, install_from_web};
use crate::interrupt::Interrupt;

/// Installs the bundle `file`, a path or an address (`http://`, `https://`, `oci://`), into the
/// idle slot. Returns what to tell the person.
///
/// # Errors
/// Every refusal has its own [`crate::Exit`]. All up to [`crate::Exit::Locked`] leave slot and
/// environment as they were. After that the idle slot is marked bad until an install succeeds.
pub fn install(
    device: &Device,
    config: &Config,
    file: &Path,
    options: Options,
    interrupt: &Interrupt,
) -> Result<String, Failure> {
    let started = Instant::now();
    let (version, how) = match web_address(file) {
        Some(url) => from_web(device, config, url, options, interrupt)?,
        None => {
            let doing = format!("installing {}", file.display());
            let verified = open(config, device, file, &doing)?;
            let origin = Origin::File;
            let version =
                install_bundle(device, config, &verified, origin, options, interrupt, &doing)?;
            (version, String::new())
        }
    };
    let elapsed = started.elapsed().as_secs_f64();
    Ok(format!(
        "installed {version} into slot {} in {elapsed:.1} s{how}; it is on trial from the next \
            boot: reboot to start it",
        !device.running()?
    ))
}

/// Returns `file` as text if it is an address. `None`: it is a path.
fn web_address(file: &Path) -> Option<&str> {
    let is_web = |text: &&str| {
        if bundle::oci::is_oci(text) {
            return true;
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| {
            scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
        })
    };
    file.to_str().filter(is_web)
}

#[cfg(feature = "pull")]
fn from_web(
    device: &Device,
    config: &Config,
    url: &str,
    options: Options,
    interrupt: &Interrupt,
) -> Result<(Version, String), Failure> {
    let bundle = WebBundle { url, tail: None, release: None, deltas: &[] };
    install_from_web(device, config, &bundle, options, interrupt)
}

#[cfg(not(feature = "pull"))]
fn from_web(
    _: &Device,
    _: &Config,
    _: &str,
    _: Options,
    _: &Interrupt,
) -> Result<(Version, String), Failure> {
    let line = "installing from a web server: this program was built without the network; fetch \
        the bundle and name the file";
    Err(Failure::new(Exit::Network, line))
}
