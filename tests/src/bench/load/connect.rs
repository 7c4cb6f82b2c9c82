//! New connections: dial, send one byte, wait for its echo, close, again. The client always closes first.
use std::net::SocketAddrV4;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{Figures, Progress, TURN, Window, measure};
use crate::bench::meter::CpuMeter;
use crate::bench::poller::{EventFlags, Events, Poller};
use crate::bench::socket::{self, Turn};

/// Client threads, and how many connections each has under way.
const THREADS: usize = 2;
const UNDER_WAY: usize = 16;

/// A connection whose echo is still to come.
struct Attempt {
    started: Instant,
    asked: bool,
}

/// Measures connections per second, from the dial to the echoed byte.
pub(crate) fn run(address: SocketAddrV4, window: Window, meter: &CpuMeter) -> Result<Figures> {
    measure(window, meter, THREADS, |progress| connect(address, progress))
}

fn connect(address: SocketAddrV4, progress: &Progress) -> Result<Vec<u32>> {
    let mut poller = Poller::new()?;
    let mut latencies = Vec::with_capacity(1 << 18);
    let mut events = Events::new();
    for _ in 0..UNDER_WAY {
        begin(&mut poller, address)?;
    }
    while !progress.stopped() {
        poller.wait(TURN, &mut events)?;
        for token in events.tokens() {
            if !advance(&mut poller, token)? {
                continue;
            }
            if let Some(done) = poller.remove(token) {
                progress.record(done.state.started, &mut latencies);
            }
            begin(&mut poller, address)?;
        }
    }
    Ok(latencies)
}

fn begin(poller: &mut Poller<Attempt>, address: SocketAddrV4) -> Result<()> {
    let started = Instant::now();
    let fd = socket::dial(address).with_context(|| format!("dial {address}"))?;
    // On loopback the handshake is mostly over when connect returns.
    let asked = matches!(socket::send(&fd, b"x"), Turn::Bytes(_));
    let interest = if asked { EventFlags::IN } else { EventFlags::OUT };
    poller.insert(fd, interest, Attempt { started, asked })?;
    Ok(())
}

/// Takes one step of an attempt and says whether its echo has come.
fn advance(poller: &mut Poller<Attempt>, token: usize) -> Result<bool> {
    let Some(attempt) = poller.entry(token) else {
        return Ok(false);
    };
    if attempt.state.asked {
        return match socket::receive(&attempt.fd, &mut [0; 1]) {
            Turn::Bytes(_) => Ok(true),
            Turn::WouldBlock => Ok(false),
            Turn::Ended => bail!("a connection ended without an answer"),
        };
    }
    match socket::send(&attempt.fd, b"x") {
        Turn::Bytes(_) => attempt.state.asked = true,
        Turn::WouldBlock => return Ok(false),
        Turn::Ended => bail!("a connection was refused or reset"),
    }
    poller.set_interest(token, EventFlags::IN)?;
    Ok(false)
}
