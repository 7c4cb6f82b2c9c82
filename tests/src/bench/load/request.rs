//! Requests and responses of 64 bytes over established connections, one request under way on each.
use std::net::SocketAddrV4;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::{Figures, Progress, TURN, Window, measure};
use crate::bench::meter::CpuMeter;
use crate::bench::poller::{EventFlags, Events, Poller};
use crate::bench::socket::{self, Turn};

const REQUEST: [u8; 64] = [0x5a; 64];

/// The request under way on a connection.
struct Asked {
    started: Instant,
    received: usize,
}

/// Measures requests per second over so many connections.
pub(crate) fn run(address: SocketAddrV4, connections: usize, window: Window, meter: &CpuMeter) -> Result<Figures> {
    measure(window, meter, 1, |progress| ask(address, connections, progress))
}

fn ask(address: SocketAddrV4, connections: usize, progress: &Progress) -> Result<Vec<u32>> {
    let mut poller = Poller::new()?;
    for _ in 0..connections {
        let stream = std::net::TcpStream::connect(address).with_context(|| format!("dial {address}"))?;
        stream.set_nonblocking(true)?;
        let asked = Asked { started: Instant::now(), received: 0 };
        socket::send(&stream, &REQUEST);
        poller.insert(stream.into(), EventFlags::IN, asked)?;
    }
    let mut latencies = Vec::with_capacity(1 << 20);
    let mut events = Events::new();
    while !progress.stopped() {
        poller.wait(TURN, &mut events)?;
        for token in events.tokens() {
            advance(&mut poller, token, progress, &mut latencies)?;
        }
    }
    Ok(latencies)
}

/// Takes what came in and, after the last byte of a response, asks again.
fn advance(poller: &mut Poller<Asked>, token: usize, progress: &Progress, latencies: &mut Vec<u32>) -> Result<()> {
    let Some(connection) = poller.entry(token) else {
        return Ok(());
    };
    let asked = &mut connection.state;
    match socket::receive(&connection.fd, &mut [0; REQUEST.len()]) {
        Turn::Bytes(count) => asked.received += count,
        Turn::WouldBlock => return Ok(()),
        Turn::Ended => bail!("a connection ended between requests"),
    }
    if asked.received < REQUEST.len() {
        return Ok(());
    }
    progress.record(asked.started, latencies);
    *asked = Asked { started: Instant::now(), received: 0 };
    let sent = socket::send(&connection.fd, &REQUEST);
    ensure!(sent == Turn::Bytes(REQUEST.len()), "a request could not be sent: {sent:?}");
    Ok(())
}
