//! Carries an association's datagrams over a way until it breaks or the association ends. What the way can't take is
//! dropped and counted.

use std::{cell::RefCell, io, sync::atomic::Ordering::Relaxed, time::Instant};

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use super::{
    FromClient, Line, TELL_AGAIN, ToClient,
    way::{Beside, Framing, Way},
};
use crate::{
    chain::Debt,
    dial::{DialCause, DialError},
    group::Chosen,
    protocol::{relay, udp_frame},
    stats::{DatagramCounters, Dropped},
    stream::Stream,
};

/// Bytes of datagrams that are written at once, if so many are there.
const WRITE: usize = 32 << 10;
/// Bytes read at a time.
const READ: usize = 4 << 10;
/// The largest datagram.
const DATAGRAM: usize = 65_536;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; DATAGRAM]);
}

impl Way {
    /// Returns without an error when the association has ended.
    pub(super) async fn carry(self, first: Box<[u8]>, line: &mut Line) -> io::Result<()> {
        match self {
            Self::Stream(stream, framing, node) => {
                let ended = carry_in(stream, &framing, &node, first, line).await;
                // The hop said so, and the target is marked.
                if ended.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                    line.to_client.target = None;
                }
                ended
            }
            Self::Beside(beside) => beside.carry(first, line).await,
        }
    }
}

async fn carry_in(
    stream: Stream,
    framing: &Framing,
    node: &Chosen,
    first: Box<[u8]>,
    line: &mut Line,
) -> io::Result<()> {
    let (read, write) = split(stream);
    let (debt, dialer) = (Debt::default(), line.shared().dialer());
    tokio::select! {
        ended = upward(write, (framing, &debt), first, &mut line.from_client) => ended,
        ended = downward(read, (framing, &debt), &mut line.to_client) => ended,
        error = debt.until_gone(dialer, node) => Err(io::Error::new(io::ErrorKind::TimedOut, error)),
    }
}

async fn upward(
    mut write: impl AsyncWrite + Unpin,
    (framing, debt): (&Framing, &Debt),
    first: Box<[u8]>,
    client: &mut FromClient,
) -> io::Result<()> {
    let mut out = Vec::new();
    let mut next = Some(first);
    while let Some(first) = next {
        let (mut datagrams, mut bytes) = (0, 0);
        let mut present = Some(first);
        while let Some(datagram) = present {
            match framing.encode(&datagram, &mut out) {
                Ok(()) => (datagrams, bytes) = (datagrams + 1, bytes + datagram.len()),
                Err(why) => client.count().drop(why, 1),
            }
            present = if out.len() < WRITE { client.next_now() } else { None };
        }
        if !out.is_empty() {
            write.write_all(&out).await?;
            write.flush().await?;
            debt.sent();
            out.clear();
            out.shrink_to(WRITE);
        }
        client.count().to_upstream.fetch_add(datagrams, Relaxed);
        client.count().bytes_to_upstream.fetch_add(bytes as u64, Relaxed);
        next = client.next().await;
    }
    Ok(())
}

async fn downward(
    mut read: impl AsyncRead + Unpin,
    (framing, debt): (&Framing, &Debt),
    to_client: &mut ToClient,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let mut used = 0;
        while let Some((datagram, length)) = framing.decode(&buffer[used..])? {
            if let Some(datagram) = datagram
                && !to_client.answer(datagram).await
            {
                return Ok(());
            }
            used += length;
        }
        buffer.drain(..used);
        if buffer.is_empty() {
            buffer.shrink_to(READ);
        }
        buffer.reserve(READ);
        tokio::select! {
            count = read.read_buf(&mut buffer) => match count? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => debt.heard(),
            },
            () = to_client.trial() => to_client.passed_trial(),
        }
    }
}

/// A datagram, unless it is from somebody else, and how many bytes it takes up.
pub(crate) type Found<'a> = (Option<&'a [u8]>, usize);

impl Framing {
    /// Appends a datagram, unless it does not fit.
    pub(crate) fn encode(&self, datagram: &[u8], out: &mut Vec<u8>) -> Result<(), Dropped> {
        match self {
            Self::Gost { address, .. } => udp_frame::encode(address, datagram, out).map_err(Dropped::from),
            Self::Relay => relay::encode_datagram(datagram, out).then_some(()).ok_or(Dropped::TooBig),
        }
    }

    /// The first of the datagrams, if it is whole.
    pub(crate) fn decode<'a>(&self, bytes: &'a [u8]) -> io::Result<Option<Found<'a>>> {
        match self {
            Self::Relay => Ok(relay::decode_datagram(bytes).map(|(datagram, length)| (Some(datagram), length))),
            Self::Gost { address, is_strict } => {
                let frame = udp_frame::decode(bytes);
                let frame = frame.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Ok(frame.map(|frame| {
                    let is_ours = !is_strict || bytes[frame.address.clone()] == address[..];
                    (is_ours.then(|| &bytes[frame.data.clone()]), frame.data.end)
                }))
            }
        }
    }
}

impl Beside {
    async fn carry(mut self, first: Box<[u8]>, line: &mut Line) -> io::Result<()> {
        self.send(&first, line.from_client.count()).await?;
        loop {
            tokio::select! {
                next = line.from_client.next() => {
                    let Some(datagram) = next else { return Ok(()) };
                    self.send(&datagram, line.from_client.count()).await?;
                }
                readable = self.socket.readable() => {
                    readable?;
                    if !self.receive(&mut line.to_client).await? {
                        return Ok(());
                    }
                }
                () = line.to_client.trial() => line.to_client.passed_trial(),
                closed = closed(&mut self.control) => return Err(closed),
            }
        }
    }

    async fn send(&mut self, datagram: &[u8], counters: &DatagramCounters) -> io::Result<()> {
        let Some(wrapped) = self.wrapping.wrap(datagram) else {
            counters.drop(Dropped::Refused, 1);
            return Ok(());
        };
        match self.socket.send(&wrapped).await {
            Ok(_) => {
                counters.to_upstream.fetch_add(1, Relaxed);
                counters.bytes_to_upstream.fetch_add(datagram.len() as u64, Relaxed);
                Ok(())
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => {
                counters.drop(Dropped::TooBig, 1);
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Hands on what is there; false when the courier is gone.
    async fn receive(&mut self, to_client: &mut ToClient) -> io::Result<bool> {
        loop {
            let received: io::Result<_> = SCRATCH.with_borrow_mut(|scratch| {
                let size = self.socket.try_recv(scratch)?;
                Ok(self.wrapping.unwrap(&mut scratch[..size]).map(Box::<[u8]>::from))
            });
            match received {
                Ok(Some(datagram)) => {
                    self.answered(Instant::now());
                    if !to_client.answer(&datagram).await {
                        return Ok(false);
                    }
                }
                // From nobody that has the key.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// The hop lives.
    fn answered(&mut self, now: Instant) {
        if self.told_at.is_none_or(|told| now.saturating_duration_since(told) >= TELL_AGAIN) {
            self.node.dialing(now).answered_late();
            self.told_at = Some(now);
        }
    }

    /// The path says that the hop can't be reached.
    fn failed(&self, error: io::Error) -> io::Error {
        let address = self.socket.peer_addr();
        let cause =
            address.map_or_else(|error| DialCause::Other(error.to_string()), |address| DialCause::of(&error, address));
        let node = (*self.node.node.address).clone();
        let error_of_hop = DialError { hop: Some(self.number), ..DialError::new(node, cause) };
        self.node.dialing(Instant::now()).failed(&error_of_hop);
        error
    }
}

/// Waits for the end of the connection, on which nothing is said.
async fn closed(control: &mut Option<Stream>) -> io::Error {
    let Some(control) = control else { return std::future::pending().await };
    let mut nothing = [0; 64];
    loop {
        match control.read(&mut nothing).await {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}
