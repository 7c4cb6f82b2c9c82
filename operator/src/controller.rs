//! The only writer: from what changed in the cluster and what the proxies report to objects and status. Level-triggered:
//! whatever happened, a proxy's whole state is looked at again, and only what differs is written.

mod caches;
mod child;
mod children;
mod drift;
mod index;
mod jobs;
mod keeper;
mod known;
mod leading;
mod mounts;
mod moves;
mod observation;
mod pods;
mod rolls;
mod settlement;
mod shelf;
mod statuses;
mod unseen;
mod vacancies;
mod writer;

use std::{sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    names::{ProxyId, ProxyKind},
    settings::Settings,
    telemetry::Telemetry,
};
use caches::{Caches, Change};
use fairlead_api::PortForward;
use index::Index;
pub use keeper::Keeper;
use pods::PodFacts;
use writer::Writer;

/// How often the main loop goes round at least.
const TICK: Duration = Duration::from_secs(10);

/// What the controller needs beside the API server.
pub struct Options {
    /// Reads what is watched.
    pub client: Client,
    /// This process among the replicas, for Events.
    pub identity: String,
    /// The namespaces that are watched; all of them if none is named.
    pub namespaces: Vec<String>,
    pub settings: Settings,
}

/// The cluster as seen, and what to do about it while this operator leads.
struct Controller {
    caches: Caches,
    options: Options,
    keeper: Keeper,
    writer: Writer,
    /// PortForwards by proxy.
    members: Index,
    /// Pods by proxy.
    pods: Index,
    /// Services by the proxy that they lead to.
    services: Index,
}

/// Watches, and writes while this operator leads, until `stop`. Errors are those of the first listing.
pub async fn run(
    options: Options,
    keeper: Keeper,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let (client, leader) = (keeper.client.clone(), Arc::clone(&keeper.leader));
    let (caches, mut changes) = Caches::start(&options.client, &options.namespaces, &tasks);
    let mut leads = leader.watch();
    let writer = Writer { client, leader, telemetry: Arc::clone(&telemetry) };
    let (members, pods, services) = Default::default();
    let mut controller = Controller { caches, options, keeper, writer, members, pods, services };
    tokio::select! {
        listed = controller.list(&mut changes) => listed?,
        () = stop.cancelled() => return Ok(()),
    }
    telemetry.caches_are_synced();
    while !stop.is_cancelled() {
        controller.follow(&mut changes, &mut leads, &stop).await;
        if stop.is_cancelled() {
            break;
        }
        tracing::info!("leading");
        telemetry.leading(true);
        leading::lead(&mut controller, &mut changes, &mut leads, &stop).await;
        telemetry.leading(false);
        tracing::info!("no longer leading");
    }
    Ok(())
}

impl Controller {
    /// Takes changes in until everything has been listed once: the watches wait for their changes to be taken.
    async fn list(&mut self, changes: &mut mpsc::Receiver<Change>) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                biased;
                change = changes.recv() => match change {
                    Some(change) => drop(self.note(change)),
                    None => anyhow::bail!("the watches have ended"),
                },
                () = self.caches.ready() => {
                    self.count_anew();
                    return Ok(());
                }
                // An API server that is away may stay away: waiting for it is no reason to be started again.
                () = sleep(TICK) => {}
            }
            self.writer.telemetry.tick();
        }
    }

    /// Keeps up with the cluster without writing, until this operator leads.
    async fn follow(
        &mut self,
        changes: &mut mpsc::Receiver<Change>,
        leads: &mut watch::Receiver<bool>,
        stop: &CancellationToken,
    ) {
        while !*leads.borrow_and_update() {
            tokio::select! {
                () = stop.cancelled() => return,
                change = changes.recv() => match change {
                    Some(change) => drop(self.note(change)),
                    None => return,
                },
                _ = leads.changed() => {}
                () = sleep(TICK) => {}
            }
            self.writer.telemetry.tick();
        }
    }

    /// Takes a change in; returns the proxies it concerns.
    fn note(&mut self, change: Change) -> Vec<ProxyId> {
        match change {
            Change::PortForward(name, proxy) => self.members.place(name, proxy),
            Change::Pod(name, proxy) => self.pods.place(name, proxy),
            Change::Service(name, proxy) => self.services.place(name, proxy),
            Change::Child(proxy) => vec![proxy],
            Change::Everything => {
                self.count_anew();
                self.every_proxy()
            }
        }
    }

    /// Brings both indexes in line with what is there: while a watch begins, its objects are told before they are there.
    fn count_anew(&mut self) {
        let Caches { port_forwards, gateway_pods, sidecar_pods, services, .. } = &self.caches;
        self.members.keep(|name| port_forwards.has(name));
        self.pods.keep(|name| gateway_pods.has(name) || sidecar_pods.has(name));
        self.services.keep(|name| services.has(name));
        for present in self.caches.present() {
            match present {
                Change::PortForward(name, proxy) => drop(self.members.place(name, proxy)),
                Change::Pod(name, proxy) => drop(self.pods.place(name, proxy)),
                Change::Service(name, proxy) => drop(self.services.place(name, proxy)),
                Change::Child(_) | Change::Everything => {}
            }
        }
    }

    /// Every proxy that has a member, a pod or an object.
    fn every_proxy(&self) -> Vec<ProxyId> {
        let known = self.members.proxies().chain(self.pods.proxies()).cloned();
        let mut all: Vec<_> = known.chain(self.caches.proxies_of_children()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The PortForwards of a proxy that are not on their way out.
    fn members_of(&self, id: &ProxyId) -> Vec<PortForward> {
        let members = self.members.members(id).filter_map(|name| self.caches.port_forwards.get(name));
        members.filter(|object| object.metadata.deletion_timestamp.is_none()).collect()
    }

    /// The pods of a proxy that are not on their way out.
    fn pods_of(&self, id: &ProxyId) -> Vec<PodFacts> {
        let cache = match id.kind {
            ProxyKind::Sidecar(_) => &self.caches.sidecar_pods,
            ProxyKind::Own(_) | ProxyKind::Shared(_) => &self.caches.gateway_pods,
        };
        self.pods.members(id).filter_map(|name| PodFacts::of(&cache.get(name)?)).collect()
    }
}
