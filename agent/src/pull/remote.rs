//! A bundle on a web server, as a [`Disk`] that can be read.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue, IF_RANGE, RANGE};
use image_layout::Disk;
use tokio::runtime::{Builder, Runtime};

use crate::config::Pull;
use crate::console::say;
use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::progress::megabytes;
use crate::pull::answer::{Asked, Version, check};
use crate::pull::client::Client;
use crate::pull::line::Line;
use crate::pull::pace::{LowSpeed, RateLimit};
use crate::pull::patience::Patience;
use crate::pull::spans::{bytes, spans};
use crate::pull::trouble::Trouble;

/// How much of a bundle's end the first request asks for, when nobody says how long the tail is. One of 3,500 chunks fits; of a
/// longer one, the rest is asked for.
const TAIL: u64 = 128 << 10;
/// Most requests that an install plans with.
const MOST_SPANS: usize = 100;

/// What was fetched so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fetched {
    /// Bytes of bodies, those thrown away included.
    pub(crate) bytes: u64,
    /// Requests, redirects and repeated ones included.
    pub(crate) requests: u64,
}

/// A bundle on a web server. Clones are the same one.
///
/// Reading blocks. It happens on the caller's thread, and so does everything else: between two reads nothing is received
/// but what the kernel holds, so that memory is bounded and little is lost when the process is killed. The thread must not
/// be one that drives an asynchronous runtime.
#[derive(Clone, Debug)]
pub(crate) struct Remote<'i> {
    source: Arc<Mutex<Source<'i>>>,
    size: u64,
    tail: Arc<Vec<u8>>,
}

#[derive(Debug)]
struct Source<'i> {
    /// Taken only when this is dropped.
    runtime: Option<Runtime>,
    transfer: Transfer<'i>,
}

/// Everything about the bytes that come.
#[derive(Debug)]
struct Transfer<'i> {
    client: Client<'i>,
    version: Option<Version>,
    /// For what is expected, and for what is asked for besides.
    main: Line,
    side: Line,
    expected: Vec<Range<u64>>,
    patience: Patience,
    slow: LowSpeed,
    rate: RateLimit,
    budget: Option<u64>,
    fetched: u64,
}

impl<'i> Remote<'i> {
    /// Opens the bundle at `url`: one request for its end, of `tail` bytes if the caller knows how long the tail is.
    ///
    /// # Errors
    /// [`Exit::Network`], [`Exit::Server`], [`Exit::Budget`], [`Exit::Config`], [`Exit::Usage`] for an address that is none, or
    /// what `interrupt` says.
    pub(crate) fn open(
        device: &Device,
        pull: &Pull,
        url: &str,
        tail: Option<u64>,
        interrupt: &'i Interrupt,
    ) -> Result<Self, Failure> {
        let mut transfer = Transfer {
            client: Client::new(device, pull, url, interrupt)?,
            version: None,
            main: Line::default(),
            side: Line::default(),
            expected: Vec::new(),
            patience: Patience::new(pull.tries),
            slow: LowSpeed::new(pull.low_speed_bytes_per_s, pull.low_speed),
            rate: RateLimit::new(pull.rate_limit_bytes_per_s),
            budget: Some(pull.byte_budget).filter(|budget| *budget > 0),
            fetched: 0,
        };
        let runtime = runtime()?;
        // Beyond the limit of the format nothing is a tail.
        let wanted = tail.unwrap_or(TAIL).clamp(1, bundle::limits::TAIL);
        let opened = runtime.block_on(transfer.open(wanted));
        let (size, tail) = match opened {
            Ok(opened) => opened,
            Err(trouble) => return Err(transfer.client.failure(trouble)),
        };
        let source = Source { runtime: Some(runtime), transfer };
        Ok(Self { source: Arc::new(Mutex::new(source)), size, tail: Arc::new(tail) })
    }

    /// Says in advance which bytes will be read, in ascending order.
    ///
    /// # Errors
    /// [`Exit::Budget`] when that is more than the configuration allows.
    pub(crate) fn expect(&self, ranges: &[Range<u64>]) -> Result<(), Failure> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        // What lies in the tail has come already.
        let tail_at = self.tail_at();
        let ranges: Vec<_> = ranges.iter().map(|range| range.start..range.end.min(tail_at)).collect();
        let expected = spans(&ranges, MOST_SPANS);
        let transfer = &mut source.transfer;
        transfer.afford(bytes(&expected)).map_err(|trouble| transfer.client.failure(trouble))?;
        transfer.expected = expected;
        Ok(())
    }

    /// What was fetched so far.
    pub(crate) fn fetched(&self) -> Fetched {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        Fetched { bytes: source.transfer.fetched, requests: source.transfer.client.requests }
    }

    /// Where it is, for people.
    pub(crate) fn address(&self) -> String {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.transfer.client.address().to_string()
    }

    fn tail_at(&self) -> u64 {
        self.size - self.tail.len() as u64
    }
}

/// The runtime of the thread that asks. One more thread, at most, looks names up.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .map_err(|error| Failure::new(Exit::Unexpected, format!("starting to fetch: {error}")))
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        // A name that is being looked up is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Disk for Remote<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size);
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let tail_at = self.tail_at();
        let remote = usize::try_from(tail_at.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (front, behind) = buf.split_at_mut(remote);
        if !behind.is_empty() {
            // At most the tail's length, which is a usize.
            let from = (offset + remote as u64 - tail_at) as usize;
            behind.copy_from_slice(&self.tail[from..from + behind.len()]);
        }
        if front.is_empty() {
            return Ok(());
        }
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let Source { runtime: Some(runtime), transfer } = &mut *source else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        runtime
            .block_on(transfer.fill(front, offset))
            .map_err(|trouble| io::Error::other(transfer.client.failure(trouble)))
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl Transfer<'_> {
    /// Asks for the end of the file: its size, and its last `wanted` bytes.
    async fn open(&mut self, wanted: u64) -> Result<(u64, Vec<u8>), Trouble> {
        let range = loop {
            match self.begin(false, Asked::Last(wanted)).await {
                Ok(range) => break range,
                Err(trouble) => self.again(false, trouble).await?,
            }
        };
        let mut tail = vec![0; (range.end - range.start) as usize]; // at most `wanted`
        self.read(false, &mut tail, range.clone()).await?;
        Ok((range.end, tail))
    }

    /// Fills `buf` from `offset`.
    async fn fill(&mut self, buf: &mut [u8], offset: u64) -> Result<(), Trouble> {
        let end = offset + buf.len() as u64;
        let span = self.expected.iter().find(|span| span.start <= offset && end <= span.end).cloned();
        match span {
            Some(span) => self.read(true, buf, offset..span.end).await,
            None => self.read(false, buf, offset..end).await,
        }
    }

    /// Fills `buf` from the start of `range`, asking for all of `range` where nothing is open.
    async fn read(&mut self, is_main: bool, buf: &mut [u8], range: Range<u64>) -> Result<(), Trouble> {
        let mut filled = 0;
        while filled < buf.len() {
            let at = range.start + filled as u64;
            match self.step(is_main, at..range.end, buf.len() - filled).await {
                Ok(bytes) => {
                    buf[filled..filled + bytes.len()].copy_from_slice(&bytes);
                    filled += bytes.len();
                    let pause = self.rate.count(bytes.len() as u64);
                    self.client.sleep(pause).await?;
                }
                Err(trouble) => self.again(is_main, trouble).await?,
            }
        }
        Ok(())
    }

    async fn step(
        &mut self,
        is_main: bool,
        range: Range<u64>,
        most: usize,
    ) -> Result<hyper::body::Bytes, Trouble> {
        let line = if is_main { &mut self.main } else { &mut self.side };
        if !line.brings(range.start, range.end) {
            line.drop_answer();
            self.begin(is_main, Asked::Range(range.clone())).await?;
        }
        let line = if is_main { &mut self.main } else { &mut self.side };
        let mut arrived = 0;
        let taken = line.take(&self.client, range.start, most, &mut arrived).await;
        self.fetched += arrived;
        self.patience.progress(arrived);
        taken
    }

    /// Sends a request and checks the head of its answer; its body is then what the line brings.
    async fn begin(&mut self, is_main: bool, asked: Asked) -> Result<Range<u64>, Trouble> {
        self.afford(match &asked {
            Asked::Last(count) => *count,
            Asked::Range(range) => range.end - range.start,
        })?;
        let value = HeaderValue::try_from(asked.header())
            .map_err(|error| Trouble::server(format!("asking for a range: {error}")))?;
        let mut headers: Vec<(HeaderName, HeaderValue)> = vec![(RANGE, value)];
        if let Some(exact) = self.version.as_ref().and_then(Version::if_range) {
            headers.push((IF_RANGE, exact.clone()));
        }
        let (line, other) =
            if is_main { (&mut self.main, &mut self.side) } else { (&mut self.side, &mut self.main) };
        line.borrow_from(other);
        let response = self.client.ask(&mut line.connection, &headers).await?;
        let checked = check(response.status(), response.headers(), &asked, self.version.as_ref());
        let (version, range) = checked.inspect_err(|_| line.hang_up())?;
        self.version.get_or_insert(version);
        line.open(response, range.clone(), self.slow.clone());
        Ok(range)
    }

    fn afford(&self, bytes: u64) -> Result<(), Trouble> {
        match self.budget {
            Some(budget) if self.fetched.saturating_add(bytes) > budget => {
                let cause = format!(
                    "{} are still to be fetched after {}, and byte-budget of [pull] allows {} in all; raise it, or install from a file",
                    megabytes(bytes),
                    megabytes(self.fetched),
                    megabytes(budget)
                );
                Err(Trouble::Lasting(Exit::Budget, cause))
            }
            _ => Ok(()),
        }
    }

    /// After a failure: waits for the next try, or ends it all.
    async fn again(&mut self, is_main: bool, trouble: Trouble) -> Result<(), Trouble> {
        let line = if is_main { &mut self.main } else { &mut self.side };
        line.hang_up();
        let (wait, cause) = self.patience.after(trouble)?;
        let seconds = Duration::as_secs_f64(&wait);
        say(format_args!("fetching {}: {cause}; trying again in {seconds:.1} s", self.client.address()));
        self.client.sleep(wait).await
    }
}
