//! relay as a client. GOST's server answers only with the first bytes of the target, ours at once: the answer is waited
//! for as long as the hop is known to be worth it, and otherwise read behind our first bytes.
//! Invariants: the request goes out at once, so that a target which speaks first is heard; and a refusal that comes late
//! is told to whoever has to know, and ends the connection with an error.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::{
    Fault, broken,
    relay::{HEAD, RelayError, Request, Status, check_version},
};
use crate::{dial::DialCause, stream::Stream};

/// When a hop answers, as far as it is known; one for all connections through it.
#[derive(Debug, Default)]
pub(crate) struct Habit(AtomicU8);

/// How long an answer is waited for: of a hop not known yet, of one that answers by itself, and of one that answers
/// only with data.
const UNKNOWN: (u8, Duration) = (0, Duration::from_millis(100));
const PROMPT: (u8, Duration) = (1, Duration::from_secs(1));
const LAZY: (u8, Duration) = (2, Duration::from_millis(10));

/// An answer, as far as it has arrived.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    head: [u8; HEAD],
    read: usize,
}

/// A connection whose hop has not yet said whether it could connect.
pub(crate) struct Late {
    inner: Stream,
    /// None: it could.
    reply: Option<Reply>,
    habit: Arc<Habit>,
    tell: Vec<Tell>,
}

/// Takes a refusal that came late.
type Tell = Box<dyn FnOnce(&Fault) + Send + Sync>;

impl Habit {
    fn patience(&self) -> Duration {
        let known = self.0.load(Relaxed);
        [UNKNOWN, PROMPT, LAZY].into_iter().find(|(habit, _)| *habit == known).unwrap_or(UNKNOWN).1
    }

    fn is(&self, (habit, _): (u8, Duration)) {
        self.0.store(habit, Relaxed);
    }

    /// A hop that always answered by itself did not.
    fn was_silent(&self) {
        let _ = self.0.compare_exchange(PROMPT.0, UNKNOWN.0, Relaxed, Relaxed);
    }
}

/// Asks for a connection; from then on the stream is the target's, if the hop could connect.
pub(crate) async fn connect(mut stream: Stream, request: &Request, habit: &Arc<Habit>) -> Result<Stream, Fault> {
    let of_address = |error: RelayError| Fault::Address(DialCause::Rejected(error.to_string()));
    let bytes = request.encode().map_err(|error| match error {
        RelayError::TooLong(_) => Fault::Hop(DialCause::Login(error.to_string())),
        RelayError::Address(_) | RelayError::Version(_) | RelayError::Command(_) | RelayError::CutOff(_) => {
            of_address(error)
        }
    })?;
    let hop = |error: io::Error| Fault::Hop(broken("relay", &error));
    stream.write_all(&bytes).await.map_err(hop)?;
    stream.flush().await.map_err(hop)?;
    let mut reply = Reply::default();
    // Datagrams don't wait: GOST answers with the first of the target.
    let patience = if request.datagrams { Duration::ZERO } else { habit.patience() };
    match timeout(patience, poll_fn(|cx| reply.poll(&mut stream, cx))).await {
        Ok(answer) => answer.map(|()| stream),
        Err(_) => {
            let habit = if request.datagrams { Arc::default() } else { Arc::clone(habit) };
            habit.was_silent();
            let late = Late { inner: stream, reply: Some(reply), habit, tell: Vec::new() };
            Ok(Stream::Late(Box::new(late)))
        }
    }
}

impl Reply {
    /// Reads the answer to its last byte; its features say nothing to us.
    fn poll(&mut self, stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            let features = usize::from(u16::from_be_bytes([self.head[2], self.head[3]]));
            let mut skipped = [0; 256];
            let room = match self.read.checked_sub(HEAD) {
                None => &mut self.head[self.read..],
                Some(read) if read < features => &mut skipped[..(features - read).min(256)],
                Some(_) => return Poll::Ready(judge(self.head[1])),
            };
            let mut room = ReadBuf::new(room);
            let polled = ready!(Pin::new(&mut *stream).poll_read(cx, &mut room));
            let count = room.filled().len();
            let polled =
                polled.and_then(|()| if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) });
            polled.map_err(|error| Fault::Hop(broken("relay", &error)))?;
            self.read += count;
            check_version(self.head[0]).map_err(|error| Fault::Hop(DialCause::Handshake(error.to_string())))?;
        }
    }
}

fn judge(status: u8) -> Result<(), Fault> {
    let says = |what: &str| Err(Fault::Address(DialCause::Rejected(format!("the relay hop says: {what}"))));
    let hop = |what: String| Err(Fault::Hop(DialCause::Handshake(format!("relay: {what}"))));
    match Status::of(status) {
        Some(Status::Ok) => Ok(()),
        Some(Status::BadRequest) => hop("the hop has no target of its own; name one in targets".to_owned()),
        Some(Status::Unauthorized) => {
            Err(Fault::Hop(DialCause::Login("relay: the hop refuses the user or the password".to_owned())))
        }
        Some(Status::Forbidden) => says("not allowed by its rules, or it has a target of its own"),
        Some(Status::Timeout) => says("no answer in time"),
        Some(Status::ServiceUnavailable) => says("the target can't be reached"),
        Some(Status::HostUnreachable) => says("host unreachable"),
        Some(Status::NetworkUnreachable) => says("network unreachable"),
        None => hop(format!("the hop answered with status {status}")),
    }
}

impl Late {
    /// Has a refusal told, if it comes.
    pub(crate) fn on_refusal(&mut self, tell: impl FnOnce(&Fault) + Send + Sync + 'static) {
        self.tell.push(Box::new(tell));
    }

    fn refused(&mut self, fault: &Fault) -> io::Error {
        self.reply = None;
        for tell in self.tell.drain(..) {
            tell(fault);
        }
        let (Fault::Hop(cause) | Fault::Address(cause)) = fault;
        io::Error::new(io::ErrorKind::ConnectionRefused, cause.to_string())
    }
}

impl AsyncRead for Late {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let late = self.get_mut();
        let Some(reply) = &mut late.reply else { return Pin::new(&mut late.inner).poll_read(cx, buffer) };
        if let Err(fault) = ready!(reply.poll(&mut late.inner, cx)) {
            return Poll::Ready(Err(late.refused(&fault)));
        }
        late.reply = None;
        late.tell = Vec::new();
        let data = Pin::new(&mut late.inner).poll_read(cx, buffer);
        late.habit.is(if data.is_pending() { PROMPT } else { LAZY });
        data
    }
}

impl AsyncWrite for Late {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "relay_client_tests.rs"]
mod tests;
