//! One worker's share of a UDP listener: receives from clients and nodes by turns, and carries each datagram on.
//! Everything of its associations is here and on no other worker. Nothing waits for a full socket: a datagram that
//! can't be sent at once is dropped and counted.

mod carry;

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    mem::MaybeUninit,
    net::UdpSocket,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use rustix::event::{Timespec, epoll};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, watch},
    task::yield_now,
    time::sleep_until,
};

use super::{
    Shared, Times,
    tunnel::Answer,
    upstream::{Association, Upstreams},
};
use crate::{
    accept::{LoopGuard, Phase},
    association::{Id, Table},
    datagram::{Batch, Buffers},
    workers::Load,
};

/// Batches received from clients, and nodes received from, before the worker's other tasks have their turn.
const BATCHES_PER_TURN: usize = 4;
const NODES_PER_TURN: usize = 64;
/// Answers of tunnels handed on before the other tasks have their turn, and waiting at most.
const ANSWERS_PER_TURN: usize = 64;
const ANSWERS_WAITING: usize = 256;
/// The smallest and the largest batch: the next is twice as large when one was full.
const BATCHES: (usize, usize) = (4, 32);
/// How long an association must be quiet to end, once the forward is stopped.
const QUIET: Duration = Duration::from_secs(2);
/// How long to sleep when nothing expires.
const FOREVER: Duration = Duration::from_secs(3600);

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::new());
}

/// A courier that has not begun: made where errors can be told.
pub(super) struct Courier {
    shared: Arc<Shared>,
    worker: usize,
    load: Arc<Load>,
    listener: UdpSocket,
    batch: Batch,
    watch: OwnedFd,
    guard: LoopGuard,
}

/// A courier at work.
struct Round {
    worker: usize,
    load: Arc<Load>,
    listener: AsyncFd<UdpSocket>,
    /// The listener has several addresses, and answers with the one that was asked.
    answers_as_asked: bool,
    upstreams: Upstreams,
    /// What tunnels bring.
    answers: mpsc::Receiver<Answer>,
    table: Table<Association>,
    /// Associations whose nodes have sent something.
    ready: VecDeque<Id>,
    from_clients: usize,
    from_nodes: usize,
    times: watch::Receiver<Times>,
    phases: watch::Receiver<Phase>,
    phase: Phase,
    ttl: Duration,
    guard: LoopGuard,
}

impl Courier {
    /// Prepares the sockets. Errors are the system's.
    pub(super) fn new(shared: Arc<Shared>, worker: usize, listener: UdpSocket, load: Arc<Load>) -> io::Result<Self> {
        let batch = Batch::new(&listener)?;
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let guard = shared.control.enter_loop();
        Ok(Self { shared, worker, load, listener, batch, watch, guard })
    }

    /// The worker it belongs on.
    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    /// Serves until stopped and every association has ended.
    pub(super) async fn run(self) {
        let key = self.shared.key.clone();
        match Round::begin(self) {
            Ok(round) => round.run().await,
            Err(error) => tracing::error!(forward = %key, %error, "a worker can't watch the listener"),
        }
    }
}

#[expect(deprecated, reason = "its successor is unsafe; an owned descriptor meets its contract")]
fn watched<T: std::os::fd::AsRawFd>(socket: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

async fn readable<T: std::os::fd::AsRawFd>(socket: &AsyncFd<T>) {
    // It fails only when the runtime ends, and this task with it.
    let _ = socket.readable().await.map(|mut guard| guard.retain_ready());
}

impl Round {
    fn begin(courier: Courier) -> io::Result<Self> {
        let Courier { shared, worker, load, listener, batch, watch, guard } = courier;
        let (times, phases) = (shared.times.subscribe(), shared.control.phases());
        let answers_as_asked = listener.local_addr()?.ip().is_unspecified();
        let now = *times.borrow();
        let (to_us, answers) = mpsc::channel(ANSWERS_WAITING);
        let upstreams = Upstreams {
            shared,
            batch,
            watch: watched(watch)?,
            questions: FuturesUnordered::new(),
            trials: VecDeque::new(),
            resolve_within: now.resolve,
            answers: to_us,
            worker,
        };
        Ok(Self {
            worker,
            load,
            listener: watched(listener)?,
            answers_as_asked,
            upstreams,
            answers,
            table: Table::new(),
            ready: VecDeque::new(),
            from_clients: BATCHES.0,
            from_nodes: BATCHES.0,
            times,
            phases,
            phase: Phase::Serving,
            ttl: now.ttl,
            guard,
        })
    }

    async fn run(mut self) {
        let mut timer = std::pin::pin!(sleep_until(tokio::time::Instant::now() + FOREVER));
        loop {
            self.obey();
            let more = self.phase != Phase::Aborted && BUFFERS.with_borrow_mut(|buffers| self.turn(buffers));
            if self.phase == Phase::Aborted || (self.phase == Phase::Stopped && self.table.len() == 0) {
                return;
            }
            // Reset only to an earlier time: a timer that fires for nothing is cheaper than one moved by each datagram.
            let due = tokio::time::Instant::from_std(self.next_due());
            if due < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            if more {
                yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                _ = self.phases.changed() => {}
                _ = self.times.changed() => {}
                Some(resolved) = self.upstreams.questions.next() => self.resolved(resolved),
                Some(answer) = self.answers.recv() => drop(self.carry_from_tunnels(Some(answer))),
                () = readable(&self.upstreams.watch) => {}
                () = readable(&self.listener) => {}
                () = timer.as_mut() => {}
            }
        }
    }

    /// Takes over what has been said since the last turn.
    fn obey(&mut self) {
        let Times { ttl, resolve } = *self.times.borrow_and_update();
        self.phase = *self.phases.borrow_and_update();
        self.upstreams.resolve_within = resolve;
        self.ttl = if self.phase == Phase::Serving { ttl } else { ttl.min(QUIET) };
    }

    fn next_due(&self) -> Instant {
        let trial = self.upstreams.trials.front().map(|(due, _)| *due);
        let expiry = self.table.expiry(self.ttl);
        trial.into_iter().chain(expiry).min().unwrap_or_else(|| Instant::now() + FOREVER)
    }

    /// Does what there is to do, up to a limit; returns whether there is more.
    fn turn(&mut self, buffers: &mut Buffers) -> bool {
        let from_tunnels = self.carry_from_tunnels(None);
        let from_nodes = self.take_from_nodes(buffers);
        let from_clients = self.take_from_clients(buffers);
        self.end_what_is_due(Instant::now());
        from_tunnels || from_nodes || from_clients
    }

    fn end_what_is_due(&mut self, now: Instant) {
        while let Some((_, id)) = self.upstreams.trials.front().filter(|(due, _)| *due <= now).copied() {
            self.upstreams.trials.pop_front();
            if let Some((_, association)) = self.table.entry(id) {
                association.passed_trial(now);
            }
        }
        let mut ended = false;
        while self.table.expire(self.ttl, now).is_some() {
            ended = true;
        }
        if ended {
            self.guard.control().clear_all();
        }
    }

    fn take_from_clients(&mut self, buffers: &mut Buffers) -> bool {
        for _ in 0..BATCHES_PER_TURN {
            let (limit, mut count) = (self.from_clients, 0);
            let batch = &self.upstreams.batch;
            // A batch that isn't full was the last one, which "would block" makes known without another call.
            let _ = self.listener.try_io(Interest::READABLE, |listener| {
                count = batch.receive(listener, buffers, limit).unwrap_or(0);
                if count < limit { Err(io::Error::from(io::ErrorKind::WouldBlock)) } else { Ok(()) }
            });
            self.carry_to_nodes(buffers, count);
            self.from_clients = next_batch(limit, count);
            if count < limit {
                return false;
            }
        }
        true
    }

    fn take_from_nodes(&mut self, buffers: &mut Buffers) -> bool {
        // Those that wait already come first, and so never are more than two turns' worth.
        if self.ready.len() < NODES_PER_TURN {
            self.look_for_ready_nodes();
        }
        for _ in 0..NODES_PER_TURN.min(self.ready.len()) {
            if let Some(id) = self.ready.pop_front() {
                self.carry_from_node(id, buffers);
            }
        }
        !self.ready.is_empty()
    }

    fn look_for_ready_nodes(&mut self) {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); NODES_PER_TURN];
        let ready = &mut self.ready;
        let _ = self.upstreams.watch.try_io(Interest::READABLE, |watch| {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let (found, _) = epoll::wait(watch, &mut events[..], Some(&now))?;
            ready.extend(found.iter().map(|event| Id::from_u64(event.data.u64())));
            if found.len() < NODES_PER_TURN { Err(io::Error::from(io::ErrorKind::WouldBlock)) } else { Ok(()) }
        });
    }
}

/// The size of the next batch, after one of `limit` brought `count`.
fn next_batch(limit: usize, count: usize) -> usize {
    let (least, most) = BATCHES;
    if count == limit { (limit * 2).min(most) } else { count.max(least) }
}
