//! Opens a way for datagrams at the last hop of a chain: in a stream through it (GOST's UDP over TCP, relay), or in
//! datagrams beside it (UDP ASSOCIATE, Shadowsocks).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use fairlead_config::HostPort;
use tokio::{net::UdpSocket, time::timeout};

use super::Line;
use crate::{
    chain::{Ask, Asked, Hop, ask, tunnel},
    connect::Dialer,
    datagram,
    dial::{DialCause, DialError},
    group::Chosen,
    plan::HopProtocol,
    protocol::{
        address::{self, AddressError},
        socks5::Command,
        wrapping::Wrapping,
    },
    selector::{Ticket, Why},
    stream::Stream,
};

/// What carries datagrams to and from one target.
pub(super) enum Way {
    /// Of a node of the last hop.
    Stream(Stream, Framing, Chosen),
    Beside(Beside),
}

/// How datagrams lie in a stream.
pub(crate) enum Framing {
    /// Behind SOCKS5's UDP header with its length; the target's address, and whether answers must come from it.
    Gost { address: Vec<u8>, is_strict: bool },
    /// Behind their length.
    Relay,
}

/// A socket to a hop.
pub(super) struct Beside {
    pub(super) socket: UdpSocket,
    pub(super) wrapping: Wrapping,
    /// The connection that the hop serves the socket as long as.
    pub(super) control: Option<Stream>,
    /// The hop's number, and its node.
    pub(super) number: u32,
    pub(super) node: Chosen,
    /// When the node was last known to live.
    pub(super) told_at: Option<Instant>,
}

impl Beside {
    fn new(hop: &Hop, node: Chosen, socket: UdpSocket, wrapping: Wrapping, control: Option<Stream>) -> Self {
        Self { socket, wrapping, control, number: hop.number(), node, told_at: None }
    }
}

impl Line {
    /// Opens a way to the association's target. The error is marked already.
    pub(super) async fn open(&mut self) -> Result<Way, DialError> {
        let target = Arc::clone(&self.target()?.chosen.node.address);
        let dialer = self.shared().dialer();
        let Some(hop) = dialer.path.last().cloned() else {
            return Err(DialError::new((*target).clone(), DialCause::Other("the chain has no hop".to_owned())));
        };
        if let Some(opened) = in_stream(&dialer, &target).await.transpose() {
            let (mut asked, framing) = opened.inspect_err(|error| self.refused(error))?;
            self.target()?.hears_of_refusal(&mut asked.stream);
            return Ok(Way::Stream(asked.stream, framing, asked.node));
        }
        match hop.protocol() {
            HopProtocol::Socks5 => {
                let anywhere = HostPort::new("0.0.0.0", 0);
                let asked = ask(&dialer, &anywhere, Ask::Command(Command::Associate)).await?;
                let relay = relay_address(asked.bound, &asked.node.node.address);
                let socket = beside(&dialer, &relay).await;
                let socket = socket.map_err(|cause| hop.error(&asked.node.node.address, cause))?;
                let wrapping = Wrapping::socks5(&target).map_err(|error| unfit(&target, error))?;
                Ok(Way::Beside(Beside::new(&hop, asked.node, socket, wrapping, Some(asked.stream))))
            }
            HopProtocol::Ss => open_ss(&dialer, &hop, &target).await,
            HopProtocol::Relay
            | HopProtocol::Socks4
            | HopProtocol::Socks4a
            | HopProtocol::Http
            | HopProtocol::Forward
            | HopProtocol::Ssh => {
                Err(DialError::new((*target).clone(), DialCause::Other("the hop carries no datagrams".to_owned())))
            }
        }
    }

    /// If it is the target's fault, the next way goes to another one.
    fn refused(&mut self, error: &DialError) {
        if let Some(target) = self.to_client.target.take_if(|_| error.hop.is_none()) {
            target.failed(error);
        }
    }
}

/// A stream through the last hop that carries datagrams to and from the target; none if the hop carries them in no
/// stream. The error is of the target where it names no hop.
pub(crate) async fn in_stream(dialer: &Dialer, target: &HostPort) -> Result<Option<(Asked, Framing)>, DialError> {
    let Some(hop) = dialer.path.last() else { return Ok(None) };
    if hop.protocol() == HopProtocol::Relay {
        return Ok(Some((ask(dialer, target, Ask::Datagrams).await?, Framing::Relay)));
    }
    if !hop.carries_to_anywhere() {
        return Ok(None);
    }
    let framing = Framing::gost(target).map_err(|error| unfit(target, error))?;
    // It is asked for no target.
    let of_hop = |error: DialError| DialError { hop: error.hop.or(Some(hop.number())), ..error };
    Ok(Some((tunnel(dialer).await.map_err(of_hop)?, framing)))
}

impl Framing {
    fn gost(target: &HostPort) -> Result<Self, AddressError> {
        let mut address = Vec::with_capacity(address::LONGEST);
        address::encode(target, &mut address)?;
        let is_strict = target.host.parse().is_ok_and(|ip: IpAddr| !ip.is_unspecified());
        Ok(Self::Gost { address, is_strict })
    }
}

fn unfit(target: &HostPort, error: AddressError) -> DialError {
    DialError::new(target.clone(), DialCause::Rejected(error.to_string()))
}

/// Where the hop takes datagrams; it may leave its own address out.
fn relay_address(bound: Option<HostPort>, node: &HostPort) -> HostPort {
    let bound = bound.unwrap_or_else(|| HostPort::new("", 0));
    let is_left_out = bound.host.is_empty() || bound.host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    if is_left_out { HostPort::new(node.host.clone(), bound.port) } else { bound }
}

async fn open_ss(dialer: &Dialer, hop: &Arc<Hop>, target: &HostPort) -> Result<Way, DialError> {
    let mut ticket = Ticket::default();
    let mut failure = None;
    while let Some((dialing, _)) = hop.group().select(&mut ticket, Why::Nothing) {
        let address = Arc::clone(&dialing.node.address);
        let opened = async {
            let key = hop.key(&dialer.secrets)?;
            let wrapping = Wrapping::ss(key, target).map_err(|error| DialCause::Rejected(error.to_string()))?;
            Ok((beside(dialer, &address).await?, wrapping))
        };
        match opened.await {
            Ok((socket, wrapping)) => {
                // Whether it lives shows when it answers.
                return Ok(Way::Beside(Beside::new(hop, dialing.chosen(), socket, wrapping, None)));
            }
            Err(cause) => {
                let error = hop.error(&address, cause);
                dialing.failed(&error);
                failure = Some(error);
            }
        }
    }
    let nobody = || hop.error(target, DialCause::Other("the hop has no node".to_owned()));
    Err(failure.unwrap_or_else(nobody))
}

/// A socket to the first address of a name that can be connected to.
pub(crate) async fn beside(dialer: &Dialer, address: &HostPort) -> Result<UdpSocket, DialCause> {
    let addresses = match address.host.parse() {
        Ok(ip) => vec![SocketAddr::new(ip, address.port)],
        Err(_) => {
            let asked = timeout(dialer.timeout, dialer.resolver.resolve(&address.host)).await;
            let found = asked.unwrap_or(Err(DialCause::Timeout(dialer.timeout)))?;
            found.iter().map(|found| SocketAddr::new(found.ip(), address.port)).collect()
        }
    };
    let mut failure = DialCause::Resolve("no address".to_owned());
    for address in addresses {
        match connected(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = DialCause::of(&error, address),
        }
    }
    Err(failure)
}

fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::from_std(datagram::connect_plain(address)?)
}
