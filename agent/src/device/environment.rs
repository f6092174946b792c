//! The boot environment as the agent uses it: loaded once, changed in memory, written once.

use grub_env::{BootState, Env, EnvError, EnvStore, PLACE};
use image_layout::label;

use crate::console::warn;
use crate::device::disk::opener::AnyDisk;
use crate::device::machine::Device;
use crate::exit::{Exit, Failure};

/// The environment of a device, open for writing. Whoever has it should hold the [`crate::Lock`].
pub(crate) struct Environment {
    store: EnvStore<AnyDisk>,
    /// As it is on the disk.
    env: Env,
    /// Where the disk hangs, to be noted with the next write.
    place: Option<String>,
    /// What is wrong with the copies on the disk, one line each; empty once they have been healed.
    damage: Vec<String>,
    partition: String,
}

impl Environment {
    /// Loads it.
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

    /// What it says.
    pub(crate) fn state(&self) -> BootState {
        BootState::from_env(&self.env)
    }

    /// What is wrong with it.
    pub(crate) fn damage(&self) -> &[String] {
        &self.damage
    }

    /// Has the next [`Environment::write`] note where the disk hangs: what daruma-init goes by
    /// where nothing else tells this disk from a clone.
    pub(crate) fn note_place(&mut self, place: &str) {
        self.place = Some(place.to_owned());
    }

    /// Makes it say `state`, durably. Writes nothing when it says so already and is undamaged: the
    /// ESP is flash that wears, too.
    pub(crate) fn write(&mut self, state: &BootState) -> Result<(), Failure> {
        let mut env = self.env.clone();
        state.apply_to(&mut env);
        // Without room for it the device works all the same.
        if let Some(place) = &self.place
            && env.get(PLACE).as_ref() != Some(place)
        {
            let _ = env.set(PLACE, place);
        }
        if env == self.env && self.damage.is_empty() {
            return Ok(());
        }
        let written =
            if self.damage.is_empty() { self.store.store(&env) } else { self.store.heal(&env) };
        match written {
            Ok(()) => {}
            // GRUB goes by the first copy, which says what it should; the daemon mends the second
            // at its next start.
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
