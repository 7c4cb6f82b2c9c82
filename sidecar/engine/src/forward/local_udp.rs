//! Local UDP forward (seed: `udp://`): each client gets an association with one of the targets, for as long as
//! datagrams pass.
//!
//! The life of one datagram: a `courier` (one per worker that shares the listener) receives it, finds or makes the
//! client's association in its `Table`, and sends it to the association's `upstream`; answers come back the same way,
//! from the address the client sent to. A later plan leaves associations where they are.

mod courier;
#[cfg(test)]
mod tests;
mod tunnel;
mod upstream;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use fairlead_config::{ForwardKey, NodeReport};
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{
    accept::{ServeControl, Trouble},
    chain::Chained,
    connect::Dialer,
    datagram,
    engine::Context,
    forward::listening_address,
    group::Group,
    plan::ForwardPlan,
    report::{Carried, ForwardStats, node_stats},
    resolve::Resolver,
    stats::DatagramCounters,
};
use courier::Courier;
pub(crate) use tunnel::{Framing, Outage, Target, beside, in_stream};
pub(crate) use upstream::{Place, TRIAL};

/// Associations worth a worker: with a lower limit fewer workers share them, so that the idlest of all leaves first.
const ASSOCIATIONS_PER_WORKER: usize = 256;

/// A running local UDP forward.
pub(crate) struct LocalUdp {
    shared: Arc<Shared>,
    /// Looks after the files that hops need.
    look: Option<AbortOnDropHandle<()>>,
}

/// What the forward's couriers share.
struct Shared {
    key: ForwardKey,
    times: watch::Sender<Times>,
    group: Arc<Group>,
    control: Arc<ServeControl>,
    resolver: Arc<Resolver>,
    /// What targets are sent to through; none for most.
    chain: Arc<Chained>,
    judges: TaskTracker,
    associations: AtomicU64,
    unserved: AtomicU64,
    passed_on: AtomicU64,
    /// One per worker.
    counters: Vec<DatagramCounters>,
}

/// What may change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    /// How long an association lives without a datagram.
    ttl: Duration,
    /// How long resolving a node's name may take.
    resolve: Duration,
}

impl LocalUdp {
    /// Listens and starts to serve. The error is the listener's.
    pub(crate) fn start(key: &ForwardKey, plan: &ForwardPlan, ttl: Duration, context: &Context) -> io::Result<Self> {
        let sharing = plan.max_connections.div_ceil(ASSOCIATIONS_PER_WORKER).clamp(1, context.workers.len());
        let listeners = datagram::listen(listening_address(&plan.listen)?, sharing)?;
        let chain = Chained::new(key.to_string(), &plan.chain, context);
        let shared = Arc::new(Shared {
            key: key.clone(),
            times: watch::Sender::new(Times { ttl, resolve: plan.dial_timeout }),
            group: Arc::new(Group::new(key.to_string(), plan.rules, &plan.targets, context.changes.clone())),
            control: ServeControl::new(plan.max_connections),
            resolver: Arc::clone(&context.resolver),
            chain: Arc::new(chain),
            judges: TaskTracker::new(),
            associations: AtomicU64::new(0),
            unserved: AtomicU64::new(0),
            passed_on: AtomicU64::new(0),
            counters: (0..context.workers.len()).map(|_| DatagramCounters::default()).collect(),
        });
        let first = context.workers.next_watcher();
        let couriers = listeners.into_iter().enumerate().map(|(index, listener)| {
            let worker = (first + index) % context.workers.len();
            Courier::new(Arc::clone(&shared), worker, listener, Arc::clone(context.workers.load()))
        });
        for courier in couriers.collect::<io::Result<Vec<_>>>()? {
            context.workers.spawn(courier.worker(), courier.run());
        }
        context.control.spawn(context.changes.clone().follow(shared.control.watch_trouble()));
        let mut forward = Self { shared, look: None };
        forward.look_after_files(context);
        Ok(forward)
    }

    /// Takes a new plan for the same listener; associations stay with their nodes.
    pub(crate) fn update(&mut self, plan: &ForwardPlan, ttl: Duration, context: &Context) {
        self.shared.chain.update(&plan.chain, context);
        self.look_after_files(context);
        self.shared.group.reconfigure(plan.rules, &plan.targets);
        self.shared.control.set_max_connections(plan.max_connections);
        self.shared.times.send_replace(Times { ttl, resolve: plan.dial_timeout });
    }

    fn look_after_files(&mut self, context: &Context) {
        let look = || Arc::clone(&self.shared.chain).look_after_files();
        self.look = (!self.shared.chain.is_empty()).then(|| AbortOnDropHandle::new(context.control.spawn(look())));
    }

    /// What keeps its hops from being dialled, in one line.
    pub(crate) fn lack(&self) -> Option<String> {
        self.shared.chain.lack()
    }

    /// Takes no further clients; associations go on, and the port is kept for their answers, until they have been
    /// quiet for a moment or `abort`.
    pub(crate) fn stop(&self) -> Arc<ServeControl> {
        self.shared.control.stop();
        Arc::clone(&self.shared.control)
    }

    /// The hops' nodes and the targets, and how they fare.
    pub(crate) fn nodes(&self) -> Vec<NodeReport> {
        let mut nodes = self.shared.chain.report();
        nodes.extend(self.shared.group.report());
        nodes
    }

    /// What keeps it from serving as it should, in one line.
    pub(crate) fn trouble(&self) -> Option<String> {
        let line = match self.shared.control.trouble() {
            Trouble::None => return None,
            Trouble::AtLimit => "maxConnections associations are there; for a further client the idlest leaves",
            Trouble::OutOfDescriptors => {
                "out of file descriptors; further clients are served as associations end: raise the limit (ulimit -n)"
            }
            Trouble::OutOfMemory => "out of memory for sockets; datagrams of further clients are dropped",
            Trouble::NoUpstream | Trouble::AcceptFailed => {
                "this host lacks descriptors, memory or source ports for sockets to targets; datagrams are dropped"
            }
        };
        Some(line.to_owned())
    }

    /// The counters as they stand.
    pub(crate) fn stats(&self, key: &ForwardKey) -> ForwardStats {
        let Shared { control, group, counters, chain, .. } = &*self.shared;
        let mut nodes = chain.stats();
        nodes.extend(node_stats(None, &group.nodes(), &group.report()));
        let Carried { datagrams, bytes: [bytes_to_upstream, bytes_to_client] } = Carried::of(counters);
        ForwardStats {
            key: key.clone(),
            accepted: self.shared.associations.load(Relaxed),
            open: control.live() as u64,
            unserved: self.shared.unserved.load(Relaxed),
            passed_on: self.shared.passed_on.load(Relaxed),
            hedged: 0,
            copy_errors: 0,
            bytes_to_upstream,
            bytes_to_client,
            datagrams: Some(datagrams),
            nodes,
        }
    }
}

impl Shared {
    fn dialer(&self) -> Dialer {
        Dialer {
            resolver: Arc::clone(&self.resolver),
            timeout: self.times.borrow().resolve,
            judges: self.judges.clone(),
            secrets: Arc::clone(&self.chain.secrets),
            path: self.chain.watched(),
        }
    }
}
