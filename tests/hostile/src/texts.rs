//! Targets for the files that people write, and for the agent's own memory.
//!
//! `lib` lists the targets with their limits. Recipes become real files, because a recipe may name
//! other files.

use std::sync::LazyLock;
use std::time::Duration;

use agent::Config;
use agent::health::units::{Baseline, parse_units, parse_wanted};
use agent::state::{Kind, State};
use bundler::recipe::Recipe;
use image_layout::Slot;

use crate::is_one_line;

/// The folder of this process. Each input replaces its recipe.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// The input is a recipe. It may name other files, and the reader opens them as it does for any
/// user.
pub(crate) fn recipe(input: &[u8]) {
    let path = FOLDER.path().join("recipe.yaml");
    std::fs::write(&path, input).unwrap();
    match Recipe::load(&path) {
        Ok(recipe) => {
            recipe.layout.validate().unwrap();
            let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if let Some(bundle) = recipe.bundle {
                assert!(bundle.compatible.chars().all(word), "it stands in a GRUB script");
                assert!(!bundle.args.chars().any(|c| c.is_control() || "\"$\\'`".contains(c)));
            }
            recipe.warnings.iter().for_each(|warning| is_one_line(warning));
        }
        Err(error) => is_one_line(&error.0),
    }
}

/// The input is the text of `daruma.toml`.
pub(crate) fn config(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match Config::parse(text) {
        Ok(config) => {
            let day = Duration::from_secs(1)..=Duration::from_secs(86_400);
            let health = &config.health;
            let times =
                [health.deadline, health.check_timeout, health.retry, config.watchdog.timeout];
            assert!(times.iter().all(|time| day.contains(time)));
            assert!(config.keyring_threshold >= 1);
        }
        Err(error) => {
            is_one_line(&error);
            let line = error.strip_prefix("line ").and_then(|rest| rest.split(':').next()).unwrap();
            assert!((1..=text.lines().count() + 1).contains(&line.parse().unwrap()), "{error}");
        }
    }
}

/// The input is the text of `units.json`, and what `systemctl` prints.
pub(crate) fn units(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match Baseline::parse(text) {
        Ok(baseline) => {
            let again = serde_json::to_string(&baseline).unwrap();
            assert_eq!(Baseline::parse(&again), Ok(baseline), "it does not survive being stored");
        }
        Err(error) => is_one_line(&error),
    }
    let names = parse_wanted(text).into_iter().chain(parse_units(text).into_keys());
    for name in names {
        is_one_line(&name);
    }
}

/// The input is the text of `state.json`.
pub(crate) fn state(input: &[u8]) {
    let Ok(mut state) = serde_json::from_slice::<State>(input) else { return };
    let text = serde_json::to_vec_pretty(&state).unwrap();
    assert_eq!(
        serde_json::from_slice::<State>(&text).unwrap(),
        state,
        "written and read again it is another"
    );
    let version = "1.2.3".parse().unwrap();
    for slot in [Slot::A, Slot::B] {
        state.remember(slot, &version, "b", "ab");
        assert!(state.quarantine(slot, "it hung").is_some());
        assert!(state.quarantined("ab").is_some() && state.quarantined.len() <= 64);
        state.record(Kind::Installed, slot, Some(&version), "");
        assert!(state.events.len() <= 64 && state.failures(slot).is_empty());
        state.release(slot);
        assert!(state.quarantined("ab").is_none());
    }
}
