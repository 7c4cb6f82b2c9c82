//! What remote forwards share: keeping a port at a chain's far end, saying whether it is held, and trying again.
//! A recipe makes a `Binding` and gives `keep` its attempts, each of which binds, serves and says why it ended.
//! Invariant: each forward keeps its port by itself, so that a far end that can't be reached delays no other.

mod keeper;
mod recovery;
mod spare;
#[cfg(test)]
pub(super) mod test_server;

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use fairlead_config::{ForwardKey, ForwardState, HostPort};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    accept::{LoopGuard, Phase, ServeControl},
    chain::{self, BindError, Bound, Debt, Hop, Path},
    changes::Changes,
    connect::Dialer,
    dial::DialCause,
    engine::Context,
    group::Chosen,
    plan::ForwardPlan,
    protocol::socks5::Listen,
    resolve::Resolver,
    secrets::Secrets,
    ssh::Listening,
    workers::Load,
};
pub(crate) use keeper::Keeper;
pub(crate) use recovery::Kind;
pub(crate) use spare::Spares;

/// A port at the far end of a chain, as one forward wants and perhaps holds it.
pub(crate) struct Binding {
    pub(crate) key: ForwardKey,
    what: Listen,
    listen: HostPort,
    hops: Arc<[Arc<Hop>]>,
    /// Whoever holds the port keeps all others from it: a fixed port at a hop of one node.
    locks: bool,
    standing: ArcSwap<Standing>,
    /// What hops lack to be dialled at all.
    lack: ArcSwapOption<String>,
    pub(crate) control: Arc<ServeControl>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) judges: TaskTracker,
    changes: Changes,
}

/// Whether the port is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No answer yet.
    Asking,
    /// Clients reach us there.
    Held(HostPort),
    /// Another one holds it.
    StandsBy(String),
    Failed(String),
}

/// Why an attempt is over.
#[derive(Debug)]
pub(crate) struct Setback {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

/// What an attempt tells while it goes on.
#[derive(Debug)]
pub(crate) enum Event {
    Held(HostPort),
    /// The port has served its one peer, whom the attempt goes on with: time for the next attempt.
    HandedOver,
}

/// One attempt to hold the port, as its future sees it.
pub(crate) struct Turn {
    pub(crate) told: mpsc::Sender<Event>,
    /// Give the port back; who is served may go on.
    pub(crate) stop: CancellationToken,
    /// How long a dial may take.
    pub(crate) patience: Duration,
    /// The worker it runs on.
    pub(crate) worker: usize,
    /// Keeps the forward from having drained.
    pub(crate) _guard: LoopGuard,
}

/// Workers that attempts run on.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) handles: Arc<[Handle]>,
    pub(crate) load: Arc<Load>,
}

impl Places {
    pub(crate) fn of(context: &Context) -> Self {
        Self { handles: context.workers.handles().collect(), load: Arc::clone(context.workers.load()) }
    }
}

impl Binding {
    pub(crate) fn new(key: &ForwardKey, plan: &ForwardPlan, what: Listen, context: &Context) -> Arc<Self> {
        let last_hop_is_one_node = plan.chain.last().is_some_and(|hop| hop.nodes.len() == 1);
        let listen = &plan.listen;
        let host = if listen.host.is_empty() { "0.0.0.0" } else { &listen.host };
        Arc::new(Self {
            key: key.clone(),
            what,
            listen: HostPort::new(host, listen.port),
            hops: chain::hops(&plan.chain, &[], &key.to_string(), &context.changes, &context.ssh),
            locks: listen.port != 0 && last_hop_is_one_node,
            standing: ArcSwap::from_pointee(Standing::Asking),
            lack: ArcSwapOption::empty(),
            control: ServeControl::new(plan.max_connections),
            resolver: Arc::clone(&context.resolver),
            secrets: Arc::clone(&context.secrets),
            judges: TaskTracker::new(),
            changes: context.changes.clone(),
        })
    }

    pub(crate) fn hops(&self) -> &[Arc<Hop>] {
        &self.hops
    }

    pub(crate) fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// What its hops lack, without which the port can't be held.
    pub(crate) fn lack(&self) -> Option<String> {
        self.lack.load().as_deref().cloned()
    }

    /// Asks the far end to listen.
    pub(crate) async fn bind(&self, patience: Duration) -> Result<Bound, Setback> {
        let bound = chain::bind(&self.far_dialer(), self.what, &self.listen, patience).await;
        bound.map_err(|error| Setback::of(&error))
    }

    /// Returns once a node of the last hop, which holds the port, can't be reached any more.
    pub(crate) async fn until_gone(&self, debt: &Debt, node: &Chosen) -> Setback {
        Setback::lost(format!("the far end is gone: {}", debt.until_gone(self.far_dialer(), node).await))
    }

    fn far_dialer(&self) -> Dialer {
        Dialer {
            resolver: Arc::clone(&self.resolver),
            timeout: Duration::MAX,
            judges: self.judges.clone(),
            secrets: Arc::clone(&self.secrets),
            path: match self.what {
                Listen::Datagrams => Path::watched(Arc::clone(&self.hops)),
                Listen::Peer | Listen::Peers => Path::waiting(Arc::clone(&self.hops)),
            },
        }
    }

    /// Asks the far end to listen, where that is an SSH server; answers where clients reach it, too.
    pub(crate) async fn listen(&self, patience: Duration) -> Result<(Listening, HostPort), Setback> {
        let listened = chain::listen(&self.far_dialer(), &self.listen, patience).await;
        let (listening, node) = listened.map_err(|error| Setback::of(&error))?;
        let address = self.reached_at(&node, listening.port());
        Ok((listening, address))
    }

    /// Where clients reach what was bound: the hop's own answer is often an address that only it can use.
    pub(crate) fn address(&self, bound: &Bound) -> HostPort {
        self.reached_at(&bound.node.node.address, bound.address.port)
    }

    fn reached_at(&self, node: &HostPort, port: u16) -> HostPort {
        let said = self.listen.host.parse::<std::net::IpAddr>();
        let host = match said {
            Ok(ip) if ip.is_unspecified() => &node.host,
            Ok(_) | Err(_) => &self.listen.host,
        };
        HostPort::new(host.clone(), if port == 0 { self.listen.port } else { port })
    }

    fn say(&self, standing: Standing) {
        if **self.standing.load() == standing {
            return;
        }
        match &standing {
            Standing::Held(address) => tracing::debug!(forward = %self.key, %address, "the far end listens"),
            Standing::StandsBy(message) | Standing::Failed(message) => {
                tracing::debug!(forward = %self.key, message, "the far end does not listen");
            }
            Standing::Asking => {}
        }
        self.standing.store(Arc::new(standing));
        self.changes.notify();
    }

    fn say_setback(&self, setback: Setback) {
        let Setback { kind, message } = setback;
        self.say(match kind {
            Kind::Busy if self.locks => Standing::StandsBy(message),
            Kind::Busy | Kind::Lost | Kind::Login => Standing::Failed(message),
        });
    }

    /// Looks at the files that hops need; true if what they lack has changed.
    fn look(&self) -> bool {
        let lack = self.hops.iter().find_map(|hop| hop.lack(&self.secrets)).map(Arc::new);
        self.lack.swap(lack.clone()) != lack
    }
}

impl Standing {
    /// What a report says of it: state, reason, message.
    pub(crate) fn said(&self) -> (ForwardState, Option<&'static str>, Option<String>) {
        match self {
            Self::Asking => {
                let message = "the far end has not answered yet".to_owned();
                (ForwardState::Failed, Some("Pending"), Some(message))
            }
            Self::Held(_) => (ForwardState::Listening, None, None),
            Self::StandsBy(message) => (ForwardState::Standby, None, Some(message.clone())),
            Self::Failed(message) => (ForwardState::Failed, Some("BindRefused"), Some(message.clone())),
        }
    }

    pub(crate) fn held(&self) -> Option<&HostPort> {
        match self {
            Self::Held(address) => Some(address),
            Self::Asking | Self::StandsBy(_) | Self::Failed(_) => None,
        }
    }
}

impl Setback {
    fn of(error: &BindError) -> Self {
        Self { kind: kind(error), message: error.to_string() }
    }

    pub(crate) fn lost(message: impl ToString) -> Self {
        Self { kind: Kind::Lost, message: message.to_string() }
    }
}

/// Waits until the forward takes no further clients.
pub(crate) async fn stopped(phases: &mut watch::Receiver<Phase>) {
    // The sender ends with the forward.
    let _ = phases.wait_for(|phase| *phase != Phase::Serving).await;
}

/// Waits until the forward's connections are to end at once.
pub(crate) async fn aborted(phases: &mut watch::Receiver<Phase>) {
    let _ = phases.wait_for(|phase| *phase == Phase::Aborted).await;
}

fn kind(error: &BindError) -> Kind {
    match error {
        BindError::Refused(_) => Kind::Busy,
        BindError::Failed(error) if matches!(error.cause, DialCause::Login(_) | DialCause::HostKey(_)) => Kind::Login,
        BindError::Failed(_) => Kind::Lost,
    }
}
