//! The tunnel of a remote UDP forward: frames from the far end to the clients' channels, and the channels' answers back.
//! There is one at a time; answers wait a little for the next one.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, split},
    sync::{Mutex, mpsc},
    time::timeout,
};

use super::Shared;
use crate::{
    chain::Debt,
    forward::remote::{Event, Setback, Turn},
    protocol::{
        address,
        incoming::Incoming,
        udp_frame::{self, Unframed},
    },
    stats::Dropped,
};

/// Answers that wait to be sent, at most.
const QUEUE: usize = 1_024;
/// How long an answer waits for a tunnel that is away.
const FRESH: Duration = Duration::from_secs(10);
/// How long the far end may not take what is sent.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Bytes sent at once, about.
const BATCH: usize = 64 << 10;
/// The largest frame: its fixed part, an address, and a datagram.
const LARGEST: usize = 3 + address::LONGEST + 65_535;

/// Framed answers on their way to the tunnel.
pub(super) struct Answers {
    sender: mpsc::Sender<Answer>,
    /// Whoever runs the tunnel has it.
    receiver: Mutex<mpsc::Receiver<Answer>>,
}

struct Answer {
    at: Instant,
    frame: Vec<u8>,
    /// Bytes of the datagram.
    size: usize,
}

impl Answers {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Self { sender, receiver: Mutex::new(receiver) }
    }

    /// Frames an answer to a client, unless it can't be carried.
    pub(super) fn put(&self, client: SocketAddr, datagram: &[u8]) -> Result<(), Dropped> {
        let mut to = Vec::with_capacity(address::LONGEST);
        address::encode_ip(client, &mut to);
        let mut frame = Vec::with_capacity(3 + to.len() + datagram.len());
        udp_frame::encode(&to, datagram, &mut frame).map_err(|unframed| match unframed {
            Unframed::Empty => Dropped::Refused,
            Unframed::TooBig => Dropped::TooBig,
        })?;
        let answer = Answer { at: Instant::now(), frame, size: datagram.len() };
        self.sender.try_send(answer).map_err(|_| Dropped::QueueFull)
    }
}

/// Binds, and carries datagrams until the tunnel ends.
pub(super) async fn run(shared: Arc<Shared>, turn: Turn) -> Setback {
    let carried = async {
        let bound = match shared.binding.bind(turn.patience).await {
            Ok(bound) => bound,
            Err(setback) => return setback,
        };
        let _ = turn.told.send(Event::Held(shared.binding.address(&bound))).await;
        let (reader, writer) = split(bound.stream);
        let debt = Debt::default();
        tokio::select! {
            end = receive(reader, &shared, turn.worker, &debt) => end,
            end = send(writer, &shared, &debt) => end,
            end = shared.binding.until_gone(&debt, &bound.node) => end,
        }
    };
    tokio::select! {
        end = carried => end,
        () = turn.stop.cancelled() => Setback::lost("stopped"),
    }
}

async fn receive(mut reader: impl AsyncRead + Unpin, shared: &Arc<Shared>, worker: usize, debt: &Debt) -> Setback {
    let mut incoming = Incoming::with_room(LARGEST);
    loop {
        match incoming.fill(&mut reader).await {
            Ok(false) => return Setback::lost("the far end closed the tunnel"),
            Ok(true) => {}
            Err(error) => return Setback::lost(format!("the tunnel failed: {error}")),
        }
        debt.heard();
        let mut taken = 0;
        loop {
            let bytes = &incoming.bytes()[taken..];
            match udp_frame::decode(bytes) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let peer =
                        udp_frame::peer(&bytes[frame.address]).ok().and_then(|peer| peer.to_string().parse().ok());
                    if let Some(peer) = peer {
                        shared.deliver(peer, &bytes[frame.data.clone()], worker);
                    }
                    taken += frame.data.end;
                }
                Err(error) => return Setback::lost(format!("the far end sends no frames: {error}")),
            }
        }
        incoming.take(taken);
    }
}

async fn send(mut writer: impl AsyncWrite + Unpin, shared: &Shared, debt: &Debt) -> Setback {
    let mut answers = shared.answers.receiver.lock().await;
    let mut out = Vec::new();
    loop {
        // The sender is in what is shared.
        let Some(first) = answers.recv().await else { return Setback::lost("stopped") };
        let (mut next, mut count, mut bytes) = (Some(first), 0, 0);
        while let Some(answer) = next.take() {
            if answer.at.elapsed() > FRESH {
                shared.counters.drop(Dropped::QueueFull, 1);
            } else {
                out.extend_from_slice(&answer.frame);
                (count, bytes) = (count + 1, bytes + answer.size as u64);
            }
            if out.len() < BATCH {
                next = answers.try_recv().ok();
            }
        }
        let sent = async {
            writer.write_all(&out).await?;
            writer.flush().await
        };
        match timeout(STALL_LIMIT, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Setback::lost(format!("the tunnel failed: {error}")),
            Err(_) => return Setback::lost(format!("the far end took nothing for {STALL_LIMIT:?}")),
        }
        debt.sent();
        shared.counters.to_client.fetch_add(count, Relaxed);
        shared.counters.bytes_to_client.fetch_add(bytes, Relaxed);
        out.clear();
    }
}
