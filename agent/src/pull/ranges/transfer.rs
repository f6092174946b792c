//! Fetches bytes from a server into a buffer, and tries again where that may help.
//!
//! `line` reads one answer, `answer` checks it, and `patience` counts the tries. Spans that were
//! announced come as long answers. Any other bytes are a request of their own.

use std::ops::Range;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue, IF_RANGE, RANGE};

use crate::config::Pull;
use crate::console::say;
use crate::exit::Exit;
use crate::pull::client::http::Client;
use crate::pull::pace::{LowSpeed, RateLimit};
use crate::pull::patience::Patience;
use crate::pull::ranges::answer::{Asked, Version, check};
use crate::pull::ranges::line::Line;
use crate::pull::ranges::spans::bytes;
use crate::pull::trouble::Trouble;
use image_layout::Amount;

/// The bytes of one file, as they are fetched.
#[derive(Debug)]
pub(crate) struct Transfer<'i> {
    pub(crate) client: Client<'i>,
    version: Option<Version>,
    /// One line for what is expected, and one for all else.
    main: Line,
    side: Line,
    expected: Vec<Range<u64>>,
    patience: Patience,
    slow: LowSpeed,
    rate: RateLimit,
    budget: Option<u64>,
    /// Bytes of bodies that came.
    pub(crate) fetched: u64,
}

impl<'i> Transfer<'i> {
    pub(crate) fn new(client: Client<'i>, pull: &Pull) -> Self {
        Self {
            client,
            version: None,
            main: Line::default(),
            side: Line::default(),
            expected: Vec::new(),
            patience: Patience::new(pull.tries),
            slow: LowSpeed::new(pull.low_speed_bytes_per_s, pull.low_speed),
            rate: RateLimit::new(pull.rate_limit_bytes_per_s),
            budget: Some(pull.byte_budget).filter(|budget| *budget > 0),
            fetched: 0,
        }
    }

    /// Says that these spans will be read, in this order.
    pub(crate) fn expect(&mut self, expected: Vec<Range<u64>>) -> Result<(), Trouble> {
        self.afford(bytes(&expected))?;
        self.expected = expected;
        Ok(())
    }

    /// Asks for the end of the file. Returns its size and its last `wanted` bytes.
    pub(crate) async fn open(&mut self, wanted: u64) -> Result<(u64, Vec<u8>), Trouble> {
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
    pub(crate) async fn fill(&mut self, buf: &mut [u8], offset: u64) -> Result<(), Trouble> {
        let end = offset + buf.len() as u64;
        let span =
            self.expected.iter().find(|span| span.start <= offset && end <= span.end).cloned();
        match span {
            Some(span) => self.read(true, buf, offset..span.end).await,
            None => self.read(false, buf, offset..end).await,
        }
    }

    /// Fills `buf` from the start of `range`. If no answer is open, asks for all of `range`.
    async fn read(
        &mut self,
        is_main: bool,
        buf: &mut [u8],
        range: Range<u64>,
    ) -> Result<(), Trouble> {
        let mut filled = 0;
        while filled < buf.len() {
            let at = range.start + filled as u64;
            match self.step(is_main, at..range.end, buf.len() - filled).await {
                Ok(bytes) => {
                    buf[filled..filled + bytes.len()].copy_from_slice(&bytes);
                    filled += bytes.len();
                    let pause = self.rate.count(bytes.len() as u64);
                    self.client.waiting.sleep(pause).await?;
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
    ) -> Result<Bytes, Trouble> {
        let line = if is_main { &mut self.main } else { &mut self.side };
        if !line.brings(range.start, range.end) {
            line.drop_answer();
            self.begin(is_main, Asked::Range(range.clone())).await?;
        }
        let line = if is_main { &mut self.main } else { &mut self.side };
        let mut arrived = 0;
        let taken = line.take(self.client.waiting, range.start, most, &mut arrived).await;
        self.fetched += arrived;
        self.patience.progress(arrived);
        taken
    }

    /// Sends a request and checks the head of its answer. The line then brings its body.
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
        let (line, other) = if is_main {
            (&mut self.main, &mut self.side)
        } else {
            (&mut self.side, &mut self.main)
        };
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
                    "{} are still to be fetched after {}, and byte-budget of [pull] allows {} in \
                        all; raise byte-budget, or install from a file",
                    Amount(bytes),
                    Amount(self.fetched),
                    Amount(budget)
                );
                Err(Trouble::Lasting(Exit::Budget, cause))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the next try after a failure, or gives up.
    async fn again(&mut self, is_main: bool, trouble: Trouble) -> Result<(), Trouble> {
        let line = if is_main { &mut self.main } else { &mut self.side };
        line.hang_up();
        let (wait, cause) = self.patience.after(trouble)?;
        let seconds = Duration::as_secs_f64(&wait);
        say(format_args!(
            "fetching {}: {cause}; trying again in {seconds:.1} s",
            self.client.address()
        ));
        self.client.waiting.sleep(wait).await
    }
}
