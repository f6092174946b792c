//! Parses Daruma's words of the kernel command line, which say what booted.
//!
//! Other words belong to other programs. daruma-init splits the line in the same way, so both
//! programs agree which slot runs.

use image_layout::Slot;

/// The system that booted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Booted {
    /// One of the two slots.
    Slot(Slot),
    /// The recovery image.
    Recovery,
}

/// The Daruma words of a kernel command line. All other words belong to others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandLine {
    /// `daruma.slot=`
    pub booted: Booted,
    /// `daruma.trial=1`: GRUB booted this slot as the one on trial.
    pub trial: bool,
    /// `daruma.try=`: which try of this slot the boot is, counted from 1.
    pub tries: Option<u8>,
}

impl CommandLine {
    /// Parses the text of `/proc/cmdline`. `None`: Daruma's grub.cfg did not boot this machine.
    ///
    /// The last of several equal words wins, as in the kernel.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words = words(text);
        let value = |key: &str| {
            words.iter().filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).next_back()
        };
        let booted = match value("daruma.slot")? {
            "recovery" => Booted::Recovery,
            name => Booted::Slot(name.parse().ok()?),
        };
        Some(Self {
            booted,
            trial: value("daruma.trial") == Some("1"),
            tries: value("daruma.try").and_then(|number| number.parse().ok()),
        })
    }
}

/// Splits as the kernel and daruma-init do: blanks divide the words, except between double quotes.
/// The quotes are dropped. With another splitting, the agent could take the running slot for the
/// idle one.
fn words(text: &str) -> Vec<String> {
    let mut quoted = false;
    let divides = |c: char| {
        quoted ^= c == '"';
        c.is_ascii_whitespace() && !quoted
    };
    text.split(divides).map(|word| word.replace('"', "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_between_quotes_is_not_taken_for_the_slot() {
        let text = "daruma.slot=A dyndbg=\"file a daruma.slot=B +p\" \"daruma.trial=1\"";
        let parsed = CommandLine::parse(text).unwrap();
        assert_eq!((parsed.booted, parsed.trial), (Booted::Slot(Slot::A), true));
    }

    #[test]
    fn the_words_of_grub_cfg_are_understood() {
        let parsed =
            CommandLine::parse("daruma.slot=B daruma.trial=1 daruma.try=2 panic=5 quiet\n")
                .unwrap();
        assert_eq!(
            parsed,
            CommandLine { booted: Booted::Slot(Slot::B), trial: true, tries: Some(2) }
        );
        assert_eq!(CommandLine::parse("daruma.slot=recovery").unwrap().booted, Booted::Recovery);
    }

    #[test]
    fn the_last_word_wins() {
        assert_eq!(
            CommandLine::parse("daruma.slot=A daruma.slot=B").unwrap().booted,
            Booted::Slot(Slot::B)
        );
    }

    #[test]
    fn another_systems_command_line_is_none() {
        for text in
            ["", "root=/dev/sda1 quiet", "daruma.slot=C", "xdaruma.slot=A", "daruma.slotx=A"]
        {
            assert_eq!(CommandLine::parse(text), None, "{text}");
        }
    }
}
