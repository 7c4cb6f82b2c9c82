//! Hops of our own making, each on a port of its own and on threads of its own.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::Mutex,
};

use fairlead_config::url::Secret;

use super::*;
use crate::{
    protocol::{address, relay, ss_cipher::Key, udp_frame, wrapping::Wrapping},
    secrets::Login,
};

/// What a hop speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// SOCKS5 with GOST's UDP over TCP.
    Gost,
    /// SOCKS5 without it.
    Associate,
    Relay,
    /// Refuses every target, late.
    RelayRefuses,
}

/// A hop on a port of its own; a new one may take its place there.
pub(super) struct Hop {
    pub(super) address: HostPort,
    pub(super) connections: Arc<Mutex<Vec<TcpStream>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hop {
    pub(super) fn new(speaks: Speaks) -> Self {
        Self::at(&closed().to_string(), speaks)
    }

    pub(super) fn at(address: &str, speaks: Speaks) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = host_port(listener.local_addr().unwrap());
        let (connections, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (all, stop) = (Arc::clone(&connections), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                all.lock().unwrap().push(stream.try_clone().unwrap());
                std::thread::spawn(move || served(stream, speaks));
            }
        });
        Self { address, connections, ended, thread: Some(thread) }
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn served(&self) -> usize {
        self.connections.lock().unwrap().len()
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes it.
        let _ = TcpStream::connect(self.address.to_string());
        self.cut();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn served(mut stream: TcpStream, speaks: Speaks) -> std::io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let reply = [&[5, 0, 0, 1, 0, 0, 0, 0][..], &socket.local_addr()?.port().to_be_bytes()].concat();
    match speaks {
        Speaks::Relay | Speaks::RelayRefuses => {
            let mut head = [0; 4 + 10];
            stream.read_exact(&mut head)?;
            assert_eq!(head[..7], [1, 0x80, 0, 10, 2, 0, 7]);
            let (target, _) = address::decode(&head[7..]).unwrap().unwrap();
            if speaks == Speaks::RelayRefuses {
                return stream.write_all(&[1, 5, 0, 0]);
            }
            socket.connect(target.to_string())?;
            // Only with the first datagram, as GOST does.
            carried(stream, socket, &[1, 0, 0, 0], true)
        }
        Speaks::Gost | Speaks::Associate => {
            let mut request = [0; 5 + 10];
            let greeting = stream.read(&mut request)?;
            stream.write_all(&[5, 0])?;
            stream.read_exact(&mut request[greeting..greeting + 10])?;
            let command = request[greeting + 1];
            match (speaks, command) {
                (Speaks::Gost, 0xf3) => {
                    stream.write_all(&reply)?;
                    carried(stream, socket, &[], false)
                }
                (Speaks::Associate, 3) => {
                    stream.write_all(&reply)?;
                    beside(&stream, &socket)
                }
                _ => stream.write_all(&[5, 7, 0, 1, 0, 0, 0, 0, 0, 0]),
            }
        }
    }
}

/// Carries frames to targets and back; `first` goes out before the first answer.
fn carried(mut stream: TcpStream, socket: UdpSocket, first: &[u8], is_relay: bool) -> std::io::Result<()> {
    let (mut back, answers) = (stream.try_clone()?, socket.try_clone()?);
    let mut out = first.to_vec();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((size, peer)) = answers.recv_from(&mut buffer) {
            let mut source = Vec::new();
            address::encode_ip(peer, &mut source);
            let framed = if is_relay {
                relay::encode_datagram(&buffer[..size], &mut out)
            } else {
                udp_frame::encode(&source, &buffer[..size], &mut out).is_ok()
            };
            assert!(framed);
            if back.write_all(&out).is_err() {
                return;
            }
            out.clear();
        }
    });
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 4096]);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&buffer[..count]);
        loop {
            let used = if is_relay {
                let Some((datagram, used)) = relay::decode_datagram(&bytes) else { break };
                socket.send(datagram)?;
                used
            } else {
                let Some(frame) = udp_frame::decode(&bytes).unwrap() else { break };
                assert!(!frame.data.is_empty() && frame.data.end <= udp_frame::FRAME_LIMIT, "GOST would stall or end");
                socket
                    .send_to(&bytes[frame.data.clone()], udp_frame::peer(&bytes[frame.address]).unwrap().to_string())?;
                frame.data.end
            };
            bytes.drain(..used);
        }
    }
}

/// Passes datagrams on for as long as the connection is there.
fn beside(stream: &TcpStream, socket: &UdpSocket) -> std::io::Result<()> {
    stream.set_nonblocking(true)?;
    socket.set_read_timeout(Some(Duration::from_millis(5)))?;
    let (mut client, mut buffer) = (None, vec![0; 65_536]);
    loop {
        if matches!((&mut &*stream).read(&mut [0; 1]), Ok(0)) {
            return Ok(());
        }
        let Ok((size, peer)) = socket.recv_from(&mut buffer) else { continue };
        if *client.get_or_insert(peer) == peer {
            let (target, length) = address::decode(&buffer[3..size]).unwrap().unwrap();
            socket.send_to(&buffer[3 + length..size], target.to_string())?;
        } else if let Some(client) = client {
            let header = Wrapping::socks5(&host_port(peer)).unwrap();
            socket.send_to(&header.wrap(&buffer[..size]).unwrap(), client)?;
        }
    }
}

/// A Shadowsocks server for datagrams.
pub(super) fn ss(method: &'static str) -> (HostPort, UdpSocket) {
    let socket = bound("127.0.0.1:0");
    let served = socket.try_clone().unwrap();
    let key = Key::of(&Login { user: method.to_owned(), password: Secret::new("secret") }).unwrap();
    std::thread::spawn(move || {
        let (mut client, mut buffer) = (None, vec![0; 65_536]);
        while let Ok((size, peer)) = served.recv_from(&mut buffer) {
            if *client.get_or_insert(peer) == peer {
                let plain = key.open_datagram(&mut buffer[..size]).unwrap();
                let (target, length) = address::decode(plain).unwrap().unwrap();
                served.send_to(&plain[length..], target.to_string()).unwrap();
            } else if let Some(client) = client {
                let answer = Wrapping::ss(key.clone(), &host_port(peer)).unwrap().wrap(&buffer[..size]).unwrap();
                served.send_to(&answer, client).unwrap();
            }
        }
    });
    (host_port(socket.local_addr().unwrap()), socket)
}
