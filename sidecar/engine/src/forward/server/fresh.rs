//! What is made of files, kept for a second: clients who come one after the other cost one reading, and whoever comes
//! without a login can't make the server work. Invariants: one is made at a time, an error is kept like a value, and a
//! value never outlives its key.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long something is used before its files are looked at again.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// One value, what it was made for, and when.
#[derive(Debug)]
pub(super) struct Fresh<K, V>(Mutex<Option<(K, Instant, V)>>);

impl<K, V> Default for Fresh<K, V> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K: Clone + PartialEq, V: Clone> Fresh<K, V> {
    /// The value for a key at `now`; `make` makes it where none is fresh.
    pub(super) fn value(&self, key: &K, now: Instant, make: impl FnOnce() -> V) -> V {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |(of, at, _): &&(K, Instant, V)| of == key && now.saturating_duration_since(*at) < FRESH;
        if let Some((_, _, value)) = kept.as_ref().filter(is_fresh) {
            return value.clone();
        }
        let value = make();
        *kept = Some((key.clone(), now, value.clone()));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_a_second_and_anew_for_another_key() {
        let (fresh, begin, mut made) = (Fresh::default(), Instant::now(), 0);
        let just_before = FRESH.saturating_sub(Duration::from_millis(1));
        for (key, after, want) in [
            ("a", Duration::ZERO, 1),
            ("a", just_before, 1),
            ("a", FRESH, 2),
            ("a", FRESH + just_before, 2),
            ("b", FRESH + just_before, 3),
            ("b", FRESH, 3),
            ("a", FRESH, 4),
        ] {
            let value = fresh.value(&key, begin + after, || {
                made += 1;
                if made % 2 == 0 { Ok(made) } else { Err(made) }
            });
            assert_eq!(value.unwrap_or_else(|made| made), want, "{key} after {after:?}");
        }
    }
}
