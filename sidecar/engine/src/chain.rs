//! A chain: the hops that targets are dialled through. `connect` asks `reach` for each target; each hop is a group with
//! a selector of its own, and its nodes are dialled through the hops before it, in the same way.
//!
//! Who is marked: a hop's node that can't be reached or whose handshake fails, and no other; a node or target that the
//! hop before it can't connect to, or not in time. Nothing is judged by what lies before or behind it.

mod bind;
mod ssh_hop;

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use fairlead_config::{HostPort, NodeReport};
use futures::future::BoxFuture;
use socket2::SockRef;
use tokio::time::timeout;

use crate::{
    changes::Changes,
    connect::{Dialer, connect},
    dial::{DialCause, DialError, dial},
    group::{Chosen, Group},
    plan::{HopPlan, HopProtocol, HopSettings},
    protocol::{
        Fault, http,
        relay::Request,
        relay_client::{self, Habit},
        socks4::{self, Goal},
        socks5::{self, Offer},
        ss_cipher::Key,
        ss_client,
    },
    resolve::Resolver,
    secrets::{Login, Secrets},
    selector::Ticket,
    socket::Socket,
    ssh::{self, Pool, Sessions},
    stats::ClientCounters,
    stream::Stream,
    tls,
};

pub(crate) use bind::{BindError, Bound, bind, listen};

/// One step of a chain, running.
pub(crate) struct Hop {
    /// From 1.
    number: u32,
    plan: HopPlan,
    group: Arc<Group>,
    /// Of the connections that go through it; no client sees them.
    counters: ClientCounters,
    tls: tls::Settings,
    /// Of a relay hop.
    habit: Arc<Habit>,
    papers: ssh::Drawer,
    /// Of each node of an SSH hop.
    sessions: Vec<(HostPort, Arc<Sessions>)>,
}

/// What is gone through to reach an address.
#[derive(Clone)]
pub(crate) struct Path {
    hops: Arc<[Arc<Hop>]>,
    /// How many of them.
    through: usize,
    /// Whether what is dialled is a node of the next hop, and not a target.
    to_hop: bool,
    /// Whether a connection waits for hours, so that a peer that vanished must be found out.
    waits: bool,
}

/// Makes the hops of a plan; one that is in force already keeps what is known of its nodes.
pub(crate) fn hops(plans: &[HopPlan], old: &[Arc<Hop>], name: &str, changes: &Changes, pool: &Pool) -> Arc<[Arc<Hop>]> {
    let hop = |(plan, number): (&HopPlan, u32)| {
        let kept = old.get(number as usize - 1).filter(|old| old.plan.settings == plan.settings);
        let group = match kept {
            Some(kept) => {
                kept.group.reconfigure(plan.rules, &plan.nodes);
                Arc::clone(&kept.group)
            }
            None => Arc::new(Group::of_hop(number, name.to_owned(), plan.rules, &plan.nodes, changes.clone())),
        };
        let sessions = ssh_hop::sessions(&plans[..number as usize], pool);
        Arc::new(Hop {
            number,
            plan: plan.clone(),
            group,
            counters: ClientCounters::default(),
            tls: tls::Settings::default(),
            habit: Arc::default(),
            papers: ssh::Drawer::default(),
            sessions,
        })
    };
    plans.iter().zip(1..).map(hop).collect()
}

/// Dials an address on the dialer's path, and greets it if it is a hop's node.
pub(crate) fn reach(dialer: Dialer, address: Arc<HostPort>) -> BoxFuture<'static, Result<Stream, DialError>> {
    match (dialer.path.through, dialer.path.greeted().cloned()) {
        (0, None) => Box::pin(async move { dial(address, dialer.timeout, dialer.resolver).await.map(Stream::Tcp) }),
        (_, None) => Box::pin(async move { through(&dialer, &address).await }),
        (_, Some(hop)) if hop.is_ssh() => Box::pin(async move { hop.session(dialer, address).await }),
        (_, Some(hop)) => Box::pin(async move {
            let wrong = |cause| hop.error(&address, cause);
            // Before anything is dialled: without a login there is nothing to be said.
            let login = hop.login(&dialer.secrets).map_err(wrong)?;
            let stream = hop.dialled(&dialer, &address).await?;
            let greeted = timeout(dialer.timeout, hop.greet(stream, &address.host, login.as_ref(), &dialer.secrets));
            greeted.await.unwrap_or(Err(DialCause::Timeout(dialer.timeout))).map_err(wrong)
        }),
    }
}

/// Asks the last hop of the path for an address, by one of its nodes after the other while they are at fault.
async fn through(dialer: &Dialer, address: &Arc<HostPort>) -> Result<Stream, DialError> {
    let of_address = |cause| DialError { hop: dialer.path.level(), ..DialError::new((**address).clone(), cause) };
    let Some((hop, below)) = dialer.to_last_hop() else {
        return Err(of_address(DialCause::Other("the path has no hop".to_owned())));
    };
    let mut ticket = Ticket::default();
    let mut failure = None;
    let mut is_anew = false;
    loop {
        let link = match connect(&hop.group, &below, &hop.counters, &mut ticket).await {
            Ok(link) => link,
            Err(error) => {
                let error = error.or(failure);
                return Err(error.unwrap_or_else(|| of_address(DialCause::Other("the hop has no node".to_owned()))));
            }
        };
        let (stream, judged) = link.taken();
        let session = stream.session();
        if let Some(session) = &session {
            session.is_used_by(judged.chosen(), hop.number);
        }
        let begun = Instant::now();
        let asked = timeout(dialer.timeout, hop.request(stream, address, dialer)).await;
        let silence = || match &session {
            Some(session) => session.silence(begun, dialer.timeout),
            None => Fault::Address(DialCause::Timeout(dialer.timeout)),
        };
        match asked.unwrap_or_else(|_| Err(silence())) {
            // It ended just before it was asked; that says nothing about the node.
            Err(Fault::Hop(_)) if !is_anew && session.is_some_and(|session| session.has_ended()) => {
                is_anew = true;
                ticket.start_over();
            }
            Ok(mut stream) => {
                judged.node.counters.connections.fetch_add(1, Relaxed);
                if let Stream::Late(late) = &mut stream {
                    late.on_refusal(mark_faulty(judged.chosen(), hop.number));
                }
                judged.answered();
                return Ok(stream);
            }
            Err(Fault::Address(cause)) => {
                judged.answered();
                return Err(of_address(cause));
            }
            Err(Fault::Hop(cause)) => {
                let error = hop.error(&judged.node.address, cause);
                judged.failed(&error);
                failure = Some(error);
            }
        }
    }
}

/// Marks a node that the hop before it says late it can't connect to.
pub(crate) fn mark_refused(chosen: Chosen, level: Option<u32>) -> impl FnOnce(&Fault) + Send + Sync {
    let began = Instant::now();
    move |fault| {
        if let Fault::Address(cause) = fault {
            let node = (*chosen.node.address).clone();
            chosen.dialing(began).failed(&DialError { hop: level, ..DialError::new(node, cause.clone()) });
        }
    }
}

/// Marks a node of a hop that says late that it is itself at fault.
fn mark_faulty(chosen: Chosen, number: u32) -> impl FnOnce(&Fault) + Send + Sync {
    let began = Instant::now();
    move |fault| {
        if let Fault::Hop(cause) = fault {
            let node = (*chosen.node.address).clone();
            chosen.dialing(began).failed(&DialError { hop: Some(number), ..DialError::new(node, cause.clone()) });
        }
    }
}

impl Path {
    /// To targets, through all hops.
    pub(crate) fn whole(hops: Arc<[Arc<Hop>]>) -> Self {
        Self { through: hops.len(), hops, to_hop: false, waits: false }
    }

    /// Through all hops, to where the last one listens.
    pub(crate) fn to_far_end(hops: Arc<[Arc<Hop>]>) -> Self {
        Self { waits: true, ..Self::whole(hops) }
    }

    /// The number of the hop whose nodes are dialled; none for targets.
    pub(crate) fn level(&self) -> Option<u32> {
        self.greeted().map(|hop| hop.number)
    }

    /// Has the system ask often whether the peer is still there.
    fn keep_awake(&self, socket: &Socket) {
        if self.waits {
            // A system that refuses finds out later.
            let _ = SockRef::from(socket).set_tcp_keepalive(&bind::keep_alive());
        }
    }

    fn greeted(&self) -> Option<&Arc<Hop>> {
        self.hops.get(self.through).filter(|_| self.to_hop)
    }

    /// The last hop, and the path to its nodes.
    fn to_last_hop(&self) -> Option<(Arc<Hop>, Self)> {
        let through = self.through.checked_sub(1)?;
        let hop = Arc::clone(self.hops.get(through)?);
        Some((hop, Self { hops: Arc::clone(&self.hops), through, to_hop: true, waits: self.waits }))
    }
}

impl Dialer {
    fn to_last_hop(&self) -> Option<(Arc<Hop>, Self)> {
        let (hop, path) = self.path.to_last_hop()?;
        let timeout = hop.plan.dial_timeout;
        Some((hop, Self { path, timeout, ..self.clone() }))
    }
}

impl Hop {
    /// Its nodes and how they fare.
    pub(crate) fn report(&self) -> Vec<NodeReport> {
        self.group.report()
    }

    /// What its files lack for it to be dialled at all, in one line.
    pub(crate) fn lack(&self, secrets: &Secrets) -> Option<String> {
        let login = match self.settings().protocol {
            HopProtocol::Ssh => self.ssh_papers(secrets).map(drop),
            HopProtocol::Ss => self.login(secrets).and_then(key).map(drop),
            HopProtocol::Socks5
            | HopProtocol::Socks4
            | HopProtocol::Socks4a
            | HopProtocol::Http
            | HopProtocol::Relay
            | HopProtocol::Forward => self.login(secrets).map(drop),
        };
        let tls = || self.settings().encrypts().then(|| self.tls_config(secrets)).transpose().map(drop);
        login.and_then(|()| tls()).err().map(|cause| format!("hop {}: {cause}", self.number))
    }

    /// A connection to one of its nodes.
    async fn dialled(&self, dialer: &Dialer, address: &Arc<HostPort>) -> Result<Stream, DialError> {
        let stream = match dialer.path.through {
            0 => {
                let dialled = dial(Arc::clone(address), dialer.timeout, Arc::clone(&dialer.resolver)).await;
                dialled.inspect(|socket| dialer.path.keep_awake(socket)).map(Stream::Tcp)
            }
            _ => through(dialer, address).await,
        };
        stream.map_err(|error| error.or_of_hop(self.number))
    }

    fn settings(&self) -> &HopSettings {
        &self.plan.settings
    }

    fn error(&self, node: &HostPort, cause: DialCause) -> DialError {
        DialError { hop: Some(self.number), ..DialError::new(node.clone(), cause) }
    }

    fn login(&self, secrets: &Secrets) -> Result<Option<Login>, DialCause> {
        let login = self.settings().credentials.as_ref().map(|credentials| secrets.login(credentials));
        login.transpose().map_err(DialCause::Credentials)
    }

    fn tls_config(&self, secrets: &Secrets) -> Result<Arc<rustls::ClientConfig>, DialCause> {
        self.tls.config(&self.settings().tls, self.settings().verifies(), secrets)
    }

    /// What comes before any request, on a fresh connection to one of its nodes.
    async fn greet(
        &self,
        mut stream: Stream,
        host: &str,
        login: Option<&Login>,
        secrets: &Secrets,
    ) -> Result<Stream, DialCause> {
        if self.settings().protocol != HopProtocol::Socks5 {
            return Ok(stream);
        }
        let offer = match (self.settings().no_tls, self.settings().verifies()) {
            (true, _) => Offer::Plain,
            (false, true) => Offer::TlsOnly,
            (false, false) => Offer::PlainOrTls,
        };
        let method = socks5::greet(&mut stream, offer).await?;
        if method.has_tls() {
            let name = self.settings().tls.server_name.as_deref().unwrap_or(host);
            let encrypted = tls::connect(stream, name, self.tls_config(secrets)?).await?;
            stream = Stream::Layered(Box::new(encrypted));
        }
        if method.has_login() {
            socks5::login(&mut stream, login).await?;
        }
        Ok(stream)
    }

    /// Asks for a connection to `address`.
    async fn request(&self, mut stream: Stream, address: &HostPort, dialer: &Dialer) -> Result<Stream, Fault> {
        if let Stream::Session(session) = &stream {
            let channel = session.open(address, dialer.timeout).await?;
            return Ok(Stream::Layered(Box::new(channel)));
        }
        let login = self.login(&dialer.secrets).map_err(Fault::Hop)?;
        let user = login.as_ref().map(|login| login.user.as_str()).unwrap_or_default();
        match self.settings().protocol {
            // Ssh is asked by its session, above.
            HopProtocol::Forward | HopProtocol::Ssh => {}
            HopProtocol::Relay => {
                // Without a target the hop says itself where it goes.
                let address = Some(address).filter(|address| address.port != 0).cloned();
                return relay_client::connect(stream, &Request { datagrams: false, login, address }, &self.habit).await;
            }
            HopProtocol::Ss => return ss_client::connect(stream, address, key(login).map_err(Fault::Hop)?).await,
            HopProtocol::Socks5 => socks5::connect(&mut stream, address).await?,
            HopProtocol::Http => http::connect(&mut stream, address, login.as_ref()).await?,
            HopProtocol::Socks4a => {
                let goal = Goal::by_name(address).map_err(Fault::Address)?;
                socks4::connect(&mut stream, &goal, user).await?;
            }
            HopProtocol::Socks4 => {
                let found = resolved(address, &dialer.resolver).await.map_err(Fault::Address)?;
                let goal = Goal::by_address(&found, address.port).map_err(Fault::Address)?;
                socks4::connect(&mut stream, &goal, user).await?;
            }
        }
        Ok(stream)
    }
}

/// The key of a Shadowsocks hop, whose user is the cipher.
fn key(login: Option<Login>) -> Result<Key, DialCause> {
    let login =
        login.ok_or_else(|| DialCause::Credentials("ss: no cipher and no password is configured".to_owned()))?;
    Key::of(&login).map_err(DialCause::Credentials)
}

async fn resolved(address: &HostPort, resolver: &Resolver) -> Result<Vec<IpAddr>, DialCause> {
    match address.host.parse() {
        Ok(ip) => Ok(vec![ip]),
        Err(_) => Ok(resolver.resolve(&address.host).await?.iter().map(|found| found.ip()).collect()),
    }
}

#[cfg(test)]
mod tests;
