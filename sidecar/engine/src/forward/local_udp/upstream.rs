//! One association's way to its node: choosing it, the socket to it, and what is learnt of the node.
//! Called by the `courier`. A node has failed when its name is unknown or the path says that it can't be reached; it
//! lives when it answers, or when a dead one that is tried has drawn no error for a while. Opening a socket is neither.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture, stream::FuturesUnordered};
use rustix::event::epoll;
use tokio::{io::unix::AsyncFd, sync::mpsc};

use super::{
    Shared,
    tunnel::{Answer, Tunnel},
};
use crate::{
    accept::{ServeControl, Trouble},
    association::Id,
    datagram::{Batch, connect},
    dial::{DialCause, DialError},
    group::{Chosen, Dialing},
    selector::{Ticket, Why},
    workers::Load,
};

/// How long after a datagram a dead node that is tried must draw no error to be alive.
pub(crate) const TRIAL: Duration = Duration::from_secs(1);
/// How often the same association tells that its node lives.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Datagrams, and bytes of them, that wait for a name.
const WAITING_LIMIT: usize = 64;
const WAITING_BYTES: usize = 256 * 1024;

/// One client's association.
pub(super) struct Association {
    pub(super) upstream: Upstream,
    ticket: Ticket,
    _place: Place,
}

/// How far the way to a node is.
pub(super) enum Upstream {
    /// Not begun, or the last node failed: the next datagram goes to another one.
    None,
    /// The node's name is being resolved.
    Resolving(Waiting),
    Open(Box<Open>),
    /// Through a chain.
    Tunnel(Tunnel),
}

/// Which nodes may be tried for a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tries {
    /// When all have been tried, all of them again.
    Anew,
    /// Those that have not been tried yet.
    GoOn,
}

/// Datagrams that wait for a name.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) datagrams: Vec<Box<[u8]>>,
    bytes: usize,
}

/// A socket to a node.
pub(super) struct Open {
    pub(super) socket: UdpSocket,
    pub(super) address: SocketAddr,
    /// Further addresses of the node's name, to be tried before it has failed.
    others: Vec<SocketAddr>,
    chosen: Chosen,
    /// Not judged yet.
    dialing: Option<Dialing>,
    pub(super) sent_at: Instant,
    told_at: Instant,
}

/// The room an association takes, in the forward's count and its worker's; dropping it gives both back.
pub(crate) struct Place {
    control: Arc<ServeControl>,
    load: Arc<Load>,
    worker: usize,
}

/// A name's addresses for an association that waits for them.
pub(super) struct Resolved {
    pub(super) id: Id,
    dialing: Dialing,
    answer: Result<Vec<SocketAddr>, DialCause>,
}

/// What opening upstreams takes, for all associations of a courier.
pub(super) struct Upstreams {
    pub(super) shared: Arc<Shared>,
    pub(super) batch: Batch,
    /// Tells which sockets have something to receive.
    pub(super) watch: AsyncFd<OwnedFd>,
    pub(super) questions: FuturesUnordered<BoxFuture<'static, Resolved>>,
    /// Dead nodes on trial, and when they have passed it.
    pub(super) trials: VecDeque<(Instant, Id)>,
    pub(super) resolve_within: Duration,
    /// Where tunnels bring answers.
    pub(super) answers: mpsc::Sender<Answer>,
    pub(super) worker: usize,
}

impl Association {
    pub(super) fn new(place: Place) -> Self {
        Self { upstream: Upstream::None, ticket: Ticket::default(), _place: place }
    }

    /// Chooses a node and begins the way to it. False when none can be reached now.
    pub(super) fn begin(&mut self, id: Id, tries: Tries, upstreams: &mut Upstreams, now: Instant) -> bool {
        if !upstreams.shared.chain.is_empty() {
            let (shared, answers) = (&upstreams.shared, upstreams.answers.clone());
            self.upstream = Upstream::Tunnel(Tunnel::begin(id, shared, upstreams.worker, answers));
            return true;
        }
        let group = Arc::clone(&upstreams.shared.group);
        let mut first = group.select(&mut self.ticket, Why::Nothing);
        if first.is_none() && tries == Tries::Anew {
            self.ticket.start_over();
            first = group.select(&mut self.ticket, Why::Nothing);
        }
        while let Some((dialing, _)) = first.take().or_else(|| group.select(&mut self.ticket, Why::Nothing)) {
            if !dialing.is_first_of(&self.ticket) {
                upstreams.shared.passed_on.fetch_add(1, Relaxed);
            }
            let address = &dialing.node.address;
            let Ok(ip) = address.host.parse::<IpAddr>() else {
                self.upstream = Upstream::Resolving(Waiting::default());
                upstreams.ask(id, dialing);
                return true;
            };
            let addresses = vec![SocketAddr::new(ip, address.port)];
            match self.open(id, dialing, addresses, upstreams, now) {
                Ok(()) => return true,
                Err(cause) if cause.is_shortage() => break,
                Err(_) => {}
            }
        }
        upstreams.shared.unserved.fetch_add(1, Relaxed);
        false
    }

    /// Takes a name's addresses; returns the datagrams that waited for them.
    pub(super) fn resolved(&mut self, resolved: Resolved, upstreams: &mut Upstreams, now: Instant) -> Waiting {
        let Resolved { id, dialing, answer } = resolved;
        let Upstream::Resolving(waiting) = std::mem::replace(&mut self.upstream, Upstream::None) else {
            return Waiting::default();
        };
        match answer {
            Ok(addresses) => drop(self.open(id, dialing, addresses, upstreams, now)),
            Err(cause) => fail(dialing, cause),
        }
        waiting
    }

    /// The way to the node failed: the next datagram goes to another address of it, or to another node.
    pub(super) fn failed(&mut self, id: Id, error: &io::Error, upstreams: &mut Upstreams, now: Instant) {
        let Upstream::Open(mut open) = std::mem::replace(&mut self.upstream, Upstream::None) else { return };
        let cause = DialCause::of(error, open.address);
        match open.dialing.take() {
            Some(dialing) if !open.others.is_empty() => {
                let others = std::mem::take(&mut open.others);
                let _ = self.open(id, dialing, others, upstreams, now);
            }
            Some(dialing) => fail(dialing, cause),
            None => fail(open.chosen.dialing(open.sent_at), cause),
        }
    }

    /// The node answered.
    pub(super) fn answered(&mut self, now: Instant) {
        let Upstream::Open(open) = &mut self.upstream else { return };
        match open.dialing.take() {
            Some(dialing) => dialing.answered(),
            None if now.saturating_duration_since(open.told_at) < TELL_AGAIN => return,
            None => open.chosen.dialing(open.sent_at).answered_late(),
        }
        open.told_at = now;
        self.ticket = Ticket::default();
    }

    /// A trial's time is over without an error.
    pub(super) fn passed_trial(&mut self, now: Instant) {
        let Upstream::Open(open) = &mut self.upstream else { return };
        if let Some(dialing) = open.dialing.take_if(|dialing| dialing.is_of_a_dead_node()) {
            dialing.answered_late();
            open.told_at = now;
        }
    }

    fn open(
        &mut self,
        id: Id,
        dialing: Dialing,
        addresses: Vec<SocketAddr>,
        upstreams: &mut Upstreams,
        now: Instant,
    ) -> Result<(), DialCause> {
        let mut others = addresses.into_iter();
        let mut cause = DialCause::Resolve("no address".to_owned());
        while let Some(address) = others.next() {
            match upstreams.open(id, address) {
                Ok(socket) => {
                    dialing.node.counters.connections.fetch_add(1, Relaxed);
                    if dialing.is_of_a_dead_node() {
                        upstreams.trials.push_back((now + TRIAL, id));
                    }
                    let (chosen, others) = (dialing.chosen(), others.collect());
                    let open =
                        Open { socket, address, others, chosen, dialing: Some(dialing), sent_at: now, told_at: now };
                    self.upstream = Upstream::Open(Box::new(open));
                    return Ok(());
                }
                Err(error) => cause = DialCause::of(&error, address),
            }
        }
        fail(dialing, cause.clone());
        Err(cause)
    }
}

fn fail(dialing: Dialing, cause: DialCause) {
    let node = (*dialing.node.address).clone();
    dialing.failed(&DialError::new(node, cause));
}

impl Upstreams {
    fn open(&mut self, id: Id, address: SocketAddr) -> io::Result<UdpSocket> {
        let opened = connect(address, &self.batch).and_then(|socket| {
            let events = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&self.watch, &socket, epoll::EventData::new_u64(id.to_u64()), events)?;
            Ok(socket)
        });
        if let Err(error) = &opened
            && DialCause::of(error, address).is_shortage()
            && self.shared.control.raise(Trouble::NoUpstream, tokio::time::Instant::now())
        {
            tracing::warn!(forward = %self.shared.key, %error, "no socket for an association");
        }
        opened
    }

    fn ask(&mut self, id: Id, dialing: Dialing) {
        let (resolver, within) = (Arc::clone(&self.shared.resolver), self.resolve_within);
        let question = async move {
            let asked = tokio::time::timeout(within, resolver.resolve(&dialing.node.address.host)).await;
            let late = || DialCause::Resolve(format!("no answer within {}", fairlead_config::duration::format(within)));
            let port = dialing.node.address.port;
            let answer = asked.unwrap_or_else(|_| Err(late())).map(|found| with_port(&found, port));
            Resolved { id, dialing, answer }
        };
        self.questions.push(question.boxed());
    }
}

fn with_port(found: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    found.iter().map(|address| SocketAddr::new(address.ip(), port)).collect()
}

impl Waiting {
    /// Keeps the first of the datagrams for which there is room; returns how many.
    pub(super) fn keep(&mut self, datagrams: &[&[u8]]) -> usize {
        for (index, datagram) in datagrams.iter().enumerate() {
            if self.datagrams.len() >= WAITING_LIMIT || self.bytes + datagram.len() > WAITING_BYTES {
                return index;
            }
            self.bytes += datagram.len();
            self.datagrams.push((*datagram).into());
        }
        datagrams.len()
    }
}

impl Place {
    /// Turns room reserved of `control` into that of an association on `worker`.
    pub(crate) fn new(control: Arc<ServeControl>, load: Arc<Load>, worker: usize) -> Self {
        load.add_association(worker);
        Self { control, load, worker }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.remove_association(self.worker);
        self.control.release();
    }
}
