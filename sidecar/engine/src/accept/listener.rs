//! Opens listening sockets and lets each worker watch a shared one for clients.
//! Options set on the listener are inherited by what it accepts, which saves system calls per connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The clients that may wait to be accepted; the kernel caps it (net.core.somaxconn).
const BACKLOG: i32 = 4096;
/// A silent connection is probed after this time and at this interval.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Unanswered probes that end a connection.
const KEEP_ALIVE_PROBES: u32 = 3;

/// Opens a non-blocking listener on `addr`; the IPv6 wildcard takes IPv4 clients too.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    match open(addr) {
        // A host without IPv6 has only the other half of the wildcard.
        Err(error) if is_wildcard6(addr) && lacks_ipv6(&error) => open((Ipv4Addr::UNSPECIFIED, addr.port()).into()),
        opened => opened,
    }
}

fn open(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if is_wildcard6(addr) {
        socket.set_only_v6(false)?;
    }
    socket.set_tcp_nodelay(true)?;
    let keep_alive =
        TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE).with_retries(KEEP_ALIVE_PROBES);
    socket.set_tcp_keepalive(&keep_alive)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_wildcard6(addr: SocketAddr) -> bool {
    addr.is_ipv6() && addr.ip().is_unspecified()
}

fn lacks_ipv6(error: &io::Error) -> bool {
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// One worker's view of a shared listener.
#[derive(Debug)]
pub(super) struct Watched {
    // The runtime cannot register a descriptor exclusively, so an epoll of our own stands between.
    epoll: AsyncFd<OwnedFd>,
    listener: Arc<TcpListener>,
}

impl Watched {
    #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor meets its contract")]
    pub(super) fn new(listener: Arc<TcpListener>) -> io::Result<Self> {
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wanted = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        epoll::add(&watch, &listener, epoll::EventData::new_u64(0), wanted)?;
        let epoll = AsyncFd::with_interest(watch, Interest::READABLE)?;
        Ok(Self { epoll, listener })
    }

    /// Waits until a client may be there.
    pub(super) async fn client(&self) {
        // It fails only when the runtime ends, and this task with it.
        let _ = self.epoll.readable().await.map(|mut guard| guard.retain_ready());
    }

    /// Takes the next client; `WouldBlock` when there is none.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        self.epoll.try_io(Interest::READABLE, |_| {
            let (socket, peer) = acceptfrom_with(&self.listener, flags)?;
            let peer = peer.ok_or(Errno::CONNABORTED)?;
            Ok((socket, peer.try_into()?))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpStream;
    use std::net::{Ipv6Addr, UdpSocket};

    #[tokio::test]
    async fn accepted_sockets_inherit_no_delay_and_keep_alive() {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let watched = Watched::new(Arc::new(listener)).unwrap();
        let client = TcpStream::connect(addr).unwrap();
        watched.client().await;
        let (socket, peer) = watched.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        let socket = Socket::from(socket);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.nonblocking().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEP_ALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEP_ALIVE);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEP_ALIVE_PROBES);
        assert_eq!(watched.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_ipv6_wildcard_takes_ipv4_clients_with_or_without_ipv6() {
        let listener = listen((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(addr.is_ipv6(), UdpSocket::bind("[::1]:0").is_ok());
        TcpStream::connect(("127.0.0.1", addr.port())).unwrap();
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let taken = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let error = listen(taken.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
