//! One channel of a session as a stream: bytes both ways, a half-close carried each way (RFC 4254 section 5.3).
//! Invariant: an end that the peer has not said is an error, and never the end of the stream.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::FutureExt;
use russh::{Channel, ChannelId, ChannelMsg, ChannelWriteHalf, WindowGranter, client};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Handle,
};

use super::{
    to_its_end::ToItsEnd,
    traffic::{Flow, Traffic},
};
use crate::stream::Chunked;

/// Messages that are handed on at once, of at most 32 KiB each; one where channels are looked at for who takes nothing,
/// so that who takes slowly shows it.
const TAKEN_AT_ONCE: usize = 8;

/// What a session sends, the client's or the server's.
pub(crate) trait Message: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static {}

impl<T: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static> Message for T {}

/// A channel. Dropped, it is closed.
pub(crate) struct ChannelStream<M: Message = client::Msg> {
    traffic: Arc<Traffic>,
    flow: Arc<Flow>,
    /// The session's, where a dropped channel is closed.
    runtime: Handle,
    half: Option<ChannelWriteHalf<M>>,
    granter: WindowGranter<M>,
    writer: Pin<Box<dyn AsyncWrite + Send + Sync>>,
    /// Read from the channel and not yet by the client.
    rest: Bytes,
    /// Sizes of the messages that the client has, which wait until it comes for more.
    handed: Vec<usize>,
    /// The peer sends nothing more.
    ended: bool,
    /// The peer takes nothing more.
    closed: bool,
}

impl<M: Message> ChannelStream<M> {
    pub(crate) fn new(channel: Channel<M>, granter: WindowGranter<M>, traffic: Arc<Traffic>, runtime: Handle) -> Self {
        let flow = traffic.flow(channel.id());
        let (reader, half) = channel.split();
        *flow.reader() = Some(reader);
        let writer = Box::pin(half.make_writer());
        let (rest, handed) = (Bytes::new(), Vec::new());
        Self { traffic, flow, runtime, half: Some(half), granter, writer, rest, handed, ended: false, closed: false }
    }

    /// The next message; none when the session has ended.
    fn poll_message(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<ChannelMsg>>> {
        let mut reader = self.flow.reader();
        match reader.as_mut() {
            Some(reader) => pin!(reader.wait()).poll(cx).map(Ok),
            None => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the channel was ended, since nobody read it while it held up others",
            ))),
        }
    }

    /// The client comes for more, and so it is through with what it had.
    fn settle(&mut self) {
        if self.rest.is_empty() && !self.handed.is_empty() {
            let sizes = std::mem::take(&mut self.handed);
            sizes.iter().for_each(|size| self.taken(*size));
            // It keeps its room.
            self.handed = sizes;
            self.handed.clear();
        }
    }

    fn taken(&self, size: usize) {
        self.traffic.taken(&self.flow, size);
        if let (Some(bytes), Some(half)) = (self.traffic.grant(&self.flow, size), &self.half) {
            self.granter.grant(half.id(), bytes);
        }
    }

    /// Reads until there is data or the end.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.ended {
            match ready!(self.poll_message(cx))? {
                Some(ChannelMsg::Data { data }) => {
                    self.handed.push(data.len());
                    self.rest = data;
                }
                Some(ChannelMsg::Eof) => self.ended = true,
                Some(ChannelMsg::Close) => (self.ended, self.closed) = (true, true),
                Some(ChannelMsg::ExtendedData { data, .. }) => self.taken(data.len()),
                Some(_) => {}
                None => return Poll::Ready(Err(session_ended())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Looks whether the channel was closed meanwhile, once nobody else reads what it says.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        while self.ended && !self.closed {
            match ready!(self.poll_message(cx)) {
                Ok(Some(ChannelMsg::Close)) => self.closed = true,
                Ok(Some(_)) => {}
                Ok(None) => return Poll::Ready(session_ended()),
                Err(error) => return Poll::Ready(error),
            }
        }
        if self.closed {
            return Poll::Ready(io::Error::new(io::ErrorKind::BrokenPipe, "the SSH peer closed the channel"));
        }
        Poll::Pending
    }
}

impl<M: Message> AsyncRead for ChannelStream<M> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.settle();
        ready!(this.poll_rest(cx))?;
        let count = buffer.remaining().min(this.rest.len());
        buffer.put_slice(&this.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<M: Message> Chunked for ChannelStream<M> {
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut VecDeque<Bytes>) -> Poll<io::Result<()>> {
        self.settle();
        let before = into.len();
        let limit = if self.traffic.is_pressed() { 1 } else { TAKEN_AT_ONCE };
        while into.len() < limit {
            match self.poll_rest(cx) {
                Poll::Ready(Ok(())) if self.rest.is_empty() => break,
                Poll::Ready(Ok(())) => into.push_back(std::mem::take(&mut self.rest)),
                // What is wrong is told again once these are through.
                Poll::Ready(Err(_)) | Poll::Pending if into.len() > before => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<M: Message> AsyncWrite for ChannelStream<M> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Poll::Ready(error) = this.poll_closed(cx) {
            return Poll::Ready(Err(error));
        }
        this.writer.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closed {
            return Poll::Ready(Ok(()));
        }
        this.writer.as_mut().poll_shutdown(cx)
    }
}

impl<M: Message> Drop for ChannelStream<M> {
    fn drop(&mut self) {
        let Some(half) = self.half.take() else { return };
        self.traffic.forget(half.id());
        // An error says that the session is gone, and the channel with it.
        let _ = ToItsEnd::new(&self.runtime, async move { half.close().await }).now_or_never();
    }
}

impl<M: Message> fmt::Debug for ChannelStream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelStream")
    }
}

fn session_ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the SSH session ended")
}
