//! `Socket`: one TCP connection, accepted or dialled, from its first registration on to the relay.
//! Besides what tokio's own stream hears of, it hears of urgent data (RFC 6093): the kernel stops a read before an
//! urgent byte, and so such a read says nothing about what is behind it.

mod adapter;

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::{Interest, unix::AsyncFd};

/// A non-blocking connection registered with the runtime it was made on.
#[derive(Debug)]
pub(crate) struct Socket(AsyncFd<TcpStream>);

impl Socket {
    /// Registers a connection, which must be non-blocking.
    #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor meets its contract")]
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        AsyncFd::with_interest(stream, Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY).map(Self)
    }

    /// Connects to `address`. The error is the system's.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = socket2::Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        if let Err(error) = socket.connect(&address.into())
            && Errno::from_io_error(&error) != Some(Errno::INPROGRESS)
        {
            return Err(error);
        }
        let socket = Self::new(socket.into())?;
        socket.ready(Interest::WRITABLE).await?;
        match socket.stream().take_error()? {
            Some(error) => Err(error),
            None => Ok(socket),
        }
    }

    /// The connection itself, for its addresses and settings.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Whether urgent data has come at any time.
    pub(crate) fn had_urgent(&self) -> bool {
        // Never forgotten: whoever sends such a byte once pays for it with some system calls.
        self.0.try_io(Interest::PRIORITY, |_| Ok(())).is_ok()
    }

    /// Does `io` if the socket is ready for it as far as is known; its `WouldBlock` makes that forgotten.
    pub(crate) fn try_io<R>(&self, interest: Interest, io: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.0.try_io(interest, |_| io())
    }

    /// Waits for the first byte to be read and leaves it there; none where the peer has said all it will.
    pub(crate) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        loop {
            self.ready(Interest::READABLE).await?;
            match self.try_io(Interest::READABLE, || self.stream().peek(&mut byte)) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(byte[0])),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the socket may be ready.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.0.ready(interest).await.map(drop)
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(self.0.poll_read_ready(cx)).map(drop))
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(self.0.poll_write_ready(cx)).map(drop))
    }

    /// Makes the end of the connection a reset; a socket that refuses is dead already.
    pub(crate) fn reset_at_end(&self) {
        let _ = SockRef::from(self.stream()).set_linger(Some(Duration::ZERO));
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream().as_fd()
    }
}
