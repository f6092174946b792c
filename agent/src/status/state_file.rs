//! `/var/lib/daruma/state.json`, the file with the state. Both slots share it.
//!
//! `state` defines the content. A missing, damaged or unwritable file never stops an install, a
//! commit or a fall-back. The device then loses its events and its quarantine, nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::console::warn;
use crate::device::Device;
use crate::device::disk::durable;
use crate::status::state::State;

/// The file of the state.
#[derive(Clone, Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Returns the state file of `device`.
    #[must_use]
    pub(crate) fn of(device: &Device) -> Self {
        Self::in_folder(&device.path("/var/lib/daruma"))
    }

    fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("state.json") }
    }

    /// Returns the state, and a warning if the file exists but cannot be used.
    #[must_use]
    pub(crate) fn load(&self) -> (State, Option<String>) {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (State::default(), None);
            }
            Err(error) => return (State::default(), Some(self.complaint("reading", &error))),
        };
        match serde_json::from_slice(&bytes) {
            Ok(state) => (state, None),
            Err(error) => {
                let line = format!(
                    "{}; going on without the events and the quarantine in that file",
                    self.complaint("reading", &error)
                );
                (State::default(), Some(line))
            }
        }
    }

    /// Replaces the file. A power cut leaves the old or the new file. The error is one line.
    pub(crate) fn store(&self, state: &State) -> Result<(), String> {
        self.write(state).map_err(|error| self.complaint("writing", &error))
    }

    /// Loads, changes and stores the state. Errors are printed and do not count: the environment
    /// decides, and the state only explains.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        let (mut state, complaint) = self.load();
        change(&mut state);
        complaint.into_iter().chain(self.store(&state).err()).for_each(warn);
    }

    fn write(&self, state: &State) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(state)?;
        text.push(b'\n');
        durable::replace(&self.path, &text)
    }

    fn complaint(&self, doing: &str, error: &dyn std::fmt::Display) -> String {
        format!("{doing} {}: {error}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use image_layout::Slot;
    use semver::Version;

    use super::*;
    use crate::status::state::Kind;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_stored_is_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::in_folder(&folder.path().join("lib/daruma"));
        let mut state = State::default();
        state.remember(Slot::B, &version("2.0.0"), "b2", "ab");
        state.record(Kind::Installed, Slot::B, Some(&version("2.0.0")), "");
        state.quarantine(Slot::B, "it hung");
        file.store(&state).unwrap();
        assert_eq!(file.load(), (state, None));
    }

    #[test]
    fn a_damaged_file_is_reported_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("state.json"), "{\"events\": [").unwrap();
        let file = StateFile::in_folder(folder.path());
        let (state, warning) = file.load();
        assert_eq!(state, State::default());
        assert!(warning.unwrap().contains("going on without"));
        file.store(&state).unwrap();
        assert_eq!(file.load().1, None);
    }
}
