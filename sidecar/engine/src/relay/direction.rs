//! One way of a relayed connection: from a source socket to a sink socket.
//! `relay` polls two of these; small messages are copied through a scratch buffer of the thread, bulk goes by splice.
//! The sink is known to be writable before the source is read, so bytes are left over only when it filled up midway.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::Interest;

use super::pace::Pace;
use crate::{
    pipe::{Pipe, with_pipe},
    socket::Socket,
};

/// The scratch buffer of a thread, in bytes.
const SCRATCH: usize = 64 << 10;
/// Reads passed on before other connections have their turn.
const READS_PER_TURN: usize = 8;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Which end of a way failed.
#[derive(Debug)]
pub(super) enum Failure {
    Source(io::Error),
    Sink(io::Error),
    Internal(io::Error),
}

/// The state of one way; empty but for a few flags while nothing is stuck.
#[derive(Debug, Default)]
pub(super) struct Direction {
    rest: Option<Box<Rest>>,
    pace: Pace,
    phase: Phase,
    end_withheld: bool,
    moved: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// The source has ended; the sink is told once the rest is out.
    Ending,
    Ended,
}

/// Bytes that were read and that the sink has not taken yet.
#[derive(Debug)]
struct Rest {
    bytes: Box<[u8]>,
    sent: usize,
}

/// What one read and write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Moved,
    SourceEmpty,
    SinkFull,
    SourceEnded,
}

impl Direction {
    /// Passes on what can be passed on now; ready once the sink has been told of the source's end, or on a failure.
    pub(super) fn poll(
        &mut self,
        source: &Socket,
        sink: &Socket,
        passed: &AtomicU64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        let result = ready!(self.poll_open(source, sink, passed, cx));
        self.phase = Phase::Ended;
        self.rest = None;
        Poll::Ready(result)
    }

    /// Returns whether this way is over, by its end or by a failure.
    pub(super) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Keeps the source's end from the sink, once the other way is over: closing both tells it, or a reset does.
    pub(super) fn withhold_end(&mut self) {
        self.end_withheld = true;
    }

    /// Returns whether bytes moved since the last call.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    fn poll_open(
        &mut self,
        source: &Socket,
        sink: &Socket,
        passed: &AtomicU64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        let mut reads = 0;
        loop {
            ready!(self.poll_rest(sink, passed, cx))?;
            match self.phase {
                Phase::Open => {}
                Phase::Ending => return Poll::Ready(self.pass_end(sink)),
                Phase::Ended => return Poll::Ready(Ok(())),
            }
            ready!(sink.poll_write_ready(cx)).map_err(Failure::Internal)?;
            match self.step(source, sink, passed)? {
                Step::Moved => reads += 1,
                Step::SourceEmpty => {
                    ready!(source.poll_read_ready(cx)).map_err(Failure::Internal)?;
                }
                Step::SinkFull => {}
                Step::SourceEnded => self.phase = Phase::Ending,
            }
            if reads == READS_PER_TURN {
                // Deferred: the others and the sockets have their turn before this task runs again.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return Poll::Pending;
            }
        }
    }

    fn poll_rest(&mut self, sink: &Socket, passed: &AtomicU64, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while let Some(rest) = &mut self.rest {
            ready!(sink.poll_write_ready(cx)).map_err(Failure::Internal)?;
            rest.sent += send_some(sink, &rest.bytes[rest.sent..], passed)?;
            self.moved = true;
            if rest.sent == rest.bytes.len() {
                self.rest = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn pass_end(&self, sink: &Socket) -> Result<(), Failure> {
        if self.end_withheld {
            return Ok(());
        }
        shutdown(sink, Shutdown::Write).map_err(|error| Failure::Sink(error.into()))
    }

    fn step(&mut self, source: &Socket, sink: &Socket, passed: &AtomicU64) -> Result<Step, Failure> {
        // No splice passes an urgent byte.
        if self.pace.is_bulk() && !source.had_urgent() {
            let spliced = with_pipe(|pipe| self.splice(pipe, source, sink, passed));
            if let Some(step) = spliced.transpose()?.flatten() {
                return Ok(step);
            }
        }
        BUFFER.with_borrow_mut(|buffer| self.copy(buffer, source, sink, passed))
    }

    fn copy(&mut self, buffer: &mut [u8], source: &Socket, sink: &Socket, passed: &AtomicU64) -> Result<Step, Failure> {
        let mut count = None;
        let received = source.try_io(Interest::READABLE, || {
            let (_, received) = retry_on_intr(|| recv(source, &mut *buffer, RecvFlags::empty()))?;
            count = Some(received);
            // A short read has emptied the socket, but for urgent data: being told so saves asking again.
            let there_is_more = received == 0 || received == buffer.len() || source.had_urgent();
            if there_is_more { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        let Some(count) = count else {
            return would_block(received, Step::SourceEmpty, Failure::Source);
        };
        if count == 0 {
            return Ok(Step::SourceEnded);
        }
        self.moved = true;
        self.pace.copied(count);
        let sent = send_some(sink, &buffer[..count], passed)?;
        self.keep_rest(&buffer[sent..count]);
        Ok(Step::Moved)
    }

    /// One splice through `pipe`; `None` when a plain read is needed.
    fn splice(
        &mut self,
        pipe: &mut Pipe,
        source: &Socket,
        sink: &Socket,
        passed: &AtomicU64,
    ) -> Result<Option<Step>, Failure> {
        if let Err(error) = sink.try_io(Interest::WRITABLE, || writable_now(sink)) {
            return would_block(Err(error), Step::SinkFull, Failure::Sink).map(Some);
        }
        let limit = self.pace.splice_limit();
        // A short splice does not mean that the socket is empty: the slots of the pipe may be full.
        let count = match source.try_io(Interest::READABLE, || pipe.fill(source, limit)) {
            // Or an urgent byte that nobody has told of yet: a plain read knows.
            Ok(0) => return Ok(None),
            Ok(count) => count,
            Err(error) if cannot_splice(&error) => {
                self.pace.never_splice();
                return Ok(None);
            }
            Err(error) => {
                return would_block(Err(error), Step::SourceEmpty, Failure::Source).map(Some);
            }
        };
        self.moved = true;
        let poured = self.pour(pipe, sink, passed)?;
        self.pace.spliced(count, poured);
        if poured < count {
            let rest = pipe.drain().map_err(Failure::Internal)?;
            self.keep_rest(&rest);
        }
        Ok(Some(Step::Moved))
    }

    fn pour(&mut self, pipe: &mut Pipe, sink: &Socket, passed: &AtomicU64) -> Result<usize, Failure> {
        let held = pipe.held();
        let poured = sink.try_io(Interest::WRITABLE, || pipe.pour(sink));
        let count = held - pipe.held();
        passed.fetch_add(count as u64, Ordering::Relaxed);
        match poured {
            Err(error) if cannot_splice(&error) => self.pace.never_splice(),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(Failure::Sink(error));
            }
            Ok(()) | Err(_) => {}
        }
        Ok(count)
    }

    fn keep_rest(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.rest = Some(Box::new(Rest { bytes: bytes.into(), sent: 0 }));
        }
    }
}

/// Sends what `sink` takes of `bytes` and counts it; 0 when it is full.
fn send_some(sink: &Socket, bytes: &[u8], passed: &AtomicU64) -> Result<usize, Failure> {
    let mut count = 0;
    let sent = sink.try_io(Interest::WRITABLE, || {
        count = retry_on_intr(|| send(sink, bytes, SendFlags::NOSIGNAL))?;
        full_unless(count == bytes.len())
    });
    would_block(sent, (), Failure::Sink)?;
    passed.fetch_add(count as u64, Ordering::Relaxed);
    Ok(count)
}

/// Asks the kernel, not the remembered readiness, whether `sink` takes bytes at present.
fn writable_now(sink: &Socket) -> io::Result<()> {
    let mut asked = [PollFd::new(sink, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A failed socket also counts: writing to it says how it failed.
    full_unless(retry_on_intr(|| poll(&mut asked, Some(&at_once)))? > 0)
}

/// `WouldBlock` makes the runtime forget the readiness, so that the next look waits for the kernel's word.
fn full_unless(room: bool) -> io::Result<()> {
    if room { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

fn would_block<T>(result: io::Result<()>, blocked: T, failed: fn(io::Error) -> Failure) -> Result<T, Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        Ok(()) | Err(_) => Ok(blocked),
    }
}

fn cannot_splice(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
