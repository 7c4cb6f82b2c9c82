//! A flood: one client sends datagrams as fast as it can, and what reaches the target counts.
use std::net::{SocketAddrV4, UdpSocket};

use anyhow::Result;

use super::datagrams::SIZE;
use super::{Figures, Progress, TURN, Window, measure};
use crate::bench::meter::CpuMeter;
use crate::bench::socket;

/// How many datagrams are sent, or taken, before the thread looks whether it has to stop.
const BATCH: u64 = 64;

/// Measures datagrams that reach `target` per second while `address` is flooded.
pub(crate) fn run(address: SocketAddrV4, target: &UdpSocket, window: Window, meter: &CpuMeter) -> Result<Figures> {
    target.set_read_timeout(Some(TURN))?;
    let client = socket::client(address)?;
    measure(window, meter, 1, |progress| {
        std::thread::scope(|scope| {
            scope.spawn(|| count(target, progress));
            while !progress.stopped() {
                for _ in 0..BATCH {
                    // A datagram that is refused or finds no room is not delivered, and that is all there is to it.
                    let _ = client.send(&[0x5a; SIZE]);
                }
            }
        });
        Ok(Vec::new())
    })
}

fn count(target: &UdpSocket, progress: &Progress) {
    let mut buffer = [0; SIZE];
    while !progress.stopped() {
        let arrived = (0..BATCH).take_while(|_| target.recv(&mut buffer).is_ok()).count();
        progress.add(arrived as u64);
    }
}
