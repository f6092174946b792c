//! Recovery: GRUB found no slot to try.
//!
//! For now the device gets its slots' tries back and starts anew: power that failed many times in a row must not
//! leave it dead.

use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use grub_env::EnvStore;
use image_layout::label;

use crate::uevents::{Uevent, Uevents};
use crate::{Boot, SYS, console, environment, failure, partitions};

/// Tells the person at the console, waits, resets the tries and restarts.
pub(crate) fn run(boot: &mut Boot, wait: Duration, uevents: &Uevents) -> Result<Infallible> {
    console::loud("RECOVERY: neither slot came up in its number of tries");
    console::loud(&format!("both get their tries back and the device restarts in {} s", wait.as_secs()));
    let disk = partitions::wait(Path::new(SYS), &[label::ESP], uevents, &mut boot.drivers, &boot.watchdog)?;
    let end = Instant::now() + wait;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        boot.watchdog.ping();
        if let Some(Uevent::Added { modalias: Some(modalias) }) =
            uevents.wait(left.min(Duration::from_secs(5)))?
        {
            boot.drivers.load_for(&modalias);
        }
    }
    let esp = disk.device(label::ESP).with_context(|| format!("looking for esp on {}", disk.name))?;
    let store = EnvStore::open(environment::open_esp(&esp)?).context("reading the EFI system partition")?;
    let loaded = store.load().context("reading the environment")?;
    let env = environment::with_tries_reset(loaded.env);
    if loaded.damage.is_empty() {
        store.store(&env).context("writing the environment")?;
    } else {
        store.heal(&env).context("rebuilding the environment")?;
    }
    console::loud("both slots have their tries back; restarting");
    failure::restart()
}
