//! A maintenance window: a time of the day in UTC.
//!
//! `daemon::poll` waits for the window. The device's clock decides, even if it is wrong.

use std::str::FromStr;

use serde::Deserialize;

const DAY_S: u64 = 86_400;

/// From one minute of the day to another, UTC. It may go over midnight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Window {
    /// Seconds after midnight.
    from_s: u64,
    /// Length of the window, seconds.
    length_s: u64,
}

impl Window {
    /// Returns the seconds from `now_s` (since 1970) until the window opens. 0: it is open.
    #[must_use]
    pub fn wait_s(&self, now_s: u64) -> u64 {
        let since = (now_s % DAY_S + DAY_S - self.from_s) % DAY_S;
        if since < self.length_s { 0 } else { DAY_S - since }
    }

    /// Returns the length of the window in seconds.
    #[must_use]
    pub fn length_s(&self) -> u64 {
        self.length_s
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minute = |text: &str| -> Option<u64> {
            let (hours, minutes) = text.split_once(':')?;
            let is_two_digits =
                |text: &str| text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
            let (hours, minutes): (u64, u64) = match is_two_digits(hours) && is_two_digits(minutes)
            {
                true => (hours.parse().ok()?, minutes.parse().ok()?),
                false => return None,
            };
            (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
        };
        let window = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        match window {
            Some((from_s, to_s)) if from_s != to_s => {
                Ok(Self { from_s, length_s: (to_s + DAY_S - from_s) % DAY_S })
            }
            _ => Err(format!("{text:?} is not a window such as \"02:00-05:00\" (UTC)")),
        }
    }
}

impl TryFrom<String> for Window {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_from_its_first_second_to_its_last() {
        let at = |hours: u64, minutes: u64, seconds: u64| {
            20_000 * DAY_S + hours * 3600 + minutes * 60 + seconds
        };
        let night: Window = "02:00-05:00".parse().unwrap();
        for (now, wait) in
            [(at(2, 0, 0), 0), (at(4, 59, 59), 0), (at(5, 0, 0), 21 * 3600), (at(1, 59, 59), 1)]
        {
            assert_eq!(night.wait_s(now), wait);
        }
        let midnight: Window = "23:30-00:30".parse().unwrap();
        for (now, wait) in [
            (at(23, 30, 0), 0),
            (at(0, 29, 59), 0),
            (at(0, 30, 0), 23 * 3600),
            (at(23, 0, 0), 1800),
        ] {
            assert_eq!(midnight.wait_s(now), wait);
        }
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "02:00",
            "2:00-5:00",
            "02:00-25:00",
            "02:60-03:00",
            "02:00-02:00",
            "02:00 - 05:00",
            "+2:00-05:00",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }
}
