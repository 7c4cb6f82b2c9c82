//! A target that sends every datagram back to where it came from.
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::{TURN, Worker};
use crate::bench::socket;

/// An echo of datagrams on a loopback port.
pub(crate) struct DatagramEcho {
    address: SocketAddrV4,
    _worker: Worker,
}

impl DatagramEcho {
    /// Starts to answer.
    pub(crate) fn start() -> Result<Self> {
        let (socket, address) = socket::bind_datagrams()?;
        socket.set_read_timeout(Some(TURN))?;
        let worker = Worker::start(move |stop| answer(&socket, stop));
        Ok(Self { address, _worker: worker })
    }

    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.address
    }
}

fn answer(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((count, client)) = socket.recv_from(&mut buffer) {
            // A client that has gone needs no answer.
            let _ = socket.send_to(&buffer[..count], client);
        }
    }
}
