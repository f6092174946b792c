//! Writes a slot's images: reads and verifies, writes and syncs, reads back and compares.
//!
//! `reader` gets the bytes, and `compare` reads them back. Each stage is a thread, but one thread
//! makes all writes and syncs. Their order depends on the images only, so the power-cut sweep can
//! count them.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use bundle::{Chunk, Verified};
use image_layout::Disk;

use crate::device::slot::target::Piece;
use crate::exit::Failure;
use crate::install::chunks::compare::compare;
use crate::install::chunks::delta_way::DeltaWay;
use crate::install::chunks::job::Job;
use crate::install::chunks::plan::Plan;
use crate::install::chunks::reader::ChunkReader;
use crate::install::chunks::span::{FETCHED, Span, Spans};
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// Pieces on their way: one being filled, one waiting, one being emptied.
const PIECES: usize = 3;
/// Bytes after which the written data is synced and then read back.
const STEP: u64 = 8 << 20;

/// A part of a job's image on its way to the disk.
struct Next {
    job: usize,
    span: Span,
    /// Its bytes. `None`: they are in their place.
    piece: Option<Piece>,
}

/// Writes the images of `jobs`, syncs them, reads them back and compares them with the signed
/// hashes. Each chunk comes from where `plan` says, without a plan from the bundle. Needs about 8
/// MiB of memory, and twice the size of a dm-verity tree that it makes.
///
/// # Errors
/// [`Exit::Content`](crate::Exit::Content) when the bundle changes meanwhile.
/// [`Exit::SlotIo`](crate::Exit::SlotIo) when a partition cannot be written or does not give back
/// what was written. Or what `interrupt` says.
pub(crate) fn write_images<D: Disk + Sync>(
    bundle: &Verified<D>,
    plan: Option<&Plan>,
    delta: Option<DeltaWay<'_>>,
    jobs: &[Job],
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let tables: Vec<&[Chunk]> = jobs.iter().map(|job| bundle.chunks(job.image)).collect();
    let (filled, to_write) = sync_channel(PIECES);
    let (free, to_fill) = channel();
    let (written, to_read_back) = channel();
    for _ in 0..PIECES {
        // This cannot fail: the receiver is alive.
        let _ = free.send(Piece::new());
    }
    thread::scope(|scope| {
        let reader = scope.spawn(move || read(bundle, plan, delta, jobs, &to_fill, &filled));
        let comparer = scope.spawn(move || compare(jobs, &tables, &to_read_back));
        let outcome = write(jobs, &to_write, free, written, interrupt, progress);
        // A stage that fails closes its channels. That ends its neighbours without an error of
        // their own.
        drop(to_write);
        outcome.and(join(reader)).and(join(comparer))
    })
}

fn join(stage: ScopedJoinHandle<'_, Result<(), Failure>>) -> Result<(), Failure> {
    stage.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// First stage: reads and verifies chunks and fills pieces with them.
fn read<D: Disk>(
    bundle: &Verified<D>,
    plan: Option<&Plan>,
    delta: Option<DeltaWay<'_>>,
    jobs: &[Job],
    to_fill: &Receiver<Piece>,
    next: &SyncSender<Next>,
) -> Result<(), Failure> {
    let mut spare = Vec::new();
    for (job, Job { image, .. }) in jobs.iter().enumerate() {
        let mut chunks = ChunkReader::new(bundle, plan, delta, jobs, job);
        let most_fetched = if delta.is_some() { u64::MAX } else { FETCHED };
        let sources = plan.map_or(&[][..], |plan| plan.sources(job));
        for span in Spans::new(bundle.chunks(image), sources, most_fetched) {
            let mut piece = None;
            if span.is_here {
                chunks.pass_over(&span.range);
            } else {
                // No free piece comes if the writer has given up. The writer says why.
                let Some(mut free) = spare.pop().or_else(|| to_fill.recv().ok()) else {
                    return Ok(());
                };
                let length = (span.range.end - span.range.start) as usize; // at most `PIECE`
                let bytes = &mut free.bytes_mut()[..length];
                let filled = chunks.fill(bytes, span.range.start)?;
                if filled < length {
                    // When all other pieces are free, everything before this span is written.
                    spare.extend(to_fill.iter().take(PIECES - 1 - spare.len()));
                    if spare.len() < PIECES - 1 {
                        return Ok(());
                    }
                    chunks.begin_tree(span.range.start, &bytes[..filled]);
                    chunks.fill(&mut bytes[filled..], span.range.start + filled as u64)?;
                }
                piece = Some(free);
            }
            if next.send(Next { job, span, piece }).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Second stage: writes the pieces, and syncs them in steps. A step is read back when it is
/// durable. Bytes that were in their place are synced and read back too, because their writer may
/// have been killed.
fn write(
    jobs: &[Job],
    to_write: &Receiver<Next>,
    free: Sender<Piece>,
    written: Sender<(usize, Range<u64>)>,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let (mut job, mut offset, mut announced, mut done) = (0, 0, 0, 0);
    for next in to_write {
        interrupt.check()?;
        if next.job != job {
            if !finish_step(jobs, job, announced..offset, &written)? {
                return Ok(());
            }
            (job, offset, announced) = (next.job, 0, 0);
        }
        let length = next.span.range.end - next.span.range.start;
        if let Some(piece) = next.piece {
            let target = &jobs[job].target;
            target
                .write(&piece.bytes()[..length as usize], offset)
                .map_err(|error| jobs[job].disk_failure("writing", offset, &error))?;
            let _ = free.send(piece);
        }
        offset += length;
        done += length;
        progress.at(done);
        if offset - announced >= STEP {
            if !finish_step(jobs, job, announced..offset, &written)? {
                return Ok(());
            }
            announced = offset;
        }
    }
    finish_step(jobs, job, announced..offset, &written).map(|_| ())
}

/// Syncs what was written and has it read back. False: the comparer has found a difference, and
/// says so.
fn finish_step(
    jobs: &[Job],
    job: usize,
    range: Range<u64>,
    written: &Sender<(usize, Range<u64>)>,
) -> Result<bool, Failure> {
    if range.is_empty() {
        return Ok(true);
    }
    let target = &jobs[job].target;
    target.sync().map_err(|error| jobs[job].disk_failure("syncing", range.start, &error))?;
    Ok(written.send((job, range)).is_ok())
}
