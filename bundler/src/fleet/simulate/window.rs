//! The hours in which devices install and restart.
//!
//! `device` asks when the window opens. A window may reach over midnight.

use std::fmt;
use std::str::FromStr;

const DAY_S: u64 = 86_400;

/// From one hour of the day to another, UTC. The window may reach over midnight. (Real devices have
/// it to the minute.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    from_s: u64,
    length_s: u64,
}

impl Window {
    /// Returns the seconds from `now` (since 1970) until the window opens. 0 means that it is open.
    #[must_use]
    pub fn wait_s(&self, now: u64) -> u64 {
        let since = (now % DAY_S + DAY_S - self.from_s) % DAY_S;
        if since < self.length_s { 0 } else { DAY_S - since }
    }

    /// Returns the length of the window in seconds.
    #[must_use]
    pub fn length_s(&self) -> u64 {
        self.length_s
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, length) = (self.from_s / 3600, self.length_s / 3600);
        write!(f, "{from} to {} h UTC", (from + length) % 24)
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hour = |text: &str| text.parse::<u64>().ok().filter(|hour| *hour < 24);
        match text.split_once('-').map(|(from, to)| (hour(from), hour(to))) {
            Some((Some(from), Some(to))) if from != to => {
                Ok(Self { from_s: from * 3600, length_s: (to + 24 - from) % 24 * 3600 })
            }
            _ => Err(format!("{text:?} is not a window of hours such as 2-5")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_from_its_first_hour_to_its_last() {
        let night: Window = "22-3".parse().unwrap();
        for (hour, wait_h) in [(22, 0), (23, 0), (0, 0), (2, 0), (3, 19), (21, 1)] {
            assert_eq!(night.wait_s(20_000 * DAY_S + hour * 3600), wait_h * 3600, "{hour}");
        }
        for text in ["", "2", "2-2", "2-24", "-1-3", "a-b"] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }
}
