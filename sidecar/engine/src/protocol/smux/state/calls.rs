//! What sessions and streams ask of the state: to open, accept, read, write and end.

use std::{
    io,
    task::{Poll, Waker},
};

use tokio::io::ReadBuf;

use super::{
    super::{
        End, Peer,
        frame::Command,
        half::{Half, broken},
    },
    RETIREMENT, STREAMS_LIMIT, State,
};

impl State {
    /// Opens a stream.
    pub(crate) fn open(&mut self) -> Result<u32, End> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        if self.retired {
            return Err(End::Closed);
        }
        let id = self.next.filter(|_| self.streams.len() < STREAMS_LIMIT).ok_or(End::Full)?;
        self.next = id.checked_add(2);
        self.streams.insert(id, Half::default());
        self.control(Command::Open, id);
        Ok(id)
    }

    /// The next stream that the peer opened; none once no more will come.
    pub(crate) fn accept(&mut self, waker: &Waker) -> Poll<Option<u32>> {
        let id = self.backlog.pop_front();
        if id.is_none() && self.end.is_none() && !self.retired {
            self.acceptor = Some(waker.clone());
            return Poll::Pending;
        }
        Poll::Ready(id)
    }

    /// Takes no further streams, and tells a peer that understands it.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        while let Some(id) = self.backlog.pop_front() {
            self.leave(id);
        }
        if self.peer == Peer::Windows {
            self.control(Command::Nothing, RETIREMENT);
        }
    }

    pub(crate) fn read(&mut self, id: u32, buffer: &mut ReadBuf<'_>, waker: &Waker) -> Poll<io::Result<()>> {
        let Some(half) = self.streams.get_mut(&id) else { return Poll::Ready(Ok(())) };
        if half.read(buffer) > 0 || buffer.remaining() == 0 {
            self.after_reading(id);
            return Poll::Ready(Ok(()));
        }
        match (half.ended, half.cut, &self.end) {
            (true, ..) => Poll::Ready(Ok(())),
            (false, Some(why), _) => Poll::Ready(Err(broken(io::ErrorKind::ConnectionReset, why))),
            (false, None, Some(end)) => Poll::Ready(Err(broken(io::ErrorKind::ConnectionAborted, end))),
            (false, None, None) => {
                half.reader = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn write(&mut self, id: u32, bytes: &[u8], waker: &Waker) -> Poll<io::Result<usize>> {
        let gone = |why: &str| Poll::Ready(Err(broken(io::ErrorKind::BrokenPipe, why)));
        let Some(half) = self.streams.get_mut(&id) else { return gone("the connection is closed") };
        match (half.cut, &self.end) {
            (Some(why), _) => return gone(why),
            (None, Some(end)) => return gone(&end.to_string()),
            (None, None) if half.shut => return gone("the connection is closed"),
            (None, None) if half.ended && self.peer == Peer::Plain => return gone("the other side has closed it"),
            (None, None) => {}
        }
        let count = bytes.len().min(half.room());
        if count == 0 && !bytes.is_empty() {
            half.writer = Some(waker.clone());
            return Poll::Pending;
        }
        half.outbound.extend(&bytes[..count]);
        self.take_turn(id);
        Poll::Ready(Ok(count))
    }

    /// Nothing more will be written: the end goes out behind what was.
    pub(crate) fn shut(&mut self, id: u32) {
        if let Some(half) = self.streams.get_mut(&id) {
            half.shut = true;
            self.take_turn(id);
        }
    }

    /// Nobody reads or writes the stream any more. Unless it was shut, both ways are cut.
    pub(crate) fn leave(&mut self, id: u32) {
        self.full.take_if(|full| *full == id);
        let over = self.end.is_some();
        let Some(half) = self.streams.get_mut(&id) else { return };
        half.dropped = true;
        let sends_on = half.shut && !half.end_sent && half.cut.is_none();
        if sends_on && !over {
            half.inbound = std::collections::VecDeque::new();
            return;
        }
        if half.cut.is_none() && !(half.end_sent && half.ended) {
            self.abandon(id);
        }
        self.streams.remove(&id);
    }
}
