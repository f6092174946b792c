//! The lock that lets only one process at a time change the device.
//!
//! The callers decide how long they hold it, and if they try again. The kernel frees the lock when
//! the process ends, in whatever way.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::exit::{Exit, Failure};

/// Holds the lock until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock at `path` without waiting.
    ///
    /// # Errors
    /// [`Exit::Locked`], with the holder's process id, when another process holds it.
    pub fn take(path: &Path) -> Result<Self, Failure> {
        let failure = |exit, cause: String| {
            Failure::new(exit, format!("taking the lock {}: {cause}", path.display()))
        };
        let open = || -> io::Result<File> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            File::options().read(true).write(true).create(true).truncate(false).open(path)
        };
        let file = open().map_err(|error| failure(Exit::Unexpected, error.to_string()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                // The id is only for the message of the process that comes second. The kernel keeps
                // the lock.
                let _ = file
                    .set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Self { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() {
                    "another process".to_owned()
                } else {
                    format!("process {holder}")
                };
                Err(failure(
                    Exit::Locked,
                    format!("{holder} is changing the device; wait for it to finish"),
                ))
            }
            Err((_, error)) => Err(failure(Exit::Unexpected, error.desc().to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_refused_with_the_holders_id_and_free_again_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/lock");
        let held = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).unwrap_err();
        assert_eq!(refused.exit, Exit::Locked);
        assert!(refused.message.contains(&format!("process {} ", std::process::id())), "{refused}");
        drop(held);
        Lock::take(&path).unwrap();
    }
}
