//! A SOCKS5 server for tests of remote forwards: BIND for one peer, MBIND and the UDP tunnel, as GOST serves them,
//! without encryption and without logins.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use fairlead_config::{Config, Forward, ForwardReport, HostPort};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    task::JoinSet,
};

use crate::{
    engine::{Engine, EngineOptions},
    plan::Plan,
    protocol::{
        address,
        smux::{Role, Session},
        udp_frame,
    },
    testing::{await_that, closed, host_port},
};

/// A server that can be stopped, with all its connections, and started again on its port.
pub(crate) struct Server {
    pub(crate) address: HostPort,
    tasks: Mutex<JoinSet<()>>,
    /// Requests that were served.
    pub(crate) binds: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let server = Self { address: closed(), tasks: Mutex::default(), binds: Arc::default() };
        server.run();
        server
    }

    pub(crate) fn run(&self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address.to_string().parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let binds = Arc::clone(&self.binds);
        self.tasks.lock().unwrap().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&binds)));
            }
        });
    }

    pub(crate) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        tasks.shutdown().await;
    }
}

async fn serve(mut stream: TcpStream, binds: Arc<AtomicUsize>) -> Option<()> {
    let count = { stream.read_u16().await.ok()? & 0xff };
    stream.read_exact(&mut vec![0; usize::from(count)]).await.ok()?;
    stream.write_all(&[5, 0]).await.ok()?;
    let mut request = [0; 10];
    stream.read_exact(&mut request).await.ok()?;
    let [_, command, _, _, a, b, c, d, high, low] = request;
    let wanted = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])));
    binds.fetch_add(1, Relaxed);
    if command == 0xf3 {
        return tunnel(stream, UdpSocket::bind(wanted).await.ok()?).await;
    }
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_reuseaddr(true).ok()?;
    let Ok(listener) = socket.bind(wanted).and_then(|()| socket.listen(64)) else {
        return stream.write_all(b"\x05\x01\x00\x01\0\0\0\0\0\0").await.ok();
    };
    stream.write_all(&reply(listener.local_addr().ok()?)).await.ok()?;
    if command == 0xf2 { many(stream, listener).await } else { one(stream, listener).await }
}

fn reply(address: SocketAddr) -> Vec<u8> {
    let mut reply = vec![5, 0, 0];
    address::encode_ip(address, &mut reply);
    reply
}

async fn one(mut stream: TcpStream, listener: TcpListener) -> Option<()> {
    let mut nothing = [0];
    let (mut peer, address) = tokio::select! {
        accepted = listener.accept() => accepted.ok()?,
        // Nothing may come before the peer.
        _ = stream.read(&mut nothing) => return None,
    };
    drop(listener);
    stream.write_all(&reply(address)).await.ok()?;
    copy_bidirectional(&mut stream, &mut peer).await.ok().map(drop)
}

async fn many(stream: TcpStream, listener: TcpListener) -> Option<()> {
    let (session, driver) = Session::new(Role::Client, stream);
    let peers = async {
        let mut relays = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (mut peer, mut stream) = (accepted.ok()?.0, session.open().ok()?);
                    relays.spawn(async move { copy_bidirectional(&mut peer, &mut stream).await });
                }
                None = session.accept() => break,
            }
        }
        drop((listener, session));
        while relays.join_next().await.is_some() {}
        Some(())
    };
    tokio::join!(peers, driver.run()).0
}

async fn tunnel(mut stream: TcpStream, socket: UdpSocket) -> Option<()> {
    stream.write_all(&reply(socket.local_addr().ok()?)).await.ok()?;
    let (mut reader, mut writer) = stream.into_split();
    let inward = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let (count, peer) = socket.recv_from(&mut buffer).await.ok()?;
            let (mut to, mut frame) = (Vec::new(), Vec::new());
            address::encode_ip(peer, &mut to);
            udp_frame::encode(&to, &buffer[..count], &mut frame).ok()?;
            writer.write_all(&frame).await.ok()?;
        }
    };
    let outward = async {
        let mut buffer = Vec::new();
        loop {
            reader.read_buf(&mut buffer).await.ok().filter(|count| *count > 0)?;
            while let Some(frame) = udp_frame::decode(&buffer).unwrap() {
                let peer = udp_frame::peer(&buffer[frame.address]).unwrap().to_string();
                socket.send_to(&buffer[frame.data.clone()], peer).await.ok()?;
                buffer.drain(..frame.data.end);
            }
        }
    };
    tokio::select! { end = inward => end, end = outward => end }
}

/// An engine with one remote forward.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) forward: Value,
}

impl Bench {
    /// A forward from `port` at the server to the targets; `more` are further fields, or others of the hop.
    pub(crate) fn new(scheme: &str, port: u16, server: &HostPort, targets: &[&HostPort], hop: Value) -> Self {
        let options = EngineOptions { drain_timeout: Duration::from_secs(5), ..EngineOptions::default() };
        let mut hop = hop;
        hop["scheme"] = json!("socks5");
        hop["nodes"] = json!([server]);
        let forward = json!({
            "key": {"namespace": "ns", "name": "far"}, "digest": "d", "scheme": scheme, "targets": targets,
            "listen": {"host": "127.0.0.1", "port": port}, "chain": [hop], "strategy": "fifo",
        });
        let bench = Self { engine: Engine::start(&options).unwrap(), forward };
        bench.apply();
        bench
    }

    pub(crate) fn apply(&self) {
        let forward: Forward = serde_json::from_value(self.forward.clone()).unwrap();
        self.engine.apply(Plan::new(Config::new(1, vec![forward]).into()));
    }

    pub(crate) fn report(&self) -> ForwardReport {
        self.engine.report().forwards.remove(0)
    }

    /// Waits until the port is held, and returns where.
    pub(crate) async fn held(&self) -> SocketAddr {
        await_that("the far end listens", || self.report().bound.is_some()).await;
        self.report().bound.unwrap().to_string().parse().unwrap()
    }
}

/// A target for streams that says its letter and sends back what it gets.
pub(crate) async fn target(letter: u8) -> (HostPort, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = host_port(listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                stream.write_all(&[letter]).await.ok()?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok()
            });
        }
    });
    (address, tasks)
}

/// A target for datagrams that sends each back behind its letter.
pub(crate) async fn datagram_target(letter: u8) -> (HostPort, JoinSet<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = host_port(socket.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = vec![letter; 65_536];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer[1..]).await {
            let _ = socket.send_to(&buffer[..=count], peer).await;
        }
    });
    (address, tasks)
}
