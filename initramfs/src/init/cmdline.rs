//! The kernel command line that grub.cfg makes, as types.
//!
//! `plan` uses it. The parser skips parameters of other programs; a wrong parameter of Daruma's
//! ends the boot.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use grub_env::{RootHash, Told};
use image_layout::Slot;
use uuid::Uuid;

/// What GRUB chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// A slot: one of the two copies of the system.
    Slot(Slot),
    /// Recovery: no slot was left to try.
    Recovery,
}

/// Where changes to the system's files go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OverlayMode {
    /// Changes go nowhere: all files are read-only except /var.
    None,
    /// Changes of /etc are kept, in one upper per slot.
    Etc,
    /// All changes are kept, in one upper per slot.
    Root,
    /// All changes are in memory and gone after the boot; /var is kept.
    Tmpfs,
}

/// dm-verity's figures of a root image: SHA-256, and blocks of 4096 bytes. The tree lies right
/// behind the data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Verity {
    /// 64 digits of lower-case hexadecimal.
    pub root_hash: String,
    /// The salt, in hexadecimal.
    pub salt: String,
    /// Blocks of 4096 bytes, without the tree.
    pub data_blocks: u64,
}

/// `daruma.*` of the kernel command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cmdline {
    pub choice: Choice,
    /// The slot is not committed yet.
    pub trial: bool,
    /// Which try of the slot this is, as GRUB counted it. 0 if GRUB could not count.
    pub attempt: u32,
    pub verity: Option<Verity>,
    pub overlay: OverlayMode,
    /// Seconds of the watchdog. 0: no watchdog.
    pub watchdog_s: u32,
    pub recovery_wait_s: u64,
    pub init: PathBuf,
    /// GUID of the EFI system partition that GRUB started from.
    pub disk: Option<Uuid>,
    /// When GRUB counted this boot. GRUB wrote the same text down on that partition.
    pub booted: Option<String>,
    /// Version of the slot's system, for messages only.
    pub version: Option<String>,
}

impl Cmdline {
    /// Reads the text of `/proc/cmdline`. The last of several equal keys counts. Keys without
    /// `daruma.` belong to other programs, and an unknown `daruma.*` key may belong to the agent.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut choice = None;
        let mut line = Self {
            choice: Choice::Recovery,
            trial: false,
            attempt: 0,
            verity: None,
            overlay: OverlayMode::Etc,
            watchdog_s: 60,
            recovery_wait_s: 60,
            init: PathBuf::from("/sbin/init"),
            disk: None,
            booted: None,
            version: None,
        };
        for word in words(text) {
            let Some((key, value)) = word.split_once('=') else { continue };
            let number =
                || value.parse::<u32>().with_context(|| format!("reading {word:?}: not a number"));
            match key {
                "daruma.slot" if value == "recovery" => choice = Some(Choice::Recovery),
                "daruma.slot" => {
                    let slot = value.parse().with_context(|| format!("reading {word:?}"))?;
                    choice = Some(Choice::Slot(slot));
                }
                "daruma.trial" => line.trial = value == "1",
                "daruma.try" => line.attempt = number()?,
                "daruma.verity" if value.is_empty() => line.verity = None,
                "daruma.verity" => {
                    line.verity =
                        Some(Verity::parse(value).with_context(|| format!("reading {word:?}"))?)
                }
                "daruma.overlay" => line.overlay = OverlayMode::parse(value)?,
                "daruma.watchdog" => line.watchdog_s = number()?,
                "daruma.recovery_wait" => line.recovery_wait_s = u64::from(number()?),
                "daruma.init" => {
                    ensure!(value.starts_with('/'), "reading {word:?}: the path must start with /");
                    line.init = PathBuf::from(value);
                }
                // Without this key other signs find the disk, so it is no reason not to boot.
                "daruma.disk" => line.disk = value.parse().ok(),
                "daruma.booted" => {
                    line.booted = Some(value.to_owned()).filter(|time| !time.is_empty())
                }
                "daruma.version" => line.version = Some(value.to_owned()),
                _ => {}
            }
        }
        match choice {
            Some(choice) => line.choice = choice,
            None => bail!(
                "reading the kernel command line: daruma.slot=A|B|recovery is missing; boot \
                    through GRUB"
            ),
        }
        Ok(line)
    }

    /// Returns what GRUB says of the disk that it started from.
    pub(crate) fn told(&self) -> Told {
        Told {
            esp_guid: self.disk,
            booted: self.booted.clone(),
            slot: match self.choice {
                Choice::Slot(slot) => Some(slot),
                Choice::Recovery => None,
            },
            trial: self.trial,
            attempt: self.attempt,
            root: self.verity.clone().map(|verity| RootHash {
                hash: verity.root_hash,
                salt: verity.salt,
                data_blocks: verity.data_blocks,
            }),
        }
    }
}

impl OverlayMode {
    fn parse(value: &str) -> Result<Self> {
        Ok(match value {
            "none" => Self::None,
            "etc" => Self::Etc,
            "root" => Self::Root,
            "tmpfs" => Self::Tmpfs,
            other => bail!(
                "reading daruma.overlay={other:?}: the value is not one of none, etc, root or tmpfs"
            ),
        })
    }
}

impl Verity {
    /// Reads `ROOTHASH:SALT:DATABLOCKS`.
    pub(crate) fn parse(value: &str) -> Result<Self> {
        let fields: Vec<&str> = value.split(':').collect();
        let [root_hash, salt, data_blocks] = fields[..] else {
            bail!("the form is not ROOTHASH:SALT:DATABLOCKS")
        };
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        ensure!(
            root_hash.len() == 64 && hex(root_hash),
            "the root hash is not 64 digits of lower-case hexadecimal"
        );
        // The kernel allows a salt of at most 256 bytes.
        ensure!(
            !salt.is_empty() && salt.len() <= 512 && salt.len() % 2 == 0 && hex(salt),
            "the salt is not hexadecimal"
        );
        let data_blocks: u64 = data_blocks.parse().context("the number of blocks")?;
        // The kernel counts sectors of 512 bytes in 64 bits. 2^48 blocks are far beyond any disk.
        ensure!((1..1 << 48).contains(&data_blocks), "the number of blocks is out of range");
        Ok(Self { root_hash: root_hash.to_owned(), salt: salt.to_owned(), data_blocks })
    }
}

/// Splits the text as the kernel does. Blanks divide words, except between double quotes, which are
/// dropped.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash() -> String {
        "0123456789abcdef".repeat(4)
    }

    #[test]
    fn the_line_that_grub_makes_is_understood() {
        let hash = hash();
        let text = format!(
            "BOOT_IMAGE=/vmlinuz daruma.slot=B daruma.trial=1 daruma.try=2 \
                daruma.verity={hash}:00ff:1234 panic=5 \
             daruma.disk=da12da12-0000-4000-8000-000000000002 daruma.booted=2026-11-28T12:59:03 \
             quiet console=ttyS0,115200 daruma.overlay=root daruma.watchdog=0 daruma.init=/bin/sh\n"
        );
        let line = Cmdline::parse(&text).unwrap();
        let verity = Verity { root_hash: hash, salt: "00ff".into(), data_blocks: 1234 };
        let expected = Cmdline {
            choice: Choice::Slot(Slot::B),
            trial: true,
            attempt: 2,
            verity: Some(verity),
            overlay: OverlayMode::Root,
            watchdog_s: 0,
            recovery_wait_s: 60,
            init: "/bin/sh".into(),
            disk: Some(Uuid::from_u128(0xda12_da12_0000_4000_8000_0000_0000_0002)),
            booted: Some("2026-11-28T12:59:03".into()),
            version: None,
        };
        assert_eq!(line, expected);
        let told = line.told();
        assert_eq!((told.slot, told.trial, told.attempt), (Some(Slot::B), true, 2));
        assert_eq!(told.root.unwrap().data_blocks, 1234);
    }

    #[test]
    fn a_disk_without_a_name_that_can_be_read_has_none() {
        for text in [
            "daruma.slot=A daruma.disk=vda",
            "daruma.slot=A daruma.disk= daruma.booted=",
            "daruma.slot=A",
        ] {
            let line = Cmdline::parse(text).unwrap();
            assert_eq!((line.disk, line.booted), (None, None), "{text}");
        }
    }

    #[test]
    fn what_is_not_said_has_the_documented_value() {
        let line = Cmdline::parse("daruma.slot=recovery").unwrap();
        assert_eq!((line.choice, line.trial, line.attempt), (Choice::Recovery, false, 0));
        assert_eq!(
            (line.overlay, line.watchdog_s, line.recovery_wait_s),
            (OverlayMode::Etc, 60, 60)
        );
        assert_eq!(line.init, PathBuf::from("/sbin/init"));
    }

    #[test]
    fn blanks_between_quotes_do_not_divide() {
        assert_eq!(words("a \"b c\"=d e=\"f  g\"\n"), ["a", "b c=d", "e=f  g"]);
    }

    #[test]
    fn a_line_that_cannot_be_meant_is_refused_with_its_reason() {
        let hash = hash();
        for (text, reason) in [
            ("quiet".to_owned(), "daruma.slot"),
            ("daruma.slot=C".to_owned(), "daruma.slot=C"),
            ("daruma.slot=A daruma.overlay=tmp".to_owned(), "none, etc, root or tmpfs"),
            ("daruma.slot=A daruma.watchdog=soon".to_owned(), "not a number"),
            ("daruma.slot=A daruma.init=sh".to_owned(), "start with /"),
            (format!("daruma.slot=A daruma.verity={hash}"), "ROOTHASH:SALT"),
            (format!("daruma.slot=A daruma.verity={}:00:1", &hash[1..]), "64 digits"),
            (format!("daruma.slot=A daruma.verity={hash}:0:1"), "salt"),
            (format!("daruma.slot=A daruma.verity={hash}:00:0"), "out of range"),
        ] {
            let message = format!("{:#}", Cmdline::parse(&text).unwrap_err());
            assert!(message.contains(reason), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = Cmdline::parse(&text);
        }

        #[test]
        fn others_parameters_change_nothing(
            before in "[a-z=., ]{0,30}",
            after in "[a-z=.,\t ]{0,30}",
        ) {
            let text = format!("{before} daruma.slot=A daruma.try=3 {after}");
            let line = Cmdline::parse(&text).unwrap();
            prop_assert_eq!((line.choice, line.attempt), (Choice::Slot(Slot::A), 3));
        }
    }
}
