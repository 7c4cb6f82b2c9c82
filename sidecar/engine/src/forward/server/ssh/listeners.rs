//! What the clients of an SSH server listen on (tcpip-forward, RFC 4254 section 7.1), by the very words they asked with:
//! what comes in is announced with these. Invariant: a listener is gone when its session is.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use rand::RngExt;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    super::{
        binds::{Owner, Place},
        listening::stopped,
        session::Session,
    },
    guest::Wish,
};
use crate::{accept, access::Access};

/// Listeners of one session.
const LISTENERS_LIMIT: usize = 64;
/// Ports that are tried for a client that leaves the choice to us, where the system's own is not allowed.
const TRIES: usize = 64;
/// How long nobody is accepted once that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listeners of one session, by address and port as announced.
#[derive(Debug, Default)]
pub(super) struct Listeners(BTreeMap<(String, u16), Listening>);

/// The tasks of one, and its place among those of the server's clients.
#[derive(Debug)]
struct Listening {
    _accepting: Vec<AbortOnDropHandle<()>>,
    _place: Place,
}

/// Why a client may not listen. Displayed for the log; the protocol can't say it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenFault {
    #[error("port {0} is not allowed here; see allowBind")]
    Port(u16),
    #[error("{0:?} is no address of this host; ask for an address, localhost, or none for all")]
    Address(String),
    #[error("it listens there already, or on {LISTENERS_LIMIT} others")]
    TooMany,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Listeners {
    /// Listens, and makes a wish of everybody who comes. Port 0: any that is allowed, which is returned.
    pub(super) fn listen(
        &mut self,
        address: &str,
        port: u16,
        session: &Session,
        wishes: &mpsc::Sender<Wish>,
    ) -> Result<u16, ListenFault> {
        let access = &session.running.server.access;
        if self.0.contains_key(&(address.to_owned(), port)) || self.0.len() >= LISTENERS_LIMIT {
            return Err(ListenFault::TooMany);
        }
        let ips = ips(address).ok_or_else(|| ListenFault::Address(address.to_owned()))?;
        let place = session.shared.binds.enter(Owner { user: None, ip: session.peer.ip().to_canonical() })?;
        let (port, opened) = match port {
            0 => open_any(&ips, access)?,
            port if !access.may_bind(port) => return Err(ListenFault::Port(port)),
            port => (port, open(&ips, port)?),
        };
        let mut accepting = Vec::new();
        for listener in opened {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let accept = accept_all(listener, address.to_owned(), port, wishes.clone());
            // A server that drains gives its ports back first.
            let stopped = stopped(session);
            let task = async move {
                tokio::select! {
                    () = accept => {}
                    () = stopped => {}
                }
            };
            accepting.push(AbortOnDropHandle::new(tokio::spawn(task)));
        }
        self.0.insert((address.to_owned(), port), Listening { _accepting: accepting, _place: place });
        Ok(port)
    }

    /// Listens no more; what came in goes on. False: it did not listen there.
    pub(super) fn cancel(&mut self, address: &str, port: u16) -> bool {
        self.0.remove(&(address.to_owned(), port)).is_some()
    }
}

/// The addresses that the words stand for, the first one first; RFC 4254 section 7.1 names them.
fn ips(address: &str) -> Option<Vec<IpAddr>> {
    match address {
        "" | "*" => Some(vec![Ipv6Addr::UNSPECIFIED.into()]),
        "localhost" => Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
        address => address.parse().ok().map(|ip| vec![ip]),
    }
}

/// The first address has to be had; a host may lack the others.
fn open(ips: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut opened = Vec::new();
    for ip in ips {
        match accept::listen(SocketAddr::new(*ip, port)) {
            Ok(listener) => opened.push(listener),
            Err(error) if opened.is_empty() => return Err(error),
            Err(error) => tracing::debug!(%ip, port, %error, "not listening here, too"),
        }
    }
    Ok(opened)
}

/// The system's choice if it is allowed, else one of the allowed ports by lot.
fn open_any(ips: &[IpAddr], access: &Access) -> Result<(u16, Vec<TcpListener>), ListenFault> {
    let (first, others) = ips.split_first().ok_or(ListenFault::TooMany)?;
    let listener = accept::listen(SocketAddr::new(*first, 0))?;
    let port = listener.local_addr()?.port();
    if access.may_bind(port) {
        let others = others.iter().filter_map(|ip| accept::listen(SocketAddr::new(*ip, port)).ok());
        return Ok((port, std::iter::once(listener).chain(others).collect()));
    }
    for _ in 0..TRIES {
        let range = access.binds.get(rand::rng().random_range(0..access.binds.len().max(1)));
        let range = range.ok_or(ListenFault::Port(0))?;
        let port = rand::rng().random_range(range.first()..=range.last());
        if let Ok(opened) = open(ips, port) {
            return Ok((port, opened));
        }
    }
    Err(ListenFault::Port(0))
}

async fn accept_all(listener: tokio::net::TcpListener, address: String, port: u16, wishes: mpsc::Sender<Wish>) {
    loop {
        match listener.accept().await {
            Ok((peer, _)) => {
                let wish = Wish::Carry { peer, address: address.clone(), port };
                if wishes.send(wish).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(address, port, %error, "nobody accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
