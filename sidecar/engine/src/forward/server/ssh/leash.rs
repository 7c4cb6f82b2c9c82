//! A stream that ends for its reader when its leash is dropped: `russh` carries a session in a task of its own, which
//! nothing else would end.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// As long as it is held, the stream goes on.
#[derive(Debug)]
pub(super) struct Leash {
    _guard: DropGuard,
}

/// The stream on a leash.
pub(super) struct Leashed<S> {
    stream: S,
    dropped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Leash {
    /// Puts a stream on a leash.
    pub(super) fn new<S>(stream: S) -> (Self, Leashed<S>) {
        let token = CancellationToken::new();
        let dropped = Box::pin(token.clone().cancelled_owned());
        (Self { _guard: token.drop_guard() }, Leashed { stream, dropped })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Leashed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.dropped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Leashed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.dropped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_stream_ends_with_its_leash() {
        let (ours, mut theirs) = duplex(16);
        let (leash, mut ours) = Leash::new(ours);
        theirs.write_all(b"a").await.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), b'a');
        let reading = tokio::spawn(async move { ours.read_u8().await });
        drop(leash);
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
