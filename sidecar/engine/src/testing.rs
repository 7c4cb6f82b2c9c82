//! Peers for this crate's tests: targets that answer, refuse or stay silent, all on loopback. And what was logged.

#![allow(clippy::unwrap_used)]
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Mutex, Once},
};

use fairlead_config::HostPort;
use socket2::{Domain, Socket, Type};

/// A port whose SYNs stay unanswered: its accept queue is full and nobody accepts.
pub(crate) struct Silent {
    listener: TcpListener,
    _queue: Vec<Socket>,
}

impl Silent {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let queue = std::iter::repeat_with(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        });
        let queue = queue.take(4).collect();
        Self { listener, _queue: queue }
    }

    pub(crate) fn address(&self) -> HostPort {
        host_port(self.listener.local_addr().unwrap())
    }
}

/// A port that refuses.
pub(crate) fn closed() -> HostPort {
    host_port(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

pub(crate) fn host_port(address: SocketAddr) -> HostPort {
    HostPort::new(address.ip().to_string(), address.port())
}

/// Waits until `holds`, and fails with `what` after ten seconds.
pub(crate) async fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not within ten seconds: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What this process has logged since the first call, by whichever test.
pub(crate) fn logged() -> String {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init());
    String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned()
}
