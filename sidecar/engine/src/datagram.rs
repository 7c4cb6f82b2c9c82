//! UDP sockets and batched system calls: opens listeners and upstream sockets, receives many datagrams at once, and
//! sends runs of equal ones as one. Used by `forward/local_udp`; a datagram's bytes and borders are never changed.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::{
    io::Errno,
    net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover, set_ipv6_v6only,
    },
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::accept::{is_wildcard6, lacks_ipv6};

/// Room for the largest datagram, and for the most that the system joins into one.
const BUFFER: usize = 65_536;
/// The largest datagrams that are sent in runs; a path takes them whole, or takes no run.
const RUN_DATAGRAM: usize = 1_232;
/// Bytes of a run; the system's limit is a datagram's.
const RUN_BYTES: usize = 64_000;
/// What is asked for to hold bursts; the system caps it (net.core.rmem_max).
const LISTENER_BUFFER: usize = 4 << 20;
const UPSTREAM_BUFFER: usize = 1 << 20;

/// Opens `count` sockets on one address, which share its clients; the IPv6 wildcard takes IPv4 clients too.
pub(crate) fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    match listen_at(address, count) {
        // A host without IPv6 has only the other half of the wildcard.
        Err(error) if is_wildcard6(address) && lacks_ipv6(&error) => {
            listen_at((Ipv4Addr::UNSPECIFIED, address.port()).into(), count)
        }
        opened => opened,
    }
}

fn listen_at(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    // The first binds alone, so that an address another program has is an error whatever that one shares.
    let first = bind(address, false)?;
    let mut sockets = vec![first];
    if count > 1 {
        let bound = sockets[0].local_addr()?;
        SockRef::from(&sockets[0]).set_reuse_port(true)?;
        for _ in 1..count {
            sockets.push(bind(bound, true)?);
        }
    }
    Ok(sockets)
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    if is_wildcard6(address) {
        set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuse_port(shared)?;
    // A smaller buffer is no reason not to listen.
    let _ = socket.set_recv_buffer_size(LISTENER_BUFFER);
    let _ = socket.set_send_buffer_size(UPSTREAM_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Opens a socket to a node. Errors of the path come back on it, those of routers too.
pub(crate) fn connect(address: SocketAddr, batch: &Batch) -> io::Result<UdpSocket> {
    let socket = connect_plain(address)?;
    batch.io.enable_transport_errors(UdpSockRef::from(&socket))?;
    Ok(socket)
}

/// Opens a socket to a node; an error of the path is the next call's.
pub(crate) fn connect_plain(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    let _ = socket.set_recv_buffer_size(UPSTREAM_BUFFER);
    socket.connect(&address.into())?;
    let socket = UdpSocket::from(socket);
    // A port of this host that nobody listens on may be given to the socket itself, which then reaches itself.
    if address.ip().is_loopback() && socket.local_addr()? == address {
        return Err(Errno::CONNREFUSED.into());
    }
    Ok(socket)
}

/// Sends and receives on sockets, many datagrams a call where the system can.
#[derive(Debug)]
pub(crate) struct Batch {
    io: UdpSocketState,
}

/// Buffers for one batch; one set serves all sockets of a thread.
#[derive(Debug)]
pub(crate) struct Buffers {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
}

/// One datagram as received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) peer: SocketAddr,
    /// The address it was sent to.
    pub(crate) local: Option<IpAddr>,
    pub(crate) bytes: &'a [u8],
}

/// Where datagrams are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) to: SocketAddr,
    /// The socket is connected there.
    pub(crate) connected: bool,
    /// The address of this host they are sent from, where the socket has several.
    pub(crate) from: Option<IpAddr>,
}

/// What became of datagrams that were sent: the first ones went out; the one after them met an error, if any.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) datagrams: usize,
    pub(crate) bytes: usize,
    pub(crate) error: Option<io::Error>,
}

impl Batch {
    /// Prepares `listener` to tell the address each datagram was sent to.
    pub(crate) fn new(listener: &UdpSocket) -> io::Result<Self> {
        let io = UdpSocketState::new(UdpSockRef::from(listener))?;
        // Datagrams larger than the path takes are cut up and put together again on the way, as anywhere.
        set_ip_mtu_discover(listener, Ipv4PathMtuDiscovery::DONT)?;
        if listener.local_addr()?.is_ipv6() {
            set_ipv6_mtu_discover(listener, Ipv6PathMtuDiscovery::DONT)?;
            nix::sys::socket::setsockopt(listener, nix::sys::socket::sockopt::Ipv6DontFrag, &false)?;
        }
        Ok(Self { io })
    }

    /// Receives at most `limit` times; the system may have joined datagrams of one peer.
    pub(crate) fn receive(&self, socket: impl AsFd, buffers: &mut Buffers, limit: usize) -> io::Result<usize> {
        let mut slices = buffers.bytes.chunks_exact_mut(BUFFER).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let limit = limit.clamp(1, BATCH_SIZE);
        self.io.recv(UdpSockRef::from(&socket), &mut slices[..limit], &mut buffers.metas[..limit])
    }

    /// Takes back the next error that the path reported for an upstream socket.
    pub(crate) fn forget_error(&self, socket: &UdpSocket) {
        let _ = self.io.recv_transport_error(UdpSockRef::from(socket));
    }

    /// Sends the datagrams in order, runs of equal ones in one call.
    pub(crate) fn send(&self, socket: &UdpSocket, way: &Way, datagrams: &[&[u8]]) -> Sent {
        let mut sent = Sent { datagrams: 0, bytes: 0, error: None };
        while sent.datagrams < datagrams.len() {
            let left = &datagrams[sent.datagrams..];
            match self.send_some(socket, way, left) {
                Ok(count) => {
                    sent.bytes += left[..count].iter().map(|datagram| datagram.len()).sum::<usize>();
                    sent.datagrams += count;
                }
                Err(error) => {
                    sent.error = Some(error);
                    break;
                }
            }
        }
        sent
    }

    /// Sends the first of the datagrams, or a run; returns how many.
    fn send_some(&self, socket: &UdpSocket, way: &Way, datagrams: &[&[u8]]) -> io::Result<usize> {
        let count = run_length(datagrams.iter().map(|datagram| datagram.len()), self.io.max_gso_segments());
        if count > 1 {
            match self.transmit(socket, way, &datagrams[..count].concat(), Some(datagrams[0].len())) {
                // The path takes no runs, or none of this size.
                Err(error) if is_of_the_run(&error) => {}
                outcome => return outcome.map(|()| count),
            }
        }
        self.send_one(socket, way, datagrams[0]).map(|()| 1)
    }

    fn send_one(&self, socket: &UdpSocket, way: &Way, datagram: &[u8]) -> io::Result<()> {
        match way.from {
            _ if way.connected => socket.send(datagram).map(drop),
            None => socket.send_to(datagram, way.to).map(drop),
            Some(_) => self.transmit(socket, way, datagram, None),
        }
    }

    fn transmit(&self, socket: &UdpSocket, way: &Way, contents: &[u8], segment_size: Option<usize>) -> io::Result<()> {
        let transmit = Transmit { destination: way.to, ecn: None, contents, segment_size, src_ip: way.from };
        self.io.try_send(UdpSockRef::from(socket), &transmit)
    }
}

impl Buffers {
    pub(crate) fn new() -> Self {
        // Zeroed lazily by the system: only what datagrams have filled is ever resident.
        Self { bytes: vec![0; BUFFER * BATCH_SIZE], metas: [RecvMeta::default(); BATCH_SIZE] }
    }

    /// The datagrams that the last call received, `count` of them or more.
    pub(crate) fn received(&self, count: usize) -> impl Iterator<Item = Received<'_>> {
        self.metas[..count].iter().zip(self.bytes.chunks_exact(BUFFER)).flat_map(|(meta, bytes)| {
            split(&bytes[..meta.len.min(BUFFER)], meta.stride).map(|bytes| Received {
                peer: meta.addr,
                local: meta.dst_ip,
                bytes,
            })
        })
    }
}

/// Divides what the system has joined; an empty datagram stays one.
fn split(bytes: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    empty.into_iter().chain(bytes.chunks(stride.max(1)))
}

fn is_of_the_run(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INVAL | Errno::IO | Errno::MSGSIZE | Errno::OPNOTSUPP | Errno::NOPROTOOPT))
}

/// How many of the first datagrams, by their sizes, can be sent in one call: equal ones, and a last shorter one.
fn run_length(mut sizes: impl Iterator<Item = usize>, limit: usize) -> usize {
    let Some(size) = sizes.next().filter(|size| (1..=RUN_DATAGRAM).contains(size)) else { return 1 };
    let limit = limit.min(RUN_BYTES / size);
    let mut count = 1;
    for next in sizes {
        if count >= limit || next > size || next == 0 {
            break;
        }
        count += 1;
        if next < size {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests;
