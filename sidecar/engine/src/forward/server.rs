//! Servers (seed: `socks5://` and the like): clients that are accepted here say themselves where they want to go.
//!
//! The life of one connection: `accept` hands it to a `Session` on a worker, which hears the client's protocol within
//! a time and among a limited number of others, asks `access` whether that is allowed, dials, and copies both ways.
//! A later plan never touches an established connection. Targets are a relay
//! server's at most; otherwise its chain's nodes are marked alone.

mod associate;
mod auto;
mod binds;
mod chained;
mod counted;
mod datagrams;
mod fresh;
mod handshakes;
mod http;
mod listening;
mod outlet;
mod relay;
mod session;
mod sni;
mod socks4;
mod socks5;
mod ss;
mod ssh;
mod ssu;
mod users;
mod waiting;

use std::{
    io,
    net::{Shutdown, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use fairlead_config::{ForwardKey, NodeReport, ServerUsers};
use socket2::SockRef;
use tokio::sync::Semaphore;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{
    accept::{self, ServeControl},
    chain::Chained,
    connect::Dialer,
    datagram,
    engine::Context,
    forward::{accept_trouble, listening_address},
    group::Group,
    health,
    plan::{ForwardPlan, ServerPlan, ServerProtocol},
    protocol::ss_salts::Salts,
    relay::ByteCounters,
    report::{ForwardStats, node_stats},
    resolve::Resolver,
    secrets::Secrets,
    stats::{ClientCounters, DatagramCounters},
    tls::server::Certificate,
};
use binds::Binds;
use fresh::Fresh;
use handshakes::Handshakes;
use session::Session;
use users::Users;

/// Names that one server's clients have resolved at a time.
const QUESTIONS: usize = 16;

/// A running server.
pub(crate) struct Server {
    shared: Arc<Shared>,
    /// None: it takes datagrams.
    listener: Option<Arc<TcpListener>>,
    /// Dials its own targets without a client.
    health: Option<AbortOnDropHandle<()>>,
    /// Looks after the files that it and its hops need.
    look: Option<AbortOnDropHandle<()>>,
}

/// What the server's sessions share.
struct Shared {
    key: ForwardKey,
    running: ArcSwap<Running>,
    chain: Chained,
    /// The targets of a relay server that has its own.
    group: Arc<Group>,
    /// What the server itself lacks to serve anybody.
    lack: ArcSwapOption<String>,
    users: Fresh<ServerUsers, Result<Arc<Users>, String>>,
    /// What clients of an SSH server are met with.
    welcome: Fresh<Arc<ServerPlan>, Result<Arc<ssh::Welcome>, String>>,
    certificate: Certificate,
    /// Of an ss server.
    salts: Arc<Salts>,
    handshakes: Arc<Handshakes>,
    binds: Arc<Binds>,
    /// Places for names that are being resolved.
    questions: Semaphore,
    secrets: Arc<Secrets>,
    control: Arc<ServeControl>,
    resolver: Arc<Resolver>,
    judges: TaskTracker,
    clients: ClientCounters,
    /// One per worker, so that cores don't fight over a cache line.
    bytes: Vec<ByteCounters>,
    datagrams: Vec<DatagramCounters>,
}

/// What new sessions go by.
struct Running {
    protocol: ServerProtocol,
    plan: ForwardPlan,
    server: Arc<ServerPlan>,
}

impl Server {
    /// Listens and starts to serve. The error is the listener's.
    pub(crate) fn start(
        key: &ForwardKey,
        plan: &ForwardPlan,
        protocol: ServerProtocol,
        context: &Context,
    ) -> io::Result<Self> {
        let address = listening_address(&plan.listen)?;
        let (listener, socket) = if protocol.is_datagram() {
            (None, datagram::listen(address, 1)?.pop())
        } else {
            (Some(Arc::new(accept::listen(address)?)), None)
        };
        let chain = Chained::new(key.to_string(), &plan.chain, context);
        let shared = Arc::new(Shared {
            key: key.clone(),
            running: ArcSwap::from_pointee(Running::new(protocol, plan)?),
            chain,
            group: Arc::new(Group::new(key.to_string(), plan.rules, &plan.targets, context.changes.clone())),
            lack: ArcSwapOption::empty(),
            users: Fresh::default(),
            welcome: Fresh::default(),
            certificate: Certificate::default(),
            salts: Arc::default(),
            handshakes: Arc::default(),
            binds: Arc::default(),
            questions: Semaphore::new(QUESTIONS),
            secrets: Arc::clone(&context.secrets),
            control: ServeControl::new(plan.max_connections),
            resolver: Arc::clone(&context.resolver),
            judges: TaskTracker::new(),
            clients: ClientCounters::default(),
            bytes: (0..context.workers.len()).map(|_| ByteCounters::default()).collect(),
            datagrams: (0..context.workers.len()).map(|_| DatagramCounters::default()).collect(),
        });
        if let Some(listener) = &listener {
            let handler = {
                let shared = Arc::clone(&shared);
                move |accepted| Session::serve(Arc::clone(&shared), accepted)
            };
            accept::serve(&context.workers, Arc::clone(listener), Arc::clone(&shared.control), handler);
        }
        if let Some(socket) = socket {
            let worker = context.workers.next_watcher();
            let (load, guard) = (Arc::clone(context.workers.load()), shared.control.enter_loop());
            let server = ssu::Server { shared: Arc::clone(&shared), socket, load, worker, guard };
            context.workers.spawn(worker, server.run());
        }
        context.control.spawn(context.changes.clone().follow(shared.control.watch_trouble()));
        let mut server = Self { shared, listener, health: None, look: None };
        server.check_health(context);
        server.look_after_files(context);
        Ok(server)
    }

    /// Takes a new plan for the same listener; established connections go on under the old one.
    pub(crate) fn update(&mut self, plan: &ForwardPlan, protocol: ServerProtocol, context: &Context) {
        self.shared.chain.update(&plan.chain, context);
        self.shared.group.reconfigure(plan.rules, &plan.targets);
        self.shared.control.set_max_connections(plan.max_connections);
        if let Ok(running) = Running::new(protocol, plan) {
            let old = self.shared.running.swap(Arc::new(running));
            if old.plan.health_check != plan.health_check {
                self.check_health(context);
            }
        }
        self.look_after_files(context);
    }

    fn check_health(&mut self, context: &Context) {
        self.health = None;
        let running = self.shared.running.load();
        if let Some(check) = running.plan.health_check {
            let (group, shared) = (Arc::clone(&self.shared.group), Arc::clone(&self.shared));
            let dialer = move || shared.dialer(shared.running.load().plan.dial_timeout);
            let task = health::check(group, check, dialer, Arc::clone(&context.health_checks));
            self.health = Some(AbortOnDropHandle::new(context.control.spawn(task)));
        }
    }

    /// Says at once what files lack, and again whenever that changes.
    fn look_after_files(&mut self, context: &Context) {
        self.look = None;
        self.shared.look();
        let running = self.shared.running.load();
        let ServerPlan { users, tls, host_key, .. } = &*running.server;
        if users.is_some() || tls.is_some() || host_key.is_some() || !running.plan.chain.is_empty() {
            let shared = Arc::clone(&self.shared);
            let look = context.changes.clone().look(move || shared.look());
            self.look = Some(AbortOnDropHandle::new(context.control.spawn(look)));
        }
    }

    /// What keeps it from serving anybody, in one line.
    pub(crate) fn lack(&self) -> Option<String> {
        self.shared.lack.load().as_deref().cloned().or_else(|| self.shared.chain.lack())
    }

    /// Stops accepting and gives the port back; connections go on until they end or `abort`.
    pub(crate) fn stop(&mut self) -> Arc<ServeControl> {
        (self.look, self.health) = (None, None);
        self.shared.control.stop();
        self.shared.binds.close();
        if let Some(listener) = &self.listener {
            // The port is free at once, also while a worker still holds the descriptor.
            let _ = SockRef::from(&**listener).shutdown(Shutdown::Read);
        }
        Arc::clone(&self.shared.control)
    }

    /// The hops' nodes and the server's own targets, and how they fare.
    pub(crate) fn nodes(&self) -> Vec<NodeReport> {
        [self.shared.chain.report(), self.shared.group.report()].concat()
    }

    /// What keeps it from accepting as it should, in one line.
    pub(crate) fn trouble(&self) -> Option<String> {
        accept_trouble(&self.shared.control)
    }

    /// The counters as they stand.
    pub(crate) fn stats(&self, key: &ForwardKey) -> ForwardStats {
        let Shared { clients, bytes, datagrams, chain, group, control, running, .. } = &*self.shared;
        let nodes = chain.stats().into_iter().chain(node_stats(None, &group.nodes(), &group.report()));
        let stats = ForwardStats::of_streams(key, control, clients, bytes, nodes);
        if running.load().protocol.carries_datagrams() { stats.with_datagrams(datagrams) } else { stats }
    }
}

impl Running {
    fn new(protocol: ServerProtocol, plan: &ForwardPlan) -> io::Result<Self> {
        let server = plan.server.clone().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { protocol, plan: plan.clone(), server })
    }

    /// Whether clients come by SSH, to have ports forwarded or to be carried.
    fn uses_ssh(&self) -> bool {
        self.protocol == ServerProtocol::Ssh || self.server.is_over_ssh
    }
}

impl Shared {
    /// Dials on behalf of a client, through the chain if there is one.
    fn dialer(&self, timeout: Duration) -> Dialer {
        Dialer {
            resolver: Arc::clone(&self.resolver),
            timeout,
            judges: self.judges.clone(),
            secrets: Arc::clone(&self.secrets),
            path: self.chain.waiting(),
        }
    }

    /// The logins as they are now; none: nobody is asked for one.
    fn users(&self, server: &ServerPlan) -> Result<Option<Arc<Users>>, String> {
        let Some(files) = &server.users else { return Ok(None) };
        let read = || Users::read(files, &self.secrets).map(Arc::new);
        self.users.value(files, Instant::now(), read).map(Some)
    }

    /// What clients of an SSH server are met with now.
    fn welcome(&self, server: &Arc<ServerPlan>) -> Result<Arc<ssh::Welcome>, String> {
        let read = || ssh::Welcome::read(server, &self.secrets).map(Arc::new);
        self.welcome.value(server, Instant::now(), read)
    }

    /// Looks at the files that it and its hops need; true if what they lack has changed.
    fn look(&self) -> bool {
        let running = self.running.load();
        let welcome = running.uses_ssh().then(|| self.welcome(&running.server).err()).flatten();
        // SSH asks who clients are, unless it is a key that they share.
        let asks_itself = !running.uses_ssh() || running.protocol == ServerProtocol::Ss;
        let users = welcome.or_else(|| asks_itself.then(|| self.users(&running.server).err()).flatten());
        let tls = running.server.tls.as_ref();
        let certificate = || tls.and_then(|tls| self.certificate.config(Some(tls), &self.secrets).err());
        let lack = users.or_else(certificate).map(Arc::new);
        let of_hops = self.chain.look();
        self.lack.swap(lack.clone()) != lack || of_hops
    }
}

#[cfg(test)]
mod associate_tests;
#[cfg(test)]
mod http_noise_tests;
#[cfg(test)]
mod listening_tests;
#[cfg(test)]
mod protocols_tests;
#[cfg(test)]
mod ss_silence_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transcript_tests;
