//! How many connections each worker carries, over all forwards, and for how many this process has descriptors.
//! `accept` counts here and asks who shall carry the next one. No counter is shared by workers: whoever wants a sum adds up.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;

/// Descriptors of a connection: the client's and the upstream's. An association has one.
const PER_CONNECTION: u64 = 2;
/// Descriptors of a worker: what its runtime waits with, and the two ends of its pipe.
const PER_WORKER: u64 = 6;
/// Descriptors of the process itself: standard streams, watched files, the admin port, the runtime beside the workers.
const PER_PROCESS: u64 = 24;
/// One part in this many is kept for listeners, second dials of a client, dials that run on to be judged, health
/// checks and questions for names …
const KEPT_PART: u64 = 8;
/// … but no more than this, which is all of them at their limits.
const KEPT_MOST: u64 = 1024;

/// The number of live connections of each worker; each count has a cache line of its own.
#[derive(Debug)]
pub(crate) struct Load {
    live: Box<[CacheLine]>,
    /// Connections this process has descriptors for.
    capacity: usize,
    /// Loops that wait for a connection to end; mostly read.
    waiting: AtomicUsize,
    ended: Notify,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct CacheLine {
    connections: AtomicUsize,
    associations: AtomicUsize,
}

impl Load {
    /// Makes counts for `workers` workers, all zero; together they may carry `capacity` connections.
    pub(crate) fn new(workers: usize, capacity: usize) -> Self {
        let live = (0..workers).map(|_| CacheLine::default()).collect();
        Self { live, capacity, waiting: AtomicUsize::new(0), ended: Notify::new() }
    }

    /// Makes counts for as many connections as this process has descriptors for at present.
    pub(crate) fn of_process(workers: usize) -> Self {
        Self::new(workers, capacity(getrlimit(Resource::Nofile).current, workers))
    }

    /// Returns the number of workers.
    pub(crate) fn workers(&self) -> usize {
        self.live.len()
    }

    /// Returns the live connections of worker `index`.
    pub(crate) fn live(&self, index: usize) -> usize {
        self.live[index].connections.load(Ordering::Relaxed)
    }

    /// Counts one more connection on worker `index`.
    pub(crate) fn add(&self, index: usize) {
        self.live[index].connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one connection less on worker `index`.
    pub(crate) fn remove(&self, index: usize) {
        self.live[index].connections.fetch_sub(1, Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.ended.notify_one();
        }
    }

    /// Returns the live associations of worker `index`.
    pub(crate) fn associations(&self, index: usize) -> usize {
        self.live[index].associations.load(Ordering::Relaxed)
    }

    /// Counts one more association on worker `index`.
    pub(crate) fn add_association(&self, index: usize) {
        self.live[index].associations.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one association less on worker `index`.
    pub(crate) fn remove_association(&self, index: usize) {
        self.live[index].associations.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there are descriptors for one more connection or association. Workers that ask at the same time may all be told so.
    pub(crate) fn has_room(&self) -> bool {
        let associations = (0..self.live.len()).map(|index| self.associations(index)).sum::<usize>();
        let connections = (0..self.live.len()).map(|index| self.live(index)).sum::<usize>();
        connections + associations.div_ceil(PER_CONNECTION as usize) < self.capacity
    }

    /// Waits for the end of a connection. One that ends just now may be missed: wait for something else too.
    pub(crate) async fn ended(&self) {
        let _waiting = Waiting::new(&self.waiting);
        self.ended.notified().await;
    }

    /// Returns the worker with the fewest live connections, the first of equals.
    pub(crate) fn least(&self) -> usize {
        let by_load = |&index: &usize| self.live(index);
        (0..self.live.len()).min_by_key(by_load).unwrap_or(0)
    }
}

/// Counts one who waits, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connections for which a process with this many descriptors (none: no limit) has enough, at least one.
fn capacity(descriptors: Option<u64>, workers: usize) -> usize {
    let Some(descriptors) = descriptors else { return usize::MAX };
    let kept = (descriptors / KEPT_PART).min(KEPT_MOST);
    let other = PER_PROCESS + PER_WORKER * workers as u64 + kept;
    let connections = descriptors.saturating_sub(other) / PER_CONNECTION;
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_takes_two_descriptors_of_what_the_rest_leaves() {
        for (descriptors, workers, connections) in [
            (None, 2, usize::MAX),
            (Some(20_000), 2, 9_470),
            (Some(1_024), 2, 430),
            (Some(1_024), 64, 244),
            (Some(100), 2, 26),
            (Some(20), 2, 1),
            (Some(0), 2, 1),
        ] {
            assert_eq!(capacity(descriptors, workers), connections, "{descriptors:?}, {workers} workers");
        }
    }

    #[test]
    fn the_connections_of_all_workers_share_the_room() {
        let load = Load::new(3, 2);
        load.add(0);
        assert!(load.has_room());
        load.add(2);
        assert!(!load.has_room());
        load.remove(0);
        assert!(load.has_room());
    }

    #[test]
    fn two_associations_take_the_room_of_a_connection() {
        let load = Load::new(2, 2);
        load.add(0);
        assert!(load.has_room());
        load.add_association(0);
        assert!(!load.has_room());
        load.remove(0);
        load.add_association(1);
        assert!(load.has_room(), "two descriptors are left");
        load.add_association(1);
        assert!(!load.has_room());
        load.remove_association(0);
        assert!(load.has_room());
    }

    #[tokio::test]
    async fn who_waits_is_told_of_an_end_and_an_end_before_it_is_forgotten() {
        let load = Load::new(1, 1);
        load.add(0);
        load.add(0);
        load.remove(0);
        let mut waiting = Box::pin(load.ended());
        assert!(futures::poll!(&mut waiting).is_pending());
        load.remove(0);
        waiting.await;
    }

    #[test]
    fn the_least_loaded_worker_is_the_first_of_equals() {
        let load = Load::new(3, usize::MAX);
        assert_eq!(load.least(), 0);
        load.add(0);
        assert_eq!(load.least(), 1);
        load.add(1);
        load.add(2);
        load.remove(2);
        assert_eq!(load.least(), 2);
        assert_eq!([0, 1, 2].map(|index| load.live(index)), [1, 1, 0]);
    }
}
