//! Every state of one PortForward as a watch tells it, with the time when it came: for promises about what must never
//! be seen, and about how soon something is.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fairlead_api::{Node, PortForward};
use futures::StreamExt;
use kube::{
    Api,
    runtime::watcher::{self, Event, watcher},
};
use tokio::task::JoinHandle;

use super::condition;
use crate::{
    cluster::{CLUSTER_SOON, Objects, runtime},
    deadline::await_some,
};

/// What a watch told so far; dropping it ends the watch.
pub struct History {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// One state.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub object: PortForward,
}

impl History {
    /// Watches a PortForward, which need not be there yet.
    pub fn of(objects: &Objects, name: &str) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let told = Arc::clone(&seen);
        let api: Api<PortForward> = objects.api();
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let states = watcher(api, only).for_each(move |event| {
            // A watch that failed begins anew with the present state.
            if let Ok(Event::Apply(object) | Event::InitApply(object)) = event {
                lock(&told).push(Seen { at: Instant::now(), object });
            }
            std::future::ready(())
        });
        let task = runtime().spawn(states);
        Self { seen, task }
    }

    /// Every state so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// How many states there are; what comes later has a higher number.
    pub fn mark(&self) -> usize {
        lock(&self.seen).len()
    }

    /// The states from the mark on.
    pub fn since(&self, mark: usize) -> Vec<Seen> {
        lock(&self.seen).iter().skip(mark).cloned().collect()
    }

    /// Waits for a state that is as wanted among those from the mark on.
    pub fn await_seen(&self, mark: usize, what: &str, wanted: impl Fn(&PortForward) -> bool) -> Seen {
        await_some(what, CLUSTER_SOON, || self.since(mark).into_iter().find(|seen| wanted(&seen.object)))
    }

    /// How long after a moment a state came that is as wanted.
    pub fn time_from(&self, begin: Instant, what: &str, wanted: impl Fn(&PortForward) -> bool) -> Duration {
        let states = || self.seen().into_iter().filter(|seen| seen.at >= begin);
        let found = await_some(what, CLUSTER_SOON, || states().find(|seen| wanted(&seen.object)));
        found.at - begin
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    /// Status of a condition; empty where there is none.
    pub fn says(&self, type_: &str) -> &str {
        condition(&self.object, type_).map_or("", |condition| &condition.status)
    }

    /// Conditions and nodes in a line, for messages.
    pub fn line(&self) -> String {
        let conditions = self.object.status.iter().flat_map(|status| &status.conditions);
        let conditions: Vec<_> = conditions
            .map(|c| format!("{}={} {} g{}", c.type_, c.status, c.reason, c.observed_generation.unwrap_or_default()))
            .collect();
        let nodes: Vec<_> =
            nodes(&self.object).iter().map(|node| format!("{} {:?}", node.address, node.state)).collect();
        let generation = self.object.metadata.generation.unwrap_or_default();
        let proxies = self.object.status.as_ref().and_then(|status| status.proxies.as_ref());
        format!("generation {generation}: {}; {}; {proxies:?}", conditions.join(", "), nodes.join(", "))
    }
}

/// The nodes of a status.
pub fn nodes(object: &PortForward) -> &[Node] {
    object.status.as_ref().map(|status| status.nodes.as_slice()).unwrap_or_default()
}

fn lock(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
