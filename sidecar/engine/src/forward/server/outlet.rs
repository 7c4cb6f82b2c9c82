//! Where the datagrams of one client's association leave: a socket of its own, or behind a chain a tunnel (0xF3) to its
//! last hop. Each datagram is judged by where it goes, and none waits for another's name. Called by the servers whose
//! clients send datagrams to anywhere.

mod tunnel;

use std::{
    cell::RefCell,
    io,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
};

use fairlead_config::HostPort;
use tokio::net::UdpSocket;

use super::{
    datagrams::{LARGEST, of_family, open},
    session::Session,
    waiting::Waiting,
};
use crate::{dial::DialError, protocol::ClientFault, stats::Dropped};
use tunnel::Tunnel;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGEST]);
}

/// A datagram for the client, and who sent it.
pub(super) type Answer = (SocketAddr, Box<[u8]>);

/// What an association's datagrams leave by.
pub(super) enum Outlet<'a> {
    Socket(Socket<'a>),
    Tunnel(Tunnel<'a>),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unopened {
    /// The chain's last hop carries no such datagrams.
    #[error("datagrams through a chain whose last hop is no socks5, or one with udp_associate,")]
    Unfit,
    #[error("{0}")]
    Hop(DialError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Unopened> for ClientFault {
    fn from(why: Unopened) -> Self {
        match why {
            Unopened::Unfit => Self::NotAllowed(why.to_string()),
            Unopened::Hop(error) => Self::Upstream(error.to_string()),
            Unopened::Io(error) => Self::Io(error),
        }
    }
}

impl<'a> Outlet<'a> {
    /// Opens what the server's chain says.
    pub(super) async fn open(session: &'a Session) -> Result<Self, Unopened> {
        if !session.running.plan.chain.is_empty() {
            return Ok(Self::Tunnel(Tunnel::open(session).await?));
        }
        let socket = Arc::new(open((Ipv6Addr::UNSPECIFIED, 0).into())?);
        Ok(Self::Socket(Socket::new(session, socket)))
    }

    /// Sends a client's datagram on if it may go there, perhaps once that is known. What can't be sent is lost.
    pub(super) async fn send(&mut self, to: &HostPort, datagram: &[u8]) {
        match self {
            Self::Socket(socket) => socket.send(to, datagram).await,
            Self::Tunnel(tunnel) => tunnel.send(to, datagram),
        }
    }

    /// The next answer; meanwhile what waits goes on. May be called again if it was given up. The error is the end.
    pub(super) async fn next(&mut self) -> Result<Answer, ClientFault> {
        match self {
            Self::Socket(socket) => Ok(socket.next().await),
            Self::Tunnel(tunnel) => tunnel.next().await,
        }
    }
}

/// A socket to everybody.
pub(super) struct Socket<'a> {
    session: &'a Session,
    socket: Arc<UdpSocket>,
    waiting: Waiting<'a, SocketAddr>,
}

impl<'a> Socket<'a> {
    pub(super) fn new(session: &'a Session, socket: Arc<UdpSocket>) -> Self {
        Self { session, socket, waiting: Waiting::default() }
    }

    pub(super) async fn send(&mut self, to: &HostPort, datagram: &[u8]) {
        let (session, asked) = (self.session, to.clone());
        match self.waiting.judge(to, datagram, async move { session.reachable(&asked).await }) {
            Ok(Some(to)) => {
                session.datagrams().upstream(self.socket.send_to(datagram, of_family(&self.socket, to)).await)
            }
            Ok(None) => {}
            Err(why) => session.datagrams().drop(why, 1),
        }
    }

    pub(super) async fn next(&mut self) -> Answer {
        loop {
            tokio::select! {
                ready = self.socket.readable() => {
                    if let Some(answer) = ready.ok().and_then(|()| received(&self.socket)) {
                        return answer;
                    }
                }
                (to, datagrams) = self.waiting.answered() => self.release(to, &datagrams),
            }
        }
    }

    /// Sends what waits for the next name to be answered; may be called again if it was given up.
    pub(super) async fn wait(&mut self) {
        let (to, datagrams) = self.waiting.answered().await;
        self.release(to, &datagrams);
    }

    /// Sends what has waited for an address.
    fn release(&self, to: Option<SocketAddr>, datagrams: &[Box<[u8]>]) {
        let counters = self.session.datagrams();
        let Some(to) = to else { return counters.drop(Dropped::NoNode, datagrams.len()) };
        let to = of_family(&self.socket, to);
        datagrams.iter().for_each(|datagram| counters.upstream(self.socket.try_send_to(datagram, to)));
    }
}

/// The next datagram, if it is there; an error is of a peer that refused what was sent to it.
fn received(socket: &UdpSocket) -> Option<Answer> {
    BUFFER.with_borrow_mut(|buffer| {
        let (count, from) = socket.try_recv_from(buffer).ok()?;
        Some((from, buffer[..count].into()))
    })
}
