//! One client's channel of a remote UDP forward: a socket to a node, what waits to be sent on it, and what is learnt of
//! the node, by the same rules as for local clients: a name that is unknown or an unreachable path is a failure, an
//! answer is life, and so is a second without an error while a dead node is tried.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{sleep_until, timeout},
};

use super::Shared;
use crate::{
    accept::{LoopGuard, Trouble},
    dial::{DialCause, DialError},
    group::{Chosen, Dialing},
    resolve::Resolver,
    selector::{Ticket, Why},
    stats::Dropped,
};

/// How long after a datagram a dead node that is tried must draw no error to be alive.
const TRIAL: Duration = Duration::from_secs(1);
/// How often the same channel tells that its node lives.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Datagrams that wait for a name or a turn.
const QUEUE: usize = 64;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 65_536]);
}

/// A channel as the table holds it; dropped, it ends.
pub(super) struct Channel(mpsc::Sender<Box<[u8]>>);

/// A channel at work.
struct Work {
    shared: Arc<Shared>,
    client: SocketAddr,
    ticket: Ticket,
    upstream: Option<Upstream>,
    _place: Place,
}

/// The socket to a node.
struct Upstream {
    socket: UdpSocket,
    address: SocketAddr,
    /// Further addresses of the node's name, to be tried before it has failed.
    others: Vec<SocketAddr>,
    chosen: Chosen,
    /// Not judged yet.
    dialing: Option<Dialing>,
    opened_at: Instant,
    sent_at: Instant,
    told_at: Option<Instant>,
}

/// The room a channel takes, given back when dropped.
struct Place {
    shared: Arc<Shared>,
    worker: usize,
    _guard: LoopGuard,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.load.remove_association(self.worker);
        self.shared.binding.control.release();
    }
}

impl Channel {
    /// Begins a channel on the present worker, which is `worker`, with room that was reserved.
    pub(super) fn begin(shared: &Arc<Shared>, client: SocketAddr, worker: usize) -> Self {
        let (sender, inbox) = mpsc::channel(QUEUE);
        shared.load.add_association(worker);
        let place = Place { shared: Arc::clone(shared), worker, _guard: shared.binding.control.enter_loop() };
        let work =
            Work { shared: Arc::clone(shared), client, ticket: Ticket::default(), upstream: None, _place: place };
        tokio::spawn(work.run(inbox));
        Self(sender)
    }

    /// Takes a datagram from the client.
    pub(super) fn give(&self, datagram: &[u8]) -> Result<(), mpsc::error::TrySendError<Box<[u8]>>> {
        self.0.try_send(datagram.into())
    }
}

impl Work {
    async fn run(mut self, mut inbox: mpsc::Receiver<Box<[u8]>>) {
        loop {
            let trial = self.upstream.as_ref().and_then(Upstream::trial_ends);
            tokio::select! {
                datagram = inbox.recv() => match datagram {
                    Some(datagram) => self.carry(&datagram).await,
                    None => return,
                },
                answer = readable(self.upstream.as_ref()) => match answer {
                    Ok(()) => self.answers(),
                    Err(error) => self.failed(&error),
                },
                () = until(trial) => self.passed_trial(),
            }
        }
    }

    /// Sends a datagram; where the path has failed, to the next address or node.
    async fn carry(&mut self, datagram: &[u8]) {
        let mut is_first_try = true;
        loop {
            if self.upstream.is_none() && !self.open(is_first_try).await {
                return self.shared.counters.drop(Dropped::NoNode, 1);
            }
            is_first_try = false;
            let Some(upstream) = &mut self.upstream else { return };
            match upstream.socket.try_send(datagram) {
                Ok(_) => {
                    upstream.sent_at = Instant::now();
                    self.shared.counters.to_upstream.fetch_add(1, Relaxed);
                    self.shared.counters.bytes_to_upstream.fetch_add(datagram.len() as u64, Relaxed);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if upstream.socket.writable().await.is_err() {
                        return self.shared.counters.drop(Dropped::BufferFull, 1);
                    }
                }
                Err(error) if is_of_the_path(&error) => self.failed(&error),
                Err(_) => return self.shared.counters.drop(Dropped::Refused, 1),
            }
        }
    }

    /// Hands on what the node sent.
    fn answers(&mut self) {
        let Some(upstream) = &self.upstream else { return };
        let (mut came, mut failure) = (false, None);
        BUFFER.with_borrow_mut(|buffer| {
            loop {
                match upstream.socket.try_recv(buffer) {
                    Ok(count) => {
                        came = true;
                        if let Err(why) = self.shared.answers.put(self.client, &buffer[..count]) {
                            self.shared.counters.drop(why, 1);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    Err(error) => {
                        failure = Some(error);
                        return;
                    }
                }
            }
        });
        if came {
            self.answered();
            self.shared.touch(self.client);
        }
        if let Some(error) = failure {
            self.failed(&error);
        }
    }

    fn answered(&mut self) {
        let Some(upstream) = &mut self.upstream else { return };
        let now = Instant::now();
        match upstream.dialing.take() {
            Some(dialing) => dialing.answered(),
            None if upstream.told_at.is_some_and(|at| now.saturating_duration_since(at) < TELL_AGAIN) => return,
            None => upstream.chosen.dialing(upstream.sent_at).answered_late(),
        }
        upstream.told_at = Some(now);
        self.ticket = Ticket::default();
    }

    fn passed_trial(&mut self) {
        let Some(upstream) = &mut self.upstream else { return };
        if let Some(dialing) = upstream.dialing.take_if(|dialing| dialing.is_of_a_dead_node()) {
            dialing.answered_late();
            upstream.told_at = Some(Instant::now());
        }
    }

    /// The way to the node failed: the next datagram goes to another address of it, or to another node.
    fn failed(&mut self, error: &io::Error) {
        let Some(mut upstream) = self.upstream.take() else { return };
        let cause = DialCause::of(error, upstream.address);
        match upstream.dialing.take() {
            Some(dialing) if !upstream.others.is_empty() => drop(self.connect(dialing, upstream.others)),
            Some(dialing) => fail(dialing, cause),
            None => fail(upstream.chosen.dialing(upstream.sent_at), cause),
        }
    }

    /// Chooses a node and opens a socket to it. False when none can be reached now.
    async fn open(&mut self, anew: bool) -> bool {
        let group = Arc::clone(&self.shared.group);
        let mut first = group.select(&mut self.ticket, Why::Nothing);
        if first.is_none() && anew {
            self.ticket.start_over();
            first = group.select(&mut self.ticket, Why::Nothing);
        }
        while let Some((dialing, _)) = first.take().or_else(|| group.select(&mut self.ticket, Why::Nothing)) {
            if !dialing.is_first_of(&self.ticket) {
                self.shared.passed_on.fetch_add(1, Relaxed);
            }
            let limit = self.shared.times.load().resolve;
            let address = Arc::clone(&dialing.node.address);
            match resolved(&self.shared.binding.resolver, &address.host, address.port, limit).await {
                Ok(addresses) => {
                    if self.connect(dialing, addresses).is_ok() {
                        return true;
                    }
                }
                Err(cause) => fail(dialing, cause),
            }
        }
        self.shared.unserved.fetch_add(1, Relaxed);
        false
    }

    fn connect(&mut self, dialing: Dialing, addresses: Vec<SocketAddr>) -> Result<(), ()> {
        let mut others = addresses.into_iter();
        let mut cause = DialCause::Resolve("no address".to_owned());
        while let Some(address) = others.next() {
            match connected(address) {
                Ok(socket) => {
                    dialing.node.counters.connections.fetch_add(1, Relaxed);
                    let (chosen, others, now) = (dialing.chosen(), others.collect(), Instant::now());
                    let (opened_at, sent_at, told_at, dialing) = (now, now, None, Some(dialing));
                    let upstream = Upstream { socket, address, others, chosen, dialing, opened_at, sent_at, told_at };
                    self.upstream = Some(upstream);
                    return Ok(());
                }
                Err(error) => cause = DialCause::of(&error, address),
            }
        }
        if cause.is_shortage() {
            self.shared.binding.control.raise(Trouble::NoUpstream, tokio::time::Instant::now());
        }
        fail(dialing, cause);
        Err(())
    }
}

impl Upstream {
    /// When a dead node that is tried has passed its trial.
    fn trial_ends(&self) -> Option<Instant> {
        self.dialing.as_ref().filter(|dialing| dialing.is_of_a_dead_node()).map(|_| self.opened_at + TRIAL)
    }
}

fn fail(dialing: Dialing, cause: DialCause) {
    let node = (*dialing.node.address).clone();
    dialing.failed(&DialError::new(node, cause));
}

async fn resolved(resolver: &Resolver, host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, DialCause> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let late = || DialCause::Resolve(format!("no answer within {}", fairlead_config::duration::format(limit)));
    let found = timeout(limit, resolver.resolve(host)).await.map_err(|_| late())??;
    Ok(found.iter().map(|address| SocketAddr::new(address.ip(), port)).collect())
}

/// A socket of our own to a node.
fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    // A port of this host that nobody listens on may be given to the socket itself, which then reaches itself.
    if address.ip().is_loopback() && socket.local_addr()? == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Whether the system says that the node can't be reached, and not that the datagram can't be sent.
fn is_of_the_path(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable)
}

async fn readable(upstream: Option<&Upstream>) -> io::Result<()> {
    match upstream {
        Some(upstream) => upstream.socket.readable().await,
        None => std::future::pending().await,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}
