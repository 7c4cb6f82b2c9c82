//! Local TCP forward (seed: `tcp://`): a client accepted here is connected to one of the targets.
//!
//! The life of one connection: `accept` hands it to `handle` on a worker, `connect` finds a node that answers,
//! `relay` copies both ways until both are done. The plan is looked at once, when the connection begins:
//! a later plan never touches it.

use std::{
    io,
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, ToSocketAddrs},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwap;
use fairlead_config::{ForwardKey, HostPort, NodeReport};
use socket2::SockRef;
use tokio::time::{Instant, sleep};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{
    accept::{self, Accepted, ServeControl, Trouble},
    connect::{Connected, Dialer, connect},
    dial::DialError,
    engine::Context,
    group::Group,
    health,
    plan::ForwardPlan,
    relay::{ByteCounters, relay},
    report::{ForwardStats, NodeStats},
    resolve::Resolver,
    selector::Ticket,
    stats::ClientCounters,
};

/// How long a client waits between two dials when this host lacks something that its upstream takes.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// A running local TCP forward.
pub(crate) struct LocalTcp {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    health: Option<AbortOnDropHandle<()>>,
}

/// What the forward's connections share.
struct Shared {
    key: ForwardKey,
    plan: ArcSwap<ForwardPlan>,
    group: Arc<Group>,
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
        let listener = Arc::new(listen(&plan.listen)?);
        let name = key.to_string();
        let shared = Arc::new(Shared {
            key: key.clone(),
            plan: ArcSwap::from_pointee(plan.clone()),
            group: Arc::new(Group::new(name, plan.rules, &plan.targets, context.changes.clone())),
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
        let (mut troubles, changes) = (shared.control.watch_trouble(), context.changes.clone());
        context.control.spawn(async move {
            while troubles.changed().await.is_ok() {
                changes.notify();
            }
        });
        let mut forward = Self { shared, listener, health: None };
        forward.check_health(context);
        Ok(forward)
    }

    /// Takes a new plan for the same listener; established connections go on under the old one.
    pub(crate) fn update(&mut self, plan: &ForwardPlan, context: &Context) {
        self.shared.group.reconfigure(plan.rules, &plan.targets);
        self.shared.control.set_max_connections(plan.max_connections);
        let old = self.shared.plan.swap(Arc::new(plan.clone()));
        if old.health_check != plan.health_check {
            self.check_health(context);
        }
    }

    fn check_health(&mut self, context: &Context) {
        self.health = None;
        let plan = self.shared.plan.load();
        if let Some(check) = plan.health_check {
            let (group, resolver) = (Arc::clone(&self.shared.group), Arc::clone(&self.shared.resolver));
            let task = health::check(group, check, resolver, Arc::clone(&context.health_checks));
            self.health = Some(AbortOnDropHandle::new(context.control.spawn(task)));
        }
    }

    /// Stops accepting and gives the port back; connections go on until they end or `abort`.
    pub(crate) fn stop(&mut self) -> Arc<ServeControl> {
        self.health = None;
        self.shared.control.stop();
        // The port is free at once, also while a worker still holds the descriptor.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Read);
        Arc::clone(&self.shared.control)
    }

    /// The targets and how they fare.
    pub(crate) fn nodes(&self) -> Vec<NodeReport> {
        self.shared.group.report()
    }

    /// What keeps it from accepting as it should, in one line.
    pub(crate) fn trouble(&self) -> Option<String> {
        let line = match self.shared.control.trouble() {
            Trouble::None => return None,
            Trouble::AtLimit => "maxConnections are open; further clients wait until one ends",
            Trouble::OutOfDescriptors => {
                "out of file descriptors; further clients wait until a connection ends: raise the limit (ulimit -n)"
            }
            Trouble::OutOfMemory => "out of memory for sockets; accepting is slowed down",
            Trouble::NoUpstream => {
                "this host lacks descriptors, memory or source ports for connections to targets; further clients wait"
            }
            Trouble::AcceptFailed => "the system refuses to accept; see the log",
        };
        Some(line.to_owned())
    }

    /// The counters as they stand.
    pub(crate) fn stats(&self, key: &ForwardKey) -> ForwardStats {
        let Shared { clients, bytes, group, control, .. } = &*self.shared;
        let states = group.report();
        let nodes = group.nodes().into_iter().zip(states).map(|(node, report)| NodeStats {
            address: (*node.address).clone(),
            state: report.state,
            connections: node.counters.connections.load(Relaxed),
            failures: node.counters.failures(),
            dial_times: node.counters.dial_times(),
        });
        ForwardStats {
            key: key.clone(),
            accepted: clients.accepted.load(Relaxed),
            open: control.live() as u64,
            unserved: clients.unserved.load(Relaxed),
            passed_on: clients.passed_on.load(Relaxed),
            hedged: clients.hedged.load(Relaxed),
            copy_errors: clients.copy_errors.load(Relaxed),
            bytes_to_upstream: bytes.iter().map(|bytes| bytes.to_upstream.load(Relaxed)).sum(),
            bytes_to_client: bytes.iter().map(|bytes| bytes.to_client.load(Relaxed)).sum(),
            nodes: nodes.collect(),
        }
    }
}

/// Binds the listening address; an empty host is every address, IPv6 included where the system has it.
fn listen(address: &HostPort) -> io::Result<TcpListener> {
    if address.host.is_empty() {
        return accept::listen((Ipv6Addr::UNSPECIFIED, address.port).into());
    }
    let mut found: Vec<SocketAddr> = (address.host.as_str(), address.port).to_socket_addrs()?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let first = found.first().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    accept::listen(*first)
}

async fn handle(shared: Arc<Shared>, accepted: Accepted) {
    shared.clients.accepted.fetch_add(1, Relaxed);
    let idle_timeout = shared.plan.load().idle_timeout;
    // Boxed: an established connection then keeps only what copying needs.
    let Ok(connected) = Box::pin(upstream(&shared, &accepted.peer)).await else {
        // A plain close would read as an empty answer.
        accepted.socket.reset_at_end();
        return;
    };
    connected.node.counters.connections.fetch_add(1, Relaxed);
    let bytes = &shared.bytes[accepted.worker];
    if let Err(error) = relay(accepted.socket, connected.socket, bytes, idle_timeout).await {
        shared.clients.copy_errors.fetch_add(1, Relaxed);
        tracing::debug!(forward = %shared.key, peer = %accepted.peer, %error, "connection ended");
    }
}

async fn upstream(shared: &Shared, peer: &SocketAddr) -> Result<Connected, ()> {
    let dialer = Dialer {
        resolver: Arc::clone(&shared.resolver),
        timeout: shared.plan.load().dial_timeout,
        judges: shared.judges.clone(),
    };
    let mut ticket = Ticket::default();
    let mut connected = connect(&shared.group, &dialer, &shared.clients, &mut ticket).await;
    if connected.as_ref().is_err_and(is_our_shortage) {
        let _before_new_clients = shared.control.wait_for_upstream();
        let give_up = Instant::now() + dialer.timeout;
        while connected.as_ref().is_err_and(is_our_shortage) && Instant::now() < give_up {
            sleep(SHORTAGE_PAUSE).await;
            ticket.start_over();
            connected = connect(&shared.group, &dialer, &shared.clients, &mut ticket).await;
        }
    }
    connected.map_err(|error| {
        shared.clients.unserved.fetch_add(1, Relaxed);
        let error = error.map_or_else(|| "no target".to_owned(), |error| error.to_string());
        tracing::debug!(forward = %shared.key, %peer, error, "no target answered");
    })
}

/// Whether a client that waits may be served, as soon as other connections end.
fn is_our_shortage(error: &Option<DialError>) -> bool {
    error.as_ref().is_some_and(|error| !error.cause.is_the_nodes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::DialCause;

    #[test]
    fn a_client_waits_for_what_this_host_lacks_and_for_no_node() {
        let waits = |cause| is_our_shortage(&Some(DialError { node: HostPort::new("a", 1), cause }));
        assert!(waits(DialCause::NoSourcePort));
        assert!(waits(DialCause::Shortage("too many open files in system".to_owned())));
        assert!(!waits(DialCause::Refused));
        assert!(!waits(DialCause::Timeout(Duration::from_secs(5))));
        assert!(!is_our_shortage(&None));
    }
}
