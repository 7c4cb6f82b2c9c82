//! One stream as its side of the session holds it: what has come and is not yet read, what is written and not yet
//! sent, and who waits for either. `state` decides; nothing here sends or receives.

use std::{collections::VecDeque, io, task::Waker};

use super::{Peer, WINDOW};

/// A buffer that is empty keeps at most this much memory.
const KEPT: usize = 16 << 10;
/// Bytes that are written and not yet sent, at most.
const OUTBOUND_LIMIT: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Half {
    pub(super) inbound: VecDeque<u8>,
    pub(super) outbound: VecDeque<u8>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Bytes that the reader took, all in all and as far as the peer was told; both wrap.
    pub(super) consumed: u32,
    pub(super) told: u32,
    /// Bytes sent, how many of them the peer's reader took, and how many it takes beyond those; the first two wrap.
    sent: u32,
    taken: u32,
    window: u32,
    /// The peer's end has come.
    pub(super) ended: bool,
    /// Nothing more will be written.
    pub(super) shut: bool,
    /// Our end has been sent.
    pub(super) end_sent: bool,
    /// Both ways were cut.
    pub(super) cut: Option<&'static str>,
    /// Waits for its turn to send.
    pub(super) queued: bool,
    /// Nobody reads or writes any more.
    pub(super) dropped: bool,
}

impl Default for Half {
    fn default() -> Self {
        Self {
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
            reader: None,
            writer: None,
            consumed: 0,
            told: 0,
            sent: 0,
            taken: 0,
            window: WINDOW,
            ended: false,
            shut: false,
            end_sent: false,
            cut: None,
            queued: false,
            dropped: false,
        }
    }
}

impl Half {
    /// Bytes that may be sent now.
    pub(super) fn sendable(&self, peer: Peer) -> usize {
        let room = match peer {
            Peer::Plain => u32::MAX,
            Peer::Unknown | Peer::Windows => self.window.saturating_sub(self.sent.wrapping_sub(self.taken)),
        };
        self.outbound.len().min(room as usize)
    }

    /// Whether there is something to send, be it only the end.
    pub(super) fn has_output(&self, peer: Peer) -> bool {
        self.cut.is_none() && (self.sendable(peer) > 0 || self.has_only_its_end())
    }

    /// Whether all is sent but the end.
    pub(super) fn has_only_its_end(&self) -> bool {
        self.shut && !self.end_sent && self.outbound.is_empty()
    }

    /// Moves `count` bytes from what is written to `out`.
    pub(super) fn send(&mut self, count: usize, out: &mut Vec<u8>) {
        out.extend(self.outbound.drain(..count));
        self.sent = self.sent.wrapping_add(wrapped(count));
        forget_memory(&mut self.outbound);
        wake(&mut self.writer);
    }

    /// Room for bytes to be written.
    pub(super) fn room(&self) -> usize {
        OUTBOUND_LIMIT.saturating_sub(self.outbound.len())
    }

    /// Reads what has come; zero when nothing has.
    pub(super) fn read(&mut self, buffer: &mut tokio::io::ReadBuf<'_>) -> usize {
        let before = buffer.remaining();
        let (front, back) = self.inbound.as_slices();
        buffer.put_slice(&front[..front.len().min(buffer.remaining())]);
        buffer.put_slice(&back[..back.len().min(buffer.remaining())]);
        let count = before - buffer.remaining();
        self.inbound.drain(..count);
        self.consumed = self.consumed.wrapping_add(wrapped(count));
        forget_memory(&mut self.inbound);
        count
    }

    /// Whether the peer should hear how much was read.
    pub(super) fn owes_update(&self) -> bool {
        !self.ended && self.consumed.wrapping_sub(self.told) >= WINDOW / 2
    }

    /// Hears how much the peer's reader took, and how much it takes beyond that.
    pub(super) fn update(&mut self, taken: u32, window: u32) {
        (self.taken, self.window) = (taken, window);
    }

    /// Cuts both ways. What came before the peer's end can still be read.
    pub(super) fn cut(&mut self, why: &'static str) {
        if !self.ended {
            self.inbound = VecDeque::new();
        }
        self.outbound = VecDeque::new();
        self.cut = Some(why);
        self.wake();
    }

    pub(super) fn wake(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

pub(super) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

pub(super) fn broken(kind: io::ErrorKind, why: impl ToString) -> io::Error {
    io::Error::new(kind, why.to_string())
}

/// Counts of bytes wrap as the protocol's do.
#[allow(clippy::cast_possible_truncation)]
fn wrapped(count: usize) -> u32 {
    count as u32
}

fn forget_memory(buffer: &mut VecDeque<u8>) {
    if buffer.is_empty() && buffer.capacity() > KEPT {
        *buffer = VecDeque::new();
    }
}
