//! Clients of a SOCKS5 server that send datagrams over their connection (0xF3): to wherever they may, or from a port
//! they listen on. Both ways are framed as `udp_frame` says; what does not fit a frame is dropped, as datagrams are, and
//! what goes to a name that is being asked for holds up nothing else.

mod chained;

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use fairlead_config::HostPort;
use socket2::{Domain, Protocol, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, split},
    net::UdpSocket,
};

use super::{
    binds::Owner,
    listening::{may_listen, stopped, told},
    outlet::Socket,
    session::{Session, watch_closely},
    socks5::Asked,
};
use crate::{
    protocol::{
        ClientFault, address,
        incoming::Incoming,
        socks5::server::{self as wire, Code},
        udp_frame,
    },
    stats::Dropped,
};

/// The largest datagram in bytes.
pub(super) const LARGEST: usize = 65_535;
/// Bytes of frames that are written at a time.
const BATCH: usize = 64 << 10;
/// Peers of a port that are remembered, since they may be answered wherever they are.
const PEERS_LIMIT: usize = 65_536;

/// One client's datagrams.
struct Tunnel<'a> {
    session: &'a Session,
    socket: Arc<UdpSocket>,
    /// Who has sent something; none where the client did not ask for a port.
    peers: Option<Mutex<HashSet<SocketAddr>>>,
}

/// Serves 0xF3.
pub(super) async fn serve(session: &Session, asked: Asked) -> Result<(), ClientFault> {
    if !session.running.plan.chain.is_empty() {
        return chained::serve(session, asked).await;
    }
    let Asked { mut client, control, user, request } = asked;
    let local = watch_closely(session, &client, control, true)?;
    let owner = Owner { user, ip: session.peer.ip().to_canonical() };
    let opened = may_listen(session, &request.address).and_then(|asked| {
        let failed = |error: io::Error| (Code::Failed, ClientFault::Io(error));
        let place = session.shared.binds.enter(owner).map_err(failed)?;
        Ok((place, Arc::new(open(asked).map_err(failed)?)))
    });
    let (_place, socket) = match opened {
        Ok(opened) => opened,
        Err((code, fault)) => {
            wire::reply(&mut client, code, None).await?;
            return Err(fault);
        }
    };
    wire::reply(&mut client, Code::Succeeded, Some(told(socket.local_addr()?, local))).await?;
    let peers = (request.address.port != 0).then(Mutex::default);
    let tunnel = Tunnel { session, socket, peers };
    let (reader, writer) = split(client);
    tokio::select! {
        ended = tunnel.to_peers(reader) => ended,
        ended = tunnel.to_client(writer) => ended,
        () = stopped(session) => Ok(()),
    }
}

impl Tunnel<'_> {
    /// Sends the client's datagrams until it leaves.
    async fn to_peers(&self, mut reader: impl AsyncRead + Unpin) -> Result<(), ClientFault> {
        let mut incoming = Incoming::with_room(2 * LARGEST);
        let mut outlet = Socket::new(self.session, Arc::clone(&self.socket));
        loop {
            tokio::select! {
                more = incoming.fill(&mut reader) => if !more? {
                    return Ok(());
                },
                () = outlet.wait() => continue,
            }
            let mut taken = 0;
            while let Some(frame) = udp_frame::decode(&incoming.bytes()[taken..]).map_err(|_| garbage())? {
                let bytes = &incoming.bytes()[taken..];
                let peer = udp_frame::peer(&bytes[frame.address.clone()]).map_err(|_| garbage())?;
                self.send(&mut outlet, &peer, &bytes[frame.data.clone()]).await;
                taken += frame.data.end;
            }
            incoming.take(taken);
        }
    }

    /// What can't be sent is lost, as datagrams are.
    async fn send(&self, outlet: &mut Socket<'_>, peer: &HostPort, datagram: &[u8]) {
        let literal = peer.host.parse().ok().map(|ip| canonical(SocketAddr::new(ip, peer.port)));
        let known = literal.filter(|peer| self.peers.as_ref().is_some_and(|peers| lock(peers).contains(peer)));
        match known {
            Some(peer) => {
                let sent = self.socket.send_to(datagram, of_family(&self.socket, peer)).await;
                self.session.datagrams().upstream(sent);
            }
            None => outlet.send(peer, datagram).await,
        }
    }

    /// Frames what comes until the client takes no more.
    async fn to_client(&self, mut writer: impl AsyncWrite + Unpin) -> Result<(), ClientFault> {
        let mut buffer = vec![0; LARGEST];
        let (mut frames, mut name) = (Vec::new(), Vec::new());
        loop {
            let mut framed = Vec::new();
            let mut next = self.socket.recv_from(&mut buffer).await;
            loop {
                match next {
                    Ok((count, peer)) => {
                        self.peers.iter().for_each(|peers| remember(peers, peer));
                        name.clear();
                        address::encode_ip(peer, &mut name);
                        match udp_frame::encode(&name, &buffer[..count], &mut frames) {
                            Ok(()) => framed.push(count),
                            Err(why) => self.session.datagrams().drop(why.into(), 1),
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A peer refused what was sent to it.
                    Err(_) => {}
                }
                if frames.len() >= BATCH {
                    break;
                }
                next = self.socket.try_recv_from(&mut buffer);
            }
            writer.write_all(&frames).await?;
            writer.flush().await?;
            frames.clear();
            framed.into_iter().for_each(|count| self.session.datagrams().client(Ok(count)));
        }
    }
}

/// The peer may be answered from now on.
fn remember(peers: &Mutex<HashSet<SocketAddr>>, peer: SocketAddr) {
    let mut peers = lock(peers);
    if peers.len() >= PEERS_LIMIT {
        peers.clear();
    }
    peers.insert(canonical(peer));
}

fn lock(peers: &Mutex<HashSet<SocketAddr>>) -> std::sync::MutexGuard<'_, HashSet<SocketAddr>> {
    peers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A socket for datagrams; one for every address takes those of both families.
pub(super) fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let made = bound(address);
    let made = match made {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => bound(SocketAddr::from(([0, 0, 0, 0], address.port()))),
        made => made,
    };
    UdpSocket::from_std(made?.into())
}

fn bound(address: SocketAddr) -> io::Result<socket2::Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// As sockets of the family have it.
pub(super) fn of_family(socket: &UdpSocket, address: SocketAddr) -> SocketAddr {
    let is_ipv6 = socket.local_addr().is_ok_and(|local| local.is_ipv6());
    match address.ip().to_canonical() {
        IpAddr::V4(ip) if is_ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => SocketAddr::new(ip, address.port()),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn garbage() -> ClientFault {
    ClientFault::Garbage("sends datagrams to what is no address")
}

/// Appends the frame of a datagram for the last hop of a chain, which sends it there.
pub(super) fn frame_to(to: &HostPort, datagram: &[u8], out: &mut Vec<u8>) -> Result<(), Dropped> {
    let mut name = Vec::with_capacity(address::LONGEST);
    address::encode(to, &mut name).map_err(|_| Dropped::NoNode)?;
    Ok(udp_frame::encode(&name, datagram, out)?)
}

pub(super) fn noise_of_the_hop() -> ClientFault {
    ClientFault::Upstream("the last hop sends datagrams from what is no address".to_owned())
}

pub(super) fn ended_by_the_hop() -> ClientFault {
    ClientFault::Upstream("the last hop has ended the tunnel".to_owned())
}
