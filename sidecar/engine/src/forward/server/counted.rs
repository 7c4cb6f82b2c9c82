//! An upstream whose bytes are counted as they pass, for requests that are forwarded and not copied.

use std::{
    io,
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::session::Session;
use crate::stream::Stream;

/// A connection on behalf of a client.
pub(super) struct Counted {
    upstream: Stream,
    session: Session,
}

impl Counted {
    pub(super) fn new(upstream: Stream, session: Session) -> Self {
        Self { upstream, session }
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let counted = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut counted.upstream).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        counted.session.bytes().to_client.fetch_add(read as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let counted = self.get_mut();
        let written = ready!(Pin::new(&mut counted.upstream).poll_write(cx, bytes))?;
        counted.session.bytes().to_upstream.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().upstream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().upstream).poll_shutdown(cx)
    }
}
