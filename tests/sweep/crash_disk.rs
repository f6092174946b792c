//! A [`Disk`] in memory that logs every write and sync in their order.
//!
//! `cut` computes from the log what a power cut at any moment can leave.
//!
//! All partitions lie on one disk, and a flush of a disk covers all of it. But writes of another
//! partition may still be in the kernel and not on their way to the disk. So here a sync covers
//! only its own partition.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent::{Access, Opener};
use image_layout::Disk;

use crate::content::{BLOCK, Content, LABELS, Medium};
use crate::fault::{Broken, Fault};

/// One operation on the disk. Partitions are indices into [`LABELS`].
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write(Write),
    Sync { partition: usize },
}

/// Bytes on their way to the disk.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) partition: usize,
    pub(crate) offset: usize,
    pub(crate) bytes: Arc<[u8]>,
    /// The same bytes as blocks, if they are whole blocks.
    blocks: Option<Content>,
}

impl Write {
    pub(crate) fn new(partition: usize, offset: usize, bytes: &[u8]) -> Self {
        let whole = offset.is_multiple_of(BLOCK) && bytes.len().is_multiple_of(BLOCK);
        let blocks = whole.then(|| Content::new(bytes, bytes.len()));
        Self { partition, offset, bytes: bytes.into(), blocks }
    }

    /// Writes all bytes to their place in `medium`.
    pub(crate) fn apply(&self, medium: &mut Medium) {
        let content = &mut medium.partitions[self.partition];
        match &self.blocks {
            Some(blocks) => content.splice(blocks, self.offset),
            None => content.write(&self.bytes, self.offset),
        }
    }
}

impl Op {
    pub(crate) fn partition(&self) -> usize {
        match self {
            Self::Write(write) => write.partition,
            Self::Sync { partition } => *partition,
        }
    }

    pub(crate) fn is_on(&self, label: &str) -> bool {
        LABELS[self.partition()] == label
    }
}

/// The text of `state.json` in `/var`. All times in it are 0, so that a state does not depend on
/// the moment of the run.
pub(crate) type Story = Option<Arc<[u8]>>;

/// One run of the agent.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) before: Medium,
    pub(crate) ops: Vec<Op>,
    /// The story before each operation, and after the last one.
    pub(crate) stories: Vec<Story>,
    /// The disk as a running program sees it.
    pub(crate) live: Medium,
}

/// A disk that records its writes and syncs.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    recording: Recording,
    story: PathBuf,
    fault: Option<Fault>,
}

impl Recorder {
    /// Returns a disk that holds `medium`. The device keeps its story in the file `story`.
    pub(crate) fn new(medium: Medium, story: PathBuf, fault: Option<Fault>) -> Self {
        let recording = Recording {
            live: medium.clone(),
            before: medium,
            ops: Vec::new(),
            stories: Vec::new(),
        };
        Self { shared: Arc::new(Mutex::new(Shared { recording, story, fault })) }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an opener of the partitions. It ignores the folder in a path.
    pub(crate) fn opener(&self) -> Opener {
        let recorder = self.clone();
        Opener::new(move |path, access| {
            let label = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let partition = Medium::index(label).ok_or(io::ErrorKind::NotFound)?;
            if let Some(fault) = &recorder.lock().fault {
                fault.opening(partition)?;
            }
            Ok(Box::new(CrashDisk { recorder: recorder.clone(), partition, access }))
        })
    }

    /// Ends the recording and returns it.
    pub(crate) fn finish(self) -> Recording {
        let mut shared = self.lock();
        let story = read_story(&shared.story);
        shared.recording.stories.push(story);
        shared.recording.clone()
    }
}

impl Shared {
    fn log(&mut self, op: Op) {
        let story = read_story(&self.story);
        self.recording.stories.push(story);
        self.recording.ops.push(op);
    }
}

/// An open partition.
#[derive(Debug)]
struct CrashDisk {
    recorder: Recorder,
    partition: usize,
    access: Access,
}

impl Disk for CrashDisk {
    fn size(&self) -> io::Result<u64> {
        Ok(self.recorder.lock().recording.live.partitions[self.partition].len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let shared = self.recorder.lock();
        if let Some(fault) = &shared.fault {
            fault.reading(self.partition, shared.recording.ops.len())?;
        }
        let content = &shared.recording.live.partitions[self.partition];
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset.saturating_add(buf.len()) > content.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.read(buf, offset);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        assert_eq!(self.access, Access::Write, "written to what was opened for reading");
        let mut shared = self.recorder.lock();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset.saturating_add(buf.len()) > shared.recording.live.partitions[self.partition].len()
        {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let broken = match &shared.fault {
            Some(fault) => fault.writing(self.partition, shared.recording.ops.len()),
            None => Broken::No,
        };
        let mut kept = buf.to_vec();
        let result = match broken {
            Broken::No => Ok(()),
            Broken::Whole(error) => {
                kept.clear();
                Err(error)
            }
            Broken::Behind(error) => {
                kept.truncate(buf.len() / 1024 * 512);
                Err(error)
            }
            Broken::Flipped => {
                kept[buf.len() / 2] ^= 1;
                Ok(())
            }
        };
        let write = Write::new(self.partition, offset, &kept);
        write.apply(&mut shared.recording.live);
        shared.log(Op::Write(write));
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut shared = self.recorder.lock();
        if let Some(fault) = &shared.fault
            && let Err(error) = fault.syncing(self.partition, shared.recording.ops.len())
        {
            // A sync that failed has promised nothing. The log counts it as an operation all the
            // same.
            shared.log(Op::Write(Write::new(self.partition, 0, &[])));
            return Err(error);
        }
        shared.log(Op::Sync { partition: self.partition });
        Ok(())
    }
}

fn read_story(path: &PathBuf) -> Story {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
    let mut parts = text.split("\"time_s\": ");
    let mut timeless = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        timeless.push_str("\"time_s\": 0");
        timeless.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    Some(timeless.into_bytes().into())
}
