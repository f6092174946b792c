//! The origin of a bundle: a local file, or a server.
//!
//! `command` and `web` choose the origin, and `flip` acts on it. A file is verified before the slot
//! is touched. A bundle from a server is verified chunk by chunk while it is written.

use std::ops::Range;

use crate::device::slot::running::Reading;
use crate::exit::Failure;
use crate::install::chunks::delta_way::DeltaWay;

/// The origin of a bundle.
pub enum Origin<'a> {
    /// A file at hand. Every byte is verified before the slot is touched, and all is read from the
    /// file.
    File,
    /// A bundle far away. What the slots hold already is not fetched.
    Remote {
        /// Is told before the slot is touched which ranges of the bundle will be read: bytes,
        /// ascending. Other ranges may follow if a slot does not hold what it seemed to. An error
        /// ends the install.
        expect: &'a Expect<'a>,
        /// The running slot, if somebody has begun to read it.
        running: Option<Reading>,
        /// A delta to the same bundle. It is taken if it is shorter than what else would be
        /// fetched.
        delta: Option<DeltaWay<'a>>,
    },
}

/// A function that is told which ranges of a bundle will be read.
pub type Expect<'a> = dyn Fn(&[Range<u64>]) -> Result<(), Failure> + 'a;

/// Options of an install.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Install a bundle even though it failed on this device before.
    pub allow_quarantined: bool,
}
