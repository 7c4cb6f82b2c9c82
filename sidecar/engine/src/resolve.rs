//! Names to addresses, for `dial`: each name is asked for anew after a short while, by one question at a time.
//! Questions run on the engine's own runtime, so that they end and age whether or not their asker still waits.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::{runtime::Handle, sync::Semaphore};

use crate::dial::DialCause;

/// How long an answer is used.
const FRESH: Duration = Duration::from_secs(5);
/// How long a failure is used.
const FRESH_FAILURE: Duration = Duration::from_secs(1);
/// Names kept; beyond it all answers are forgotten.
const NAMES_LIMIT: usize = 4_096;
/// Questions under way at a time; each blocks a thread.
const QUESTIONS_LIMIT: usize = 64;

/// The addresses of a name, in the system's order, with port 0; a failure may be the name's or our own shortage.
type Answer = Result<Arc<[SocketAddr]>, DialCause>;
/// An answer, and when it came.
type Question = Shared<BoxFuture<'static, (Answer, Instant)>>;

/// Remembers answers for a few seconds, shared by all forwards of a proxy.
pub(crate) struct Resolver {
    names: Mutex<HashMap<String, Question>>,
    places: Arc<Semaphore>,
    runtime: Handle,
}

impl Resolver {
    /// Makes a resolver whose questions run on `runtime`.
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { names: Mutex::default(), places: Arc::new(Semaphore::new(QUESTIONS_LIMIT)), runtime }
    }

    /// The addresses of `name`.
    pub(crate) async fn resolve(&self, name: &str) -> Answer {
        if name.is_empty() || name.eq_ignore_ascii_case("localhost") {
            return Ok(Arc::new([(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()]));
        }
        let question = self.question(name, Instant::now())?;
        question.await.0
    }

    /// Leaves everybody who asks for `name` without an answer.
    #[cfg(test)]
    pub(crate) fn hang(&self, name: &str) {
        let question = futures::future::pending().boxed().shared();
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), question);
    }

    /// The running or still fresh question about `name`, or a new one.
    fn question(&self, name: &str, now: Instant) -> Result<Question, DialCause> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(name).filter(|known| is_fresh(known.peek(), now)) {
            return Ok(known.clone());
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| DialCause::Shortage(format!("{QUESTIONS_LIMIT} names are being resolved")))?;
        if names.len() >= NAMES_LIMIT {
            names.clear();
        }
        let asked = name.to_owned();
        let thread = self.runtime.spawn_blocking(move || {
            let answer = (lookup(&asked), Instant::now());
            drop(place);
            answer
        });
        let ended =
            thread.map(|answer| answer.unwrap_or_else(|e| (Err(DialCause::Resolve(e.to_string())), Instant::now())));
        let question = ended.boxed().shared();
        names.insert(name.to_owned(), question.clone());
        // An asker that gave up would leave the answer unread, and so without an age.
        self.runtime.spawn(question.clone());
        Ok(question)
    }
}

fn is_fresh(answer: Option<&(Answer, Instant)>, now: Instant) -> bool {
    answer.is_none_or(|(answer, at)| {
        let age = now.saturating_duration_since(*at);
        match answer {
            Ok(_) => age < FRESH,
            Err(cause) => cause.is_the_nodes() && age < FRESH_FAILURE,
        }
    })
}

fn lookup(name: &str) -> Answer {
    let found = match (name, 0).to_socket_addrs() {
        Ok(found) => found,
        Err(error) => return Err(not_found(&error)),
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(DialCause::Resolve("no address".to_owned())) } else { Ok(addresses.into()) }
}

/// The system's resolver says "unknown" also when it had no descriptor to ask with; that is no fault of the name.
fn not_found(error: &std::io::Error) -> DialCause {
    match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 0) {
        Ok(_) => DialCause::Resolve(error.to_string()),
        Err(shortage) => DialCause::Shortage(shortage.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn resolver() -> Resolver {
        Resolver::new(Handle::current())
    }

    #[test]
    fn answers_age_and_failures_age_faster() {
        let start = Instant::now();
        let unknown = || Err(DialCause::Resolve(String::new()));
        let short = || Err(DialCause::Shortage(String::new()));
        for (after, answer, fresh) in [
            (0, Ok(Arc::from([])), true),
            (4, Ok(Arc::from([])), true),
            (5, Ok(Arc::from([])), false),
            (0, unknown(), true),
            (1, unknown(), false),
            (0, short(), false),
        ] {
            let now = start + Duration::from_secs(after);
            let asked: (Answer, Instant) = (answer, start);
            assert_eq!(is_fresh(Some(&asked), now), fresh, "after {after} s: {asked:?}");
        }
        assert!(is_fresh(None, start), "a question that runs is shared");
    }

    #[tokio::test]
    async fn an_empty_host_means_this_host() {
        let addresses = resolver().resolve("").await.unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback()) && addresses.len() == 2);
    }

    #[tokio::test]
    async fn an_answer_ages_though_its_asker_gave_up() {
        let resolver = resolver();
        let question = resolver.question("no-such-name.invalid", Instant::now()).unwrap();
        crate::testing::await_that("it is answered unasked", || question.peek().is_some()).await;
        let later = Instant::now() + FRESH;
        assert!(!question.ptr_eq(&resolver.question("no-such-name.invalid", later).unwrap()));
    }

    #[tokio::test]
    async fn too_many_questions_are_our_shortage() {
        let resolver = resolver();
        let _busy = resolver.places.try_acquire_many(QUESTIONS_LIMIT as u32).unwrap();
        assert!(matches!(resolver.resolve("a.invalid").await, Err(DialCause::Shortage(_))));
    }
}
