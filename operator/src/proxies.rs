//! The leader's connections to the proxy pods: documents go out as soon as they are assigned, reports come in as they
//! change. `link` is one pod's life: dial, hear reports, push; `Proxies` says which pods there are and what they shall
//! run, and what is known of them. Nothing here talks to the API server, and what a pod sends is limited and believed
//! only of what was assigned to it, which is for the reader of the reports to see to.

mod backoff;
mod changes;
mod error;
mod http;
mod lines;
mod link;
mod push;
mod tls;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use fairlead_config::Report;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use self::{http::Dialler, link::Life};
use crate::{authority::Identity, names::ProxyId};

pub use changes::Changes;

/// A pod of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPod {
    pub uid: String,
    pub name: String,
    /// The pod's IP with its admin port.
    pub address: SocketAddr,
}

/// What one proxy is: its pods, and the document they shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub pods: Vec<ProxyPod>,
    pub document: Arc<str>,
    /// The document's revision, as it stands in it.
    pub revision: u64,
}

/// What is known of a pod.
#[derive(Debug, Clone)]
pub struct PodView {
    pub uid: String,
    pub name: String,
    pub link: Link,
    /// Why the newest document could not be pushed, in one line, although the pod reports.
    pub push_error: Option<String>,
}

/// How the connection to a pod stands.
#[derive(Debug, Clone)]
pub enum Link {
    /// It was not reached yet, and no attempt has failed.
    Dialling { since: Instant },
    /// It reports; this is its last report.
    Connected { report: Arc<Report>, since: Instant },
    /// It can't be reached; it is dialled again and again. `report` is the last one that came, from this address.
    Lost { error: String, since: Instant, report: Option<Arc<Report>> },
}

/// Every proxy of the cluster. Dropping it closes every connection.
pub struct Proxies {
    dialler: Arc<Dialler>,
    changes: changes::Sender,
    fleets: Mutex<HashMap<ProxyId, Fleet>>,
}

/// One proxy.
struct Fleet {
    document: watch::Sender<Document>,
    pods: BTreeMap<String, Pod>,
}

struct Pod {
    pod: ProxyPod,
    known: Arc<Mutex<Known>>,
    /// Ends the wait before the next dial.
    hurry: Arc<Notify>,
    _life: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Document {
    text: Arc<str>,
    revision: u64,
}

#[derive(Debug, Clone)]
struct Known {
    link: Link,
    push_error: Option<String>,
}

impl Proxies {
    /// Starts without any proxy. Connections are made with the identity of their moment; `Changes` names every proxy
    /// of which something new is known. Call it within a tokio runtime.
    pub fn start(identity: watch::Receiver<Arc<Identity>>) -> (Self, Changes) {
        let (changes, receiver) = changes::channel();
        let dialler = Arc::new(Dialler::new(identity));
        (Self { dialler, changes, fleets: Mutex::default() }, receiver)
    }

    /// Says what a proxy is. A pod that is the same and at the same address keeps its connection, and a newer
    /// document goes out to it at once; saying the same again does nothing.
    pub fn assign(&self, id: ProxyId, assignment: Assignment) {
        let Assignment { pods, document: text, revision } = assignment;
        let document = Document { text, revision };
        let mut fleets = self.fleets();
        let fleet = fleets.entry(id.clone()).or_insert_with(|| Fleet::new(document.clone()));
        fleet.document.send_if_modified(|present| {
            let differs = *present != document;
            *present = document;
            differs
        });
        let stays = |pod: &Pod| pods.contains(&pod.pod);
        let before = fleet.pods.len();
        fleet.pods.retain(|_, pod| stays(pod));
        let mut moved = fleet.pods.len() != before;
        for pod in pods {
            if !fleet.pods.contains_key(&pod.uid) {
                moved = true;
                let uid = pod.uid.clone();
                let started = self.start_pod(&id, pod, fleet.document.subscribe());
                fleet.pods.insert(uid, started);
            }
        }
        if moved {
            fleet.pods.values().for_each(|pod| pod.hurry.notify_one());
        }
    }

    /// Drops a proxy and closes the connections to its pods.
    pub fn forget(&self, id: &ProxyId) {
        self.fleets().remove(id);
    }

    /// Dials those pods of a proxy at once that wait for their next attempt, since something about them is new.
    pub fn hurry(&self, id: &ProxyId) {
        if let Some(fleet) = self.fleets().get(id) {
            fleet.pods.values().for_each(|pod| pod.hurry.notify_one());
        }
    }

    /// What is known of a proxy's pods, by uid.
    pub fn observe(&self, id: &ProxyId) -> Vec<PodView> {
        let fleets = self.fleets();
        let pods = fleets.get(id).into_iter().flat_map(|fleet| fleet.pods.values());
        pods.map(Pod::view).collect()
    }

    fn start_pod(&self, id: &ProxyId, pod: ProxyPod, document: watch::Receiver<Document>) -> Pod {
        let known = Known { link: Link::Dialling { since: Instant::now() }, push_error: None };
        let (known, hurry) = (Arc::new(Mutex::new(known)), Arc::new(Notify::new()));
        let life = Life {
            dialler: Arc::clone(&self.dialler),
            address: pod.address,
            document,
            hurry: Arc::clone(&hurry),
            known: Arc::clone(&known),
            changes: self.changes.clone(),
            id: id.clone(),
        };
        Pod { pod, known, hurry, _life: AbortOnDropHandle::new(tokio::spawn(life.run())) }
    }

    fn fleets(&self) -> MutexGuard<'_, HashMap<ProxyId, Fleet>> {
        lock(&self.fleets)
    }
}

impl Fleet {
    fn new(document: Document) -> Self {
        Self { document: watch::Sender::new(document), pods: BTreeMap::new() }
    }
}

impl Pod {
    fn view(&self) -> PodView {
        let Known { link, push_error } = lock(&self.known).clone();
        PodView { uid: self.pod.uid.clone(), name: self.pod.name.clone(), link, push_error }
    }
}

/// A poisoned lock is used on: what it guards is whole between any two of its changes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
