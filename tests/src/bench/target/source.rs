//! A target that writes as fast as its clients read, for bulk measurements.
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::{TURN, Worker};
use crate::bench::poller::{EventFlags, Events, Poller};
use crate::bench::socket::{self, Turn};

/// What one turn of a connection sends at most, in bytes.
const CHUNK: usize = 256 * 1024;

/// A bulk source on a loopback port.
pub(crate) struct Source {
    address: SocketAddrV4,
    _worker: Worker,
}

impl Source {
    /// Starts listening.
    pub(crate) fn start() -> Result<Self> {
        let (listener, address) = socket::listen()?;
        let mut poller = Poller::new()?;
        let listener = poller.insert(listener.into(), EventFlags::IN, ())?;
        let worker = Worker::start(move |stop| serve(&mut poller, listener, stop));
        Ok(Self { address, _worker: worker })
    }

    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.address
    }
}

fn serve(poller: &mut Poller<()>, listener: usize, stop: &AtomicBool) {
    let chunk = vec![0x5a; CHUNK];
    let mut events = Events::new();
    while !stop.load(Ordering::Relaxed) {
        if poller.wait(TURN, &mut events).is_err() {
            return;
        }
        for token in events.tokens() {
            let Some(socket) = poller.entry(token) else {
                continue;
            };
            if token == listener {
                if let Some(fd) = socket::accept(&socket.fd) {
                    let _ = poller.insert(fd, EventFlags::OUT, ());
                }
            } else if socket::send(&socket.fd, &chunk) == Turn::Ended {
                poller.remove(token);
            }
        }
    }
}
