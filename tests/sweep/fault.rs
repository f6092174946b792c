//! A disk that fails in other ways than by losing its power.

use std::io;

use nix::errno::Errno;

/// What goes wrong, where, and from when on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Index into [`crate::content::LABELS`].
    pub(crate) partition: usize,
    /// The operation (a write or a sync of any partition, counted from 0) at which it begins.
    pub(crate) at: usize,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// This one write or sync fails with this error; nothing of it was written.
    Once(Errno),
    /// This one write fails half-way.
    Short(Errno),
    /// From now on every write, sync and read of the partition fails: the device is gone.
    Gone(Errno),
    /// From now on every read of the partition fails.
    Unreadable(Errno),
    /// This one write succeeds, and one bit of it is another one on the disk.
    Flipped,
}

/// What a fault does to a write.
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
