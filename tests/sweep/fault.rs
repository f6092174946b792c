//! The faults of a disk, other than the loss of its power.
//!
//! `crash_disk` asks a fault what it does to an operation. `faults` chooses the faults.

use std::io;

use nix::errno::Errno;

/// A fault, its partition, and the operation at which it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Index into [`crate::content::LABELS`].
    pub(crate) partition: usize,
    /// The operation at which the fault begins. Writes and syncs of all partitions count, from 0.
    pub(crate) at: usize,
}

/// The kinds of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// This one write or sync fails with this error. Nothing of it is written.
    Once(Errno),
    /// This one write fails half-way.
    Short(Errno),
    /// From now on every write, sync and read of the partition fails, because the device is gone.
    Gone(Errno),
    /// From now on every read of the partition fails.
    Unreadable(Errno),
    /// This one write succeeds, but one bit of it is wrong on the disk.
    Flipped,
}

/// The effect of a fault on a write.
pub(crate) enum Broken {
    No,
    Whole(io::Error),
    Behind(io::Error),
    Flipped,
}

impl Fault {
    pub(crate) fn opening(&self, partition: usize) -> io::Result<()> {
        match self.kind {
            Kind::Gone(error) if self.at == 0 && self.partition == partition => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn reading(&self, partition: usize, now: usize) -> io::Result<()> {
        match self.kind {
            Kind::Gone(error) | Kind::Unreadable(error)
                if self.partition == partition && now >= self.at =>
            {
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn writing(&self, partition: usize, now: usize) -> Broken {
        if self.partition != partition || now < self.at {
            return Broken::No;
        }
        match self.kind {
            Kind::Once(error) if now == self.at => Broken::Whole(error.into()),
            Kind::Short(error) if now == self.at => Broken::Behind(error.into()),
            Kind::Flipped if now == self.at => Broken::Flipped,
            Kind::Gone(error) => Broken::Whole(error.into()),
            _ => Broken::No,
        }
    }

    pub(crate) fn syncing(&self, partition: usize, now: usize) -> io::Result<()> {
        match self.writing(partition, now) {
            Broken::No | Broken::Flipped => Ok(()),
            Broken::Whole(error) | Broken::Behind(error) => Err(error),
        }
    }
}
