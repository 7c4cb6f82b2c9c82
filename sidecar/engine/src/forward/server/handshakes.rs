//! Clients of a server that have not yet said what they want: so many at a time and no more. For a further one the
//! oldest leaves, so that neither silence nor garbage keeps others out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Clients in the handshake at a time, of one server.
const LIMIT: usize = 1_024;

/// The places of one server.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    /// By age.
    taken: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One client's place; dropped, it is free.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    told: oneshot::Receiver<()>,
    of: Arc<Handshakes>,
}

impl Handshakes {
    /// Takes a place, if need be the oldest client's. Half of `max_connections` is for those who are served.
    pub(super) fn enter(self: &Arc<Self>, max_connections: usize) -> Place {
        let limit = (max_connections / 2).clamp(1, LIMIT);
        let (leave, told) = oneshot::channel();
        let mut places = self.places();
        while places.taken.len() >= limit {
            places.taken.pop_first();
        }
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, leave);
        Place { number, told, of: Arc::clone(self) }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until the place is somebody else's.
    pub(super) async fn lost(&mut self) {
        // Nothing is ever sent: the sender goes with the place.
        let _ = (&mut self.told).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.places().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn for_one_client_too_many_the_oldest_leaves() {
        let handshakes = Arc::<Handshakes>::default();
        let mut places: Vec<_> = (0..4).map(|_| handshakes.enter(6)).collect();
        let lost: Vec<_> = places.iter_mut().map(|place| place.lost().now_or_never().is_some()).collect();
        assert_eq!(lost, [true, false, false, false]);
        places.clear();
        assert_eq!(handshakes.places().taken.len(), 0);
    }

    #[test]
    fn there_is_always_one_place_and_never_more_than_the_limit() {
        let handshakes = Arc::<Handshakes>::default();
        let mut only = handshakes.enter(1);
        assert!(only.lost().now_or_never().is_none());
        let places: Vec<_> = (0..LIMIT + 10).map(|_| handshakes.enter(1_000_000)).collect();
        assert_eq!(handshakes.places().taken.len(), LIMIT);
        drop(places);
    }
}
