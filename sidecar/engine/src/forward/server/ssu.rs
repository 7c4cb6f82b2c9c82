//! Shadowsocks for datagrams (GOST's `ssu://`): each one is sealed with the server's key and says itself where it goes;
//! answers go back sealed, behind the address they came from. Who has another key is nobody, and hears nothing.
//!
//! One task receives from the clients and sends to them; a client has an association, with a task and a socket of its
//! own (behind a chain: a tunnel, opened again when it was lost), until no datagram has passed for the ttl. At the limit
//! the idlest makes way for a new one.

mod line;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use fairlead_config::HostPort;
use tokio::{net::UdpSocket, sync::mpsc, time::sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::{Shared, datagrams::LARGEST, fresh::FRESH, session::Session};
use crate::{
    accept::{LoopGuard, Phase, Trouble},
    association::{Client, Id, Table},
    forward::local_udp::Place,
    protocol::{address, ss_cipher::Key},
    stats::Dropped,
    workers::Load,
};
use line::Line;

/// Datagrams of one client that wait, and answers of all that do.
const QUEUE: usize = 64;
const ANSWERS: usize = 256;
/// How long an association must be quiet to end, once the server is stopped.
const QUIET: Duration = Duration::from_secs(2);
/// How long to sleep when nothing expires.
const FOREVER: Duration = Duration::from_secs(3600);

/// What a client sends, and where to.
type Parcel = (HostPort, Box<[u8]>);

/// What came for a client, and from where.
struct Answer {
    client: Client,
    from: SocketAddr,
    datagram: Box<[u8]>,
}

/// One client's association; dropped, it ends.
struct Association {
    to_task: mpsc::Sender<Parcel>,
    _task: AbortOnDropHandle<()>,
    _place: Place,
}

/// A server that has not begun: made where errors can be told.
pub(super) struct Server {
    pub(super) shared: Arc<Shared>,
    pub(super) socket: std::net::UdpSocket,
    pub(super) load: Arc<Load>,
    /// The worker that it runs on.
    pub(super) worker: usize,
    pub(super) guard: LoopGuard,
}

/// A server at work.
struct Round {
    shared: Arc<Shared>,
    socket: UdpSocket,
    load: Arc<Load>,
    worker: usize,
    table: Table<Association>,
    answers: (mpsc::Sender<Answer>, mpsc::Receiver<Answer>),
    /// The key, and when it was read; none while there is no login.
    key: (Option<Key>, Instant),
}

impl Server {
    /// Serves until stopped and every association has ended.
    pub(super) async fn run(self) {
        let Self { shared, socket, load, worker, guard } = self;
        let socket = match UdpSocket::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(forward = %shared.key, %error, "a worker can't watch the listener"),
        };
        let key = (key(&shared), Instant::now());
        let round = Round { shared, socket, load, worker, table: Table::new(), answers: mpsc::channel(ANSWERS), key };
        round.run().await;
        drop(guard);
    }
}

/// The key of the login as it is now.
fn key(shared: &Arc<Shared>) -> Option<Key> {
    let running = shared.running.load();
    let users = shared.users(&running.server).ok()??;
    Key::of(users.first()?).ok()
}

impl Round {
    async fn run(mut self) {
        let mut phases = self.shared.control.phases();
        let mut buffer = vec![0; LARGEST];
        loop {
            let phase = *phases.borrow_and_update();
            let ttl = self.ttl(phase);
            if self.expire(ttl) == 0 && phase == Phase::Stopped || phase == Phase::Aborted {
                return;
            }
            let due = self.table.expiry(ttl).unwrap_or_else(|| Instant::now() + FOREVER);
            tokio::select! {
                _ = phases.changed() => {}
                received = self.socket.recv_from(&mut buffer) => {
                    // An error is of a client that has gone.
                    if let Ok((count, peer)) = received {
                        self.carry(&mut buffer[..count], peer, phase);
                    }
                }
                Some(answer) = self.answers.1.recv() => self.hand_back(answer).await,
                () = sleep_until(due.into()) => {}
            }
        }
    }

    fn ttl(&self, phase: Phase) -> Duration {
        let ttl = self.shared.running.load().server.ttl;
        if phase == Phase::Serving { ttl } else { ttl.min(QUIET) }
    }

    /// Ends what has been idle for the ttl; returns how many associations are left.
    fn expire(&mut self, ttl: Duration) -> usize {
        while self.table.expire(ttl, Instant::now()).is_some() {
            self.shared.control.clear_all();
        }
        self.table.len()
    }

    /// Gives a client's datagram to its association, which is made if there is none.
    fn carry(&mut self, sealed: &mut [u8], peer: SocketAddr, phase: Phase) {
        let counters = &self.shared.clone().datagrams[self.worker];
        let Some(parcel) = self.opened(sealed) else { return counters.drop(Dropped::Refused, 1) };
        let client = Client { peer, local: None };
        let known = self.table.find(&client);
        let Some(id) = known.or_else(|| (phase == Phase::Serving).then(|| self.begin(client)).flatten()) else {
            return counters.drop(Dropped::NoRoom, 1);
        };
        self.table.touch(id, Instant::now());
        let taken = self.table.entry(id).is_some_and(|(_, association)| association.to_task.try_send(parcel).is_ok());
        if !taken {
            counters.drop(Dropped::QueueFull, 1);
        }
    }

    /// What a datagram of who has the key holds; none of one that was sent before, which the legacy cipher can't tell.
    fn opened(&mut self, sealed: &mut [u8]) -> Option<Parcel> {
        if self.key.1.elapsed() >= FRESH {
            self.key = (key(&self.shared), Instant::now());
        }
        let key = self.key.0.as_ref()?;
        let salt = sealed.get(..key.method().salt_length())?.to_vec();
        let plain = key.open_datagram(sealed).ok()?;
        let is_first = !key.method().is_aead() || self.shared.salts.admit(&salt);
        read(plain).filter(|_| is_first)
    }

    /// Begins an association; when there is no room, the idlest leaves.
    fn begin(&mut self, client: Client) -> Option<Id> {
        let control = &self.shared.control;
        if !control.try_reserve() {
            control.raise(Trouble::AtLimit, tokio::time::Instant::now());
            self.table.evict()?;
            if !control.try_reserve() {
                return None;
            }
        }
        let place = Place::new(Arc::clone(control), Arc::clone(&self.load), self.worker);
        let session = Session::of_datagrams(&self.shared, client.peer, self.worker);
        self.shared.clients.accepted.fetch_add(1, Relaxed);
        let (to_task, parcels) = mpsc::channel(QUEUE);
        let line = Line { session, client, parcels, answers: self.answers.0.clone() };
        let association =
            Association { to_task, _task: AbortOnDropHandle::new(tokio::spawn(line.run())), _place: place };
        Some(self.table.insert(client, association, Instant::now()))
    }

    async fn hand_back(&mut self, answer: Answer) {
        let Some(id) = self.table.find(&answer.client) else { return };
        self.table.touch(id, Instant::now());
        let mut plain = Vec::with_capacity(address::LONGEST + answer.datagram.len());
        address::encode_ip(answer.from, &mut plain);
        plain.extend_from_slice(&answer.datagram);
        let sealed = self.key.0.as_ref().and_then(|key| key.seal_datagram(&plain).ok());
        let sent = match sealed {
            Some(sealed) => self.socket.send_to(&sealed, answer.client.peer).await,
            None => Err(io::ErrorKind::InvalidData.into()),
        };
        self.shared.datagrams[self.worker].client(sent.map(|_| answer.datagram.len()));
    }
}

/// Where a client's datagram goes, and its data; none of noise.
fn read(plain: &[u8]) -> Option<Parcel> {
    let (peer, length) = address::decode(plain).ok()??;
    Some((peer, plain[length..].into()))
}

#[cfg(test)]
#[path = "ssu_tests.rs"]
mod tests;
