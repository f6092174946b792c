//! The two copies of the environment on the EFI system partition.
//!
//! `fat` finds their bytes, and `choice` says which one counts. Daruma always writes the second
//! copy first.

use std::io;

use image_layout::Disk;

use crate::env::{Env, EnvError};
use crate::state::boot::BootState;
use crate::state::choice::{Copy, choose};
use crate::store::aligned::{self, SECTOR};
use crate::store::fat::{Extent, Fat, Found};
use crate::store::heal;

/// The environment on an EFI system partition that nobody has mounted for writing.
///
/// It finds the files through the FAT and overwrites them where they lie, so a power cut leaves the
/// old block or the new one. Open a device with `O_DIRECT | O_DSYNC`: all transfers are whole
/// aligned sectors from aligned memory.
#[derive(Debug)]
pub struct EnvStore<D> {
    esp: D,
    sector: u32,
}

/// The environment that GRUB uses, and what is wrong with the copies.
#[derive(Debug)]
pub struct Loaded {
    /// The block. When neither copy can be read, it is one that spells out [`BootState::unknown`].
    pub env: Env,
    /// The copy that the block comes from.
    pub copy: Option<Copy>,
    /// One line for each damage that [`EnvStore::heal`] would mend. Empty on a healthy device.
    pub damage: Vec<String>,
}

impl Loaded {
    /// Returns the state that the block describes.
    #[must_use]
    pub fn state(&self) -> BootState {
        BootState::from_env(&self.env)
    }
}

impl<D: Disk> EnvStore<D> {
    /// Opens the partition. A write is as large as the FAT's own sectors, and at least 512 bytes.
    ///
    /// # Errors
    /// [`EnvError::Fat`] when the partition has no FAT. Missing or broken files are no error here.
    pub fn open(esp: D) -> Result<Self, EnvError> {
        let sector =
            aligned::sector_size(&esp).map_err(|error| EnvError::Fat(error.to_string()))?;
        Self::with_sector_size(esp, sector)
    }

    /// Opens the partition with the device's own sector size: 512 or 4096 bytes.
    ///
    /// # Errors
    /// See [`EnvStore::open`].
    pub fn with_sector_size(esp: D, sector_size: u32) -> Result<Self, EnvError> {
        if !sector_size.is_power_of_two() || !(SECTOR..=4096).contains(&sector_size) {
            return Err(EnvError::Fat(format!("sectors of {sector_size} bytes")));
        }
        let store = Self { esp, sector: sector_size };
        store.fat()?;
        Ok(store)
    }

    /// Returns the partition.
    pub fn into_disk(self) -> D {
        self.esp
    }

    /// Reads both copies and takes the one that GRUB takes. GRUB takes the first copy that it can
    /// read and count in, and without one the defaults. The other copy may count a boot that this
    /// one does not: that is no damage, because GRUB writes only one.
    ///
    /// # Errors
    /// [`EnvError::Fat`] when the partition's FAT cannot be followed any more.
    pub fn load(&self) -> Result<Loaded, EnvError> {
        let fat = self.fat()?;
        let mut damage = Vec::new();
        let main = self.read_copy(&fat, Copy::Main, &mut damage);
        let bak = self.read_copy(&fat, Copy::Bak, &mut damage);
        let choice = choose(main.as_ref(), bak.as_ref(), None);
        let copy = choice.copy.or(match (&main, &bak) {
            (Some(_), _) => Some(Copy::Main),
            (None, Some(_)) => Some(Copy::Bak),
            (None, None) => None,
        });
        let env = choice.env.unwrap_or_else(|| {
            let mut env = Env::new();
            BootState::unknown().apply_to(&mut env);
            env
        });
        Ok(Loaded { env, copy, damage })
    }

    /// Overwrites both copies in place, the second copy first. Each copy is on stable storage and
    /// read back before the next write begins.
    ///
    /// # Errors
    /// [`EnvError::BakNotWritten`] when only the second copy failed: the new environment holds
    /// nevertheless. After any other error GRUB still uses the old environment. Or the disk changed
    /// what was written, and GRUB uses what the disk made of the new one.
    pub fn store(&self, env: &Env) -> Result<(), EnvError> {
        let bak = self.overwrite(Copy::Bak, env);
        self.overwrite(Copy::Main, env)?;
        bak.map_err(|error| EnvError::BakNotWritten(error.to_string()))
    }

    /// Makes both copies whole and equal to `env`. Makes a file anew if it is missing, short or
    /// without clusters.
    ///
    /// # Errors
    /// Those of [`EnvStore::store`]. [`EnvError::BakNotWritten`] also says that a copy is still
    /// damaged afterwards. A file that is made anew is not written atomically. The other copy is
    /// then whole, or was not touched yet.
    pub fn heal(&self, env: &Env) -> Result<(), EnvError> {
        let bak = self.heal_copy(Copy::Bak, env);
        self.heal_copy(Copy::Main, env)?;
        bak.map_err(|error| EnvError::BakNotWritten(error.to_string()))?;
        // On a damaged FAT, making one file anew can undo the other.
        match self.load()?.damage {
            left if left.is_empty() => Ok(()),
            left => Err(EnvError::BakNotWritten(left.join(", "))),
        }
    }

    fn heal_copy(&self, copy: Copy, env: &Env) -> Result<(), EnvError> {
        match self.overwrite(copy, env) {
            Err(EnvError::NotInPlace { .. }) => {}
            done_or_failed => return done_or_failed,
        }
        heal::recreate(&self.esp, self.sector, copy.path(), &env.encode())
            .map_err(|source| io_error("making", copy, source))?;
        // The code reads its own result: it must find the new file, and the file must hold the
        // block.
        self.overwrite(copy, env)
    }

    fn fat(&self) -> Result<Fat<'_, D>, EnvError> {
        Fat::open(&self.esp, self.sector).map_err(|error| EnvError::Fat(error.to_string()))
    }

    /// Reads one copy as GRUB would, and notes what is wrong with it.
    fn read_copy(&self, fat: &Fat<'_, D>, copy: Copy, damage: &mut Vec<String>) -> Option<Env> {
        let path = copy.path();
        let found =
            fat.find(path, Env::SIZE).and_then(|found| Ok((self.read_found(&found)?, found)));
        let (bytes, size) = match found {
            Ok((Some(bytes), Found::File { size, .. })) => (bytes, size as usize),
            Ok(_) => {
                damage.push(format!("{path} is missing or no file"));
                return None;
            }
            Err(error) => {
                damage.push(format!("{path} cannot be read: {error}"));
                return None;
            }
        };
        // GRUB takes a block of any length. Padding only decides how much room is left.
        let mut padded = [b'#'; Env::SIZE];
        padded[..bytes.len()].copy_from_slice(&bytes);
        match Env::parse(&padded) {
            Ok(env) => {
                damage.extend(
                    // GRUB reads a longer file too, but this code cannot overwrite it as a whole.
                    size_damage(if bytes.len() == Env::SIZE { size } else { bytes.len() })
                        .into_iter()
                        .chain(env.flaws())
                        .map(|flaw| format!("{path} {flaw}")),
                );
                Some(env)
            }
            Err(error) => {
                damage.push(format!("{path}: {error}"));
                None
            }
        }
    }

    fn read_found(&self, found: &Found) -> io::Result<Option<Vec<u8>>> {
        let Found::File { extents, .. } = found else { return Ok(None) };
        let mut bytes = Vec::with_capacity(Env::SIZE);
        for extent in extents {
            bytes.extend(aligned::read(&self.esp, extent.offset, extent.len, self.sector)?);
        }
        Ok(Some(bytes))
    }

    fn overwrite(&self, copy: Copy, env: &Env) -> Result<(), EnvError> {
        let path = copy.path();
        let refuse = |why: String| EnvError::NotInPlace { path, why };
        let extents = match self
            .fat()?
            .find(path, Env::SIZE)
            .map_err(|source| io_error("finding", copy, source))?
        {
            Found::Missing => return Err(refuse("it is missing".to_owned())),
            Found::Directory { .. } => return Err(refuse("it is no file".to_owned())),
            Found::File { size, .. } if size as usize != Env::SIZE => {
                return Err(refuse(format!("it has {size} bytes")));
            }
            Found::File { extents, .. } => extents,
        };
        if extents.iter().map(|extent| extent.len).sum::<usize>() != Env::SIZE {
            return Err(refuse("its clusters are not all there".to_owned()));
        }
        // One flipped bit in a directory or in the table of clusters can make these the clusters of
        // `grub.cfg`. What cannot be read at all is overwritten: a disk mends a sector that way.
        let now = extents
            .iter()
            .map(|extent| aligned::read(&self.esp, extent.offset, extent.len, self.sector));
        if now.collect::<io::Result<Vec<_>>>().is_ok_and(|now| !may_be_overwritten(&now.concat())) {
            return Err(refuse("its clusters hold something else".to_owned()));
        }
        self.write_extents(&extents, &env.encode())
            .map_err(|source| io_error("writing", copy, source))
    }

    /// Writes what differs, sector by sector. The first sector has all of Daruma's variables. It
    /// comes last, so that it never stands before the rest of its block.
    fn write_extents(&self, extents: &[Extent], block: &[u8; Env::SIZE]) -> io::Result<()> {
        let mut pieces = Vec::new();
        let mut at = 0;
        for extent in extents {
            // Pieces end where the disk's sectors end, so that each is one sector write.
            let mut done = 0;
            while done < extent.len {
                let offset = extent.offset + done as u64;
                let to_boundary = u64::from(self.sector) - offset % u64::from(self.sector);
                let len = (extent.len - done).min(to_boundary as usize);
                pieces.push((offset, at..at + len));
                (done, at) = (done + len, at + len);
            }
        }
        for (offset, range) in pieces.into_iter().rev() {
            let wanted = &block[range];
            if aligned::read(&self.esp, offset, wanted.len(), self.sector)
                .is_ok_and(|now| now == wanted)
            {
                continue;
            }
            aligned::write(&self.esp, offset, wanted, self.sector)?;
            self.esp.sync()?;
        }
        // Bytes that were right already may be right only in a cache, after a write whose sync
        // failed.
        self.esp.sync()?;
        // A disk can take a write, sync it and keep something else. GRUB would be the first to see
        // that.
        let mut at = 0;
        for extent in extents {
            let kept = aligned::read(&self.esp, extent.offset, extent.len, self.sector)?;
            if kept != block[at..at + extent.len] {
                return Err(io::Error::other(
                    "the disk does not give back what was written; it is failing",
                ));
            }
            at += extent.len;
        }
        Ok(())
    }
}

/// Returns true if these bytes are an environment block, or nothing.
fn may_be_overwritten(block: &[u8]) -> bool {
    let blank = block.iter().all(|byte| Some(byte) == block.first());
    blank || Env::parse(block).is_ok_and(|env| env.is_nothing_else())
}

fn size_damage(len: usize) -> Option<String> {
    (len != Env::SIZE).then(|| format!("has {len} bytes instead of {}", Env::SIZE))
}

fn io_error(doing: &str, copy: Copy, source: io::Error) -> EnvError {
    EnvError::Io { doing: format!("{doing} {}", copy.path()), source }
}
