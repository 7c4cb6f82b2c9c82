//! Takes clients from one listener on a few workers and starts a task for each on the worker that will carry it.
//! A recipe calls `listen` and `serve`, and holds the `ServeControl` to limit, stop, drain and observe.
//! Every connection's task belongs to the loop of its worker; nothing here ends the process or spins.

mod control;
mod listener;
#[cfg(test)]
mod tests;
mod verdict;

use std::fmt;
use std::future::{Future, pending};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep_until};

pub(crate) use control::{LoopGuard, Phase, ServeControl, Trouble};
pub(crate) use listener::{is_wildcard6, lacks_ipv6, listen};

use crate::socket::Socket;
use crate::workers::{Load, Workers};
use control::Admission;
use listener::Watched;
use verdict::{Verdict, judge, longer, watches, worker_for};

/// Connections a worker takes before its other tasks have their turn.
const ACCEPTS_PER_TURN: usize = 4;

/// A client's connection, registered with the worker whose task owns it.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    pub(crate) peer: SocketAddr,
    /// The worker the task runs on.
    pub(crate) worker: usize,
}

/// Accepts until `control` says stop, on a few workers for all of them; `handler` makes the task of each connection.
pub(crate) fn serve<H, F>(workers: &Workers, listener: Arc<TcpListener>, control: Arc<ServeControl>, handler: H)
where
    H: Fn(Accepted) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    // One place each: a worker that has not yet taken the last connection handed to it is given no other.
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..workers.len()).map(|_| mpsc::channel(1)).unzip();
    let first = workers.next_watcher();
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let watches = watches(index, first, workers.len());
        let accept_loop = AcceptLoop {
            index,
            load: Arc::clone(workers.load()),
            listener: watches.then(|| Arc::clone(&listener)),
            watched: None,
            gate: if watches { Gate::Open } else { Gate::Shut },
            pause: Duration::ZERO,
            senders: if watches { senders.clone() } else { Vec::new() },
            inbox: Some(inbox),
            handler: handler.clone(),
            connections: JoinSet::new(),
            guard: control.enter_loop(),
        };
        workers.spawn(index, accept_loop.run());
    }
}

/// An accepted connection on its way to the worker that will carry it.
struct Handed {
    socket: OwnedFd,
    peer: SocketAddr,
    admission: Admission,
}

/// What the next accept waits for.
#[derive(Debug, Clone, Copy)]
enum Gate {
    /// A client.
    Open,
    /// A connection to end: the limit is reached.
    AtLimit,
    /// Better times: the system has run out of something.
    SlowedUntil(Instant),
    /// The same, or a connection to end: descriptors have run out.
    OutOfDescriptorsUntil(Instant),
    /// Nothing: other workers watch the listener, or nobody does any more.
    Shut,
}

/// One worker's share of a listener, and the connections it carries.
struct AcceptLoop<H> {
    index: usize,
    load: Arc<Load>,
    /// None where other workers watch it, or once stopped.
    listener: Option<Arc<TcpListener>>,
    watched: Option<Watched>,
    gate: Gate,
    /// The last pause made because the system had run out of something; shorter with each client accepted since.
    pause: Duration,
    /// Ways to hand connections to every worker's loop, for one that watches.
    senders: Vec<mpsc::Sender<Handed>>,
    inbox: Option<mpsc::Receiver<Handed>>,
    handler: H,
    connections: JoinSet<()>,
    guard: LoopGuard,
}

impl<H, F> AcceptLoop<H>
where
    H: Fn(Accepted) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    async fn run(mut self) {
        let mut phases = self.guard.control().phases();
        loop {
            self.obey(*phases.borrow_and_update());
            if self.inbox.is_none() && self.connections.is_empty() {
                return;
            }
            let control = self.guard.control();
            tokio::select! {
                biased;
                _ = phases.changed() => {}
                handed = receive(&mut self.inbox) => match handed {
                    Some(handed) => self.begin(handed),
                    // Every loop has stopped, so nothing more will be handed over.
                    None => self.inbox = None,
                },
                ended = self.connections.join_next(), if !self.connections.is_empty() => self.reap(ended),
                () = wait(self.gate, self.watched.as_ref(), control, &self.load) => {
                    if self.turn() {
                        yield_now().await;
                    }
                }
            }
        }
    }

    fn obey(&mut self, phase: Phase) {
        if phase == Phase::Serving {
            return;
        }
        self.gate = Gate::Shut;
        self.watched = None;
        self.listener = None;
        self.senders.clear();
        if phase == Phase::Aborted {
            self.connections.abort_all();
        }
    }

    fn reap(&mut self, first: Option<Result<(), JoinError>>) {
        let mut next = first;
        while let Some(ended) = next {
            if let Err(error) = ended.as_ref()
                && error.is_panic()
            {
                tracing::error!(%error, "a connection ended by a panic; the others go on");
            }
            next = self.connections.try_join_next();
        }
    }

    /// Accepts a few clients; returns whether there may be more.
    fn turn(&mut self) -> bool {
        self.gate = Gate::Open;
        for _ in 0..ACCEPTS_PER_TURN {
            if let Err(gate) = self.reserve() {
                self.gate = gate;
                return false;
            }
            match self.accept() {
                Ok((socket, peer)) => self.place(socket, peer),
                Err(error) => {
                    self.guard.control().release();
                    match judge(&error) {
                        Verdict::NoClient => return self.no_client(),
                        Verdict::ClientGone => {}
                        Verdict::Short(trouble) => return self.short(trouble, &error),
                    }
                }
            }
        }
        true
    }

    /// Takes room for one connection, or says what to wait for first.
    fn reserve(&mut self) -> Result<(), Gate> {
        if self.guard.control().has_waiting() {
            return Err(self.make_way());
        }
        if !self.load.has_room() {
            return Err(self.slow_down(Trouble::OutOfDescriptors, &"no file descriptors for another connection"));
        }
        if !self.guard.control().try_reserve() {
            self.guard.control().raise(Trouble::AtLimit, Instant::now());
            return Err(Gate::AtLimit);
        }
        Ok(())
    }

    fn accept(&mut self) -> std::io::Result<(OwnedFd, SocketAddr)> {
        if let (None, Some(listener)) = (&self.watched, &self.listener) {
            self.watched = Some(Watched::new(Arc::clone(listener))?);
        }
        match &self.watched {
            Some(watched) => watched.accept(),
            None => Err(std::io::ErrorKind::WouldBlock.into()),
        }
    }

    fn no_client(&mut self) -> bool {
        self.pause = Duration::ZERO;
        self.guard.control().clear_all();
        false
    }

    fn short(&mut self, trouble: Trouble, error: &std::io::Error) -> bool {
        // A listener that has been stopped fails, which may be seen before the word of it.
        let serves = self.guard.control().phase() == Phase::Serving;
        self.gate = if serves { self.slow_down(trouble, error) } else { Gate::Shut };
        false
    }

    fn slow_down(&mut self, trouble: Trouble, cause: &dyn fmt::Display) -> Gate {
        self.pause = longer(self.pause);
        let now = Instant::now();
        if self.guard.control().raise(trouble, now) {
            tracing::warn!(%cause, pause = ?self.pause, "accepting slows down");
        }
        let until = now + self.pause;
        if trouble == Trouble::OutOfDescriptors { Gate::OutOfDescriptorsUntil(until) } else { Gate::SlowedUntil(until) }
    }

    /// Leaves what the system still has to the clients accepted already.
    fn make_way(&mut self) -> Gate {
        let now = Instant::now();
        if [Trouble::None, Trouble::NoUpstream].contains(&self.guard.control().trouble()) {
            self.guard.control().raise(Trouble::NoUpstream, now);
        }
        self.pause = longer(self.pause);
        Gate::SlowedUntil(now + self.pause)
    }

    /// Carries the connection here or hands it to a worker that has much less to do.
    fn place(&mut self, socket: OwnedFd, peer: SocketAddr) {
        self.pause /= 2;
        let control = self.guard.control();
        control.clear_shortage(Instant::now());
        let worker = worker_for(self.index, &self.load);
        let mut handed =
            Handed { socket, peer, admission: Admission::new(Arc::clone(control), Arc::clone(&self.load), worker) };
        if worker != self.index {
            match self.senders[worker].try_send(handed) {
                Ok(()) => return,
                Err(refused) => handed = refused.into_inner(),
            }
            handed.admission.move_to(self.index);
        }
        self.begin(handed);
    }

    fn begin(&mut self, handed: Handed) {
        let Handed { socket, peer, admission } = handed;
        if self.guard.control().phase() == Phase::Aborted {
            return;
        }
        let socket = match Socket::new(socket.into()) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%peer, %error, "an accepted connection is dropped");
                return;
            }
        };
        let task = (self.handler)(Accepted { socket, peer, worker: self.index });
        self.connections.spawn(task.map(move |()| drop(admission)));
    }
}

async fn receive(inbox: &mut Option<mpsc::Receiver<Handed>>) -> Option<Handed> {
    match inbox {
        Some(inbox) => inbox.recv().await,
        None => pending().await,
    }
}

async fn wait(gate: Gate, watched: Option<&Watched>, control: &ServeControl, load: &Load) {
    match (gate, watched) {
        (Gate::Open, Some(watched)) => watched.client().await,
        // The first turn opens the watch.
        (Gate::Open, None) => {}
        (Gate::AtLimit, _) => control.room().await,
        (Gate::SlowedUntil(until), _) => sleep_until(until).await,
        (Gate::OutOfDescriptorsUntil(until), _) => {
            tokio::select! {
                () = sleep_until(until) => {}
                () = load.ended() => {}
            }
        }
        (Gate::Shut, _) => pending().await,
    }
}
