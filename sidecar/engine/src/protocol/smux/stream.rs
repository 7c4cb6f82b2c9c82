//! One stream of a session, to read and write like a connection. Dropped without `shutdown`, both ways are cut.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;

/// A stream; what is written is sent by the session's driver, so that `flush` has nothing to wait for.
pub(crate) struct MuxStream {
    shared: Arc<Shared>,
    id: u32,
}

impl MuxStream {
    pub(super) fn new(shared: Arc<Shared>, id: u32) -> Self {
        Self { shared, id }
    }
}

impl fmt::Debug for MuxStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MuxStream({})", self.id)
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        self.shared.state().leave(self.id);
        self.shared.room.notify_one();
        self.shared.output.notify_one();
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        let held = state.hold().is_some();
        let read = state.read(self.id, buffer, cx.waker());
        let sends = state.has_control();
        drop(state);
        if held {
            self.shared.room.notify_one();
        }
        if sends {
            self.shared.output.notify_one();
        }
        read
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.shared.state().write(self.id, bytes, cx.waker());
        self.shared.output.notify_one();
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.state().shut(self.id);
        self.shared.output.notify_one();
        Poll::Ready(Ok(()))
    }
}
