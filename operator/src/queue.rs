//! Which object is looked at next, and when: pure, with the time passed in. From whoever saw a change to the workers.
//! Invariant: a key waits at most once and is never in work twice; what changes during work is worked on again after.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::{Duration, Instant},
};

/// The first back-off.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest back-off, without jitter.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// How much jitter may add.
const JITTER: f64 = 0.2;

/// Keys that wait until they are due, and those in work.
#[derive(Debug)]
pub struct Queue<K> {
    /// By due time, then by order of arrival.
    waiting: BTreeMap<(Instant, u64), K>,
    places: HashMap<K, Place>,
    failures: HashMap<K, u32>,
    arrivals: u64,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Waiting(Instant, u64),
    InWork { again: Option<Instant> },
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), places: HashMap::new(), failures: HashMap::new(), arrivals: 0 }
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// Wants a key looked at when it is due; of two wishes the earlier counts.
    pub fn add(&mut self, key: K, due: Instant) {
        match self.places.get_mut(&key) {
            Some(Place::InWork { again }) => *again = Some(again.map_or(due, |before| before.min(due))),
            Some(Place::Waiting(before, _)) if *before <= due => {}
            Some(Place::Waiting(before, arrival)) => {
                self.waiting.remove(&(*before, *arrival));
                self.wait(key, due);
            }
            None => self.wait(key, due),
        }
    }

    /// Wants a key that failed looked at again: after 1 s, then twice as long each time up to 5 min, and up to a fifth
    /// more by `jitter` (0 to 1). Returns when.
    pub fn backoff(&mut self, key: K, now: Instant, jitter: f64) -> Instant {
        let failures = self.failures.entry(key.clone()).or_default();
        let delay = BACKOFF_MIN.saturating_mul(1_u32.checked_shl(*failures).unwrap_or(u32::MAX)).min(BACKOFF_MAX);
        *failures = failures.saturating_add(1);
        let due = now + delay.mul_f64(1.0 + JITTER * jitter.clamp(0.0, 1.0));
        self.add(key, due);
        due
    }

    /// Forgets a key's failures, after a success or when its object is gone. It waits on if it waits.
    pub fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// Takes the key that has been due for the longest into work, until [`Self::done`].
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        let first = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        let key = first.remove();
        self.places.insert(key.clone(), Place::InWork { again: None });
        Some(key)
    }

    /// Ends the work on a key; it waits again if it was added meanwhile.
    pub fn done(&mut self, key: &K) {
        let Some(Place::InWork { again }) = self.places.get(key).copied() else { return };
        self.places.remove(key);
        if let Some(due) = again {
            self.wait(key.clone(), due);
        }
    }

    /// When the next key is due; `None` when none waits.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    /// How many keys wait, due or not.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Tells whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn wait(&mut self, key: K, due: Instant) {
        self.arrivals += 1;
        self.places.insert(key.clone(), Place::Waiting(due, self.arrivals));
        self.waiting.insert((due, self.arrivals), key);
    }
}
