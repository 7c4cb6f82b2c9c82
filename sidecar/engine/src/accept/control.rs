//! What the loops of one listener share with the recipe that started them: limit, live count, stop, trouble.
//! Everything may be read and changed from any thread while the loops run; nobody has to ask twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::workers::Load;

/// A shortage is over when it has not come back for this long though clients were accepted.
const CALM: Duration = Duration::from_secs(1);

/// Why a listener accepts slowly or not at all at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Trouble {
    /// It accepts.
    #[default]
    None,
    /// As many connections are live as are allowed; clients wait in the backlog.
    AtLimit,
    /// The process or the system has no file descriptor left for another connection.
    OutOfDescriptors,
    /// The system has no memory left for sockets.
    OutOfMemory,
    /// Accepted clients wait for what their upstream takes of this host; they come before new ones.
    NoUpstream,
    /// The system refuses for another reason.
    AcceptFailed,
}

/// A trouble, and when it was met last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raised {
    pub(crate) trouble: Trouble,
    at: Instant,
}

/// What the loops do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// No more clients; the connections go on.
    Stopped,
    /// The connections are ended too.
    Aborted,
}

/// The limit, the state and the end of one listener's loops.
#[derive(Debug)]
pub(crate) struct ServeControl {
    live: AtomicUsize,
    max: AtomicUsize,
    /// Accepted clients whose upstream this host has no means for.
    waiting: AtomicUsize,
    room: Notify,
    phase: watch::Sender<Phase>,
    loops: watch::Sender<usize>,
    trouble: watch::Sender<Raised>,
    /// Whether `trouble` is anything, readable without its lock.
    troubled: AtomicBool,
}

impl ServeControl {
    /// Makes the control of a listener that carries at most `max_connections` at once.
    pub(crate) fn new(max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            live: AtomicUsize::new(0),
            max: AtomicUsize::new(max_connections),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
            phase: watch::Sender::new(Phase::Serving),
            loops: watch::Sender::new(0),
            trouble: watch::Sender::new(Raised { trouble: Trouble::None, at: Instant::now() }),
            troubled: AtomicBool::new(false),
        })
    }

    /// Returns the live connections over all workers; a worker about to accept may count as one for a moment.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Changes the limit at once; connections beyond a lower one go on.
    pub(crate) fn set_max_connections(&self, max: usize) {
        self.max.store(max, Ordering::SeqCst);
        self.room.notify_waiters();
    }

    /// Ends accepting at once and gives up the listener; connections go on.
    pub(crate) fn stop(&self) {
        self.phase.send_if_modified(|phase| {
            let serving = *phase == Phase::Serving;
            if serving {
                *phase = Phase::Stopped;
            }
            serving
        });
    }

    /// Ends accepting and all connections.
    pub(crate) fn abort(&self) {
        self.phase.send_replace(Phase::Aborted);
    }

    /// Waits until every loop has given up the listener and its last connection has ended.
    pub(crate) async fn drained(&self) {
        // The sender is here, so the wait cannot fail.
        let _ = self.loops.subscribe().wait_for(|&loops| loops == 0).await;
    }

    /// Returns what keeps the listener from accepting at present.
    pub(crate) fn trouble(&self) -> Trouble {
        self.trouble.borrow().trouble
    }

    /// Returns a receiver that is told of every change of `trouble`.
    pub(crate) fn watch_trouble(&self) -> watch::Receiver<Raised> {
        self.trouble.subscribe()
    }

    /// Lets no new client in until the guard is dropped: an accepted one waits for what its upstream takes of this host.
    pub(crate) fn wait_for_upstream(self: &Arc<Self>) -> UpstreamWait {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        UpstreamWait(Arc::clone(self))
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Takes room for one connection, if there is any.
    pub(crate) fn try_reserve(&self) -> bool {
        let below = |live| (live < self.max.load(Ordering::SeqCst)).then_some(live + 1);
        self.live.fetch_update(Ordering::SeqCst, Ordering::SeqCst, below).is_ok()
    }

    /// Gives back the room of one connection.
    pub(crate) fn release(&self) {
        let before = self.live.fetch_sub(1, Ordering::SeqCst);
        // Loops wait only at the limit.
        if before >= self.max.load(Ordering::SeqCst) {
            self.room.notify_waiters();
        }
    }

    /// Waits until there is room for a connection, or may be.
    pub(crate) async fn room(&self) {
        let mut told = std::pin::pin!(self.room.notified());
        // Listen before looking, or a connection that ends in between is missed.
        told.as_mut().enable();
        if self.live.load(Ordering::SeqCst) >= self.max.load(Ordering::SeqCst) {
            told.await;
        }
    }

    /// Sets `trouble`; returns whether that is news.
    pub(crate) fn raise(&self, trouble: Trouble, now: Instant) -> bool {
        self.trouble.send_if_modified(|raised| {
            self.troubled.store(true, Ordering::SeqCst);
            raised.at = now;
            std::mem::replace(&mut raised.trouble, trouble) != trouble
        })
    }

    /// A client was accepted: a shortage that has not come back for a while is over. At the limit more clients may
    /// be waiting.
    pub(crate) fn clear_shortage(&self, now: Instant) {
        self.clear(|raised| raised.trouble != Trouble::AtLimit && now.saturating_duration_since(raised.at) >= CALM);
    }

    /// No client is waiting.
    pub(crate) fn clear_all(&self) {
        self.clear(|_| true);
    }

    fn clear(&self, is_over: impl Fn(&Raised) -> bool) {
        if !self.troubled.load(Ordering::Relaxed) {
            return;
        }
        self.trouble.send_if_modified(|raised| {
            let news = raised.trouble != Trouble::None && is_over(raised);
            if news {
                raised.trouble = Trouble::None;
                self.troubled.store(false, Ordering::SeqCst);
            }
            news
        });
    }

    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Counts one more loop until the guard is dropped.
    pub(crate) fn enter_loop(self: &Arc<Self>) -> LoopGuard {
        self.loops.send_modify(|loops| *loops += 1);
        LoopGuard(Arc::clone(self))
    }
}

/// A loop that has not ended.
#[derive(Debug)]
pub(crate) struct LoopGuard(Arc<ServeControl>);

impl LoopGuard {
    pub(crate) fn control(&self) -> &Arc<ServeControl> {
        &self.0
    }
}

impl Drop for LoopGuard {
    fn drop(&mut self) {
        self.0.loops.send_modify(|loops| *loops -= 1);
    }
}

/// An accepted client that waits.
#[derive(Debug)]
pub(crate) struct UpstreamWait(Arc<ServeControl>);

impl Drop for UpstreamWait {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The room one live connection takes, in the listener's count and its worker's; dropping it gives both back.
#[derive(Debug)]
pub(super) struct Admission {
    control: Arc<ServeControl>,
    load: Arc<Load>,
    worker: usize,
}

impl Admission {
    /// Turns reserved room into that of a connection on `worker`.
    pub(super) fn new(control: Arc<ServeControl>, load: Arc<Load>, worker: usize) -> Self {
        load.add(worker);
        Self { control, load, worker }
    }

    pub(super) fn move_to(&mut self, worker: usize) {
        self.load.remove(self.worker);
        self.load.add(worker);
        self.worker = worker;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.load.remove(self.worker);
        self.control.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_over_when_it_has_not_come_back_for_a_second_or_nobody_waits() {
        let control = ServeControl::new(1);
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        assert!(control.raise(Trouble::OutOfDescriptors, start));
        control.clear_shortage(after(999));
        assert!(!control.raise(Trouble::OutOfDescriptors, after(999)), "it lasted");
        control.clear_shortage(after(1998));
        assert_eq!(control.trouble(), Trouble::OutOfDescriptors);
        control.clear_shortage(after(1999));
        assert_eq!(control.trouble(), Trouble::None);
        control.raise(Trouble::OutOfMemory, after(1999));
        control.clear_all();
        assert_eq!(control.trouble(), Trouble::None);
    }

    #[test]
    fn clients_that_are_accepted_one_by_one_do_not_lift_the_limit() {
        let control = ServeControl::new(1);
        let start = Instant::now();
        control.raise(Trouble::AtLimit, start);
        control.clear_shortage(start + CALM * 2);
        assert_eq!(control.trouble(), Trouble::AtLimit);
    }
}
