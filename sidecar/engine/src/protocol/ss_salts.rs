//! Salts that clients of a Shadowsocks server have used with its key: whoever sends one again has recorded it, and is
//! not its client. Two generations, the younger of which is filled; once it is full the older one is forgotten.
//! Invariants: at least the last [`GENERATION`] salts are known, at most twice as many, and nothing is remembered of
//! streams that do not prove to have the key.

use std::{
    collections::{HashSet, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    mem,
    sync::{Mutex, PoisonError},
};

/// Salts of one generation: what a table of 2^18 places of 9 bytes holds. Both together take at most 4.5 MiB, and
/// that only of a server that has had so many clients.
pub(crate) const GENERATION: usize = (1 << 18) / 8 * 7;

/// The salts of one server.
pub(crate) struct Salts {
    limit: usize,
    /// Nobody outside knows which salts look alike to it.
    hasher: RandomState,
    known: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    younger: HashSet<u64>,
    older: HashSet<u64>,
}

impl Default for Salts {
    fn default() -> Self {
        Self::with_limit(GENERATION)
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salts").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Salts {
    fn with_limit(limit: usize) -> Self {
        Self { limit, hasher: RandomState::new(), known: Mutex::default() }
    }

    /// Remembers the salt of a stream that has the key; false if it is known already. A new one is taken for a known one
    /// once in 2^45 streams at most.
    pub(crate) fn admit(&self, salt: &[u8]) -> bool {
        let mark = self.hasher.hash_one(salt);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Generations { younger, older } = &mut *known;
        if older.contains(&mark) || !younger.insert(mark) {
            return false;
        }
        if younger.len() >= self.limit {
            mem::swap(younger, older);
            // Keeps its room, which is needed again.
            younger.clear();
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(salts: &Salts) -> [usize; 2] {
        let known = salts.known.lock().unwrap();
        [known.younger.len(), known.older.len()]
    }

    proptest! {
        #[test]
        fn the_last_ones_are_known_and_new_ones_are_new(
            limit in 1..20_usize,
            numbers in proptest::collection::vec(0..60_u8, 0..200),
        ) {
            let salts = Salts::with_limit(limit);
            let mut admitted = Vec::new();
            for number in numbers {
                let is_new = salts.admit(&[number; 32]);
                let last = &admitted[admitted.len().saturating_sub(limit)..];
                prop_assert!(!(is_new && last.contains(&number)), "{number} among {last:?}");
                prop_assert!(is_new || admitted.contains(&number), "{number} was never sent");
                if is_new {
                    admitted.push(number);
                }
                let [younger, older] = sizes(&salts);
                prop_assert!(younger < limit && older <= limit);
            }
        }
    }

    #[test]
    fn a_million_clients_take_no_more_room_than_is_said() {
        let salts = Salts::default();
        for number in 0..1_000_000_u32 {
            assert!(salts.admit(&number.to_le_bytes()));
        }
        let known = salts.known.lock().unwrap();
        assert!(known.older.len() <= GENERATION && known.younger.len() < GENERATION);
        assert!(known.younger.capacity() <= GENERATION && known.older.capacity() <= GENERATION);
    }
}
