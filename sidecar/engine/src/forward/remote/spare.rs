//! Connections to a far end on which nothing has been asked yet, for BIND: the next peer's port is asked for as soon as
//! the last one's was handed over, a round trip later, and not after a dial, TLS and a login.
//!
//! Whoever holds a port has one at hand, for as long as the server lets it; in a burst of peers some more, which leave
//! with it. A server that ends them early, because nothing was said, is spared them until there is a burst.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Binding, Setback, stopped};
use crate::{
    chain::{self, Bound, Greeted},
    group::Chosen,
};

/// How many there are while peers come one behind the other.
const IN_BURST: usize = 4;
/// How close behind one another they come, and how long what a burst has left over stays.
const BURST: Duration = Duration::from_secs(1);
/// A server that ends a silent connection sooner does not want any.
const LIKED: Duration = Duration::from_secs(60);
/// How long greeting the server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The spare connections of one forward; dropped, they end.
#[derive(Default)]
pub(crate) struct Spares(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// When a peer last came, and when one last came close behind another.
    came_at: Option<Instant>,
    burst_at: Option<Instant>,
    is_disliked: Arc<AtomicBool>,
}

/// One that is greeted or waits.
struct Waiting {
    /// Stays when there is no burst.
    lasts: bool,
    wanted: CancellationToken,
    greeted: AbortOnDropHandle<Option<Greeted>>,
}

/// How many more are begun, and whether the first of them stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct More {
    count: usize,
    lasts: bool,
}

/// What is there, of those that stay and of those that do not: how many more there should be.
fn more(there: (usize, usize), in_burst: bool, is_disliked: bool) -> More {
    let (lasting, leaving) = there;
    let lasts = lasting == 0 && !is_disliked;
    let wanted = if in_burst { IN_BURST } else { usize::from(!is_disliked) };
    More { count: wanted.saturating_sub(lasting + leaving), lasts }
}

impl Spares {
    /// The port is held by this node: makes sure that spare connections to it are at hand. On a worker.
    pub(crate) fn prepare(&self, binding: &Arc<Binding>, node: &Chosen) {
        let mut state = self.state();
        state.waiting.retain(|waiting| !waiting.greeted.is_finished());
        let lasting = state.waiting.iter().filter(|waiting| waiting.lasts).count();
        let in_burst = state.burst_at.is_some_and(|at| at.elapsed() < BURST);
        let more = more((lasting, state.waiting.len() - lasting), in_burst, state.is_disliked.load(Relaxed));
        for index in 0..more.count {
            let (lasts, wanted) = (more.lasts && index == 0, CancellationToken::new());
            let keep = keep(Arc::clone(binding), node.clone(), lasts, wanted.clone(), Arc::clone(&state.is_disliked));
            let greeted = AbortOnDropHandle::new(tokio::spawn(keep));
            state.waiting.push_back(Waiting { lasts, wanted, greeted });
        }
    }

    /// A peer has come.
    pub(crate) fn note_peer(&self) {
        let (mut state, now) = (self.state(), Instant::now());
        if state.came_at.replace(now).is_some_and(|before| now - before < BURST) {
            state.burst_at = Some(now);
        }
    }

    /// The server was lost, and its spare connections with it.
    pub(crate) fn forget(&self) {
        *self.state() = State::default();
    }

    /// One of them, if there is one; one that is being greeted is nearer than a new one.
    pub(crate) async fn take(&self) -> Option<Greeted> {
        loop {
            let Waiting { wanted, greeted, .. } = self.state().waiting.pop_front()?;
            wanted.cancel();
            if let Ok(Some(greeted)) = greeted.await {
                return Some(greeted);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Greets the node and keeps the connection until it is wanted, or has been there long enough.
async fn keep(
    binding: Arc<Binding>,
    node: Chosen,
    lasts: bool,
    wanted: CancellationToken,
    is_disliked: Arc<AtomicBool>,
) -> Option<Greeted> {
    let mut phases = binding.control.phases();
    loop {
        let mut greeted = binding.greet(&node, PATIENCE).await?;
        let begun = Instant::now();
        tokio::select! {
            biased;
            () = wanted.cancelled() => return Some(greeted),
            () = stopped(&mut phases) => return None,
            () = greeted.ended() => {}
            () = sleep(BURST), if !lasts => return None,
        }
        if begun.elapsed() < LIKED {
            is_disliked.store(true, Relaxed);
            return None;
        }
    }
}

impl Binding {
    /// Greets a node of the last hop, which is judged by others.
    async fn greet(&self, node: &Chosen, patience: Duration) -> Option<Greeted> {
        let greeted = chain::greet(&self.far_dialer(), node, patience).await;
        greeted.inspect_err(|error| tracing::trace!(forward = %self.key, %error, "no spare connection")).ok()
    }

    /// Asks for the port on a spare connection, if there is one that is still good.
    pub(crate) async fn bind_spare(&self, spares: &Spares) -> Option<Result<Bound, Setback>> {
        while let Some(greeted) = spares.take().await {
            if let Some(bound) = greeted.bind(self.what, &self.listen).await {
                return Some(bound.map_err(|error| Setback::of(&error)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_waits_for_the_next_peer_and_some_more_in_a_burst() {
        for (there, in_burst, is_disliked, count, lasts) in [
            ((0, 0), false, false, 1, true),
            ((1, 0), false, false, 0, false),
            ((0, 0), false, true, 0, false),
            ((0, 0), true, true, IN_BURST, false),
            ((0, 3), true, false, IN_BURST - 3, true),
            ((1, 3), true, false, IN_BURST - 4, false),
            ((0, IN_BURST), true, false, 0, true),
        ] {
            assert_eq!(more(there, in_burst, is_disliked), More { count, lasts }, "{there:?} {in_burst} {is_disliked}");
        }
    }
}
