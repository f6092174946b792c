//! Waits for the network, with a time limit, and stops when a person asks for it.
//!
//! `pace` measures how slow a server may be. The runtime runs on the caller's thread, and only
//! while the caller waits.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use tokio::runtime::{Builder, Runtime};

use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::pull::pace::LowSpeed;
use crate::pull::trouble::Trouble;

/// How often a wait looks if somebody wants to stop.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// Returns the runtime of the thread that asks. At most one more thread looks up names.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .map_err(|error| Failure::new(Exit::Unexpected, format!("starting to fetch: {error}")))
}

/// Waits, and looks meanwhile whether somebody asks to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting<'i> {
    interrupt: &'i Interrupt,
}

impl<'i> Waiting<'i> {
    pub(crate) fn new(interrupt: &'i Interrupt) -> Self {
        Self { interrupt }
    }

    /// Waits for `future`, but not longer than `longest`, and not when somebody asks to stop.
    pub(crate) async fn wait<T>(
        &self,
        longest: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Trouble> {
        let began = Instant::now();
        let mut future = std::pin::pin!(future);
        loop {
            let left = longest.saturating_sub(began.elapsed()).min(LOOK);
            if let Ok(outcome) = tokio::time::timeout(left, &mut future).await {
                return Ok(outcome);
            }
            self.interrupt.check().map_err(Trouble::Stopped)?;
            if began.elapsed() >= longest {
                let waited = began.elapsed().as_secs_f64();
                return Err(Trouble::passing(format!("nothing came for {waited:.1} s")));
            }
        }
    }

    /// Returns the next bytes of `body`. `None`: its end. A body that is too slow is an error.
    pub(crate) async fn receive(
        &self,
        body: &mut Incoming,
        speed: &mut LowSpeed,
    ) -> Result<Option<Bytes>, Trouble> {
        loop {
            let began = Instant::now();
            let bytes = match self.wait(speed.left(), body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => {
                    return Err(Trouble::of_connection("the transfer broke off", &error));
                }
                // The count below says how slow it was.
                Err(Trouble::Passing { .. }) => Bytes::new(),
                Err(trouble) => return Err(trouble),
            };
            speed.count(began.elapsed(), bytes.len() as u64).map_err(Trouble::passing)?;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// Sleeps, but not when somebody asks to stop.
    pub(crate) async fn sleep(&self, time: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + time;
        while let Some(left) =
            until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            tokio::time::sleep(left.min(LOOK)).await;
            self.interrupt.check().map_err(Trouble::Stopped)?;
        }
        Ok(())
    }

    /// Returns all of `body`, of at most `limit` bytes.
    pub(crate) async fn receive_whole(
        &self,
        mut body: Incoming,
        speed: &mut LowSpeed,
        limit: usize,
    ) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        loop {
            let Some(data) = self.receive(&mut body, speed).await? else {
                return Ok(bytes);
            };
            if bytes.len() + data.len() > limit {
                return Err(Trouble::server(format!("the document is longer than {limit} bytes")));
            }
            bytes.extend_from_slice(&data);
        }
    }
}
