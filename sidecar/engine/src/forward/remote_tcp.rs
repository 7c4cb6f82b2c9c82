//! Remote TCP forward (seed: `rtcp://`): a chain's last hop listens, and each of its clients is connected to a target
//! from here, never through the chain.
//!
//! With BIND each client has a connection of its own to the hop, which must be asked to listen anew behind each; with
//! MBIND all share one, as streams of a `smux` session; an SSH server hands them over as channels. The plan is looked at once, when a client begins.

mod bind;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwap;
use fairlead_config::{ForwardKey, NodeReport};
use tokio_util::task::AbortOnDropHandle;

use super::{
    accept_trouble,
    remote::{Binding, Event, Keeper, Kind, Places, Setback, Spares, Standing, Turn, aborted},
};
use crate::{
    accept::{LoopGuard, ServeControl},
    chain::Path,
    connect::{Dialer, connect},
    engine::Context,
    group::Group,
    health,
    plan::{FarListener, ForwardPlan},
    protocol::{
        smux::{Role, Session},
        socks5::Listen,
    },
    relay::{ByteCounters, relay_streams},
    report::{ForwardStats, node_stats},
    selector::Ticket,
    stats::ClientCounters,
    stream::Stream,
    workers::Load,
};

/// A running remote TCP forward.
pub(crate) struct RemoteTcp {
    shared: Arc<Shared>,
    keeper: Option<Keeper>,
    health: Option<AbortOnDropHandle<()>>,
}

/// What the forward's clients share.
struct Shared {
    binding: Arc<Binding>,
    plan: ArcSwap<ForwardPlan>,
    group: Arc<Group>,
    load: Arc<Load>,
    spares: Spares,
    clients: ClientCounters,
    /// One per worker.
    bytes: Vec<ByteCounters>,
}

impl RemoteTcp {
    /// Begins to hold the far end's port.
    pub(crate) fn start(key: &ForwardKey, plan: &ForwardPlan, way: FarListener, context: &Context) -> Self {
        let what = match way {
            FarListener::Bind => Listen::Peer,
            FarListener::Mbind | FarListener::Ssh => Listen::Peers,
        };
        let shared = Arc::new(Shared {
            binding: Binding::new(key, plan, what, context),
            plan: ArcSwap::from_pointee(plan.clone()),
            group: Arc::new(Group::new(key.to_string(), plan.rules, &plan.targets, context.changes.clone())),
            load: Places::of(context).load,
            spares: Spares::default(),
            clients: ClientCounters::default(),
            bytes: (0..context.workers.len()).map(|_| ByteCounters::default()).collect(),
        });
        let attempts = Arc::clone(&shared);
        let keeper = Keeper::begin(&shared.binding, context, move |turn| {
            let shared = Arc::clone(&attempts);
            async move {
                match way {
                    FarListener::Bind => bind::one_peer(shared, turn).await,
                    FarListener::Mbind => many_peers(shared, turn).await,
                    FarListener::Ssh => forwarded_peers(shared, turn).await,
                }
            }
        });
        let mut forward = Self { shared, keeper: Some(keeper), health: None };
        forward.check_health(context);
        forward
    }

    /// Takes new targets and limits; the port and its clients stay.
    pub(crate) fn update(&mut self, plan: &ForwardPlan, context: &Context) {
        self.shared.group.reconfigure(plan.rules, &plan.targets);
        self.shared.binding.control.set_max_connections(plan.max_connections);
        let old = self.shared.plan.swap(Arc::new(plan.clone()));
        if old.health_check != plan.health_check {
            self.check_health(context);
        }
    }

    fn check_health(&mut self, context: &Context) {
        self.health = None;
        if let Some(check) = self.shared.plan.load().health_check {
            let (group, shared) = (Arc::clone(&self.shared.group), Arc::clone(&self.shared));
            let task = health::check(group, check, move || shared.dialer(), Arc::clone(&context.health_checks));
            self.health = Some(AbortOnDropHandle::new(context.control.spawn(task)));
        }
    }

    /// Gives the port back; its clients go on until they end or `abort`.
    pub(crate) fn stop(&mut self) -> Arc<ServeControl> {
        self.health = None;
        self.shared.binding.control.stop();
        self.keeper = None;
        self.shared.spares.forget();
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
        accept_trouble(&self.shared.binding.control)
    }

    /// The hops' nodes and the targets, and how they fare.
    pub(crate) fn nodes(&self) -> Vec<NodeReport> {
        let hops = self.shared.binding.hops();
        hops.iter().flat_map(|hop| hop.report()).chain(self.shared.group.report()).collect()
    }

    /// The counters as they stand.
    pub(crate) fn stats(&self, key: &ForwardKey) -> ForwardStats {
        let Shared { binding, clients, bytes, group, .. } = &*self.shared;
        let of_hops = binding.hops().iter().flat_map(|hop| hop.stats());
        let nodes = of_hops.chain(node_stats(None, &group.nodes(), &group.report()));
        ForwardStats::of_streams(key, &binding.control, clients, bytes, nodes)
    }
}

/// The room of one client, given back when dropped.
struct Place {
    shared: Arc<Shared>,
    worker: usize,
    _guard: LoopGuard,
}

impl Place {
    /// None: as many are served as may be.
    fn take(shared: &Arc<Shared>, worker: usize) -> Option<Self> {
        let control = &shared.binding.control;
        control.try_reserve().then(|| {
            shared.load.add(worker);
            Self { shared: Arc::clone(shared), worker, _guard: control.enter_loop() }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.load.remove(self.worker);
        self.shared.binding.control.release();
    }
}

impl Shared {
    /// Targets are dialled from here.
    fn dialer(&self) -> Dialer {
        Dialer {
            resolver: Arc::clone(&self.binding.resolver),
            timeout: self.plan.load().dial_timeout,
            judges: self.binding.judges.clone(),
            secrets: Arc::clone(&self.binding.secrets),
            path: Path::whole(Arc::default()),
        }
    }

    /// Connects one client to a target, and copies until both are done.
    async fn serve(&self, client: Stream, worker: usize) {
        self.clients.accepted.fetch_add(1, Relaxed);
        let idle_timeout: Option<Duration> = self.plan.load().idle_timeout;
        let connected = connect(&self.group, &self.dialer(), &self.clients, &mut Ticket::default()).await;
        let (target, node) = match connected {
            Ok(connected) => connected.answered(),
            Err(error) => {
                self.clients.unserved.fetch_add(1, Relaxed);
                let error = error.map_or_else(|| "no target".to_owned(), |error| error.to_string());
                tracing::debug!(forward = %self.binding.key, error, "no target answered");
                // A plain close would read as an empty answer.
                if let Stream::Tcp(socket) = &client {
                    socket.reset_at_end();
                }
                return;
            }
        };
        node.counters.connections.fetch_add(1, Relaxed);
        if let Err(error) = relay_streams(client, target, &self.bytes[worker], idle_timeout).await {
            self.clients.copy_errors.fetch_add(1, Relaxed);
            tracing::debug!(forward = %self.binding.key, %error, "connection ended");
        }
    }
}

/// MBIND: serves the port's peers until the session ends.
async fn many_peers(shared: Arc<Shared>, turn: Turn) -> Setback {
    let mut phases = shared.binding.control.phases();
    let bound = tokio::select! {
        bound = shared.binding.bind(turn.patience) => bound,
        () = turn.stop.cancelled() => return Setback::lost("stopped"),
    };
    let bound = match bound {
        Ok(bound) => bound,
        Err(setback) => return setback,
    };
    let _ = turn.told.send(Event::Held(shared.binding.address(&bound))).await;
    let (session, driver) = Session::new(Role::Server, bound.stream);
    let peers = async {
        take_peers(&shared, session, &turn).await;
        std::future::pending().await
    };
    tokio::select! {
        end = driver.run() => Setback { kind: Kind::Lost, message: end.to_string() },
        () = peers => Setback::lost("no more peers"),
        () = aborted(&mut phases) => Setback::lost("stopped"),
    }
}

/// SSH: serves the port's peers until the session ends. Those who are served outlive the port.
async fn forwarded_peers(shared: Arc<Shared>, turn: Turn) -> Setback {
    let listening = tokio::select! {
        listening = shared.binding.listen(turn.patience) => listening,
        () = turn.stop.cancelled() => return Setback::lost("stopped"),
    };
    let (mut listening, address) = match listening {
        Ok(listening) => listening,
        Err(setback) => return setback,
    };
    let _ = turn.told.send(Event::Held(address)).await;
    loop {
        let next = async {
            shared.binding.control.room().await;
            listening.accept().await
        };
        let peer = tokio::select! {
            () = turn.stop.cancelled() => return Setback::lost("stopped"),
            peer = next => peer,
        };
        let Some(peer) = peer else { return Setback::lost("the SSH session ended") };
        serve_apart(&shared, Stream::Channel(Box::new(peer)), turn.worker);
    }
}

/// Takes peers until the port is given back, which ends the session with its last peer.
async fn take_peers(shared: &Arc<Shared>, session: Session, turn: &Turn) {
    loop {
        let stream = tokio::select! {
            () = turn.stop.cancelled() => return,
            stream = next_peer(shared, &session) => stream,
        };
        let Some(stream) = stream else { return };
        serve_apart(shared, stream, turn.worker);
    }
}

/// Serves a peer in a task of its own; without room for it, it is cut.
fn serve_apart(shared: &Arc<Shared>, peer: Stream, worker: usize) {
    let Some(place) = Place::take(shared, worker) else { return };
    let (shared, mut phases) = (Arc::clone(shared), shared.binding.control.phases());
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = shared.serve(peer, worker) => {}
            () = aborted(&mut phases) => {}
        }
    });
}

/// The next peer, once there is room for it.
async fn next_peer(shared: &Shared, session: &Session) -> Option<Stream> {
    shared.binding.control.room().await;
    let stream = session.accept().await?;
    Some(Stream::Layered(Box::new(stream)))
}

#[cfg(test)]
mod tests;
