//! The boot environment, as the agent uses it: loads it once, changes it in memory, writes it once.
//!
//! `grub-env` knows the format, the place on the disk and the allowed moves. Whoever writes holds
//! the device's lock.

use grub_env::{BootState, Env, EnvError, EnvStore, FactoryReset, PLACE};
use image_layout::label;

use crate::console::warn;
use crate::device::disk::opener::AnyDisk;
use crate::device::machine::Device;
use crate::exit::{Exit, Failure};

/// The environment of a device, open for writing. Its owner should hold the [`crate::Lock`].
pub(crate) struct Environment {
    store: EnvStore<AnyDisk>,
    /// The environment on the disk.
    env: Env,
    /// The place of the disk in the machine, to be noted with the next write.
    place: Option<String>,
    /// Damage of the copies on the disk, one line each. Empty once they are healed.
    damage: Vec<String>,
    partition: String,
}

impl Environment {
    /// Loads the environment of `device`.
    pub(crate) fn load(device: &Device) -> Result<Self, Failure> {
        let store = device.environment()?;
        let partition = device.partition(label::ESP)?.display().to_string();
        let loaded = store.load().map_err(|error| {
            Failure::new(
                Exit::Environment,
                format!("reading the boot environment on {partition}: {error}"),
            )
        })?;
        Ok(Self { store, env: loaded.env, place: None, damage: loaded.damage, partition })
    }

    /// Returns the boot state that the environment holds.
    pub(crate) fn state(&self) -> BootState {
        BootState::from_env(&self.env)
    }

    /// Returns the damage of the environment, one line each.
    pub(crate) fn damage(&self) -> &[String] {
        &self.damage
    }

    /// Returns the factory reset that the environment asks for.
    pub(crate) fn reset(&self) -> Option<FactoryReset> {
        FactoryReset::of(&self.env)
    }

    /// Writes the request for a factory reset durably, or takes it back.
    ///
    /// # Errors
    /// [`Exit::Usage`] when the environment has no room for so many paths; [`Exit::Environment`].
    pub(crate) fn ask_reset(&mut self, reset: Option<&FactoryReset>) -> Result<(), Failure> {
        let state = self.state();
        let mut env = self.env.clone();
        // A damaged block gets its six variables back first. They must not push the request out.
        state.apply_to(&mut env);
        match reset {
            Some(reset) => reset.ask(&mut env).map_err(|_| {
                let line = "asking for a factory reset: the boot environment has no room for the \
                            paths of --keep; name fewer paths, or the folder that holds them";
                Failure::new(Exit::Usage, line)
            })?,
            None => drop(FactoryReset::end(&mut env)),
        }
        self.put(env)
    }

    /// Makes the next [`Environment::write`] note the disk's place. daruma-init goes by the place
    /// where nothing else tells this disk from a clone.
    pub(crate) fn note_place(&mut self, place: &str) {
        self.place = Some(place.to_owned());
    }

    /// Writes `state` durably. Writes nothing when the disk holds it already and is undamaged,
    /// because the ESP may be flash, which wears.
    pub(crate) fn write(&mut self, state: &BootState) -> Result<(), Failure> {
        let mut env = self.env.clone();
        state.apply_to(&mut env);
        // A device whose environment has no room for the place works all the same.
        if let Some(place) = &self.place
            && env.get(PLACE).as_ref() != Some(place)
        {
            let _ = env.set(PLACE, place);
        }
        self.put(env)
    }

    fn put(&mut self, env: Env) -> Result<(), Failure> {
        if env == self.env && self.damage.is_empty() {
            return Ok(());
        }
        let written =
            if self.damage.is_empty() { self.store.store(&env) } else { self.store.heal(&env) };
        match written {
            Ok(()) => {}
            // GRUB reads the first copy, which is right. The daemon mends the second at its next
            // start.
            Err(error @ EnvError::BakNotWritten(_)) => {
                warn(format_args!("writing the boot environment on {}: {error}", self.partition))
            }
            Err(error) => {
                let line = format!("writing the boot environment on {}: {error}", self.partition);
                return Err(Failure::new(Exit::Environment, line));
            }
        }
        self.env = env;
        self.damage.clear();
        Ok(())
    }
}
