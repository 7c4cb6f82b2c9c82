//! A user who watches: counts PortForwards that are Ready, and takes the time from what a proxy reports to what a status
//! says. From a watch of its own to latencies.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fairlead_api::{NodeState, PortForward};
use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::watch;

use super::simulated::Turn;
use crate::operator::says;

/// Namespace and name.
type Name = (String, String);

/// What has been seen.
pub(super) struct Observer {
    seen: Mutex<Seen>,
    ready: watch::Sender<usize>,
}

#[derive(Default)]
struct Seen {
    ready: HashSet<Name>,
    awaited: HashMap<Name, (Turn, Instant)>,
    latencies: Vec<Duration>,
    overtaken: usize,
}

/// What became of the turns that were awaited.
pub(super) struct Turns {
    /// In order.
    pub(super) latencies: Vec<Duration>,
    /// Turns whose target turned again before a status said so.
    pub(super) overtaken: usize,
    /// Turns that no status says yet.
    pub(super) open: usize,
}

impl Observer {
    /// Watches from now on.
    pub(super) fn start(client: Client) -> Arc<Self> {
        let observer = Arc::new(Self { seen: Mutex::default(), ready: watch::Sender::new(0) });
        let api: Api<PortForward> = Api::all(client);
        let watched = watcher::watcher(api, watcher::Config::default()).default_backoff().applied_objects();
        let eyes = Arc::clone(&observer);
        tokio::spawn(watched.for_each(move |object| {
            if let Ok(object) = object {
                eyes.see(&object, Instant::now());
            }
            std::future::ready(())
        }));
        observer
    }

    /// Waits until so many are Ready.
    pub(super) async fn await_ready(&self, count: usize) {
        // The sender is here, so that this ends well.
        let _ = self.ready.subscribe().wait_for(|ready| *ready >= count).await;
    }

    /// How many are Ready.
    pub(super) fn ready(&self) -> usize {
        *self.ready.borrow()
    }

    /// Takes the time of this turn from now on.
    pub(super) fn expect(&self, turn: Turn) {
        let name = (turn.key.namespace.clone(), turn.key.name.clone());
        let mut seen = self.seen();
        let overtaken = seen.awaited.insert(name, (turn, Instant::now())).is_some();
        seen.overtaken += usize::from(overtaken);
    }

    /// Turns that no status says yet.
    pub(super) fn open(&self) -> usize {
        self.seen().awaited.len()
    }

    /// Everything so far.
    pub(super) fn turns(&self) -> Turns {
        let seen = self.seen();
        let mut latencies = seen.latencies.clone();
        latencies.sort_unstable();
        Turns { latencies, overtaken: seen.overtaken, open: seen.awaited.len() }
    }

    fn see(&self, object: &PortForward, now: Instant) {
        let name = (object.namespace().unwrap_or_default(), object.name_any());
        let mut seen = self.seen();
        if seen.awaited.get(&name).is_some_and(|(turn, _)| shows(object, turn))
            && let Some((_, since)) = seen.awaited.remove(&name)
        {
            seen.latencies.push(now - since);
        }
        if says(object, "Ready").0 == "True" {
            seen.ready.insert(name)
        } else {
            seen.ready.remove(&name)
        };
        let count = seen.ready.len();
        drop(seen);
        self.ready.send_if_modified(|ready| std::mem::replace(ready, count) != count);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shows(object: &PortForward, turn: &Turn) -> bool {
    let wanted = if turn.is_dead { NodeState::Dead } else { NodeState::Alive };
    let nodes = object.status.iter().flat_map(|status| &status.nodes);
    nodes.into_iter().any(|node| node.address == turn.target && node.state == wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use fairlead_config::ForwardKey;
    use serde_json::json;

    fn object(state: &str, ready: &str) -> PortForward {
        let condition = json!({
            "type": "Ready", "status": ready, "reason": "r", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(json!({
            "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward",
            "metadata": {"namespace": "n", "name": "f"}, "spec": {"url": "tcp://:1/a:2"},
            "status": {"conditions": [condition], "nodes": [{"address": "a:2", "role": "Target", "state": state}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_turn_is_timed_until_a_status_says_it_and_readiness_goes_both_ways() {
        let observer = Observer { seen: Mutex::default(), ready: watch::Sender::new(0) };
        let turn = |is_dead| Turn { key: ForwardKey::local("n", "f"), target: "a:2".to_owned(), is_dead };
        observer.expect(turn(true));
        observer.see(&object("Alive", "True"), Instant::now());
        assert_eq!((observer.ready(), observer.open()), (1, 1));
        observer.see(&object("Dead", "False"), Instant::now());
        assert_eq!((observer.ready(), observer.open(), observer.turns().latencies.len()), (0, 0, 1));
        observer.expect(turn(false));
        observer.expect(turn(true));
        assert_eq!((observer.turns().overtaken, observer.turns().open), (1, 1));
    }
}
