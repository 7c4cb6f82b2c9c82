//! Waits for names that are somebody else's to become free: from one watch for each name to the leader. Reads only.
//! Invariant: few watches run at once, however many names are taken.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use kube::{
    Api, Client,
    api::DynamicObject,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::child::ChildName;
use crate::names::ProxyId;

/// Names that are watched at once; more than these take turns.
const WATCHES_LIMIT: usize = 64;
/// How long a name is watched before it is another one's turn.
const TURN: Duration = Duration::from_secs(60);

/// The names that are waited for.
pub(super) struct Vacancies {
    client: Client,
    places: Arc<Semaphore>,
    waits: HashMap<ProxyId, BTreeMap<ChildName, AbortOnDropHandle<()>>>,
    free: mpsc::UnboundedSender<Vacancy>,
    freed: mpsc::UnboundedReceiver<Vacancy>,
}

/// A name that a proxy wanted and that is free now.
pub(super) type Vacancy = (ProxyId, ChildName);

impl Vacancies {
    pub(super) fn new(client: Client) -> Self {
        let (free, freed) = mpsc::unbounded_channel();
        Self { client, places: Arc::new(Semaphore::new(WATCHES_LIMIT)), waits: HashMap::new(), free, freed }
    }

    /// Waits for these names of a proxy, and for no others of it.
    pub(super) fn follow<'a>(&mut self, id: &ProxyId, taken: impl Iterator<Item = &'a ChildName>) {
        let mut before = self.waits.remove(id).unwrap_or_default();
        let wait = |child: &ChildName| {
            let waits = before.remove(child).unwrap_or_else(|| self.wait(id, child));
            (child.clone(), waits)
        };
        let waits: BTreeMap<_, _> = taken.map(wait).collect();
        if !waits.is_empty() {
            self.waits.insert(id.clone(), waits);
        }
    }

    /// Waits for the next name that has become free.
    pub(super) async fn next(&mut self) -> Vacancy {
        loop {
            let Some((id, child)) = self.freed.recv().await else { return std::future::pending().await };
            // It may have been given up meanwhile.
            if self.waits.get_mut(&id).is_some_and(|waits| waits.remove(&child).is_some()) {
                return (id, child);
            }
        }
    }

    fn wait(&self, id: &ProxyId, child: &ChildName) -> AbortOnDropHandle<()> {
        let api = Api::namespaced_with(self.client.clone(), &id.namespace, &child.kind.resource());
        let (vacancy, places, free) = ((id.clone(), child.clone()), Arc::clone(&self.places), self.free.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            become_free(&api, &vacancy.1.name, &places).await;
            // Whoever waited may be gone.
            let _ = free.send(vacancy);
        }))
    }
}

async fn become_free(api: &Api<DynamicObject>, name: &str, places: &Semaphore) {
    loop {
        let place = places.acquire().await;
        let gone = timeout(TURN, be_gone(api, name)).await;
        drop(place);
        if gone.is_ok() {
            return;
        }
    }
}

async fn be_gone(api: &Api<DynamicObject>, name: &str) {
    let mut seen = pin!(watch_object(api.clone(), name).default_backoff());
    while let Some(object) = seen.next().await {
        if matches!(object, Ok(None)) {
            return;
        }
    }
}
