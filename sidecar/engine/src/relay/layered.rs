//! Copies between a client and an upstream of which at least one is more than a TCP connection, with the same ends as the
//! relay of two sockets: a half-close is carried on, anything but a clean end resets the client.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use super::{ByteCounters, CopyError, direction::Failure, idle::IdleClock};
use crate::stream::Stream;

/// Bytes read at a time; what one TLS record holds.
const BUFFER: usize = 16 << 10;

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
    let (from_client, to_client) = split(client);
    let (from_upstream, to_upstream) = split(upstream);
    let moved = AtomicBool::new(false);
    let upward = async {
        let copied = copy(from_client, to_upstream, &counters.to_upstream, &moved).await;
        copied.map_err(|failure| blame(failure, CopyError::Client, CopyError::Upstream))
    };
    let downward = async {
        let copied = copy(from_upstream, to_client, &counters.to_client, &moved).await;
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

/// Copies one way to its end, and tells the sink of it.
async fn copy(
    source: impl AsyncRead,
    sink: impl AsyncWrite,
    passed: &AtomicU64,
    moved: &AtomicBool,
) -> Result<(), Failure> {
    let (mut source, mut sink) = (pin!(source), pin!(sink));
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = source.read(&mut buffer).await.map_err(Failure::Source)?;
        if count == 0 {
            return sink.shutdown().await.map_err(Failure::Sink);
        }
        sink.write_all(&buffer[..count]).await.map_err(Failure::Sink)?;
        sink.flush().await.map_err(Failure::Sink)?;
        passed.fetch_add(count as u64, Relaxed);
        moved.store(true, Relaxed);
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
