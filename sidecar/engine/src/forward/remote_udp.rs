//! Remote UDP forward (seed: `rudp://`): a chain's last hop receives datagrams, and each of its clients gets a `channel`
//! with one of the targets from here, for as long as datagrams pass.
//!
//! One tunnel carries all clients' datagrams, framed with the clients' addresses. Channels outlive it: a tunnel that was
//! cut and is back finds its clients where they were, and the answers that came meanwhile.

mod channel;
mod tunnel;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use fairlead_config::{ForwardKey, NodeReport};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::remote::{Binding, Keeper, Places, Standing};
use crate::{
    accept::{ServeControl, Trouble},
    association::{Client, Table},
    engine::Context,
    group::Group,
    plan::ForwardPlan,
    protocol::socks5::Listen,
    report::{DatagramStats, ForwardStats, node_stats},
    stats::{DatagramCounters, Dropped},
    workers::Load,
};
use channel::Channel;
use tunnel::Answers;

/// How often channels are looked at for their ttl, at least.
const EXPIRY_LOOK: Duration = Duration::from_secs(1);

/// A running remote UDP forward.
pub(crate) struct RemoteUdp {
    shared: Arc<Shared>,
    keeper: Option<Keeper>,
    expiry: Option<AbortOnDropHandle<()>>,
}

/// What the forward's tunnel and channels share.
struct Shared {
    binding: Arc<Binding>,
    times: ArcSwap<Times>,
    group: Arc<Group>,
    load: Arc<Load>,
    channels: Mutex<Table<Channel>>,
    answers: Answers,
    associations: AtomicU64,
    unserved: AtomicU64,
    passed_on: AtomicU64,
    counters: DatagramCounters,
}

/// What may change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    /// How long a channel lives without a datagram.
    ttl: Duration,
    /// How long resolving a node's name may take.
    resolve: Duration,
}

impl RemoteUdp {
    /// Begins to hold the far end's port.
    pub(crate) fn start(key: &ForwardKey, plan: &ForwardPlan, ttl: Duration, context: &Context) -> Self {
        let shared = Arc::new(Shared {
            binding: Binding::new(key, plan, Listen::Datagrams, context),
            times: ArcSwap::from_pointee(Times { ttl, resolve: plan.dial_timeout }),
            group: Arc::new(Group::new(key.to_string(), plan.rules, &plan.targets, context.changes.clone())),
            load: Places::of(context).load,
            channels: Mutex::new(Table::new()),
            answers: Answers::new(),
            associations: AtomicU64::new(0),
            unserved: AtomicU64::new(0),
            passed_on: AtomicU64::new(0),
            counters: DatagramCounters::default(),
        });
        let attempts = Arc::clone(&shared);
        let keeper = Keeper::begin(&shared.binding, context, move |turn| tunnel::run(Arc::clone(&attempts), turn));
        let expiry = AbortOnDropHandle::new(context.control.spawn(expire(Arc::clone(&shared))));
        Self { shared, keeper: Some(keeper), expiry: Some(expiry) }
    }

    /// Takes new targets and limits; the port and its channels stay.
    pub(crate) fn update(&self, plan: &ForwardPlan, ttl: Duration) {
        self.shared.group.reconfigure(plan.rules, &plan.targets);
        self.shared.binding.control.set_max_connections(plan.max_connections);
        self.shared.times.store(Arc::new(Times { ttl, resolve: plan.dial_timeout }));
    }

    /// Gives the port back, without which no channel can answer.
    pub(crate) fn stop(&mut self) -> Arc<ServeControl> {
        self.shared.binding.control.stop();
        (self.keeper, self.expiry) = (None, None);
        while self.shared.channels().evict().is_some() {}
        Arc::clone(&self.shared.binding.control)
    }

    /// Whether the port is held.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        self.shared.binding.standing()
    }

    /// What keeps its hops from being dialled, in one line.
    pub(crate) fn lack(&self) -> Option<String> {
        self.shared.binding.lack()
    }

    /// What keeps it from serving as it should, in one line.
    pub(crate) fn trouble(&self) -> Option<String> {
        let line = match self.shared.binding.control.trouble() {
            Trouble::None => return None,
            Trouble::AtLimit => "maxConnections associations are there; for a further client the idlest leaves",
            Trouble::OutOfDescriptors | Trouble::OutOfMemory | Trouble::NoUpstream | Trouble::AcceptFailed => {
                "this host lacks descriptors, memory or source ports for sockets to targets; datagrams are dropped"
            }
        };
        Some(line.to_owned())
    }

    /// The hops' nodes and the targets, and how they fare.
    pub(crate) fn nodes(&self) -> Vec<NodeReport> {
        let hops = self.shared.binding.hops();
        hops.iter().flat_map(|hop| hop.report()).chain(self.shared.group.report()).collect()
    }

    /// The counters as they stand.
    pub(crate) fn stats(&self, key: &ForwardKey) -> ForwardStats {
        let Shared { binding, counters, group, .. } = &*self.shared;
        let of_hops = binding.hops().iter().flat_map(|hop| hop.stats());
        let nodes = of_hops.chain(node_stats(None, &group.nodes(), &group.report()));
        ForwardStats {
            key: key.clone(),
            accepted: self.shared.associations.load(Relaxed),
            open: binding.control.live() as u64,
            unserved: self.shared.unserved.load(Relaxed),
            passed_on: self.shared.passed_on.load(Relaxed),
            hedged: 0,
            copy_errors: 0,
            bytes_to_upstream: counters.bytes_to_upstream.load(Relaxed),
            bytes_to_client: counters.bytes_to_client.load(Relaxed),
            datagrams: Some(DatagramStats {
                to_upstream: counters.to_upstream.load(Relaxed),
                to_client: counters.to_client.load(Relaxed),
                dropped: counters.dropped(),
            }),
            nodes: nodes.collect(),
        }
    }
}

impl Shared {
    /// Gives a client's datagram to its channel, which is made if there is none; `worker` is the present one.
    fn deliver(self: &Arc<Self>, peer: SocketAddr, datagram: &[u8], worker: usize) {
        let (client, now) = (Client { peer, local: None }, Instant::now());
        let mut channels = self.channels();
        let found = channels.find(&client);
        let Some(id) = found.or_else(|| self.open(&mut channels, client, worker, now)) else {
            return self.counters.drop(Dropped::NoRoom, 1);
        };
        channels.touch(id, now);
        let sent = channels.entry(id).map(|(_, channel)| channel.give(datagram));
        if let Some(Err(mpsc::error::TrySendError::Full(_))) = sent {
            self.counters.drop(Dropped::QueueFull, 1);
        }
    }

    /// Makes a channel; when there is no room, the idlest leaves.
    fn open(
        self: &Arc<Self>,
        channels: &mut Table<Channel>,
        client: Client,
        worker: usize,
        now: Instant,
    ) -> Option<crate::association::Id> {
        let control = &self.binding.control;
        if !control.try_reserve() {
            control.raise(Trouble::AtLimit, tokio::time::Instant::now());
            channels.evict()?;
            if !control.try_reserve() {
                return None;
            }
        }
        self.associations.fetch_add(1, Relaxed);
        Some(channels.insert(client, Channel::begin(self, client.peer, worker), now))
    }

    /// A datagram came from a client's node.
    fn touch(&self, peer: SocketAddr) {
        let mut channels = self.channels();
        if let Some(id) = channels.find(&Client { peer, local: None }) {
            channels.touch(id, Instant::now());
        }
    }

    /// A poisoned lock is used on: the table is whole between any two of its changes.
    fn channels(&self) -> MutexGuard<'_, Table<Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends channels as their ttl passes.
async fn expire(shared: Arc<Shared>) {
    loop {
        let (ttl, now) = (shared.times.load().ttl, Instant::now());
        let next = {
            let mut channels = shared.channels();
            let mut ended = false;
            while channels.expire(ttl, now).is_some() {
                ended = true;
            }
            if ended {
                shared.binding.control.clear_all();
            }
            channels.expiry(ttl)
        };
        let look = now + EXPIRY_LOOK;
        tokio::time::sleep_until(next.map_or(look, |next| next.min(look)).into()).await;
    }
}

#[cfg(test)]
mod tests;
