//! Which Events were told lately, and how many an object may still tell. Pure, with both times passed in.
//! An Event's note can't be changed once written, so only the same words count in the same Event.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use k8s_openapi::{api::core::v1::ObjectReference, jiff::Timestamp};

use super::EventNote;
use crate::budget::{Bucket, Rate};

/// How long after it was last told an Event is continued.
const CONTINUED_FOR: Duration = Duration::from_secs(6 * 60);
/// Of one object.
const OBJECT: Rate = Rate { capacity: 25, period: Duration::from_secs(5 * 60) };

/// What makes two Events the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    object: String,
    name: String,
    reason: String,
    field: String,
    note: String,
}

/// How to tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    First { name: String },
    Again { name: String, count: i32 },
}

/// The Events of all objects.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    told: HashMap<Entry, Told>,
    buckets: HashMap<String, Bucket>,
    names: u16,
    sweep_at: usize,
}

#[derive(Debug)]
struct Told {
    name: String,
    count: i32,
    last: Instant,
}

impl Entry {
    pub(super) fn of(regarding: &ObjectReference, note: &EventNote) -> Self {
        Self {
            object: regarding.uid.clone().unwrap_or_default(),
            name: regarding.name.clone().unwrap_or_default(),
            reason: note.reason.clone(),
            field: note.field.clone(),
            note: note.note.clone(),
        }
    }
}

impl Ledger {
    /// Says how to tell it; `None` when the object told too much.
    pub(super) fn next(&mut self, entry: &Entry, now: Instant, wall: Timestamp) -> Option<Turn> {
        self.sweep(now);
        let bucket = self.buckets.entry(entry.object.clone()).or_insert(Bucket::full(now));
        if bucket.ready_at(OBJECT, now) > now {
            return None;
        }
        bucket.take(OBJECT, now);
        if let Some(told) = self.told.get_mut(entry).filter(|told| now < told.last + CONTINUED_FOR) {
            told.count = told.count.saturating_add(1);
            told.last = now;
            return Some(Turn::Again { name: told.name.clone(), count: told.count });
        }
        self.names = self.names.wrapping_add(1);
        // Names differ even where a clock's step is coarse.
        let name = format!("{}.{:x}{:04x}", entry.name, wall.as_microsecond(), self.names);
        self.told.insert(entry.clone(), Told { name: name.clone(), count: 1, last: now });
        Some(Turn::First { name })
    }

    /// The Event could not be written, or is gone: the next one is a first one.
    pub(super) fn forget(&mut self, entry: &Entry) {
        self.told.remove(entry);
    }

    /// Forgets now and then what has no effect any more.
    fn sweep(&mut self, now: Instant) {
        if self.told.len() + self.buckets.len() < self.sweep_at {
            return;
        }
        self.told.retain(|_, told| now < told.last + CONTINUED_FOR);
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        self.sweep_at = (2 * (self.told.len() + self.buckets.len())).max(64);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn entry(object: &str, note: &str) -> Entry {
        let text = |text: &str| text.to_owned();
        Entry { object: text(object), name: text("db"), reason: text("NodeDead"), field: text("f"), note: text(note) }
    }

    fn next(ledger: &mut Ledger, entry: &Entry, now: Instant) -> Option<Turn> {
        ledger.next(entry, now, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_same_words_count_in_the_same_event_until_it_is_old() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let first = next(&mut ledger, &entry("1", "refused"), start).unwrap();
        let Turn::First { name } = first else { panic!("{first:?}") };
        assert_eq!(name, "db.00001");
        let again = next(&mut ledger, &entry("1", "refused"), start + Duration::from_secs(300));
        assert_eq!(again, Some(Turn::Again { name: name.clone(), count: 2 }));
        let later = next(&mut ledger, &entry("1", "refused"), start + Duration::from_secs(660));
        assert!(matches!(later, Some(Turn::First { name: other }) if other != name));
    }

    #[test]
    fn other_words_and_other_objects_are_other_events() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        for other in [entry("1", "refused"), entry("1", "timed out"), entry("2", "refused")] {
            assert!(matches!(next(&mut ledger, &other, start), Some(Turn::First { .. })));
        }
    }

    #[test]
    fn an_event_that_was_not_written_is_a_first_one_again() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        next(&mut ledger, &entry("1", "refused"), start);
        ledger.forget(&entry("1", "refused"));
        assert!(matches!(next(&mut ledger, &entry("1", "refused"), start), Some(Turn::First { .. })));
    }

    #[test]
    fn an_object_tells_25_at_once_and_then_one_every_five_minutes() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let told = (0..100).filter(|_| next(&mut ledger, &entry("1", "refused"), start).is_some());
        assert_eq!(told.count(), 25);
        assert!(next(&mut ledger, &entry("2", "refused"), start).is_some());
        assert_eq!(next(&mut ledger, &entry("1", "refused"), start + Duration::from_secs(299)), None);
        assert!(next(&mut ledger, &entry("1", "refused"), start + Duration::from_secs(300)).is_some());
    }

    #[test]
    fn what_is_long_past_takes_no_memory() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        for object in 0..10_000 {
            next(&mut ledger, &entry(&object.to_string(), "refused"), start + Duration::from_secs(object * 10));
        }
        assert!(ledger.told.len() + ledger.buckets.len() < 500);
    }
}
