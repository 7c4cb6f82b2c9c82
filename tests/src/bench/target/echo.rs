//! A target that sends back what it gets, and that can be silenced so that nobody answers a SYN.
use std::io;
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{TURN, Worker};
use crate::bench::poller::{EventFlags, Events, Poller};
use crate::bench::socket::{self, Turn};
use crate::silence;

/// How long a connection is waited for before its SYN counts as dropped.
const PROBE: Duration = Duration::from_millis(250);

/// An echo target on a loopback port; dropping it refuses new connections and ends the others.
pub(crate) struct Echo {
    address: SocketAddrV4,
    // Before the listener, which is closed once the worker has closed its own descriptor of it.
    _worker: Worker,
    listener: TcpListener,
}

impl Echo {
    /// Starts listening.
    pub(crate) fn start() -> Result<Self> {
        let (listener, address) = socket::listen()?;
        let server = Server::new(listener.try_clone()?).context("epoll")?;
        let worker = Worker::start(move |stop| server.run(stop));
        Ok(Self { address, _worker: worker, listener })
    }

    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Stops answering new connections, and proves that a SYN stays unanswered.
    pub(crate) fn fall_silent(&self) -> Result<()> {
        silence::drop_syns(&self.listener).context("drop SYNs")?;
        let probe = TcpStream::connect_timeout(&self.address.into(), PROBE);
        match probe.map_err(|error| error.kind()) {
            Err(io::ErrorKind::TimedOut) => Ok(()),
            other => bail!("{}: silenced, and yet a connection came to {other:?}", self.address),
        }
    }

    /// Answers again.
    pub(crate) fn recover(&self) -> Result<()> {
        silence::take_syns(&self.listener).context("take SYNs again")
    }
}

struct Server {
    poller: Poller<()>,
    listener: usize,
    buffer: Vec<u8>,
}

impl Server {
    fn new(listener: TcpListener) -> io::Result<Self> {
        let mut poller = Poller::new()?;
        let listener = poller.insert(listener.into(), EventFlags::IN, ())?;
        Ok(Self { poller, listener, buffer: vec![0; 64 * 1024] })
    }

    fn run(mut self, stop: &AtomicBool) {
        let mut events = Events::new();
        while !stop.load(Ordering::Relaxed) {
            if self.poller.wait(TURN, &mut events).is_err() {
                return;
            }
            for token in events.tokens() {
                if token == self.listener {
                    self.accept_all();
                } else {
                    self.echo(token);
                }
            }
        }
    }

    fn accept_all(&mut self) {
        while let Some(fd) = self.poller.entry(self.listener).and_then(|listener| socket::accept(&listener.fd)) {
            let Ok(token) = self.poller.insert(fd, EventFlags::IN, ()) else {
                return;
            };
            self.echo(token);
        }
    }

    fn echo(&mut self, token: usize) {
        let Some(connection) = self.poller.entry(token) else {
            return;
        };
        let turn = match socket::receive(&connection.fd, &mut self.buffer) {
            Turn::Bytes(count) => socket::send(&connection.fd, &self.buffer[..count]),
            nothing @ (Turn::WouldBlock | Turn::Ended) => nothing,
        };
        if turn == Turn::Ended {
            self.poller.remove(token);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn ask(target: &Echo) -> io::Result<[u8; 2]> {
        let mut client = TcpStream::connect_timeout(&target.address().into(), PROBE)?;
        client.set_read_timeout(Some(Duration::from_secs(5)))?;
        client.write_all(b"hi")?;
        let mut answer = [0; 2];
        client.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn a_silenced_target_leaves_a_syn_unanswered_until_it_recovers() {
        let target = Echo::start().unwrap();
        assert_eq!(ask(&target).unwrap(), *b"hi");
        target.fall_silent().unwrap();
        assert_eq!(ask(&target).unwrap_err().kind(), io::ErrorKind::TimedOut);
        target.recover().unwrap();
        assert_eq!(ask(&target).unwrap(), *b"hi");
    }

    #[test]
    fn a_dropped_target_refuses() {
        let target = Echo::start().unwrap();
        let address = target.address();
        drop(target);
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
