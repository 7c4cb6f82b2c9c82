//! UDP targets that answer with their letter, and clients that ask again when a datagram was lost.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::deadline::{SOON, await_some};

/// How soon a lost datagram is sent again.
const AGAIN: Duration = Duration::from_millis(200);

/// A UDP target that answers with its letter and what it was sent.
pub struct Target {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    /// On a free port of 127.0.0.1.
    pub fn start(letter: char) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), letter)
    }

    /// At this address.
    pub fn at(address: SocketAddr, letter: char) -> Self {
        let socket = UdpSocket::bind(address).expect("bind a target");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        let address = socket.local_addr().expect("its address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![letter as u8; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((size, peer)) = socket.recv_from(&mut buffer[1..]) else { continue };
                // A client that has gone is no fault of the target.
                let _ = socket.send_to(&buffer[..=size], peer);
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the target's thread");
        }
    }
}

/// A socket to this port of 127.0.0.1.
pub fn client(port: u16) -> UdpSocket {
    client_of(([127, 0, 0, 1], port).into())
}

/// A socket to this loopback address.
pub fn client_of(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a client's socket");
    socket.connect(address).expect("connect it");
    socket.set_read_timeout(Some(AGAIN)).expect("a time-out");
    socket
}

/// Who answers this client; asks again while nobody does.
pub fn letter(client: &UdpSocket) -> char {
    let answer = await_some("an answer", SOON, || {
        client.send(b"?").ok()?;
        let mut answer = [0; 8];
        client.recv(&mut answer).ok().map(|_| answer[0])
    });
    answer.into()
}
