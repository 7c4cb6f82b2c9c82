//! Copies bytes between an accepted client and its dialled upstream, both ways in one future, until both have ended.
//! The recipes call `relay` with two plain TCP sockets; each way's work is in `direction`.
//! No buffer belongs to a connection: only bytes a full sink left over are kept, for as long as they exist.
//! Anything but a clean end of both ways resets both sides, so that nobody takes a truncated stream for a whole one.

mod direction;
mod idle;
mod layered;
mod pace;
#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::io;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;

use crate::{socket::Socket, stream::Stream};
use direction::{Direction, Failure};
use idle::IdleClock;

pub(crate) use layered::relay_layered;

/// The bytes passed on so far; one instance per worker, in cache lines of its own, keeps the counting cheap.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ByteCounters {
    /// Bytes that upstreams have taken.
    pub(crate) to_upstream: AtomicU64,
    /// Bytes that clients have taken.
    pub(crate) to_client: AtomicU64,
}

/// Why a copy ended before both sides had ended it; it says nothing about the liveness of a node.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The client's connection failed.
    #[error("client connection: {0}")]
    Client(#[source] io::Error),
    /// The upstream's connection failed.
    #[error("upstream connection: {0}")]
    Upstream(#[source] io::Error),
    /// Neither side failed: the system did.
    #[error("copying: {0}")]
    Internal(#[source] io::Error),
    /// No byte moved either way for the idle timeout.
    #[error("no byte either way for {0:?}")]
    IdleTimeout(Duration),
}

impl CopyError {
    /// Returns the metric label for this error.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Client(_) => "ClientFailed",
            Self::Upstream(_) => "UpstreamFailed",
            Self::Internal(_) => "Internal",
            Self::IdleTimeout(_) => "IdleTimeout",
        }
    }
}

/// Copies both ways, by the kernel where both sides are plain TCP; ends as `relay` does.
pub(crate) async fn relay_streams(
    client: Stream,
    upstream: Stream,
    counters: &ByteCounters,
    idle_timeout: Option<Duration>,
) -> Result<(), CopyError> {
    match (client, upstream) {
        (Stream::Tcp(client), Stream::Tcp(upstream)) => relay(client, upstream, counters, idle_timeout).await,
        // Boxed, so that plain connections don't pay for its room.
        (client, upstream) => Box::pin(relay_layered(client, upstream, counters, idle_timeout)).await,
    }
}

/// Copies both ways until both sides have ended, a side fails, or no byte moved for `idle_timeout`.
/// The end of one side is carried to the other as a half-close once all before it is out.
/// Dropping the future unfinished resets both sides.
pub(crate) fn relay(
    client: Socket,
    upstream: Socket,
    counters: &ByteCounters,
    idle_timeout: Option<Duration>,
) -> impl Future<Output = Result<(), CopyError>> + Send {
    let sides = Sides { client, upstream, reset: true };
    async move {
        let mut sides = sides;
        let mut ways = Ways::new(idle_timeout);
        if poll_fn(|cx| ways.poll(&sides, counters, cx)).await? == Progress::HalfClosed {
            // Boxed, because few connections spend long here and all others would pay for the room.
            Box::pin(finish(&sides, &mut ways, counters)).await?;
        }
        sides.reset = false;
        Ok(())
    }
}

/// The two connections; dropped with `reset` still set, both are reset rather than closed.
#[derive(Debug)]
struct Sides {
    client: Socket,
    upstream: Socket,
    reset: bool,
}

impl Drop for Sides {
    fn drop(&mut self) {
        if self.reset {
            self.client.reset_at_end();
            self.upstream.reset_at_end();
        }
    }
}

/// How far the copy has come when it has something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// One way has ended, for the first time.
    HalfClosed,
    /// Both ways have ended.
    Done,
}

/// Both ways of one connection.
#[derive(Debug)]
struct Ways {
    upward: Direction,
    downward: Direction,
    half_closed: bool,
    /// A failed write; what its reader's side still has for the other side is delivered first.
    failed: Option<CopyError>,
    idle: Option<Box<IdleClock>>,
}

impl Ways {
    fn new(idle_timeout: Option<Duration>) -> Self {
        Self {
            upward: Direction::default(),
            downward: Direction::default(),
            half_closed: false,
            failed: None,
            idle: idle_timeout.map(|limit| Box::new(IdleClock::new(limit))),
        }
    }

    fn poll(
        &mut self,
        sides: &Sides,
        counters: &ByteCounters,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Progress, CopyError>> {
        let (client, upstream) = (&sides.client, &sides.upstream);
        if let Poll::Ready(ended) = self.upward.poll(client, upstream, &counters.to_upstream, cx) {
            self.downward.withhold_end();
            ended.or_else(|failure| self.note(failure, CopyError::Client, CopyError::Upstream))?;
        }
        if let Poll::Ready(ended) = self.downward.poll(upstream, client, &counters.to_client, cx) {
            self.upward.withhold_end();
            ended.or_else(|failure| self.note(failure, CopyError::Upstream, CopyError::Client))?;
        }
        match (self.upward.has_ended(), self.downward.has_ended()) {
            (true, true) => Poll::Ready(self.failed.take().map_or(Ok(Progress::Done), Err)),
            (up, down) if up != down && !self.half_closed => {
                self.half_closed = true;
                Poll::Ready(Ok(Progress::HalfClosed))
            }
            _ => self.poll_idle(cx).map(Err),
        }
    }

    /// A failed read ends the copy at once: whatever its side had sent is out already. A failed write leaves the
    /// other way to end by itself, which it does as soon as it has read what the failed side sent before.
    fn note(
        &mut self,
        failure: Failure,
        source: fn(io::Error) -> CopyError,
        sink: fn(io::Error) -> CopyError,
    ) -> Result<(), CopyError> {
        match failure {
            Failure::Source(error) => Err(self.failed.take().unwrap_or_else(|| source(error))),
            Failure::Sink(error) => {
                self.failed.get_or_insert(sink(error));
                Ok(())
            }
            Failure::Internal(error) => Err(CopyError::Internal(error)),
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<CopyError> {
        let Some(idle) = &mut self.idle else {
            return Poll::Pending;
        };
        let moved = self.upward.take_moved() | self.downward.take_moved();
        let limit = ready!(idle.poll(moved, cx));
        Poll::Ready(CopyError::IdleTimeout(limit))
    }
}

/// Carries on with the way that is left, and looks out for the death of the side that only reads from now on:
/// nothing else would notice it while the other side is silent.
async fn finish(sides: &Sides, ways: &mut Ways, counters: &ByteCounters) -> Result<(), CopyError> {
    let (silent, failed): (_, fn(io::Error) -> CopyError) = if ways.upward.has_ended() {
        (&sides.client, CopyError::Client)
    } else {
        (&sides.upstream, CopyError::Upstream)
    };
    let outcome = tokio::select! {
        biased;
        ended = poll_fn(|cx| ways.poll(sides, counters, cx)) => ended.map(|_| ()),
        error = death(silent) => Err(failed(error)),
    };
    outcome.map_err(|error| ways.failed.take().unwrap_or(error))
}

async fn death(socket: &Socket) -> io::Error {
    if let Err(error) = socket.ready(Interest::ERROR).await {
        return error;
    }
    match socket.stream().take_error() {
        Ok(Some(error)) | Err(error) => error,
        Ok(None) => io::ErrorKind::ConnectionReset.into(),
    }
}
