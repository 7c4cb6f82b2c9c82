//! An association's datagrams behind a chain: frames in one tunnel (0xF3) to the last hop, which sends them on and says
//! of each answer who it is from. Names go there as they are wherever that is no matter. Ends with the tunnel.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use fairlead_config::HostPort;
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::mpsc,
};

use super::{Answer, Unopened};
use crate::{
    chain::{Debt, tunnel},
    forward::server::{
        datagrams::{LARGEST, ended_by_the_hop, frame_to, noise_of_the_hop},
        session::Session,
        waiting::Waiting,
    },
    protocol::{ClientFault, incoming::Incoming, udp_frame},
    stats::Dropped,
    stream::Stream,
};

/// Frames that wait for the hop to take them.
const QUEUE: usize = 64;
/// Bytes of frames that are written at a time, if so many are there.
const BATCH: usize = 32 << 10;

/// A tunnel to the last hop.
pub(in crate::forward::server) struct Tunnel<'a> {
    session: &'a Session,
    waiting: Waiting<'a, HostPort>,
    to_hop: mpsc::Sender<Frame>,
    /// Writes frames, and finds out when the hop is gone.
    upkeep: BoxFuture<'a, ClientFault>,
    from_hop: ReadHalf<Stream>,
    incoming: Incoming,
    /// How much of what has come was handed on.
    taken: usize,
    debt: Arc<Debt>,
}

/// A datagram as the hop takes it, and how long it is by itself.
struct Frame {
    bytes: Vec<u8>,
    length: usize,
}

impl<'a> Tunnel<'a> {
    pub(super) async fn open(session: &'a Session) -> Result<Self, Unopened> {
        let dialer = session.watched_dialer();
        if !dialer.path.last().is_some_and(|hop| hop.carries_to_anywhere()) {
            return Err(Unopened::Unfit);
        }
        let asked = tunnel(&dialer).await.map_err(Unopened::Hop)?;
        let (from_hop, writer) = split(asked.stream);
        let (to_hop, frames) = mpsc::channel(QUEUE);
        let (debt, node) = (Arc::<Debt>::default(), asked.node);
        let owes = Arc::clone(&debt);
        let upkeep = Box::pin(async move {
            tokio::select! {
                fault = write(session, writer, frames, &owes) => fault,
                error = owes.until_gone(dialer, &node) => ClientFault::Upstream(error.to_string()),
            }
        });
        let (waiting, incoming) = (Waiting::default(), Incoming::with_room(2 * LARGEST));
        Ok(Self { session, waiting, to_hop, upkeep, from_hop, incoming, taken: 0, debt })
    }

    pub(super) fn send(&mut self, to: &HostPort, datagram: &[u8]) {
        let (session, asked) = (self.session, to.clone());
        match self.waiting.judge(to, datagram, async move { session.asked_for(&asked).await }) {
            Ok(Some(to)) => self.queue(&to, datagram),
            Ok(None) => {}
            Err(why) => session.datagrams().drop(why, 1),
        }
    }

    fn queue(&self, to: &HostPort, datagram: &[u8]) {
        let queued = framed(to, datagram).and_then(|frame| self.to_hop.try_send(frame).map_err(|_| Dropped::QueueFull));
        if let Err(why) = queued {
            self.session.datagrams().drop(why, 1);
        }
    }

    pub(super) async fn next(&mut self) -> Result<Answer, ClientFault> {
        loop {
            if let Some(answer) = self.answer()? {
                return Ok(answer);
            }
            tokio::select! {
                fault = &mut self.upkeep => return Err(fault),
                more = self.incoming.fill(&mut self.from_hop) => match more? {
                    true => self.debt.heard(),
                    false => return Err(ended_by_the_hop()),
                },
                (to, datagrams) = self.waiting.answered() => match to {
                    Some(to) => datagrams.iter().for_each(|datagram| self.queue(&to, datagram)),
                    None => self.session.datagrams().drop(Dropped::NoNode, datagrams.len()),
                },
            }
        }
    }

    /// The next answer of those that have come; from what is no address, it is none.
    fn answer(&mut self) -> Result<Option<Answer>, ClientFault> {
        loop {
            let bytes = &self.incoming.bytes()[self.taken..];
            let Some(frame) = udp_frame::decode(bytes).map_err(|_| noise_of_the_hop())? else { break };
            self.taken += frame.data.end;
            let peer = udp_frame::peer(&bytes[frame.address]).map_err(|_| noise_of_the_hop())?;
            match peer.host.parse::<IpAddr>() {
                Ok(ip) => return Ok(Some((SocketAddr::new(ip, peer.port), bytes[frame.data].into()))),
                Err(_) => self.session.datagrams().drop(Dropped::Refused, 1),
            }
        }
        self.incoming.take(self.taken);
        self.taken = 0;
        Ok(None)
    }
}

fn framed(to: &HostPort, datagram: &[u8]) -> Result<Frame, Dropped> {
    let mut bytes = Vec::new();
    frame_to(to, datagram, &mut bytes)?;
    Ok(Frame { bytes, length: datagram.len() })
}

/// Writes frames until the hop takes no more.
async fn write(
    session: &Session,
    mut writer: WriteHalf<Stream>,
    mut frames: mpsc::Receiver<Frame>,
    debt: &Debt,
) -> ClientFault {
    let mut out = Vec::new();
    while let Some(first) = frames.recv().await {
        let (mut datagrams, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(frame) = next {
            out.extend_from_slice(&frame.bytes);
            (datagrams, bytes) = (datagrams + 1, bytes + frame.length);
            next = if out.len() < BATCH { frames.try_recv().ok() } else { None };
        }
        let written = async {
            writer.write_all(&out).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return error.into();
        }
        debt.sent();
        out.clear();
        session.datagrams().to_upstream.fetch_add(datagrams, Relaxed);
        session.datagrams().bytes_to_upstream.fetch_add(bytes as u64, Relaxed);
    }
    ClientFault::TooSlow("the association has ended")
}
