//! Opens listening sockets and lets each worker watch a shared one for clients.
//! Options set on the listener are inherited by what it accepts, which saves system calls per connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::dial::keep_alive;

/// The clients that may wait to be accepted; the kernel caps it (net.core.somaxconn).
const BACKLOG: i32 = 4096;

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
    socket.set_out_of_band_inline(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keep_alive())?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

pub(crate) fn is_wildcard6(addr: SocketAddr) -> bool {
    addr.is_ipv6() && addr.ip().is_unspecified()
}

pub(crate) fn lacks_ipv6(error: &io::Error) -> bool {
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// One worker's view of a shared listener. Every worker that watches it is woken for every client, however the
/// watch is made: the kernel picks one of several only among threads that wait for the listener itself, and a runtime
/// waits for all its sockets at once. So few workers watch one listener.
#[derive(Debug)]
pub(super) struct Watched(AsyncFd<Arc<TcpListener>>);

impl Watched {
    #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor meets its contract")]
    pub(super) fn new(listener: Arc<TcpListener>) -> io::Result<Self> {
        AsyncFd::with_interest(listener, Interest::READABLE).map(Self)
    }

    /// Waits until a client may be there.
    pub(super) async fn client(&self) {
        // It fails only when the runtime ends, and this task with it.
        let _ = self.0.readable().await.map(|mut guard| guard.retain_ready());
    }

    /// Takes the next client; `WouldBlock` when there is none.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        self.0.try_io(Interest::READABLE, |listener| {
            let (socket, peer) = acceptfrom_with(listener, flags)?;
            let peer = peer.ok_or(Errno::CONNABORTED)?;
            Ok((socket, peer.try_into()?))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::{Ipv6Addr, TcpStream, UdpSocket};
    use std::time::Duration;

    use socket2::SockRef;

    use crate::{dial::dial, resolve::Resolver, testing::host_port};

    #[tokio::test]
    async fn both_sides_of_a_forward_send_at_once_and_are_kept_alive_alike() {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let node = Arc::new(host_port(listener.local_addr().unwrap()));
        let watched = Watched::new(Arc::new(listener)).unwrap();
        let resolver = Arc::new(Resolver::new(tokio::runtime::Handle::current()));
        let dialled = dial(node, Duration::from_secs(5), resolver).await.unwrap();
        watched.client().await;
        let (socket, peer) = watched.accept().unwrap();
        assert_eq!(peer, dialled.stream().local_addr().unwrap());
        let settings = |socket: SockRef<'_>| {
            assert!(socket.out_of_band_inline().unwrap());
            assert!(socket.nonblocking().unwrap() && socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
            let (time, interval) = (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap());
            (time.as_secs(), interval.as_secs(), socket.tcp_keepalive_retries().unwrap())
        };
        assert_eq!(settings(SockRef::from(&socket)), (60, 15, 3));
        assert_eq!(settings(SockRef::from(&dialled)), (60, 15, 3));
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
