//! `daruma update`: installs the release that `daruma check` names, and reboots if asked to.
//!
//! `plan` chooses the release, and `install` writes the slot. The bundle must be exactly the one
//! that the channel names.

use std::path::Path;

use bundle::channel::{Delta, Release};
use bundle::oci::is_oci;

use crate::channel::contact::source::Source;
use crate::channel::plan::plan;
use crate::channel::step::Step;
use crate::config::Config;
use crate::console::say;
use crate::device::Device;
use crate::device::reboot;
use crate::exit::Failure;
use crate::install::fitness::open;
use crate::install::flip::install_bundle;
use crate::install::origin::{Options, Origin};
use crate::install::web::{WebBundle, install_from_web, must_be};
use crate::interrupt::Interrupt;

/// `daruma update`: installs what `daruma check` says, at once; with `and_reboot`, reboots into it.
///
/// # Errors
/// The channel cannot be fetched or is not believed, or the install fails.
pub fn update(
    device: &Device,
    config: &Config,
    and_reboot: bool,
    interrupt: &Interrupt,
) -> Result<String, Failure> {
    let source = Source::of(device, config)?;
    let mut plan = plan(&source, interrupt)?;
    if let Some(line) = plan.take_back(device)? {
        say(line);
    }
    let line = match plan.step {
        Step::Nothing => return Ok(plan.lines.join("\n")),
        Step::Reboot => plan.lines.into_iter().next().unwrap_or_default(),
        Step::Install(release, deltas) => install(&source, &release, &deltas, interrupt)?,
    };
    if and_reboot {
        reboot::ask(device, &config.reboot_command)?;
    }
    Ok(line)
}

/// Installs `release`. The bundle must be the one that the channel names, besides all that is asked
/// of every bundle. The first usable one of `deltas` is a shorter way. Returns what to tell.
pub(crate) fn install(
    source: &Source<'_>,
    release: &Release,
    deltas: &[Delta],
    interrupt: &Interrupt,
) -> Result<String, Failure> {
    let Source { device, config, .. } = source;
    let address = release.url.within(source.folder());
    let options = Options::default();
    let (version, fetched) = if is_web(&address) {
        let deltas = deltas.iter().map(|delta| (delta, delta.url.within(source.folder())));
        let deltas: Vec<_> = deltas.filter(|(_, url)| is_web(url)).collect();
        let (tail, release) = (Some(release.tail), Some(release));
        let wanted = WebBundle { url: &address, tail, release, deltas: &deltas };
        install_from_web(device, config, &wanted, options, interrupt)?
    } else {
        let doing = format!("installing {address}");
        let verified = open(config, device, Path::new(&address), &doing)?;
        must_be(&verified, release, &doing)?;
        let version =
            install_bundle(device, config, &verified, Origin::File, options, interrupt, &doing)?;
        (version, String::new())
    };
    let target = !device.running()?;
    Ok(format!(
        "installed {version} into slot {target}{fetched}; it is on trial from the next boot"
    ))
}

/// Returns true if `address` is on a server. A channel in a folder may name bundles on a server
/// too.
fn is_web(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://") || is_oci(address)
}
