//! smux v1 (github.com/xtaci/smux): many streams over one connection, for MBIND and the multiplexed transports.
//!
//! v1 has no windows: a receiver can only stop reading the whole connection. So the server's side begins with a NOP
//! that names the stream `fair`, a keep-alive to every other program, and the client's side answers a server that does.
//! From then on each stream has a window, an end is the end of one way, and a stream can be reset: one that nobody
//! reads never stops its neighbours. With others, such as GOST, a full buffer stops the connection as it does there,
//! but its stream is cut after 30 s if there are others; and an end is the end of both ways.

mod frame;
mod half;
mod state;
mod stream;

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, split},
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use frame::{HEADER, Header, LARGEST};
use state::{Hold, Output, State};

use super::incoming::Incoming;
pub(crate) use stream::MuxStream;

/// Bytes of a stream that may be under way or unread, between peers that know windows.
const WINDOW: u32 = 512 << 10;
/// Unread bytes of a stream beyond which the connection is not read; peers that know windows never get there.
const BUFFER_LIMIT: usize = 1 << 20;
/// How often a sign of life is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long the other side may be silent, and how often that is looked at: found dead within 35 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
const SILENCE_LOOK: Duration = Duration::from_secs(5);
/// How long a stream that nobody reads may hold up others.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How long the other side has to say that it knows windows.
const ANNOUNCEMENT_LIMIT: Duration = Duration::from_secs(1);

/// Which side of a session this is: its client counts streams from 3, its server from 2; both may open them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// What is known of the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Unknown,
    Plain,
    Windows,
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum End {
    #[error("the tunnel was closed by the other side")]
    Closed,
    #[error("the other side of the tunnel was silent for {0:?}")]
    Silent(Duration),
    #[error("the other side of the tunnel sent {0}")]
    Protocol(String),
    #[error("the tunnel failed: {0}")]
    Failed(String),
    #[error("the tunnel has no stream left")]
    Full,
    #[error("the tunnel was closed")]
    Done,
}

/// One side of a session. Dropped, it opens and takes no further streams, which a peer with windows hears at once;
/// streams that are open go on.
pub(crate) struct Session(Arc<Shared>);

/// Moves the session's bytes; its `run` must be polled for anything to happen.
pub(crate) struct Driver<S> {
    io: S,
    running: Running,
}

struct Shared {
    state: Mutex<State>,
    /// There may be something to send.
    output: Notify,
    /// What held up receiving may be gone.
    room: Notify,
    /// Something came since the last look.
    heard: AtomicBool,
}

/// Ends the session when the driver is dropped.
struct Running(Arc<Shared>);

impl Session {
    /// A session over `io`, and the driver that its owner spawns.
    pub(crate) fn new<S: AsyncRead + AsyncWrite>(role: Role, io: S) -> (Self, Driver<S>) {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(role)),
            output: Notify::new(),
            room: Notify::new(),
            heard: AtomicBool::new(false),
        });
        (Self(Arc::clone(&shared)), Driver { io, running: Running(shared) })
    }

    /// Opens a stream at once; the other side hears of it before any of its bytes.
    pub(crate) fn open(&self) -> Result<MuxStream, End> {
        let id = self.0.state().open()?;
        self.0.output.notify_one();
        Ok(MuxStream::new(Arc::clone(&self.0), id))
    }

    /// Takes the next stream that the other side opened; none once it opens no more.
    pub(crate) async fn accept(&self) -> Option<MuxStream> {
        let id = poll_fn(|cx| self.0.state().accept(cx.waker())).await?;
        Some(MuxStream::new(Arc::clone(&self.0), id))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.state().close();
        self.0.output.notify_one();
    }
}

impl<S: AsyncRead + AsyncWrite> Driver<S> {
    /// Runs the session to its end: the connection's, or that of the last stream once the session was dropped.
    pub(crate) async fn run(self) -> End {
        let Self { io, running } = self;
        let (reader, writer) = split(io);
        let shared = &running.0;
        let end = tokio::select! {
            end = receive(reader, shared) => end,
            end = send(writer, shared) => end,
            end = watch(shared) => end,
            () = keep_alive(shared) => End::Done,
        };
        shared.state().finish(end.clone());
        end
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state().finish(End::Done);
    }
}

impl Shared {
    /// A poisoned lock is used on: each method leaves the state whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until more may be received.
    async fn until_room(&self) {
        let (mut since, mut last) = (Instant::now(), None);
        loop {
            let hold = self.state().hold();
            if hold.is_none() {
                return;
            }
            if hold != last {
                (since, last) = (Instant::now(), hold);
            }
            let waited = timeout_at(since + STALL_LIMIT, self.room.notified()).await;
            if let (Err(_), Some(Hold::Stream(id, _))) = (waited, hold) {
                self.state().give_up(id);
                self.output.notify_one();
                since = Instant::now();
            }
        }
    }
}

async fn receive(mut reader: impl AsyncRead + Unpin, shared: &Shared) -> End {
    let mut incoming = Incoming::with_room(HEADER + LARGEST);
    loop {
        match incoming.fill(&mut reader).await {
            Ok(false) => return End::Closed,
            Ok(true) => {}
            Err(error) => return End::Failed(error.to_string()),
        }
        shared.heard.store(true, Relaxed);
        let mut taken = 0;
        loop {
            match Header::parse(&incoming.bytes()[taken..]) {
                Ok(None) => break,
                Ok(Some((header, data))) => {
                    if let Err(end) = shared.state().receive(header, data) {
                        return end;
                    }
                    taken += HEADER + usize::from(header.length);
                    shared.output.notify_one();
                    shared.until_room().await;
                }
                Err(end) => return end,
            }
        }
        incoming.take(taken);
    }
}

async fn send(mut writer: impl AsyncWrite + Unpin, shared: &Shared) -> End {
    let mut out = Vec::new();
    loop {
        let output = shared.state().collect(&mut out);
        match output {
            Output::Frames => {
                shared.room.notify_one();
                let sent = async {
                    writer.write_all(&out).await?;
                    writer.flush().await
                };
                if let Err(error) = sent.await {
                    return End::Failed(error.to_string());
                }
                out.clear();
            }
            Output::Nothing => shared.output.notified().await,
            Output::Done => {
                let _ = writer.shutdown().await;
                return End::Done;
            }
        }
    }
}

/// Finds out that the other side is gone. One that is not read can't be heard.
async fn watch(shared: &Shared) -> End {
    let mut silent = Duration::ZERO;
    loop {
        sleep(SILENCE_LOOK).await;
        let held = shared.state().hold().is_some();
        silent = if shared.heard.swap(false, Relaxed) || held { Duration::ZERO } else { silent + SILENCE_LOOK };
        if silent >= SILENCE_LIMIT {
            return End::Silent(SILENCE_LIMIT);
        }
    }
}

async fn keep_alive(shared: &Shared) {
    sleep(ANNOUNCEMENT_LIMIT).await;
    shared.state().stop_waiting_for_windows();
    shared.output.notify_one();
    sleep(KEEP_ALIVE - ANNOUNCEMENT_LIMIT).await;
    loop {
        shared.state().keep_alive();
        shared.output.notify_one();
        sleep(KEEP_ALIVE).await;
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
