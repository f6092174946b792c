//! `daruma factory-reset`: asks daruma-init to empty /var at the next boot, or takes that back.
//!
//! The command only writes the request into the boot environment. daruma-init does the work, before
//! anything is mounted from /var.

use std::fs;
use std::path::Path;

use grub_env::{CannotKeep, FactoryReset};
use image_layout::{FOLDERS, place_on_var};

use crate::device::Device;
use crate::device::esp::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::status::var::Var;

/// Asks for a factory reset at the next boot. `keep` are absolute paths below /var, or in the
/// folders whose changes lie there.
///
/// # Errors
/// [`Exit::Usage`]: a path cannot be kept, or /var is broken and nothing of it can be.
/// [`Exit::OnTrial`]: a slot is on trial. The reset would empty the settings of the other slot too,
/// and those are the only proven ones. The lock; the environment.
pub fn factory_reset(device: &Device, keep: &[String]) -> Result<String, Failure> {
    device.running()?;
    let refuse =
        |exit, cause: &str| Failure::new(exit, format!("asking for a factory reset: {cause}"));
    let kept: Vec<&str> = keep.iter().map(|path| kept(device, path)).collect::<Result<_, _>>()?;
    let reset = FactoryReset::new(&kept)
        .map_err(|(path, why)| refuse(Exit::Usage, &format!("{path} {why}")))?;
    if !keep.is_empty() && Var::of(device).is_some_and(|var| var != Var::Kept) {
        let cause = "/var is broken, so nothing of it can be kept; save what you need, then leave \
                     out --keep";
        return Err(refuse(Exit::Usage, cause));
    }
    let _lock = device.lock()?;
    let mut environment = Environment::load(device)?;
    if let Some(slot) = environment.state().trial {
        let cause = format!(
            "slot {slot} is on trial, and the reset would empty the settings to fall back to; \
             commit the slot ('daruma mark good {slot}') or give it up ('daruma mark bad {slot}') \
             first"
        );
        return Err(refuse(Exit::OnTrial, &cause));
    }
    environment.ask_reset(Some(&reset))?;
    let but = if keep.is_empty() { String::new() } else { format!(" but for {}", keep.join(", ")) };
    Ok(format!(
        "the next boot empties /var{but}: settings in /etc, all that was put into {}, data and \
         history of both slots; the systems stay; reboot to do it, 'daruma factory-reset --cancel' \
         takes it back",
        FOLDERS.join(", ")
    ))
}

/// Takes the request back.
///
/// # Errors
/// The lock; the environment.
pub fn cancel_reset(device: &Device) -> Result<String, Failure> {
    let _lock = device.lock()?;
    let mut environment = Environment::load(device)?;
    if environment.reset().is_none() {
        return Ok("no factory reset was asked for".to_owned());
    }
    environment.ask_reset(None)?;
    Ok("the factory reset is taken back: /var stays as it is".to_owned())
}

/// Returns `path` as [`FactoryReset::new`] takes it. A path that is not there, or leads through a
/// link, would keep nothing, so it is refused.
fn kept<'a>(device: &Device, path: &'a str) -> Result<&'a str, Failure> {
    let refuse = |why: &str| {
        Failure::new(Exit::Usage, format!("asking for a factory reset: keeping {path}: {why}"))
    };
    // Without its "/var/", "/var//home" would be another path.
    if !path.starts_with('/') || path.contains("//") {
        return Err(refuse(&format!("it {}", CannotKeep::Path)));
    }
    let plain = path.trim_end_matches('/');
    let kept = plain.strip_prefix("/var/").unwrap_or(plain);
    FactoryReset::new(&[kept]).map_err(|(_, why)| refuse(&format!("it {why}")))?;
    let in_folder = place_on_var(kept);
    let mut there = device.path("/var");
    let mut parts = Path::new(in_folder.as_deref().unwrap_or(kept)).components().peekable();
    while let Some(part) = parts.next() {
        there.push(part);
        let found = fs::symlink_metadata(&there).map_err(|error| {
            let hint = match in_folder {
                Some(_) => "; it is as in the image, or lies elsewhere",
                None => "",
            };
            refuse(&format!("{}: {error}{hint}", there.display()))
        })?;
        if parts.peek().is_some() && !found.is_dir() {
            return Err(refuse(&format!("{} is no folder", there.display())));
        }
    }
    Ok(kept)
}
