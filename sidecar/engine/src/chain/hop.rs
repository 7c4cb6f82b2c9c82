//! One step of a chain, running: its nodes, what is said to them on a fresh connection, and what is asked of them then.
//! Called by `chain`, which dials the nodes and judges them by what is returned here.

use std::{net::IpAddr, sync::Arc};

use fairlead_config::{HostPort, NodeReport};

use super::{Ask, first, pulse::Pulses, ssh_hop, through};
use crate::{
    changes::Changes,
    connect::Dialer,
    dial::{DialCause, DialError},
    group::Group,
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
    ssh::{self, Pool, Sessions},
    stats::ClientCounters,
    stream::Stream,
    tls,
};

/// One step of a chain, running.
pub(crate) struct Hop {
    /// From 1.
    pub(super) number: u32,
    pub(super) plan: HopPlan,
    pub(super) group: Arc<Group>,
    /// Of the connections that go through it; no client sees them.
    pub(super) counters: ClientCounters,
    tls: tls::Settings,
    /// Of a relay hop.
    habit: Arc<Habit>,
    pub(super) papers: ssh::Drawer,
    pub(super) pulses: Pulses,
    /// Of each node of an SSH hop.
    pub(super) sessions: Vec<(HostPort, Arc<Sessions>)>,
}

impl Hop {
    /// The last of these hops; what is known of its nodes stays, unless something else is said to them from now on.
    pub(super) fn new(plans: &[HopPlan], old: Option<&Arc<Self>>, name: &str, changes: &Changes, pool: &Pool) -> Self {
        let (number, plan) = (plans.len() as u32, plans[plans.len() - 1].clone());
        let group = match old.filter(|old| old.plan.settings == plan.settings) {
            Some(kept) => {
                kept.group.reconfigure(plan.rules, &plan.nodes);
                Arc::clone(&kept.group)
            }
            None => Arc::new(Group::of_hop(number, name.to_owned(), plan.rules, &plan.nodes, changes.clone())),
        };
        Self {
            number,
            plan,
            group,
            counters: ClientCounters::default(),
            tls: tls::Settings::default(),
            habit: Arc::default(),
            papers: ssh::Drawer::default(),
            pulses: Pulses::default(),
            sessions: ssh_hop::sessions(plans, pool),
        }
    }

    /// Its nodes and how they fare.
    pub(crate) fn report(&self) -> Vec<NodeReport> {
        self.group.report()
    }

    /// From 1.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// What its files lack for it to be dialled at all, in one line.
    pub(crate) fn lack(&self, secrets: &Secrets) -> Option<String> {
        let papers = || self.settings().uses_ssh().then(|| self.ssh_papers(secrets)).transpose().map(drop);
        let login = match self.settings().protocol {
            HopProtocol::Ssh => Ok(()),
            HopProtocol::Ss => self.login(secrets).and_then(key).map(drop),
            HopProtocol::Socks5
            | HopProtocol::Socks4
            | HopProtocol::Socks4a
            | HopProtocol::Http
            | HopProtocol::Relay
            | HopProtocol::Forward => self.login(secrets).map(drop),
        };
        let tls = || self.settings().encrypts().then(|| self.tls_config(secrets)).transpose().map(drop);
        login.and_then(|()| papers()).and_then(|()| tls()).err().map(|cause| format!("hop {}: {cause}", self.number))
    }

    /// A connection to one of its nodes.
    pub(super) async fn dialled(&self, dialer: &Dialer, address: &Arc<HostPort>) -> Result<Stream, DialError> {
        let stream = match dialer.path.through {
            0 => first(dialer, Arc::clone(address)).await,
            _ => through(dialer, address).await,
        };
        stream.map_err(|error| error.or_of_hop(self.number))
    }

    pub(super) fn settings(&self) -> &HopSettings {
        &self.plan.settings
    }

    /// An error of one of its nodes.
    pub(crate) fn error(&self, node: &HostPort, cause: DialCause) -> DialError {
        DialError { hop: Some(self.number), ..DialError::new(node.clone(), cause) }
    }

    /// Who we are to the hop, if it asks. Over SSH that is who we are to the SSH server, which a key may have proved
    /// instead of a password; then nothing is left to be asked.
    pub(super) fn login(&self, secrets: &Secrets) -> Result<Option<Login>, DialCause> {
        let login = self.settings().credentials.as_ref().map(|credentials| secrets.login(credentials)).transpose();
        let is_proved = self.settings().is_over_ssh && self.settings().protocol != HopProtocol::Ss;
        if is_proved {
            return Ok(login.ok().flatten().filter(|login| !login.password.expose().is_empty()));
        }
        login.map_err(DialCause::Credentials)
    }

    fn tls_config(&self, secrets: &Secrets) -> Result<Arc<rustls::ClientConfig>, DialCause> {
        self.tls.config(&self.settings().tls, self.settings().verifies(), secrets)
    }

    /// What comes before any request, on a fresh connection to one of its nodes.
    pub(super) async fn greet(
        &self,
        mut stream: Stream,
        host: &str,
        login: Option<&Login>,
        secrets: &Secrets,
    ) -> Result<Stream, DialCause> {
        if self.settings().protocol != HopProtocol::Socks5 {
            return Ok(stream);
        }
        let offer = match (self.settings().encrypts(), self.settings().verifies()) {
            (false, _) => Offer::Plain,
            (true, true) => Offer::TlsOnly,
            (true, false) => Offer::PlainOrTls,
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

    /// Asks for what is wanted of `address`; returns the address in the answer, too.
    pub(super) async fn request(
        &self,
        mut stream: Stream,
        address: &HostPort,
        ask: Ask,
        dialer: &Dialer,
    ) -> Result<(Stream, Option<HostPort>), Fault> {
        if let Stream::Session(session) = &stream {
            let channel = session.open(address, dialer.timeout).await?;
            return Ok((Stream::Channel(Box::new(channel)), None));
        }
        let login = self.login(&dialer.secrets).map_err(Fault::Hop)?;
        let user = login.as_ref().map(|login| login.user.as_str()).unwrap_or_default();
        match self.settings().protocol {
            // Ssh is asked by its session, above.
            HopProtocol::Forward | HopProtocol::Ssh => {}
            HopProtocol::Relay => {
                // Without a target the hop says itself where it goes.
                let address = Some(address).filter(|address| address.port != 0).cloned();
                let request = Request { datagrams: ask == Ask::Datagrams, login, address };
                stream = relay_client::connect(stream, &request, &self.habit).await?;
            }
            HopProtocol::Ss => {
                stream = ss_client::connect(stream, address, key(login).map_err(Fault::Hop)?).await?;
            }
            HopProtocol::Socks5 => match ask {
                Ask::Command(command) => {
                    let bound = socks5::command(&mut stream, command, address).await?;
                    return Ok((stream, Some(bound)));
                }
                Ask::Connect | Ask::Datagrams => socks5::connect(&mut stream, address).await?,
            },
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
        Ok((stream, None))
    }

    /// What is spoken to its nodes.
    pub(crate) fn protocol(&self) -> HopProtocol {
        self.settings().protocol
    }

    /// Whether one stream carries datagrams to and from anywhere (0xF3).
    pub(crate) fn carries_to_anywhere(&self) -> bool {
        self.settings().carries_to_anywhere()
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// The key of a Shadowsocks hop, for datagrams.
    pub(crate) fn key(&self, secrets: &Secrets) -> Result<Key, DialCause> {
        key(self.login(secrets)?)
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
