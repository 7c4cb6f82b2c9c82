//! What waits in a session's channels to be read. `russh` grants a channel's window when data arrives, and not when it
//! is read: what nobody reads would grow without end. So the session is held once `SESSION_BUFFER` waits, and a channel
//! that took nothing for `PATIENCE` while others stood behind it is the one that ends.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use russh::{ChannelId, ChannelReadHalf};
use tokio::sync::Notify;

/// What may wait in all channels of a session together, in bytes.
pub(crate) const SESSION_BUFFER: i64 = 64 << 20;
/// What a message counts for at least: its own size is not all that it takes.
const LEAST: i64 = 4 << 10;
/// Messages that may wait in one channel; more than `SESSION_BUFFER` lets in.
pub(crate) const CHANNEL_MESSAGES: usize = 1 + (SESSION_BUFFER / LEAST) as usize;
/// What may wait in a session that new channels still go to: a window.
pub(crate) const BACKLOG: i64 = 2 << 20;
/// How long a channel that takes nothing may hold up others.
const PATIENCE: Duration = Duration::from_secs(30);

/// The channels of one session.
#[derive(Debug)]
pub(crate) struct Traffic {
    begun: Instant,
    channels: Mutex<HashMap<ChannelId, Arc<Flow>>>,
    waiting: AtomicI64,
    room: Notify,
    /// Nothing more is received now.
    held: AtomicBool,
    /// When the session was held first since much waits, in milliseconds after it began; 0: it was not.
    pressed_since: AtomicU64,
    heard_at: AtomicU64,
}

/// One channel, as the session sees it.
#[derive(Debug)]
pub(crate) struct Flow {
    waiting: AtomicI64,
    taken_at: AtomicU64,
    /// Taken away from a channel that stalls.
    reader: Mutex<Option<ChannelReadHalf>>,
    cut: AtomicBool,
}

/// One channel, for the judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    id: ChannelId,
    waiting: i64,
    idle: Duration,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            channels: Mutex::default(),
            waiting: AtomicI64::new(0),
            room: Notify::new(),
            held: AtomicBool::new(false),
            pressed_since: AtomicU64::new(0),
            heard_at: AtomicU64::new(0),
        }
    }

    /// The channel of a number; session and channel both come first.
    pub(crate) fn flow(&self, id: ChannelId) -> Arc<Flow> {
        let now = self.now();
        let flow = || Arc::new(Flow::new(now));
        Arc::clone(self.channels().entry(id).or_insert_with(flow))
    }

    /// Forgets a channel, and what waited in it.
    pub(crate) fn forget(&self, id: ChannelId) {
        if let Some(flow) = self.channels().remove(&id) {
            self.leave(flow.waiting.swap(0, Relaxed));
        }
    }

    /// Counts what a channel received, and returns when there is room for more.
    pub(crate) async fn received(&self, id: ChannelId, bytes: usize) {
        self.note_heard();
        if let Some(flow) = self.channels().get(&id).filter(|flow| !flow.is_cut()) {
            flow.waiting.fetch_add(weight(bytes), Relaxed);
            self.waiting.fetch_add(weight(bytes), Relaxed);
        }
        loop {
            let room = self.room.notified();
            if self.waiting.load(Relaxed) < SESSION_BUFFER {
                break;
            }
            self.held.store(true, Relaxed);
            // Slow readers make room now and then, and it is filled at once: that is the same press.
            let _ = self.pressed_since.compare_exchange(0, self.now().max(1), Relaxed, Relaxed);
            room.await;
        }
        self.held.store(false, Relaxed);
        if !self.is_pressed() {
            self.pressed_since.store(0, Relaxed);
        }
    }

    /// Counts what a channel's reader took, unless the channel was ended, which took all of it.
    pub(crate) fn taken(&self, flow: &Flow, bytes: usize) {
        if flow.is_cut() {
            return;
        }
        flow.taken_at.store(self.now(), Relaxed);
        // It may be ended at this very moment: nothing leaves twice.
        let rest = |waiting: i64| Some((waiting - weight(bytes)).max(0));
        let waited = flow.waiting.fetch_update(Relaxed, Relaxed, rest).unwrap_or_default();
        self.leave(waited.min(weight(bytes)));
    }

    /// What waits in all channels, in bytes.
    pub(crate) fn backlog(&self) -> i64 {
        self.waiting.load(Relaxed).max(0)
    }

    pub(crate) fn channel_count(&self) -> usize {
        self.channels().len()
    }

    /// Whether nothing more is received until something is read.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Relaxed)
    }

    pub(super) fn is_pressed(&self) -> bool {
        self.waiting.load(Relaxed) >= SESSION_BUFFER / 2
    }

    /// The server has said something.
    pub(crate) fn note_heard(&self) {
        self.heard_at.store(self.now(), Relaxed);
    }

    /// Whether the server has said nothing since.
    pub(crate) fn is_silent_since(&self, then: Instant) -> bool {
        self.heard_at.load(Relaxed) < millis(then.saturating_duration_since(self.begun))
    }

    /// Ends the channel that holds up the others, if there is one; returns its number.
    pub(crate) fn end_stalled(&self) -> Option<ChannelId> {
        let since = Some(self.pressed_since.load(Relaxed)).filter(|since| *since != 0 && self.is_pressed())?;
        let now = self.now();
        let held = Duration::from_millis(now.saturating_sub(since));
        let channels = self.channels();
        let views: Vec<_> = channels.iter().map(|(id, flow)| flow.view(*id, now)).collect();
        let id = stalled(&views, held)?;
        let flow = channels.get(&id)?;
        // Under the lock: nothing is counted for it from here on.
        flow.end();
        self.leave(flow.waiting.swap(0, Relaxed));
        Some(id)
    }

    fn leave(&self, bytes: i64) {
        let before = self.waiting.fetch_sub(bytes, Relaxed);
        if before >= SESSION_BUFFER && before - bytes < SESSION_BUFFER {
            self.room.notify_one();
        }
    }

    fn now(&self) -> u64 {
        millis(self.begun.elapsed())
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<ChannelId, Arc<Flow>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flow {
    fn new(now: u64) -> Self {
        let (waiting, taken_at) = (AtomicI64::new(0), AtomicU64::new(now));
        Self { waiting, taken_at, reader: Mutex::new(None), cut: AtomicBool::new(false) }
    }

    /// The half that the channel is read by; none of a channel that was ended.
    pub(crate) fn reader(&self) -> MutexGuard<'_, Option<ChannelReadHalf>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the channel was ended because it stalled.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    fn end(&self) {
        self.cut.store(true, Relaxed);
        *self.reader() = None;
    }

    fn view(&self, id: ChannelId, now: u64) -> View {
        let idle = Duration::from_millis(now.saturating_sub(self.taken_at.load(Relaxed)));
        View { id, waiting: self.waiting.load(Relaxed), idle }
    }
}

/// The channel to end in a session that has been held for so long: of those that take nothing the fullest, as long as
/// there are others.
fn stalled(channels: &[View], held: Duration) -> Option<ChannelId> {
    if held < PATIENCE || channels.len() < 2 {
        return None;
    }
    let idle = channels.iter().filter(|channel| channel.idle >= PATIENCE && channel.waiting > 0);
    idle.max_by_key(|channel| channel.waiting).map(|channel| channel.id)
}

fn weight(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX).max(LEAST)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
