//! A slot: one of the two copies of the system.
//!
//! The crate `grub-env` decides which slot boots. `!slot` is the other one.

use std::fmt;
use std::ops::Not;
use std::str::FromStr;

/// One of the two copies of the system. `!slot` is the other copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Slot {
    /// `boot-a` and `root-a`
    A,
    /// `boot-b` and `root-b`
    B,
}

impl Slot {
    /// Both slots, A first.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Returns the slot's name as the GRUB environment and the kernel command line spell it: `A` or
    /// `B`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// Returns the label of the partition that holds kernel, initramfs and `slot.cfg`.
    #[must_use]
    pub const fn boot_label(self) -> &'static str {
        match self {
            Self::A => "boot-a",
            Self::B => "boot-b",
        }
    }

    /// Returns the label of the partition that holds the root filesystem and its dm-verity tree.
    #[must_use]
    pub const fn root_label(self) -> &'static str {
        match self {
            Self::A => "root-a",
            Self::B => "root-b",
        }
    }
}

impl Not for Slot {
    type Output = Self;
    fn not(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownSlot(pub String);

impl fmt::Display for UnknownSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a slot: slots are A and B", self.0)
    }
}

impl std::error::Error for UnknownSlot {}

impl FromStr for Slot {
    type Err = UnknownSlot;
    fn from_str(text: &str) -> Result<Self, UnknownSlot> {
        match text {
            "A" | "a" => Ok(Self::A),
            "B" | "b" => Ok(Self::B),
            other => Err(UnknownSlot(other.to_owned())),
        }
    }
}
