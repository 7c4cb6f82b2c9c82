//! New connections: dial, send one byte, wait for its echo, close, again. The client always closes first.
//! At a SOCKS5 server the handshake comes before the byte.
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::entrance::{Entrance, Step};
use super::{Figures, Progress, TURN, Window, measure};
use crate::bench::meter::CpuMeter;
use crate::bench::poller::{Entry, EventFlags, Events, Poller};
use crate::bench::socket::{self, Turn};

/// Client threads, and how many connections each has under way.
const THREADS: usize = 2;
const UNDER_WAY: usize = 16;

/// The longest answer that any step waits for, in bytes.
const LONGEST_ANSWER: usize = 10;

/// A connection whose echo is still to come.
struct Attempt {
    started: Instant,
    /// The step under way.
    step: usize,
    asked: bool,
    answer: [u8; LONGEST_ANSWER],
    received: usize,
}

/// Measures connections per second, from the dial to the echoed byte.
pub(crate) fn run(entrance: &Entrance, window: Window, meter: &CpuMeter) -> Result<Figures> {
    let entrance = entrance.clone().with_echo();
    measure(window, meter, THREADS, |progress| connect(&entrance, progress))
}

fn connect(entrance: &Entrance, progress: &Progress) -> Result<Vec<u32>> {
    let mut poller = Poller::new()?;
    let mut latencies = Vec::with_capacity(1 << 18);
    let mut events = Events::new();
    for _ in 0..UNDER_WAY {
        begin(&mut poller, entrance)?;
    }
    while !progress.stopped() {
        poller.wait(TURN, &mut events)?;
        for token in events.tokens() {
            if !advance(&mut poller, token, &entrance.steps)? {
                continue;
            }
            if let Some(done) = poller.remove(token) {
                progress.record(done.state.started, &mut latencies);
            }
            begin(&mut poller, entrance)?;
        }
    }
    Ok(latencies)
}

fn begin(poller: &mut Poller<Attempt>, entrance: &Entrance) -> Result<()> {
    let address = entrance.address;
    let started = Instant::now();
    let fd = socket::dial(address).with_context(|| format!("dial {address}"))?;
    // On loopback the handshake is mostly over when connect returns.
    let asked = matches!(socket::send(&fd, &entrance.steps[0].says), Turn::Bytes(_));
    let interest = if asked { EventFlags::IN } else { EventFlags::OUT };
    let attempt = Attempt { started, step: 0, asked, answer: [0; LONGEST_ANSWER], received: 0 };
    poller.insert(fd, interest, attempt)?;
    Ok(())
}

/// Goes as far as it can with an attempt and says whether its echo has come.
fn advance(poller: &mut Poller<Attempt>, token: usize, steps: &[Step]) -> Result<bool> {
    let Some(attempt) = poller.entry(token) else {
        return Ok(false);
    };
    if attempt.state.asked {
        if !hear(attempt, &steps[attempt.state.step])? {
            return Ok(false);
        }
        attempt.state.step += 1;
        let Some(next) = steps.get(attempt.state.step) else {
            return Ok(true);
        };
        attempt.state.received = 0;
        say(attempt, next)?;
        return Ok(false);
    }
    if say(attempt, &steps[attempt.state.step])? {
        poller.set_interest(token, EventFlags::IN)?;
    }
    Ok(false)
}

/// Says what the step says; false if there is no room for it yet.
fn say(attempt: &mut Entry<Attempt>, step: &Step) -> Result<bool> {
    match socket::send(&attempt.fd, &step.says) {
        Turn::Bytes(_) => attempt.state.asked = true,
        Turn::WouldBlock => return Ok(false),
        Turn::Ended => bail!("a connection was refused or reset"),
    }
    Ok(true)
}

/// Takes what came in; true once the whole answer of the step is there.
fn hear(attempt: &mut Entry<Attempt>, step: &Step) -> Result<bool> {
    let Attempt { answer, received, .. } = &mut attempt.state;
    match socket::receive(&attempt.fd, &mut answer[*received..step.length]) {
        Turn::Bytes(count) => *received += count,
        Turn::WouldBlock => return Ok(false),
        Turn::Ended => bail!("a connection ended without an answer"),
    }
    if *received < step.length {
        return Ok(false);
    }
    ensure!(answer.starts_with(step.hears), "answered {answer:?} where {:?} was to come first", step.hears);
    Ok(true)
}
