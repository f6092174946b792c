//! The light that shows a person without a screen what happens with a stick (`recovery.led`).
//!
//! The callers choose what it shows. The kernel makes it blink. A light that does not work stops
//! nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// The patterns of the light.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pattern {
    /// Slow blinking, a second on and a second off: looking for a stick.
    Searching,
    /// Fast blinking, five times a second: do not pull the stick.
    Installing,
    /// On: done, pull the stick.
    Done,
    /// Short flashes every two seconds: nothing was installed.
    Failed,
}

/// A light: a folder of `/sys/class/leds`, or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Led {
    folder: Option<PathBuf>,
}

impl Led {
    /// Returns the light of a folder such as `/sys/class/leds/green:status`.
    pub(crate) fn of(folder: Option<&Path>) -> Self {
        Self { folder: folder.map(Path::to_owned) }
    }

    /// Shows `pattern`. A light that does not work is no reason to stop.
    pub(crate) fn show(&self, pattern: Pattern) {
        let Some(folder) = &self.folder else { return };
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).is_ok();
        let maximum =
            fs::read_to_string(folder.join("max_brightness")).unwrap_or_else(|_| "1".to_owned());
        let blink = match pattern {
            Pattern::Searching => Some(("1000", "1000")),
            Pattern::Installing => Some(("100", "100")),
            Pattern::Failed => Some(("100", "1900")),
            Pattern::Done => None,
        };
        if let Some((on_ms, off_ms)) = blink {
            // The kernel's timer blinks by itself. Its two files exist once it is chosen. A kernel
            // without it lets the light stay on while something is done.
            if write("trigger", "timer") && write("delay_on", on_ms) && write("delay_off", off_ms) {
                return;
            }
        }
        write("trigger", "none");
        write("brightness", if pattern == Pattern::Failed { "0" } else { maximum.trim() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_own_pattern() {
        let folder = tempfile::tempdir().unwrap();
        let led = Led::of(Some(folder.path()));
        fs::write(folder.path().join("max_brightness"), "255\n").unwrap();
        let shown = |pattern| {
            led.show(pattern);
            ["trigger", "delay_on", "delay_off", "brightness"]
                .map(|name| fs::read_to_string(folder.path().join(name)).unwrap_or_default())
        };
        assert_eq!(shown(Pattern::Searching)[..3], ["timer", "1000", "1000"]);
        assert_eq!(shown(Pattern::Installing)[..3], ["timer", "100", "100"]);
        assert_eq!(shown(Pattern::Failed)[..3], ["timer", "100", "1900"]);
        let done = shown(Pattern::Done);
        assert_eq!((done[0].as_str(), done[3].as_str()), ("none", "255"));
    }

    #[test]
    fn a_light_without_a_timer_is_on_while_something_is_done() {
        let folder = tempfile::tempdir().unwrap();
        // Stands where the file that sets the timer would be.
        fs::create_dir(folder.path().join("delay_on")).unwrap();
        let led = Led::of(Some(folder.path()));
        let brightness = |pattern| {
            led.show(pattern);
            fs::read_to_string(folder.path().join("brightness")).unwrap()
        };
        assert_eq!(brightness(Pattern::Installing), "1");
        assert_eq!(brightness(Pattern::Failed), "0");
    }

    #[test]
    fn without_a_light_and_with_one_that_is_missing_nothing_happens() {
        Led::of(None).show(Pattern::Done);
        Led::of(Some(Path::new("/nonexistent/led"))).show(Pattern::Done);
    }
}
