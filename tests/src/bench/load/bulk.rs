//! Bulk, from the target to the client: the target writes as fast as it can, the client reads and throws away.
use anyhow::{Result, bail};

use super::entrance::Entrance;
use super::{Figures, Progress, TURN, Window, measure};
use crate::bench::meter::CpuMeter;
use crate::bench::poller::{EventFlags, Events, Poller};
use crate::bench::socket::{self, Turn};

/// What one read takes at most, in bytes.
const CHUNK: usize = 256 * 1024;

/// Measures bytes per second over so many connections at once.
pub(crate) fn run(entrance: &Entrance, connections: usize, window: Window, meter: &CpuMeter) -> Result<Figures> {
    measure(window, meter, 1, |progress| read(entrance, connections, progress))
}

fn read(entrance: &Entrance, connections: usize, progress: &Progress) -> Result<Vec<u32>> {
    let mut poller = Poller::new()?;
    for _ in 0..connections {
        let stream = entrance.open()?;
        stream.set_nonblocking(true)?;
        poller.insert(stream.into(), EventFlags::IN, ())?;
    }
    let mut buffer = vec![0; CHUNK];
    let mut events = Events::new();
    while !progress.stopped() {
        poller.wait(TURN, &mut events)?;
        for token in events.tokens() {
            let Some(connection) = poller.entry(token) else {
                continue;
            };
            match socket::receive(&connection.fd, &mut buffer) {
                Turn::Bytes(count) => progress.add(count as u64),
                Turn::WouldBlock => {}
                Turn::Ended => bail!("a bulk connection ended early"),
            }
        }
    }
    Ok(Vec::new())
}
