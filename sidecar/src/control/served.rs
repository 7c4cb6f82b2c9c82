//! The verified connections of the admin port, at most eight. One more takes the place of the oldest: a new leader
//! gets in however many connections an earlier one left behind.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Verified connections at a time; a leader needs two.
const CONNECTIONS_LIMIT: usize = 8;

/// Who is being served, oldest first.
#[derive(Debug, Default)]
pub(super) struct Served(Mutex<VecDeque<Arc<CancellationToken>>>);

/// A place among those served; dropping it leaves.
#[derive(Debug)]
pub(super) struct Place {
    served: Arc<Served>,
    token: Arc<CancellationToken>,
}

impl Served {
    /// Takes a place, from the oldest if there is none.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let token = Arc::new(CancellationToken::new());
        let mut places = self.places();
        places.push_back(Arc::clone(&token));
        if places.len() > CONNECTIONS_LIMIT
            && let Some(oldest) = places.pop_front()
        {
            oldest.cancel();
        }
        Place { served: Arc::clone(self), token }
    }

    fn places(&self) -> MutexGuard<'_, VecDeque<Arc<CancellationToken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Returns when the place was given to a newer connection.
    pub(super) async fn lost(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.served.places().retain(|token| !Arc::ptr_eq(token, &self.token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ninth_connection_takes_the_place_of_the_oldest_that_is_left() {
        let served = Arc::new(Served::default());
        let mut places: Vec<_> = (0..CONNECTIONS_LIMIT).map(|_| served.enter()).collect();
        drop(places.remove(0));
        let first_after = served.enter();
        assert!(places.iter().all(|place| !place.token.is_cancelled()));
        let newest = served.enter();
        let lost: Vec<_> = places.iter().map(|place| place.token.is_cancelled()).collect();
        assert_eq!(lost, [true, false, false, false, false, false, false]);
        assert!(!first_after.token.is_cancelled() && !newest.token.is_cancelled());
        drop((places, first_after, newest));
        assert!(served.places().is_empty());
    }
}
