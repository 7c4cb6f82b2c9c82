//! Counters of a forward and its nodes, for metrics. Written by connections, read at a scrape; never by decisions.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use rustix::io::Errno;

use crate::{dial::DialCause, protocol::udp_frame::Unframed};

/// Upper bounds of the dial time histogram's buckets, in seconds; one more bucket holds the rest.
pub const DIAL_SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// How a forward's clients fared.
#[derive(Debug, Default)]
pub(crate) struct ClientCounters {
    pub(crate) accepted: AtomicU64,
    /// Clients that no node answered.
    pub(crate) unserved: AtomicU64,
    /// Clients served by another node than the first one chosen for them.
    pub(crate) passed_on: AtomicU64,
    /// Second dials begun because a node was silent.
    pub(crate) hedged: AtomicU64,
    /// Connections whose copying ended by an error.
    pub(crate) copy_errors: AtomicU64,
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// No node could be reached, or none resolved.
    NoNode,
    /// This host has no room for another association.
    NoRoom,
    /// Too many datagrams wait for a name to be resolved.
    QueueFull,
    /// The system's send buffer is full.
    BufferFull,
    /// It is larger than its way takes.
    TooBig,
    /// It is empty where its way carries no empty ones, or the system refused it for another reason.
    Refused,
}

impl Dropped {
    /// Every label, in the order of the variants.
    pub(crate) const REASONS: [&'static str; 6] =
        ["no_node", "no_room", "queue_full", "buffer_full", "too_big", "refused"];

    /// Why a datagram that was not sent is dropped; none if its way is at fault.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error) {
            Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Some(Self::BufferFull),
            Some(Errno::MSGSIZE) => Some(Self::TooBig),
            Some(Errno::PERM | Errno::INVAL) => Some(Self::Refused),
            None if error.kind() == io::ErrorKind::WouldBlock => Some(Self::BufferFull),
            _ => None,
        }
    }
}

/// What one worker has done with a forward's datagrams; has cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct DatagramCounters {
    pub(crate) to_upstream: AtomicU64,
    pub(crate) to_client: AtomicU64,
    pub(crate) bytes_to_upstream: AtomicU64,
    pub(crate) bytes_to_client: AtomicU64,
    dropped: [AtomicU64; Dropped::REASONS.len()],
}

impl From<Unframed> for Dropped {
    fn from(why: Unframed) -> Self {
        match why {
            Unframed::TooBig => Self::TooBig,
            Unframed::Empty => Self::Refused,
        }
    }
}

impl DatagramCounters {
    /// One of so many bytes went to a node, or did not.
    pub(crate) fn upstream(&self, sent: io::Result<usize>) {
        self.one(sent, &self.to_upstream, &self.bytes_to_upstream);
    }

    /// One of so many bytes went to a client, or did not.
    pub(crate) fn client(&self, sent: io::Result<usize>) {
        self.one(sent, &self.to_client, &self.bytes_to_client);
    }

    fn one(&self, sent: io::Result<usize>, datagrams: &AtomicU64, bytes: &AtomicU64) {
        match sent {
            Ok(count) => {
                datagrams.fetch_add(1, Relaxed);
                bytes.fetch_add(count as u64, Relaxed);
            }
            Err(error) => self.drop(Dropped::of(&error).unwrap_or(Dropped::Refused), 1),
        }
    }

    pub(crate) fn drop(&self, why: Dropped, datagrams: usize) {
        self.dropped[why as usize].fetch_add(datagrams as u64, Relaxed);
    }

    /// Dropped datagrams by reason, in the order of [`Dropped::REASONS`].
    pub(crate) fn dropped(&self) -> [u64; Dropped::REASONS.len()] {
        std::array::from_fn(|index| self.dropped[index].load(Relaxed))
    }
}

/// How dials to a node ended.
#[derive(Debug, Default)]
pub(crate) struct NodeCounters {
    pub(crate) connections: AtomicU64,
    failures: [AtomicU64; DialCause::REASONS.len()],
    dial_times: Histogram,
}

/// Durations counted by bucket.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; DIAL_SECONDS.len() + 1],
    micros: AtomicU64,
}

/// A histogram as read: counts per bucket (not cumulated), and the sum in seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistogramView {
    pub buckets: Vec<u64>,
    pub sum: f64,
}

impl NodeCounters {
    pub(crate) fn answered(&self, took: Duration) {
        self.dial_times.observe(took);
    }

    pub(crate) fn failed(&self, cause: &DialCause) {
        self.failures[cause.index()].fetch_add(1, Relaxed);
    }

    /// Failures by reason, in the order of [`DialCause::REASONS`].
    pub(crate) fn failures(&self) -> [u64; DialCause::REASONS.len()] {
        std::array::from_fn(|index| self.failures[index].load(Relaxed))
    }

    pub(crate) fn dial_times(&self) -> HistogramView {
        self.dial_times.view()
    }
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = DIAL_SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(DIAL_SECONDS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    fn view(&self) -> HistogramView {
        HistogramView {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            sum: Duration::from_micros(self.micros.load(Relaxed)).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_is_counted_in_the_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [400, 500, 700, 60_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let view = histogram.view();
        assert_eq!((view.buckets[0], view.buckets[1], view.buckets[DIAL_SECONDS.len()]), (2, 1, 1));
        assert!((view.sum - 60.0016).abs() < 1e-9);
    }
}
