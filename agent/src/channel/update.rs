//! Installing what the channel says.

use std::path::Path;

use bundle::channel::Release;
use grub_env::BootState;

use crate::channel::plan::{Step, plan};
use crate::channel::source::Source;
use crate::config::Config;
use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::install::{check_fitness, open, quarantine_of, quarantined, verify_payload, write_slot};
use crate::interrupt::Interrupt;
use crate::reboot;

/// `daruma update`: installs what `daruma check` says, at once; with `and_reboot`, reboots into it.
///
/// # Errors
/// The channel cannot be got or is not believed, or the install fails.
pub fn update(
    device: &Device,
    config: &Config,
    and_reboot: bool,
    interrupt: &Interrupt,
) -> Result<String, Failure> {
    let source = Source::of(device, config)?;
    let plan = plan(&source, interrupt)?;
    let line = match plan.step {
        Step::Nothing => return Ok(plan.lines.join("\n")),
        Step::Reboot => plan.lines.into_iter().next().unwrap_or_default(),
        Step::Install(release) => install(&source, &release, interrupt)?,
    };
    if and_reboot {
        reboot::ask(device, config)?;
    }
    Ok(line)
}

/// Installs `release`, and nothing but it: the bundle must be the very one that the channel names, besides all that is
/// asked of every bundle. Returns what to tell.
pub(crate) fn install(
    source: &Source<'_>,
    release: &Release,
    interrupt: &Interrupt,
) -> Result<String, Failure> {
    let Source { device, config, .. } = source;
    let address = release.url.within(source.folder());
    let doing = format!("installing {address}");
    let target = !device.running()?;
    let verified = open(config, device, Path::new(&address), &doing)?;
    if verified.manifest_sha256() != release.manifest_sha256 {
        return Err(another_bundle(&doing, release));
    }
    check_fitness(device, config, &verified, target, &doing)?;
    if let Some(entry) = quarantine_of(device, &verified) {
        return Err(quarantined(&doing, &entry));
    }
    verify_payload(&verified, interrupt, &doing)?;
    let how = "by the channel";
    let version = write_slot(device, &verified, target, BootState::begin_install, how, interrupt, &doing)?;
    Ok(format!("installed {version} into slot {target}; it is on trial from the next boot"))
}

fn another_bundle(doing: &str, release: &Release) -> Failure {
    let line = format!(
        "{doing}: it is another bundle than {} {} of the channel; its publisher or somebody between has mixed them up",
        release.compatible, release.version
    );
    Failure::new(Exit::Channel, line)
}
