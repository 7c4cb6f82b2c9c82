//! Tells when a connection has moved no byte for its idle timeout.
//! `relay` keeps one only for connections that have a timeout; moving bytes costs a flag, never a look at the clock.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// The parts a timeout is divided into: it fires up to one part late, never early.
const PARTS: u32 = 4;

/// Fires once `limit` has gone by without bytes.
#[derive(Debug)]
pub(super) struct IdleClock {
    limit: Duration,
    tick: Pin<Box<Sleep>>,
    /// Ticks since bytes last moved; the first of them ends a part that had begun before.
    ticks: u32,
}

impl IdleClock {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, tick: Box::pin(sleep(limit / PARTS)), ticks: 1 }
    }

    /// Returns the limit once it has gone by; `moved`: bytes have moved since the last call.
    pub(super) fn poll(&mut self, moved: bool, cx: &mut Context<'_>) -> Poll<Duration> {
        if moved {
            self.ticks = 0;
        }
        loop {
            ready!(self.tick.as_mut().poll(cx));
            self.ticks += 1;
            if self.ticks > PARTS {
                return Poll::Ready(self.limit);
            }
            let next = Instant::now() + self.limit / PARTS;
            self.tick.as_mut().reset(next);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::future::poll_fn;

    const LIMIT: Duration = Duration::from_secs(8);

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_moves_a_byte_lasts_exactly_the_limit() {
        let start = Instant::now();
        let mut clock = IdleClock::new(LIMIT);
        assert_eq!(poll_fn(|cx| clock.poll(false, cx)).await, LIMIT);
        let lasted = start.elapsed();
        assert!(lasted >= LIMIT && lasted < LIMIT + LIMIT / PARTS / 2, "{lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_put_the_end_off_and_it_comes_at_most_a_part_late() {
        for moved_after in [0, 1, 1999, 2000, 2001, 5500, 7999] {
            let mut clock = IdleClock::new(LIMIT);
            let until = Instant::now() + Duration::from_millis(moved_after);
            let early = tokio::time::timeout_at(until, poll_fn(|cx| clock.poll(false, cx)));
            assert!(early.await.is_err());
            let moved = Instant::now();
            let mut fresh = true;
            let ended = poll_fn(|cx| clock.poll(std::mem::take(&mut fresh), cx));
            assert_eq!(ended.await, LIMIT);
            let lasted = moved.elapsed();
            assert!(lasted >= LIMIT, "{lasted:?} after {moved_after} ms");
            assert!(lasted <= LIMIT + LIMIT / PARTS + Duration::from_millis(10), "{lasted:?}");
        }
    }
}
