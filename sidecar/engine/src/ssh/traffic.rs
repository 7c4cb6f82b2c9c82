//! What waits in a session's channels to be read, and how much more their peers may send: as much as was read, and more
//! where reading is fast, so that who reads slowly stops nobody but its own peer. A peer that sends more than it may is
//! held with its whole session, until the channel that took nothing for `PATIENCE` meanwhile is ended.

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

/// A channel's window at first, and the largest that it grows to, in bytes.
pub(crate) const FIRST_WINDOW: u32 = 64 << 10;
const LARGEST_WINDOW: u32 = 2 << 20;
/// What the windows of a session may grow by altogether, in bytes.
const GROWTH: i64 = 64 << 20;
/// What a message counts for at least: its own size is not all that it takes.
const LEAST: i64 = 256;
/// Messages that may wait in one channel; more than are let in before a session is held.
pub(crate) const CHANNEL_MESSAGES: usize = 1 << 20;
/// What may wait in a session that new channels still go to.
pub(crate) const BACKLOG: i64 = GROWTH / 2;
/// How long a channel that takes nothing may hold up others.
const PATIENCE: Duration = Duration::from_secs(30);

/// The channels of one session.
#[derive(Debug)]
pub(crate) struct Traffic {
    begun: Instant,
    channels: Mutex<HashMap<ChannelId, Arc<Flow>>>,
    waiting: AtomicI64,
    /// What may wait in all channels before the session is held.
    limit: AtomicI64,
    /// What windows have grown by.
    grown: AtomicI64,
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
    window: Mutex<Window>,
    taken_at: AtomicU64,
    /// Taken away from a channel that stalls.
    reader: Mutex<Option<ChannelReadHalf>>,
    cut: AtomicBool,
}

/// What the peer of a channel may have sent without it being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    size: u32,
    /// Read, and not yet granted anew.
    read: u32,
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
            limit: AtomicI64::new(limit(0)),
            grown: AtomicI64::new(0),
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
        let mut channels = self.channels();
        let flow = Arc::clone(channels.entry(id).or_insert_with(flow));
        self.limit.store(limit(channels.len()), Relaxed);
        flow
    }

    /// Forgets a channel, and what waited in it.
    pub(crate) fn forget(&self, id: ChannelId) {
        let mut channels = self.channels();
        if let Some(flow) = channels.remove(&id) {
            self.limit.store(limit(channels.len()), Relaxed);
            self.grown.fetch_sub(i64::from(flow.window().size - FIRST_WINDOW), Relaxed);
            self.leave(flow.waiting.swap(0, Relaxed));
        }
    }

    /// Counts what a channel's reader is through with; returns what its peer may send for it, once that is worth a word.
    pub(crate) fn grant(&self, flow: &Flow, bytes: usize) -> Option<u32> {
        let mut window = flow.window();
        window.read = window.read.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if window.read < window.size / 2 {
            return None;
        }
        let wanted = i64::from(window.read.min(LARGEST_WINDOW - window.size));
        let room = |grown: i64| Some(grown + wanted).filter(|grown| *grown <= GROWTH);
        let grows = self.grown.fetch_update(Relaxed, Relaxed, room).is_ok();
        let growth = if grows { u32::try_from(wanted).unwrap_or_default() } else { 0 };
        let granted = window.read + growth;
        *window = Window { size: window.size + growth, read: 0 };
        Some(granted)
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
            if self.waiting.load(Relaxed) < self.limit.load(Relaxed) {
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
        self.waiting.load(Relaxed) >= self.limit.load(Relaxed) / 2
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
        let (before, limit) = (self.waiting.fetch_sub(bytes, Relaxed), self.limit.load(Relaxed));
        // The limit may have moved meanwhile.
        if before - bytes < limit && (before >= limit || self.is_held()) {
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
        let window = Mutex::new(Window { size: FIRST_WINDOW, read: 0 });
        Self { waiting, window, taken_at, reader: Mutex::new(None), cut: AtomicBool::new(false) }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What may wait in so many channels whose peers keep to their windows, with room for what small messages take.
fn limit(channels: usize) -> i64 {
    GROWTH + i64::from(FIRST_WINDOW) * i64::try_from(channels).unwrap_or(i64::MAX).saturating_add(1)
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
