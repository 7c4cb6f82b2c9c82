//! Peers for this crate's tests: targets that answer, refuse or stay silent, all on loopback. And what was logged.

#![allow(clippy::unwrap_used)]
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Mutex, Once,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
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
        let queue = (0..4).map(|number| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            // The first fills the queue before anybody else comes; the others would wait for ever.
            socket.set_nonblocking(number > 0).unwrap();
            let _ = socket.connect(&address.into());
            socket
        });
        let queue = queue.collect();
        Self { listener, _queue: queue }
    }

    pub(crate) fn address(&self) -> HostPort {
        host_port(self.listener.local_addr().unwrap())
    }
}

/// Below every range of ports that the system gives out by itself (ip(7), `ip_local_port_range`).
const PORTS: std::ops::Range<u16> = 22_000..32_000;
static PORTS_TAKEN: AtomicU16 = AtomicU16::new(0);

/// A port of loopback that refuses streams and datagrams, and that nobody but its test will listen on or connect from.
pub(crate) fn closed() -> HostPort {
    host_port(closed_address())
}

/// The address of a port as of `closed`.
pub(crate) fn closed_address() -> SocketAddr {
    // Processes that start one after the other begin far from each other.
    let first = (std::process::id().wrapping_mul(0x9E37_79B1) >> 8) as usize;
    let is_free = |port: &u16| {
        let everywhere = (Ipv4Addr::UNSPECIFIED, *port);
        TcpListener::bind(everywhere).is_ok() && UdpSocket::bind(everywhere).is_ok()
    };
    let next = || {
        let step = usize::from(PORTS_TAKEN.fetch_add(1, Ordering::Relaxed));
        PORTS.start + ((first + step) % PORTS.len()) as u16
    };
    let port = std::iter::repeat_with(next).take(PORTS.len()).find(is_free).expect("a free port");
    (Ipv4Addr::LOCALHOST, port).into()
}

pub(crate) fn host_port(address: SocketAddr) -> HostPort {
    HostPort::new(address.ip().to_string(), address.port())
}

/// Waits until `holds`, and fails with `what` after twenty seconds.
pub(crate) async fn await_that(what: &str, holds: impl FnMut() -> bool) {
    await_within(Duration::from_secs(20), what, holds).await;
}

/// Waits until `holds`, and fails with `what` after `limit`.
pub(crate) async fn await_within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks again until it is so, and fails with `what` after twenty seconds.
pub(crate) async fn becomes<T: Future<Output = bool>>(what: &str, is_so: impl Fn() -> T) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within twenty seconds: {what}");
        tokio::task::yield_now().await;
    }
}

/// What the system knows of one connection of this machine (proc_net_tcp(5)).
pub(crate) struct Row {
    pub(crate) local: u16,
    pub(crate) remote: u16,
    pub(crate) is_established: bool,
    /// Bytes that the peer has not acknowledged.
    pub(crate) under_way: u32,
}

/// Every connection of this machine over IPv4.
pub(crate) fn connections() -> Vec<Row> {
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: &str| u16::from_str_radix(address.rsplit_once(':').unwrap().1, 16).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let under_way = u32::from_str_radix(columns[4].split_once(':').unwrap().0, 16).unwrap();
        Row { local: port(columns[1]), remote: port(columns[2]), is_established: columns[3] == "01", under_way }
    };
    text.lines().skip(1).map(row).collect()
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

/// How long a fuzz target runs: `FUZZ_SECONDS`, or half a second.
pub(crate) fn fuzz_time() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.5))
}

/// A text of these pieces, and of a single byte here and there: each byte of the input is one or the other.
pub(crate) fn text_of(bytes: &[u8], pieces: &[&str]) -> String {
    let mut text = Vec::new();
    for byte in bytes {
        match pieces.get(usize::from(*byte) % (pieces.len() + pieces.len() / 8)) {
            Some(piece) => text.extend_from_slice(piece.as_bytes()),
            None => text.push(byte.wrapping_mul(37)),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
