//! Somebody who came to a port that a server holds for us (forwarded-tcpip). The server has its answer with the first
//! byte that is asked for either way; dropped before, the caller is refused, so that the far end can tell a target that
//! is gone from one that says nothing (RFC 4254 section 5.1).

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::FutureExt;
use russh::{ChannelOpenFailure, client::ChannelOpenHandle};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::channel::ChannelStream;
use crate::stream::Chunked;

/// A caller, and the answer that the server waits for.
pub(crate) struct Caller {
    answer: Option<ChannelOpenHandle>,
    stream: ChannelStream,
}

impl Caller {
    pub(super) fn new(stream: ChannelStream, answer: ChannelOpenHandle) -> Self {
        Self { answer: Some(answer), stream }
    }

    /// The stream, once the server knows that the caller is served.
    fn served(&mut self) -> Pin<&mut ChannelStream> {
        if let Some(answer) = self.answer.take() {
            // Answers wait in a queue without a limit, so that none has to wait for room.
            let _ = answer.accept().now_or_never();
        }
        Pin::new(&mut self.stream)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.reject(ChannelOpenFailure::ConnectFailed).now_or_never();
        }
    }
}

impl AsyncRead for Caller {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().served().poll_read(cx, buffer)
    }
}

impl Chunked for Caller {
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut VecDeque<Bytes>) -> Poll<io::Result<()>> {
        self.served().get_mut().poll_take(cx, into)
    }
}

impl AsyncWrite for Caller {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().served().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().served().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().served().poll_shutdown(cx)
    }
}
