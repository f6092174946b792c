//! Where a bundle comes from, as far as the writing of a slot differs by it.
//!
//! `command` and `web` choose it; `flip` acts on it.
//! A file at hand is verified before the slot is touched, a bundle far away while it is written.

use std::ops::Range;

use crate::device::slot::running::Reading;
use crate::exit::Failure;
use crate::install::chunks::delta_way::DeltaWay;

/// Where a bundle is, as far as an install differs by it.
pub enum Origin<'a> {
    /// A file at hand: every byte of it is verified before the slot is touched, and everything is
    /// read from it.
    File,
    /// Far away: what the slots have already is not fetched.
    Remote {
        /// Before the slot is touched, it is told which ranges of the bundle will be read: bytes,
        /// ascending. (Others too, where a slot does not hold what it seemed to.) Its failure ends
        /// the install.
        expect: &'a Expect<'a>,
        /// What the running slot holds, if somebody has begun to look.
        running: Option<Reading>,
        /// A delta besides, which is taken if it is shorter than what else would be fetched.
        delta: Option<DeltaWay<'a>>,
    },
}

/// What is told which ranges of a bundle will be read.
pub type Expect<'a> = dyn Fn(&[Range<u64>]) -> Result<(), Failure> + 'a;

/// What a person may ask for besides the bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Install a bundle that failed on this device before.
    pub allow_quarantined: bool,
}
