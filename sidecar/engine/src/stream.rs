//! An upstream connection as `chain` hands it to the relay: plain TCP keeps its type, so that copying stays zero-copy;
//! anything layered on it is boxed once.

use std::{
    collections::VecDeque,
    fmt, io,
    io::IoSlice,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{protocol::relay_client::Late, socket::Socket, ssh::Session};

/// What bytes travel over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

/// Bytes that arrive in chunks, which are handed on as they are.
pub(crate) trait Chunked: Io {
    /// Appends the chunks that are there, within reason, and waits for the first; none at the end.
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut VecDeque<Bytes>) -> Poll<io::Result<()>>;
}

/// A connection to a node, perhaps through hops.
pub(crate) enum Stream {
    Tcp(Socket),
    Layered(Box<dyn Io>),
    /// Layered, on an SSH session.
    Channel(Box<dyn Chunked>),
    /// Layered, and perhaps refused later.
    Late(Box<Late>),
    /// A hop that is asked for a channel; carries no bytes itself.
    Session(Arc<Session>),
}

impl Stream {
    /// The session, of a hop that is asked for a channel.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        match self {
            Self::Session(session) => Some(Arc::clone(session)),
            Self::Tcp(_) | Self::Layered(_) | Self::Channel(_) | Self::Late(_) => None,
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Layered(_) => "Layered",
            Self::Channel(_) => "Channel",
            Self::Late(_) => "Late",
            Self::Session(_) => "Session",
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(&mut &*socket).poll_read(cx, buffer),
            Self::Layered(layered) => Pin::new(layered).poll_read(cx, buffer),
            Self::Channel(channel) => Pin::new(channel).poll_read(cx, buffer),
            Self::Late(late) => Pin::new(late).poll_read(cx, buffer),
            Self::Session(_) => Poll::Ready(Err(no_bytes())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(&mut &*socket).poll_write(cx, bytes),
            Self::Layered(layered) => Pin::new(layered).poll_write(cx, bytes),
            Self::Channel(channel) => Pin::new(channel).poll_write(cx, bytes),
            Self::Late(late) => Pin::new(late).poll_write(cx, bytes),
            Self::Session(_) => Poll::Ready(Err(no_bytes())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &*self {
            Self::Tcp(socket) => Pin::new(&mut &*socket).poll_write_vectored(cx, slices),
            Self::Layered(_) | Self::Channel(_) | Self::Late(_) | Self::Session(_) => {
                let first = slices.iter().find(|slice| !slice.is_empty());
                self.as_mut().poll_write(cx, first.map_or(&[], |slice| slice))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(&mut &*socket).poll_flush(cx),
            Self::Layered(layered) => Pin::new(layered).poll_flush(cx),
            Self::Channel(channel) => Pin::new(channel).poll_flush(cx),
            Self::Late(late) => Pin::new(late).poll_flush(cx),
            Self::Session(_) => Poll::Ready(Err(no_bytes())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(&mut &*socket).poll_shutdown(cx),
            Self::Layered(layered) => Pin::new(layered).poll_shutdown(cx),
            Self::Channel(channel) => Pin::new(channel).poll_shutdown(cx),
            Self::Late(late) => Pin::new(late).poll_shutdown(cx),
            Self::Session(_) => Poll::Ready(Err(no_bytes())),
        }
    }
}

fn no_bytes() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a session carries no bytes before it is asked for a channel")
}
