//! Copies between a client and an upstream of which at least one is more than a TCP connection, with the same ends as the
//! relay of two sockets: a half-close is carried on, anything but a clean end resets the client.

mod load;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::AsyncWrite;

use super::{ByteCounters, CopyError, direction::Failure, idle::IdleClock};
use crate::stream::Stream;
use load::Load;

/// A side that is reset rather than closed, unless the copy came to its end.
struct Side {
    stream: Stream,
    reset: bool,
}

impl Side {
    fn new(stream: Stream) -> Self {
        Self { stream, reset: true }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let (true, Stream::Tcp(socket)) = (self.reset, &self.stream) {
            socket.reset_at_end();
        }
    }
}

/// Copies both ways until both sides have ended, a side fails, or no byte moved for `idle_timeout`.
pub(crate) async fn relay_layered(
    client: Stream,
    upstream: Stream,
    counters: &ByteCounters,
    idle_timeout: Option<Duration>,
) -> Result<(), CopyError> {
    let (mut client, mut upstream) = (Side::new(client), Side::new(upstream));
    copy_both(&mut client.stream, &mut upstream.stream, counters, idle_timeout).await?;
    (client.reset, upstream.reset) = (false, false);
    Ok(())
}

async fn copy_both(
    client: &mut Stream,
    upstream: &mut Stream,
    counters: &ByteCounters,
    idle_timeout: Option<Duration>,
) -> Result<(), CopyError> {
    let (client, upstream) = (End(Mutex::new(client)), End(Mutex::new(upstream)));
    let moved = AtomicBool::new(false);
    let upward = async {
        let copied = copy(&client, &upstream, &counters.to_upstream, &moved).await;
        copied.map_err(|failure| blame(failure, CopyError::Client, CopyError::Upstream))
    };
    let downward = async {
        let copied = copy(&upstream, &client, &counters.to_client, &moved).await;
        copied.map_err(|failure| blame(failure, CopyError::Upstream, CopyError::Client))
    };
    let both = async { tokio::try_join!(upward, downward).map(drop) };
    match idle_timeout {
        None => both.await,
        Some(limit) => {
            tokio::select! {
                copied = both => copied,
                () = idle(limit, &moved) => Err(CopyError::IdleTimeout(limit)),
            }
        }
    }
}

/// One side, for both ways at once; the lock is held for a single look.
struct End<'a>(Mutex<&'a mut Stream>);

impl End<'_> {
    async fn poll<T>(
        &self,
        mut poll: impl FnMut(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        poll_fn(|cx| poll(Pin::new(&mut **self.0.lock().unwrap_or_else(PoisonError::into_inner)), cx)).await
    }
}

/// Copies one way to its end, and tells the sink of it.
async fn copy(source: &End<'_>, sink: &End<'_>, passed: &AtomicU64, moved: &AtomicBool) -> Result<(), Failure> {
    let mut load = Load::default();
    loop {
        let count = source.poll(|source, cx| load.poll_fill(source, cx)).await.map_err(Failure::Source)?;
        if count == 0 {
            return sink.poll(Stream::poll_shutdown).await.map_err(Failure::Sink);
        }
        let written = |count| {
            passed.fetch_add(count as u64, Relaxed);
            moved.store(true, Relaxed);
        };
        sink.poll(|sink, cx| load.poll_empty(sink, cx, written)).await.map_err(Failure::Sink)?;
        sink.poll(Stream::poll_flush).await.map_err(Failure::Sink)?;
    }
}

/// Returns once no byte has moved for `limit`.
async fn idle(limit: Duration, moved: &AtomicBool) {
    let mut clock = IdleClock::new(limit);
    poll_fn(|cx| clock.poll(moved.swap(false, Relaxed), cx)).await;
}

fn blame(
    failure: Failure,
    source: fn(std::io::Error) -> CopyError,
    sink: fn(std::io::Error) -> CopyError,
) -> CopyError {
    match failure {
        Failure::Source(error) => source(error),
        Failure::Sink(error) => sink(error),
        Failure::Internal(error) => CopyError::Internal(error),
    }
}

#[cfg(test)]
#[path = "layered_tests.rs"]
mod tests;
