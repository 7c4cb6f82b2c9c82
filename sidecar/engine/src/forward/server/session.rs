//! One client of a server, from its first byte on: heard within a time, let through or not, connected, copied.
//! The protocols beside this file say what is heard and answered; what is allowed and dialled is decided here.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fairlead_config::{HostPort, defaults};
use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::time::{sleep, timeout};

use super::{
    Running, Shared,
    handshakes::{Handshakes, Place},
};
use crate::{
    accept::Accepted,
    chain,
    connect::Dialer,
    dial::{DialCause, race, watch_idle},
    plan::ServerProtocol,
    protocol::{ClientFault, socks5::server::Terms},
    relay::{ByteCounters, relay_streams},
    secrets::Login,
    ssh::Limits,
    stats::DatagramCounters,
    stream::Stream,
    tls,
};

/// How long a client with a wrong login waits for its answer.
const LOGIN_DELAY: Duration = Duration::from_secs(1);

/// A listening client that is silent is found dead after 12 + 3 × 10 s, whether or not something is on its way to it.
const WATCH_IDLE: Duration = Duration::from_secs(12);
const WATCH_INTERVAL: Duration = Duration::from_secs(10);
const WATCH_PROBES: u32 = 3;
const WATCH_LIMIT: Duration = Duration::from_secs(42);

/// One client, and what it is served by.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) running: Arc<Running>,
    pub(super) peer: SocketAddr,
    worker: usize,
    /// None: the client comes on a connection of its own.
    carrier: Option<Arc<Carrier>>,
}

/// The SSH session that a client's channel is of.
#[derive(Debug)]
pub(super) struct Carrier {
    /// Who holds its ports; none where nobody is asked who it is.
    pub(super) owner: Option<Arc<str>>,
    pub(super) limits: Limits,
    /// The address of this host that it reached.
    pub(super) local: IpAddr,
    /// Of all channels of the session: whoever opens many and says nothing displaces nobody else.
    pub(super) handshakes: Arc<Handshakes>,
}

/// Why a client is not connected to where it wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    NotAllowed,
    Failed(DialCause),
}

impl Session {
    /// A client whose datagrams come to the server's own address, on the worker.
    pub(super) fn of_datagrams(shared: &Arc<Shared>, peer: SocketAddr, worker: usize) -> Self {
        Self { running: shared.running.load_full(), shared: Arc::clone(shared), peer, worker, carrier: None }
    }

    /// The same client by a channel of its SSH session.
    pub(super) fn carried_by(&self, carrier: Arc<Carrier>) -> Self {
        Self { carrier: Some(carrier), ..self.clone() }
    }

    /// The same client by the plan of now; none: the server serves its clients in another way since its session began.
    pub(super) fn by_now(&self) -> Option<Self> {
        let running = self.shared.running.load_full();
        let is_same =
            running.protocol == self.running.protocol && running.server.is_over_ssh == self.running.server.is_over_ssh;
        is_same.then(|| Self { running, ..self.clone() })
    }

    /// Serves an accepted client to its end.
    pub(super) async fn serve(shared: Arc<Shared>, accepted: Accepted) {
        shared.clients.accepted.fetch_add(1, Relaxed);
        let running = shared.running.load_full();
        let session = Self { shared, running, peer: accepted.peer, worker: accepted.worker, carrier: None };
        if session.running.uses_ssh() {
            // Boxed: most clients come without SSH, and would pay for its room.
            let served = Box::pin(super::ssh::serve(session.clone(), accepted.socket)).await;
            session.note(served);
        } else {
            session.meet(Stream::Tcp(accepted.socket)).await;
        }
    }

    /// Serves a client in the server's own protocol, wherever its bytes come from.
    pub(super) async fn meet(&self, client: Stream) {
        let served = match self.running.protocol {
            ServerProtocol::Auto => super::auto::serve(self, client).await,
            ServerProtocol::Http => super::http::serve(self, client).await,
            ServerProtocol::Relay => super::relay::serve(self, client).await,
            ServerProtocol::Sni => super::sni::serve(self, client).await,
            ServerProtocol::Socks4 => super::socks4::serve(self, client).await,
            ServerProtocol::Socks5 => super::socks5::serve(self, client).await,
            ServerProtocol::Ss => super::ss::serve(self, client).await,
            // Clients of the one send datagrams, and clients of the other have been heard by SSH.
            ServerProtocol::Ssu | ServerProtocol::Ssh => Ok(()),
        };
        self.note(served);
    }

    fn note(&self, served: Result<(), ClientFault>) {
        if let Err(fault) = served {
            self.shared.clients.unserved.fetch_add(1, Relaxed);
            tracing::debug!(forward = %self.shared.key, peer = %self.peer, %fault, "client not served");
        }
    }

    /// Hears a client out, within the time and among the number of those who may take it. Boxed: an established
    /// connection then keeps only what copying needs.
    pub(super) fn handshake<'a, T: 'a>(
        &'a self,
        heard: impl Future<Output = Result<T, ClientFault>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, ClientFault>> {
        let mut place = self.enter();
        let heard = timeout(defaults::HANDSHAKE_TIMEOUT, heard);
        let late = ClientFault::TooSlow("the client did not say in time what it wants");
        Box::pin(async move {
            tokio::select! {
                // In this order: whoever has been heard makes way for nobody.
                biased;
                heard = heard => heard.unwrap_or(Err(late)),
                () = place.lost() => {
                    Err(ClientFault::TooSlow("the client made way for others while it said nothing"))
                }
            }
        })
    }

    /// A place among those that have not yet said what they want.
    pub(super) fn enter(&self) -> Place {
        match &self.carrier {
            Some(carrier) => carrier.handshakes.enter(usize::MAX),
            None => self.shared.handshakes.enter(self.running.plan.max_connections),
        }
    }

    /// Encrypts the client's stream.
    pub(super) async fn encrypted(&self, client: Stream) -> Result<Stream, ClientFault> {
        let config = self.shared.certificate.config(self.running.server.tls.as_ref(), &self.shared.secrets);
        let encrypted = tls::server::accept(client, config.map_err(ClientFault::Credentials)?).await?;
        Ok(Stream::Layered(Box::new(encrypted)))
    }

    /// Whether clients have to say who they are; SSH has asked already.
    pub(super) fn has_users(&self) -> bool {
        self.running.server.users.is_some() && self.carrier.is_none()
    }

    /// How a SOCKS5 client is greeted.
    pub(super) fn terms(&self) -> Terms {
        Terms { has_users: self.has_users(), is_encrypted: self.carrier.is_some() }
    }

    /// Who it is that SSH has asked.
    pub(super) fn known_user(&self) -> Option<Arc<str>> {
        self.carrier.as_ref().and_then(|carrier| carrier.owner.clone())
    }

    /// Whether the client may reach those targets only that it names, and that its login names, too.
    pub(super) fn must_name_targets(&self) -> bool {
        self.carrier.as_ref().is_some_and(|carrier| carrier.limits.lists_targets())
    }

    /// Whether the client may listen on a port, at an address as it names it; port 0: on any that is allowed.
    pub(super) fn may_bind(&self, address: &HostPort) -> bool {
        let is_allowed = address.port == 0 || self.running.server.access.may_bind(address.port);
        let may = |carrier: &Arc<Carrier>| carrier.limits.may_listen(&address.host, address.port);
        is_allowed && self.carrier.as_ref().is_none_or(may)
    }

    fn may_open(&self, address: &HostPort) -> bool {
        let may = |carrier: &Arc<Carrier>| carrier.limits.may_open(&address.host, address.port);
        self.carrier.as_ref().is_none_or(may)
    }

    /// The user whose login it is. A wrong one takes a while to be found out.
    pub(super) async fn user(&self, user: &[u8], password: &[u8]) -> Result<Option<Arc<str>>, ClientFault> {
        if self.carrier.is_some() {
            return Ok(self.known_user());
        }
        let Some(users) = self.shared.users(&self.running.server).map_err(ClientFault::Credentials)? else {
            return Ok(None);
        };
        match users.find(user, password) {
            Some(user) => Ok(Some(user)),
            None => {
                sleep(LOGIN_DELAY).await;
                Err(ClientFault::Login)
            }
        }
    }

    /// The one login of a server that has no names to ask for.
    pub(super) fn first_login(&self) -> Result<Login, ClientFault> {
        let users = self.shared.users(&self.running.server).map_err(ClientFault::Credentials)?;
        let first = users.and_then(|users| users.first().cloned());
        first.ok_or_else(|| ClientFault::Credentials("no login is configured".to_owned()))
    }

    /// Connects to where the client wants to go, if it may.
    pub(super) async fn connect(&self, address: &HostPort) -> Result<Stream, Refusal> {
        let limit = self.running.plan.dial_timeout;
        let late = Err(Refusal::Failed(DialCause::Timeout(limit)));
        if self.running.plan.chain.is_empty() {
            return timeout(limit, self.directly(address)).await.unwrap_or(late);
        }
        let address = timeout(limit, self.checked(address)).await.unwrap_or(Err(Refusal::NotAllowed))?;
        let reached = chain::reach(self.shared.dialer(limit), Arc::new(address)).await;
        reached.map_err(|error| Refusal::Failed(error.cause))
    }

    /// The very addresses that were judged are dialled, whatever the name stands for by then. Clients that wait for what
    /// is behind a further hop hear from nobody but us that it has vanished.
    async fn directly(&self, address: &HostPort) -> Result<Stream, Refusal> {
        let allowed = self.allowed(address).await?;
        let socket = race(allowed).await.map_err(Refusal::Failed)?;
        watch_idle(&socket);
        Ok(Stream::Tcp(socket))
    }

    /// What the last hop is asked for: a name only where it doesn't matter which address that is.
    pub(super) async fn checked(&self, address: &HostPort) -> Result<HostPort, Refusal> {
        let is_name = address.host.parse::<IpAddr>().is_err();
        let is_here = address.host.is_empty() || address.host.eq_ignore_ascii_case("localhost");
        if is_name && !is_here && !self.running.server.access.needs_addresses() && self.may_open(address) {
            return Ok(address.clone());
        }
        let allowed = self.allowed(address).await?;
        let first = allowed.first().ok_or(Refusal::NotAllowed)?;
        Ok(HostPort::new(first.ip().to_string(), first.port()))
    }

    /// What asks the last hop for a stream that is found out about when the hop is gone.
    pub(super) fn watched_dialer(&self) -> Dialer {
        Dialer { path: self.shared.chain.watched(), ..self.shared.dialer(self.running.plan.dial_timeout) }
    }

    /// The addresses of a host that the client may reach.
    pub(super) async fn allowed(&self, address: &HostPort) -> Result<Vec<SocketAddr>, Refusal> {
        if !self.may_open(address) {
            return Err(Refusal::NotAllowed);
        }
        let mut found: Vec<SocketAddr> = match address.host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, 0)],
            Err(_) => self.resolved(&address.host).await.map_err(Refusal::Failed)?,
        };
        found.retain(|found| self.running.server.access.may_reach(found.ip()));
        found.iter_mut().for_each(|found| found.set_port(address.port));
        if found.is_empty() { Err(Refusal::NotAllowed) } else { Ok(found) }
    }

    /// An address that the client's datagrams may be sent to, if the host has one and it is found in time.
    pub(super) async fn reachable(&self, address: &HostPort) -> Option<SocketAddr> {
        let allowed = timeout(self.running.plan.dial_timeout, self.allowed(address)).await;
        allowed.ok()?.ok()?.first().copied()
    }

    /// What the last hop is asked for to reach where the client's datagrams go, if it may and that is found in time.
    pub(super) async fn asked_for(&self, address: &HostPort) -> Option<HostPort> {
        timeout(self.running.plan.dial_timeout, self.checked(address)).await.ok()?.ok()
    }

    /// What a name stands for. Clients of servers may ask for any: some of the resolver's places stay for others.
    async fn resolved(&self, name: &str) -> Result<Vec<SocketAddr>, DialCause> {
        let _place = self.shared.questions.acquire().await;
        Ok(self.shared.resolver.resolve(name).await?.to_vec())
    }

    /// What has passed on this client's worker.
    pub(super) fn bytes(&self) -> &ByteCounters {
        &self.shared.bytes[self.worker]
    }

    /// The same of datagrams.
    pub(super) fn datagrams(&self) -> &DatagramCounters {
        &self.shared.datagrams[self.worker]
    }

    /// Copies both ways until both sides have ended.
    pub(super) async fn copy(&self, client: Stream, upstream: Stream) {
        let copied = relay_streams(client, upstream, self.bytes(), self.running.plan.idle_timeout).await;
        if let Err(error) = copied {
            self.shared.clients.copy_errors.fetch_add(1, Relaxed);
            tracing::debug!(forward = %self.shared.key, peer = %self.peer, %error, "connection ended");
        }
    }
}

/// Finds out soon when a silent client is gone; returns the address of this host that it reached. `control` is its
/// connection where `client` is layered on it. With `carries`, what is on its way to it counts, too: nothing of that
/// kind may wait for long. An SSH session finds out by itself.
pub(super) fn watch_closely(
    session: &Session,
    client: &Stream,
    control: Option<TcpStream>,
    carries: bool,
) -> io::Result<IpAddr> {
    if let Some(carrier) = &session.carrier {
        return Ok(carrier.local);
    }
    let stream = match (client, &control) {
        (Stream::Tcp(socket), _) => socket.stream(),
        (Stream::Layered(_) | Stream::Channel(_) | Stream::Late(_), Some(control)) => control,
        (Stream::Layered(_) | Stream::Channel(_) | Stream::Late(_), None) | (Stream::Session(_), _) => {
            return Err(io::ErrorKind::Unsupported.into());
        }
    };
    let keep_alive = TcpKeepalive::new().with_time(WATCH_IDLE).with_interval(WATCH_INTERVAL);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keep_alive.with_retries(WATCH_PROBES))?;
    if carries {
        socket.set_tcp_user_timeout(Some(WATCH_LIMIT))?;
    }
    Ok(stream.local_addr()?.ip())
}

impl Refusal {
    /// The same to the log.
    pub(super) fn fault(self, address: &HostPort) -> ClientFault {
        match self {
            Self::NotAllowed => ClientFault::NotAllowed(address.to_string()),
            Self::Failed(cause) => ClientFault::Upstream(format!("{address}: {cause}")),
        }
    }
}
