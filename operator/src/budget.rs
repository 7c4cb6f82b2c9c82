//! How many status writes an object and all objects together may cause: pure, with the time passed in.
//! Single changes are written at once; what keeps changing is written as often as its bucket refills.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use fairlead_config::ForwardKey;

/// Of one object: 4 writes, one more every 10 s.
const OBJECT: Rate = Rate { capacity: 4, period: Duration::from_secs(10) };
/// Of all objects: 20 a second.
const ALL: Rate = Rate { capacity: 20, period: Duration::from_millis(50) };

/// How much a bucket holds, and how long one takes to come back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) capacity: u32,
    pub(crate) period: Duration,
}

/// What was taken, as the time when it will all have come back: so a full bucket needs no memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// When the next one may be taken, perhaps in the past.
    pub(crate) fn ready_at(&self, rate: Rate, now: Instant) -> Instant {
        // Counted from now for a full bucket, or the subtraction could leave the clock's range.
        let missing = self.full_at.saturating_duration_since(now);
        now + missing.saturating_sub(rate.period * rate.capacity.saturating_sub(1))
    }

    pub(crate) fn take(&mut self, rate: Rate, now: Instant) {
        self.full_at = self.full_at.max(now) + rate.period;
    }

    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// The buckets of all objects.
#[derive(Debug)]
pub struct Budget {
    all: Bucket,
    objects: HashMap<ForwardKey, Bucket>,
    sweep_at: usize,
}

impl Budget {
    /// Full buckets.
    pub fn new(now: Instant) -> Self {
        Self { all: Bucket::full(now), objects: HashMap::new(), sweep_at: 64 }
    }

    /// When the next write of any object may be taken, perhaps in the past.
    pub fn ready_at(&self, now: Instant) -> Instant {
        self.all.ready_at(ALL, now)
    }

    /// Takes one write of this object, or says when to try again.
    pub fn take(&mut self, key: &ForwardKey, now: Instant) -> Result<(), Instant> {
        let mut bucket = self.objects.get(key).copied().unwrap_or(Bucket::full(now));
        let ready_at = bucket.ready_at(OBJECT, now).max(self.ready_at(now));
        if ready_at > now {
            return Err(ready_at);
        }
        bucket.take(OBJECT, now);
        self.all.take(ALL, now);
        self.objects.insert(key.clone(), bucket);
        self.sweep(now);
        Ok(())
    }

    /// Forgets full buckets now and then.
    fn sweep(&mut self, now: Instant) {
        if self.objects.len() >= self.sweep_at {
            self.objects.retain(|_, bucket| !bucket.is_full(now));
            self.sweep_at = (self.objects.len() * 2).max(64);
        }
    }
}
