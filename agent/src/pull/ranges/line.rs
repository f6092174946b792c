//! A kept connection to the server, and the answer that is being read from it.
//!
//! `transfer` opens answers on it. With HTTP/1.1 an unread answer blocks its connection, so the
//! connection is closed.

use std::ops::Range;

use hyper::Response;
use hyper::body::{Body, Bytes, Incoming};

use crate::pull::client::waiting::Waiting;
use crate::pull::connection::connector::Connection;
use crate::pull::pace::LowSpeed;
use crate::pull::trouble::Trouble;

/// The bytes of a range, as they come.
#[derive(Debug)]
pub(crate) struct Coming {
    incoming: Incoming,
    /// Bytes that have come and were not taken.
    rest: Bytes,
    /// From the place of `rest` in the file to the end of the range.
    range: Range<u64>,
    speed: LowSpeed,
}

/// A connection with at most one answer on it.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) connection: Option<Connection>,
    coming: Option<Coming>,
}

impl Line {
    /// Starts to read `response`, which was checked and brings `range`.
    pub(crate) fn open(
        &mut self,
        response: Response<Incoming>,
        range: Range<u64>,
        speed: LowSpeed,
    ) {
        self.coming =
            Some(Coming { incoming: response.into_body(), rest: Bytes::new(), range, speed });
    }

    /// Returns true if the answer that is being read will bring the bytes from `at` on, and ends at
    /// `end`.
    pub(crate) fn brings(&self, at: u64, end: u64) -> bool {
        self.coming
            .as_ref()
            .is_some_and(|coming| coming.range.start <= at && coming.range.end == end)
    }

    /// Gives up the answer that is being read. Gives up the connection too, if it cannot be used
    /// again without reading the rest.
    pub(crate) fn drop_answer(&mut self) {
        if self.coming.take().is_some()
            && !self.connection.as_ref().is_some_and(Connection::is_http_2)
        {
            self.connection = None;
        }
    }

    /// Takes over the connection of an idle line, so that no second one is made.
    pub(crate) fn borrow_from(&mut self, other: &mut Self) {
        if self.connection.is_none() && other.coming.is_none() {
            self.connection = other.connection.take();
        }
    }

    /// Gives up the answer and the connection.
    pub(crate) fn hang_up(&mut self) {
        (self.coming, self.connection) = (None, None);
    }

    /// Returns the next bytes from `at` on, at most `most`. Bytes in front of them are thrown away.
    /// Adds to `arrived` how many bytes the network brought.
    pub(crate) async fn take(
        &mut self,
        waiting: Waiting<'_>,
        at: u64,
        most: usize,
        arrived: &mut u64,
    ) -> Result<Bytes, Trouble> {
        loop {
            let Some(coming) = &mut self.coming else {
                return Err(Trouble::passing("there is no answer to read"));
            };
            let skip = usize::try_from(at - coming.range.start)
                .unwrap_or(usize::MAX)
                .min(coming.rest.len());
            coming.skip(skip);
            if !coming.rest.is_empty() {
                let taken = coming.rest.slice(..coming.rest.len().min(most));
                coming.skip(taken.len());
                if coming.range.is_empty() {
                    self.finish(waiting).await?;
                }
                return Ok(taken);
            }
            coming.receive(waiting, arrived).await?;
        }
    }

    /// Ends an answer whose bytes have all come: nothing may follow. A connection that does not say
    /// so in time is not used again.
    async fn finish(&mut self, waiting: Waiting<'_>) -> Result<(), Trouble> {
        let Some(mut coming) = self.coming.take() else { return Ok(()) };
        if coming.incoming.is_end_stream() {
            return Ok(());
        }
        match waiting.receive(&mut coming.incoming, &mut coming.speed).await {
            Ok(None) => {}
            Ok(Some(_)) => return Err(too_much()),
            Err(stopped @ Trouble::Stopped(_)) => return Err(stopped),
            Err(_) => self.connection = None,
        }
        Ok(())
    }
}

impl Coming {
    fn skip(&mut self, count: usize) {
        self.rest = self.rest.slice(count..);
        self.range.start += count as u64;
    }

    async fn receive(&mut self, waiting: Waiting<'_>, arrived: &mut u64) -> Result<(), Trouble> {
        let left = self.range.end - self.range.start;
        let bytes =
            waiting.receive(&mut self.incoming, &mut self.speed).await?.ok_or_else(|| {
                Trouble::passing(format!("the transfer ended {left} bytes too early"))
            })?;
        *arrived += bytes.len() as u64;
        if bytes.len() as u64 > left {
            return Err(too_much());
        }
        self.rest = bytes;
        Ok(())
    }
}

fn too_much() -> Trouble {
    Trouble::server("the server sends more than it was asked for")
}
