//! Local TCP forward (seed: `tcp://`): a client accepted here is connected to one of the targets.
//!
//! The life of one connection: `accept` hands it to `handle` on a worker, `connect` finds a node that answers,
//! `relay` copies both ways until both are done. The plan is looked at once, when the connection begins:
//! a later plan never touches it.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwap;
use fairlead_config::{ForwardKey, HostPort, NodeReport};
use socket2::SockRef;
use tokio::time::{Instant, sleep};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{
    accept::{self, Accepted, ServeControl},
    chain::{self, Chained},
    connect::{Dialer, connect},
    dial::DialError,
    engine::Context,
    forward::{accept_trouble, listening_address},
    group::Group,
    health,
    plan::ForwardPlan,
    relay::{ByteCounters, relay_streams},
    report::{ForwardStats, node_stats},
    resolve::Resolver,
    selector::Ticket,
    stats::ClientCounters,
    stream::Stream,
};

/// How long a client waits between two dials when this host lacks something that its upstream takes.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// A running local TCP forward.
pub(crate) struct LocalTcp {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    health: Option<AbortOnDropHandle<()>>,
    /// Looks after the files that hops need.
    look: Option<AbortOnDropHandle<()>>,
}

/// What the forward's connections share.
struct Shared {
    key: ForwardKey,
    plan: ArcSwap<ForwardPlan>,
    group: Arc<Group>,
    chain: Arc<Chained>,
    control: Arc<ServeControl>,
    resolver: Arc<Resolver>,
    judges: TaskTracker,
    clients: ClientCounters,
    /// One per worker, so that cores don't fight over a cache line.
    bytes: Vec<ByteCounters>,
}

impl LocalTcp {
    /// Listens and starts to serve. The error is the listener's.
    pub(crate) fn start(key: &ForwardKey, plan: &ForwardPlan, context: &Context) -> io::Result<Self> {
        let listener = Arc::new(accept::listen(listening_address(&plan.listen)?)?);
        let name = key.to_string();
        let chain = Arc::new(Chained::new(name.clone(), &plan.chain, context));
        let shared = Arc::new(Shared {
            key: key.clone(),
            plan: ArcSwap::from_pointee(plan.clone()),
            group: Arc::new(Group::new(name, plan.rules, &plan.targets, context.changes.clone())),
            chain,
            control: ServeControl::new(plan.max_connections),
            resolver: Arc::clone(&context.resolver),
            judges: TaskTracker::new(),
            clients: ClientCounters::default(),
            bytes: (0..context.workers.len()).map(|_| ByteCounters::default()).collect(),
        });
        let handler = {
            let shared = Arc::clone(&shared);
            move |accepted| handle(Arc::clone(&shared), accepted)
        };
        accept::serve(&context.workers, Arc::clone(&listener), Arc::clone(&shared.control), handler);
        context.control.spawn(context.changes.clone().follow(shared.control.watch_trouble()));
        let mut forward = Self { shared, listener, health: None, look: None };
        forward.check_health(context);
        forward.look_after_files(context);
        Ok(forward)
    }

    /// Takes a new plan for the same listener; established connections go on under the old one.
    pub(crate) fn update(&mut self, plan: &ForwardPlan, context: &Context) {
        self.shared.group.reconfigure(plan.rules, &plan.targets);
        self.shared.chain.update(&plan.chain, context);
        self.shared.control.set_max_connections(plan.max_connections);
        let old = self.shared.plan.swap(Arc::new(plan.clone()));
        if old.health_check != plan.health_check {
            self.check_health(context);
        }
        self.look_after_files(context);
    }

    fn look_after_files(&mut self, context: &Context) {
        let look = || Arc::clone(&self.shared.chain).look_after_files();
        self.look = (!self.shared.chain.is_empty()).then(|| AbortOnDropHandle::new(context.control.spawn(look())));
    }

    /// What keeps its hops from being dialled, in one line.
    pub(crate) fn lack(&self) -> Option<String> {
        self.shared.chain.lack()
    }

    fn check_health(&mut self, context: &Context) {
        self.health = None;
        let plan = self.shared.plan.load();
        if let Some(check) = plan.health_check {
            let (group, shared) = (Arc::clone(&self.shared.group), Arc::clone(&self.shared));
            let task = health::check(group, check, move || shared.dialer(), Arc::clone(&context.health_checks));
            self.health = Some(AbortOnDropHandle::new(context.control.spawn(task)));
        }
    }

    /// Stops accepting and gives the port back; connections go on until they end or `abort`.
    pub(crate) fn stop(&mut self) -> Arc<ServeControl> {
        self.health = None;
        self.look = None;
        self.shared.control.stop();
        // The port is free at once, also while a worker still holds the descriptor.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Read);
        Arc::clone(&self.shared.control)
    }

    /// The hops' nodes and the targets, and how they fare.
    pub(crate) fn nodes(&self) -> Vec<NodeReport> {
        [self.shared.chain.report(), self.shared.group.report()].concat()
    }

    /// What keeps it from accepting as it should, in one line.
    pub(crate) fn trouble(&self) -> Option<String> {
        accept_trouble(&self.shared.control)
    }

    /// The counters as they stand.
    pub(crate) fn stats(&self, key: &ForwardKey) -> ForwardStats {
        let Shared { clients, bytes, group, chain, control, .. } = &*self.shared;
        let targets = node_stats(None, &group.nodes(), &group.report());
        ForwardStats::of_streams(key, control, clients, bytes, chain.stats().into_iter().chain(targets))
    }
}

impl Shared {
    fn dialer(&self) -> Dialer {
        Dialer {
            resolver: Arc::clone(&self.resolver),
            timeout: self.plan.load().dial_timeout,
            judges: self.judges.clone(),
            secrets: Arc::clone(&self.chain.secrets),
            path: self.chain.whole(),
        }
    }
}

async fn handle(shared: Arc<Shared>, accepted: Accepted) {
    shared.clients.accepted.fetch_add(1, Relaxed);
    let idle_timeout = shared.plan.load().idle_timeout;
    // Boxed: an established connection then keeps only what copying needs.
    let Ok(stream) = Box::pin(upstream(&shared, &accepted.peer)).await else {
        // A plain close would read as an empty answer.
        accepted.socket.reset_at_end();
        return;
    };
    let bytes = &shared.bytes[accepted.worker];
    let copied = relay_streams(Stream::Tcp(accepted.socket), stream, bytes, idle_timeout).await;
    if let Err(error) = copied {
        shared.clients.copy_errors.fetch_add(1, Relaxed);
        tracing::debug!(forward = %shared.key, peer = %accepted.peer, %error, "connection ended");
    }
}

async fn upstream(shared: &Shared, peer: &SocketAddr) -> Result<Stream, ()> {
    let dialer = shared.dialer();
    let mut ticket = Ticket::default();
    let mut connected = dialled(shared, &dialer, &mut ticket).await;
    if connected.as_ref().is_err_and(is_our_shortage) {
        let _before_new_clients = shared.control.wait_for_upstream();
        let give_up = Instant::now() + dialer.timeout;
        while connected.as_ref().is_err_and(is_our_shortage) && Instant::now() < give_up {
            sleep(SHORTAGE_PAUSE).await;
            ticket.start_over();
            connected = dialled(shared, &dialer, &mut ticket).await;
        }
    }
    connected.map_err(|error| {
        shared.clients.unserved.fetch_add(1, Relaxed);
        let error = error.map_or_else(|| "no target".to_owned(), |error| error.to_string());
        tracing::debug!(forward = %shared.key, %peer, error, "no target answered");
    })
}

/// Dials a target, or the far end of a chain that says itself where it goes.
async fn dialled(shared: &Shared, dialer: &Dialer, ticket: &mut Ticket) -> Result<Stream, Option<DialError>> {
    if shared.plan.load().targets.is_empty() {
        return chain::reach(dialer.clone(), Arc::new(HostPort::new("", 0))).await.map_err(Some);
    }
    let (stream, node) = connect(&shared.group, dialer, &shared.clients, ticket).await?.answered();
    node.counters.connections.fetch_add(1, Relaxed);
    Ok(stream)
}

/// Whether a client that waits may be served, as soon as other connections end.
fn is_our_shortage(error: &Option<DialError>) -> bool {
    error.as_ref().is_some_and(|error| error.cause.passes())
}

#[cfg(test)]
mod tests {
    use fairlead_config::HostPort;

    use super::*;
    use crate::dial::DialCause;

    #[test]
    fn a_client_waits_for_what_this_host_lacks_and_for_no_node() {
        let waits = |cause| is_our_shortage(&Some(DialError::new(HostPort::new("a", 1), cause)));
        assert!(waits(DialCause::NoSourcePort));
        assert!(waits(DialCause::Shortage("too many open files in system".to_owned())));
        assert!(!waits(DialCause::Refused));
        assert!(!waits(DialCause::Credentials(String::new())));
        assert!(!waits(DialCause::Timeout(Duration::from_secs(5))));
        assert!(!is_our_shortage(&None));
    }
}
