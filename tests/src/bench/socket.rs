//! Non-blocking sockets on loopback as targets and load generators use them, and ports nobody else takes.
//! Ports lie below every ephemeral range in use, so that no client's own port can occupy one in between.
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// How many connections may wait for a target to accept them.
pub(crate) const BACKLOG: i32 = 4096;

/// What a target of datagrams can keep until it reads them, in bytes.
const DATAGRAM_BUFFER: usize = 8 << 20;

const FIRST_PORT: u16 = 2000;
const LAST_PORT: u16 = 8999;
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// What a read or write on a non-blocking socket came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Bytes(usize),
    WouldBlock,
    /// The peer closed its half, or the connection is broken.
    Ended,
}

/// Listens on a port below the ephemeral range, without blocking.
pub(crate) fn listen() -> Result<(TcpListener, SocketAddrV4)> {
    let span = LAST_PORT - FIRST_PORT + 1;
    // Processes that start one after the other begin far from each other.
    let start = (std::process::id().wrapping_mul(0x9E37_79B1) >> 8) % u32::from(span);
    for _ in 0..span {
        let step = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + (start + u32::from(step)).rem_euclid(span.into()) as u16;
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else {
            continue;
        };
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let SocketAddr::V4(address) = listener.local_addr()? else {
            bail!("port {port}: bound, but not to an IPv4 address");
        };
        return Ok((listener, address));
    }
    bail!("no free port from {FIRST_PORT} to {LAST_PORT} on 127.0.0.1")
}

/// A loopback address with a port that was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddrV4> {
    Ok(listen()?.1)
}

/// A socket on a port below the ephemeral range, with room for a burst so that the target loses none.
pub(crate) fn bind_datagrams() -> Result<(UdpSocket, SocketAddrV4)> {
    let address = free_address()?;
    let socket = UdpSocket::bind(address).with_context(|| format!("bind UDP {address}"))?;
    // Beyond the machine's limit as root, up to it otherwise.
    sockopt::set_socket_recv_buffer_size_force(&socket, DATAGRAM_BUFFER)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_BUFFER))?;
    Ok((socket, address))
}

/// A client's UDP socket, connected.
pub(crate) fn client(address: SocketAddrV4) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(address)?;
    Ok(socket)
}

/// Accepts one connection, non-blocking; none when nobody waits.
pub(crate) fn accept(listener: impl AsFd) -> Option<OwnedFd> {
    rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC).ok()
}

/// Begins to connect without waiting for the answer.
pub(crate) fn dial(address: SocketAddrV4) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&fd, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
        Err(error) => Err(error.into()),
    }
}

/// Sends what fits.
pub(crate) fn send(fd: impl AsFd, bytes: &[u8]) -> Turn {
    match rustix::net::send(fd, bytes, SendFlags::NOSIGNAL) {
        Ok(sent) => Turn::Bytes(sent),
        Err(Errno::AGAIN | Errno::INTR) => Turn::WouldBlock,
        Err(_) => Turn::Ended,
    }
}

/// Receives what is there.
pub(crate) fn receive(fd: impl AsFd, buffer: &mut [u8]) -> Turn {
    match rustix::net::recv(fd, buffer, RecvFlags::empty()) {
        Ok((0, _)) => Turn::Ended,
        Ok((count, _)) => Turn::Bytes(count),
        Err(Errno::AGAIN | Errno::INTR) => Turn::WouldBlock,
        Err(_) => Turn::Ended,
    }
}
