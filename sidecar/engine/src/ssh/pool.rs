//! The sessions of a proxy, by the node they go to and what was said on the way: forwards that name the same share them.
//! A new channel goes where least waits; a new session is begun when each has a backlog. Invariants: one handshake at a
//! time for each node, and one that failed for who we are or who it is, is not tried again before `REST`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fairlead_config::HostPort;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::runtime::Handle;

use super::{papers::Papers, session::Session};
use crate::{
    dial::{DialCause, DialError},
    group::Chosen,
};

/// Sessions to one node.
const SESSIONS_LIMIT: usize = 4;
/// How long a refused login or host key stands.
const REST: Duration = Duration::from_secs(30);

/// Every node's sessions, as long as a hop names them.
pub(crate) struct Pool {
    nodes: Mutex<HashMap<String, Weak<Sessions>>>,
    /// Where sessions live, one after the other.
    workers: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
}

/// The sessions to one node.
pub(crate) struct Sessions {
    state: Mutex<State>,
    workers: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    sessions: Vec<Arc<Session>>,
    /// A handshake under way.
    beginning: Option<Beginning>,
    refusal: Option<Refusal>,
}

type Begun = Result<Arc<Session>, DialError>;
type Beginning = Shared<BoxFuture<'static, Begun>>;

/// A server and we did not get on; until the files change, or some time has passed.
struct Refusal {
    at: Instant,
    papers: Arc<Papers>,
    error: DialError,
}

/// Where a channel goes.
enum Way {
    Session(Arc<Session>),
    Beginning(Beginning),
    Refused(DialError),
}

impl Pool {
    /// A pool whose sessions live on these runtimes.
    pub(crate) fn new(workers: impl IntoIterator<Item = Handle>) -> Self {
        let workers = workers.into_iter().collect();
        Self { nodes: Mutex::default(), workers, next: Arc::default() }
    }

    /// The sessions of a node, by all that makes them what they are.
    pub(crate) fn sessions(&self, key: &str) -> Arc<Sessions> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = nodes.get(key).and_then(Weak::upgrade) {
            return sessions;
        }
        nodes.retain(|_, sessions| sessions.strong_count() > 0);
        let (workers, next) = (Arc::clone(&self.workers), Arc::clone(&self.next));
        let sessions = Arc::new(Sessions { state: Mutex::default(), workers, next });
        nodes.insert(key.to_owned(), Arc::downgrade(&sessions));
        sessions
    }
}

impl Sessions {
    /// A session for a new channel; `begin` makes one where there is none that will do.
    pub(crate) async fn session(
        self: &Arc<Self>,
        node: &HostPort,
        papers: &Arc<Papers>,
        begin: impl FnOnce() -> BoxFuture<'static, Begun>,
    ) -> Begun {
        match self.way(node, papers, begin) {
            Way::Session(session) => Ok(session),
            Way::Beginning(beginning) => beginning.await,
            Way::Refused(error) => Err(error),
        }
    }

    /// Remembers for whom the server falls silent, if it does.
    pub(crate) fn are_used_by(&self, chosen: &Chosen, hop: u32) {
        self.state().sessions.iter().for_each(|session| session.is_used_by(chosen.clone(), hop));
    }

    /// What waits to be read in all of them, in bytes.
    pub(crate) fn backlog(&self) -> u64 {
        self.state().sessions.iter().map(|session| session.backlog()).sum()
    }

    fn way(
        self: &Arc<Self>,
        node: &HostPort,
        papers: &Arc<Papers>,
        begin: impl FnOnce() -> BoxFuture<'static, Begun>,
    ) -> Way {
        let mut state = self.state();
        state.sessions.retain(|session| session.takes_channels(papers));
        let best = state.sessions.iter().min_by_key(|session| session.load()).cloned();
        let is_full = state.sessions.len() >= SESSIONS_LIMIT;
        if let Some(best) = best.filter(|best| best.load().0 == 0 || is_full) {
            return Way::Session(best);
        }
        if let Some(refusal) = state.refusal.as_ref().filter(|refusal| refusal.stands(papers)) {
            return Way::Refused(refusal.error.clone());
        }
        if let Some(beginning) = &state.beginning {
            return Way::Beginning(beginning.clone());
        }
        let beginning = self.begin(node.clone(), Arc::clone(papers), begin());
        state.beginning = Some(beginning.clone());
        Way::Beginning(beginning)
    }

    /// On a worker, and to its end also if nobody waits any more.
    fn begin(self: &Arc<Self>, node: HostPort, papers: Arc<Papers>, begin: BoxFuture<'static, Begun>) -> Beginning {
        let sessions = Arc::clone(self);
        let task = async move {
            let begun = begin.await;
            sessions.take(papers, &begun);
            begun
        };
        let worker = &self.workers[self.next.fetch_add(1, Relaxed) % self.workers.len()];
        let task = worker.spawn(task);
        let ended = move |_| Err(DialError::new(node, DialCause::Other("the proxy is ending".to_owned())));
        task.map(|begun| begun.unwrap_or_else(ended)).boxed().shared()
    }

    fn take(&self, papers: Arc<Papers>, begun: &Begun) {
        let mut state = self.state();
        state.beginning = None;
        match begun {
            Ok(session) => {
                state.refusal = None;
                state.sessions.push(Arc::clone(session));
            }
            Err(error) if matches!(error.cause, DialCause::Login(_) | DialCause::HostKey(_)) => {
                state.refusal = Some(Refusal { at: Instant::now(), papers, error: error.clone() });
            }
            Err(_) => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refusal {
    fn stands(&self, papers: &Papers) -> bool {
        self.at.elapsed() < REST && *self.papers == *papers
    }
}
