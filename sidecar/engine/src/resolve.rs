//! Names to addresses, for `dial`: each name is asked for anew after a short while, by one question at a time.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};

/// How long an answer is used.
const FRESH: Duration = Duration::from_secs(5);
/// How long a failure is used.
const FRESH_FAILURE: Duration = Duration::from_secs(1);
/// Names kept; beyond it all answers are forgotten.
const LIMIT: usize = 4_096;

type Answer = Result<Arc<[IpAddr]>, String>;

/// Remembers answers for a few seconds, shared by all forwards of a proxy.
#[derive(Default)]
pub(crate) struct Resolver {
    names: Mutex<HashMap<String, Known>>,
}

struct Known {
    answer: Shared<BoxFuture<'static, (Answer, Instant)>>,
}

impl Resolver {
    /// The addresses of `name`, in the system's order; an error is one line.
    pub(crate) async fn resolve(&self, name: &str) -> Answer {
        if name.is_empty() || name.eq_ignore_ascii_case("localhost") {
            return Ok(Arc::new([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]));
        }
        let question = self.question(name, Instant::now());
        question.await.0
    }

    /// The running or still fresh question about `name`, or a new one.
    fn question(&self, name: &str, now: Instant) -> Shared<BoxFuture<'static, (Answer, Instant)>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(name).filter(|known| is_fresh(known.answer.peek(), now)) {
            return known.answer.clone();
        }
        if names.len() >= LIMIT {
            names.clear();
        }
        let answer = ask(name.to_owned()).boxed().shared();
        names.insert(name.to_owned(), Known { answer: answer.clone() });
        answer
    }
}

fn is_fresh(answer: Option<&(Answer, Instant)>, now: Instant) -> bool {
    answer.is_none_or(|(answer, at)| {
        let age = now.saturating_duration_since(*at);
        age < if answer.is_ok() { FRESH } else { FRESH_FAILURE }
    })
}

/// Asks the system's resolver on a thread of its own: it blocks.
async fn ask(name: String) -> (Answer, Instant) {
    let answer = tokio::task::spawn_blocking(move || lookup(&name)).await;
    (answer.unwrap_or_else(|e| Err(e.to_string())), Instant::now())
}

fn lookup(name: &str) -> Answer {
    let addresses = (name, 0).to_socket_addrs().map_err(|e| e.to_string())?;
    let mut found: Vec<IpAddr> = Vec::new();
    for address in addresses {
        if !found.contains(&address.ip()) {
            found.push(address.ip());
        }
    }
    if found.is_empty() { Err("no address".to_owned()) } else { Ok(found.into()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answered(at: Instant, ok: bool) -> (Answer, Instant) {
        (if ok { Ok(Arc::new([])) } else { Err(String::new()) }, at)
    }

    #[test]
    fn answers_age_and_failures_age_faster() {
        let start = Instant::now();
        for (after, ok, fresh) in
            [(0, true, true), (4, true, true), (5, true, false), (0, false, true), (1, false, false)]
        {
            let now = start + Duration::from_secs(after);
            assert_eq!(is_fresh(Some(&answered(start, ok)), now), fresh, "after {after} s, ok: {ok}");
        }
        assert!(is_fresh(None, start), "a question that runs is shared");
    }

    #[tokio::test]
    async fn an_empty_host_means_this_host() {
        let addresses = Resolver::default().resolve("").await.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback) && addresses.len() == 2);
    }
}
