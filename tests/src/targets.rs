//! Where traffic ends: targets that run in this process and can be killed, silenced and started again on their port.
//! Every connection has a thread of its own, except in a target that only holds connections.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{ports, silence};

/// What a target does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers the first byte with its own letter and waits for the end.
    Letter(char),
    /// Says its letter unasked, then sends back what it gets.
    Greet(char),
    /// Says its letter unasked and holds the connection; thousands of them.
    Hold(char),
}

/// A target on a port of 127.0.0.1 that it keeps for life.
pub struct Target {
    address: SocketAddr,
    behaviour: Behaviour,
    shared: Arc<Shared>,
    server: Option<Server>,
}

#[derive(Default)]
struct Shared {
    accepted: AtomicUsize,
    answered: AtomicUsize,
    open: Mutex<Vec<Weak<TcpStream>>>,
    held: Mutex<Vec<Arc<TcpStream>>>,
}

/// A listener with its accepting thread, which ends at `stop` while the socket goes on listening.
struct Server {
    acceptor: Arc<Acceptor>,
    thread: Option<JoinHandle<()>>,
}

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How long the accepting thread waits at most before it looks whether it has to stop.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

impl Target {
    /// Starts listening.
    pub fn start(behaviour: Behaviour) -> Self {
        let (listener, address) = ports::listen();
        let mut target = Self { address, behaviour, shared: Arc::default(), server: None };
        target.serve(listener);
        target
    }

    /// A target that answers with a letter.
    pub fn letter(letter: char) -> Self {
        Self::start(Behaviour::Letter(letter))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far, those included on which nothing was said.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    /// Connections on which a letter was said so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(SeqCst)
    }

    /// Connections that are still open.
    pub fn open(&self) -> usize {
        lock(&self.shared.open).iter().filter(|stream| stream.strong_count() > 0).count()
    }

    /// Refuses new connections from now on; those already made are served to their end.
    pub fn refuse_new(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop_accepting();
        }
    }

    /// Refuses new connections from now on, and closes the others.
    pub fn kill(&mut self) {
        self.refuse_new();
        for stream in lock(&self.shared.open).drain(..).filter_map(|stream| stream.upgrade()) {
            // An error means that the peer was faster.
            let _ = stream.shutdown(Shutdown::Both);
        }
        lock(&self.shared.held).clear();
    }

    /// Answers again, whatever it did before.
    pub fn restart(&mut self) {
        self.refuse_new();
        self.serve(TcpListener::bind(self.address).expect("listen on the port again"));
    }

    /// Leaves every SYN unanswered from now on, as a host that is gone would.
    /// Connections already made are served to their end.
    pub fn fall_silent(&self) {
        let server = self.server.as_ref().expect("only a running target can fall silent");
        silence::drop_syns(&server.acceptor.listener).expect("a filter on the listener");
    }

    /// Says the same on every connection it holds.
    pub fn say_to_all(&self, words: &[u8]) -> io::Result<()> {
        lock(&self.shared.held).iter().try_for_each(|stream| (&**stream).write_all(words))
    }

    fn serve(&mut self, listener: TcpListener) {
        rustix::net::listen(&listener, BACKLOG).expect("a long accept queue");
        listener.set_nonblocking(true).expect("a listener that doesn't block");
        let (behaviour, shared) = (self.behaviour, Arc::clone(&self.shared));
        let acceptor = Arc::new(Acceptor { listener, stop: AtomicBool::new(false), behaviour, shared });
        let thread = std::thread::spawn({
            let acceptor = Arc::clone(&acceptor);
            move || acceptor.run()
        });
        self.server = Some(Server { acceptor, thread: Some(thread) });
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Ends the accepting thread. Whoever waits in the accept queue is served first, so that no client is lost;
    /// the socket must be closed at once.
    fn stop_accepting(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.acceptor.stop.store(true, SeqCst);
        thread.join().expect("the target's accepting thread panicked");
        rustix::net::listen(&self.acceptor.listener, 0).expect("shorten the accept queue");
        self.acceptor.accept_all();
    }
}

struct Acceptor {
    listener: TcpListener,
    stop: AtomicBool,
    behaviour: Behaviour,
    shared: Arc<Shared>,
}

impl Acceptor {
    fn run(&self) {
        while !self.stop.load(SeqCst) {
            // Whatever ends the wait, the next step finds out.
            let _ = poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&TURN));
            self.accept_all();
        }
    }

    fn accept_all(&self) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.shared.accepted.fetch_add(1, SeqCst);
            let stream = Arc::new(stream);
            lock(&self.shared.open).push(Arc::downgrade(&stream));
            self.begin(stream);
        }
    }

    fn begin(&self, stream: Arc<TcpStream>) {
        let shared = Arc::clone(&self.shared);
        match self.behaviour {
            Behaviour::Letter(letter) => drop(std::thread::spawn(move || answer(&stream, letter, &shared))),
            Behaviour::Greet(letter) => drop(std::thread::spawn(move || greet(&stream, letter, &shared))),
            Behaviour::Hold(letter) => {
                if say(&stream, letter, &shared).is_ok() {
                    lock(&shared.held).push(stream);
                }
            }
        }
    }
}

fn answer(mut stream: &TcpStream, letter: char, shared: &Shared) -> io::Result<()> {
    stream.read_exact(&mut [0])?;
    say(stream, letter, shared)?;
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

fn greet(mut stream: &TcpStream, letter: char, shared: &Shared) -> io::Result<()> {
    say(stream, letter, shared)?;
    io::copy(&mut &*stream, &mut stream)?;
    stream.shutdown(Shutdown::Write)
}

fn say(mut stream: &TcpStream, letter: char, shared: &Shared) -> io::Result<()> {
    stream.write_all(&[letter as u8])?;
    shared.answered.fetch_add(1, SeqCst);
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        clients::ask,
        deadline::{SOON, await_condition},
    };

    /// How long a SYN is waited for before it counts as unanswered.
    const PROBE: Duration = Duration::from_millis(250);

    #[test]
    fn a_target_is_refused_when_killed_silent_when_silenced_and_answers_when_restarted() {
        let mut target = Target::letter('A');
        let address = target.address();
        assert_eq!(ask(address).ok(), Some('A'));
        target.kill();
        assert_eq!(ask(address).map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionRefused));
        target.restart();
        assert_eq!(ask(address).ok(), Some('A'));
        target.fall_silent();
        let dialled = TcpStream::connect_timeout(&address, PROBE).map_err(|error| error.kind());
        assert_eq!(dialled.err(), Some(io::ErrorKind::TimedOut));
        target.restart();
        assert_eq!(ask(address).ok(), Some('A'));
        // A client may have its letter before it is counted.
        await_condition("three answers", SOON, || (target.answered(), target.accepted()) == (3, 3));
    }
}
