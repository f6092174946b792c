//! The boot environment as the agent uses it: loaded once, changed in memory, written once.

use grub_env::{BootState, Env, EnvError, EnvStore};
use image_layout::label;

use crate::console::warn;
use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::opener::AnyDisk;

/// The environment of a device, open for writing. Whoever has it should hold the [`crate::Lock`].
pub(crate) struct Environment {
    store: EnvStore<AnyDisk>,
    env: Env,
    /// What is wrong with the copies on the disk, one line each; empty once they have been healed.
    damage: Vec<String>,
    place: String,
}

impl Environment {
    /// Loads it.
    pub(crate) fn load(device: &Device) -> Result<Self, Failure> {
        let store = device.environment()?;
        let place = device.partition(label::ESP)?.display().to_string();
        let loaded = store.load().map_err(|error| {
            Failure::new(Exit::Environment, format!("reading the boot environment on {place}: {error}"))
        })?;
        Ok(Self { store, env: loaded.env, damage: loaded.damage, place })
    }

    /// What it says.
    pub(crate) fn state(&self) -> BootState {
        BootState::from_env(&self.env)
    }

    /// What is wrong with it.
    pub(crate) fn damage(&self) -> &[String] {
        &self.damage
    }

    /// Makes it say `state`, durably. Writes nothing when it says so already and is undamaged: the ESP is flash
    /// that wears, too.
    pub(crate) fn write(&mut self, state: &BootState) -> Result<(), Failure> {
        let mut env = self.env.clone();
        state.apply_to(&mut env);
        if env == self.env && self.damage.is_empty() {
            return Ok(());
        }
        let written = if self.damage.is_empty() { self.store.store(&env) } else { self.store.heal(&env) };
        match written {
            Ok(()) => {}
            // GRUB goes by the first copy, which says what it should; the daemon mends the second at its next start.
            Err(error @ EnvError::BakNotWritten(_)) => {
                warn(format_args!("writing the boot environment on {}: {error}", self.place))
            }
            Err(error) => {
                let line = format!("writing the boot environment on {}: {error}", self.place);
                return Err(Failure::new(Exit::Environment, line));
            }
        }
        self.env = env;
        self.damage.clear();
        Ok(())
    }
}
