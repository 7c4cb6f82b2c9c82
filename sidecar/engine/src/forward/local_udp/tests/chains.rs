//! Datagrams through hops that carry them: served whole, again after a cut, and only who fails is marked.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::Mutex,
};

use fairlead_config::url::Secret;

use super::*;
use crate::{
    SecretFiles,
    protocol::{address, relay, ss_cipher::Key, udp_frame, wrapping::Wrapping},
    secrets::Login,
};

/// What a hop speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// SOCKS5 with GOST's UDP over TCP.
    Gost,
    /// SOCKS5 without it.
    Associate,
    Relay,
    /// Refuses every target, late.
    RelayRefuses,
}

/// A hop on a port of its own; a new one may take its place there.
struct Hop {
    address: HostPort,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hop {
    fn new(speaks: Speaks) -> Self {
        Self::at("127.0.0.1:0", speaks)
    }

    fn at(address: &str, speaks: Speaks) -> Self {
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
    fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn served(&self) -> usize {
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

fn hop(speaks: Speaks, nodes: &[&HostPort]) -> Value {
    let scheme = if matches!(speaks, Speaks::Relay | Speaks::RelayRefuses) { "relay" } else { "socks5" };
    let associate = json!({"udpAssociate": true, "noTLS": true});
    let mut hop = json!({
        "scheme": scheme, "nodes": nodes, "strategy": "fifo", "dialTimeout": "1s", "failTimeout": "10m",
    });
    if speaks == Speaks::Associate {
        hop["socks5"] = associate;
    }
    hop
}

fn through(hops: &[Value], listen: &HostPort, targets: &[&HostPort]) -> Forward {
    forward(listen, targets, json!({"chain": hops, "dialTimeout": "1s", "failTimeout": "10m", "strategy": "fifo"}))
}

#[tokio::test]
async fn datagrams_of_every_size_pass_through_each_kind_of_hop() {
    let target = Target::new(b' ');
    for (speaks, sizes) in [
        (Speaks::Gost, vec![1, 1472, 8192, 16_374]),
        (Speaks::Relay, vec![0, 1, 1472, 9000, 65_507]),
        (Speaks::Associate, vec![0, 1, 1472, 9000, 65_497]),
    ] {
        let (server, listen, engine) = (Hop::new(speaks), closed(), engine(2));
        apply(&engine, through(&[hop(speaks, &[&server.address])], &listen, &[&target.address]));
        let client = client(&listen);
        for size in sizes {
            let datagram: Vec<u8> = (0..size).map(|index| (index * 7 + size) as u8).collect();
            client.send(&datagram).unwrap();
            assert!(received(&client) == datagram, "{speaks:?}: {size} bytes");
        }
        assert_eq!(states(&engine), [NodeState::Alive, NodeState::Alive], "{speaks:?}");
        assert_eq!(server.served(), 1, "{speaks:?}: one way for one client");
    }
}

#[tokio::test]
async fn what_would_stall_or_end_a_gost_peer_is_dropped_and_counted() {
    let (target, server, listen, engine) = (Target::new(b' '), Hop::new(Speaks::Gost), closed(), engine(1));
    apply(&engine, through(&[hop(Speaks::Gost, &[&server.address])], &listen, &[&target.address]));
    let client = client(&listen);
    for datagram in [vec![1; 16_375], vec![], vec![2; 65_507], b"fits".to_vec()] {
        client.send(&datagram).unwrap();
    }
    assert_eq!(received(&client), b"fits");
    let counted = stats(&engine).datagrams.unwrap();
    assert_eq!((counted.to_upstream, counted.dropped.iter().sum::<u64>()), (1, 3));
}

#[tokio::test]
async fn a_tunnel_is_what_gost_exchanges_byte_for_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (listen, engine) = (closed(), engine(1));
    let mut hop = hop(Speaks::Gost, &[&host_port(listener.local_addr().unwrap())]);
    hop["socks5"] = json!({"noTLS": true});
    apply(&engine, through(&[hop], &listen, &[&HostPort::new("127.0.0.1", 21_011)]));
    let client = client(&listen);
    client.send(b"ping1").unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut exchange = |want: &[u8], answer: &[u8]| {
        let mut got = vec![0; want.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, want);
        stream.write_all(answer).unwrap();
    };
    exchange(b"\x05\x02\x00\x02", b"\x05\x00");
    let reply = b"\x05\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\x00\x00\x01\xc9\xd0";
    exchange(b"\x05\xf3\x00\x01\x00\x00\x00\x00\x00\x00", reply);
    let first = b"\x00\x05\x00\x01\x7f\x00\x00\x01\x52\x13ping1";
    exchange(first, first);
    assert_eq!(received(&client), b"ping1");
    client.send(b"ping-two").unwrap();
    let second = b"\x00\x08\x00\x01\x7f\x00\x00\x01\x52\x13ping-two";
    let stranger = b"\x00\x03\x00\x01\x7f\x00\x00\x09\x52\x13not";
    exchange(second, &[&stranger[..], second].concat());
    assert_eq!(received(&client), b"ping-two", "what a stranger sends to the far end's port is not the client's");
}

#[tokio::test]
async fn a_cut_way_is_opened_again_and_the_client_keeps_its_association() {
    let target = Target::new(b'T');
    for speaks in [Speaks::Gost, Speaks::Relay, Speaks::Associate] {
        let (mut server, listen, engine) = (Hop::new(speaks), closed(), engine(1));
        let address = server.address.clone();
        apply(&engine, through(&[hop(speaks, &[&address])], &listen, &[&target.address]));
        let client = client(&listen);
        assert_eq!(letter(&client), 'T');
        server.cut();
        assert_eq!(letter(&client), 'T', "{speaks:?}: after a cut");
        drop(server);
        let away = Instant::now();
        while away.elapsed() < Duration::from_secs(1) {
            let _ = client.send(b"?");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(states(&engine), [NodeState::Dead, NodeState::Alive], "{speaks:?}: the hop, and not the target");
        server = Hop::at(&address.to_string(), speaks);
        let back = Instant::now();
        assert_eq!(letter(&client), 'T');
        assert!(back.elapsed() < Duration::from_secs(2), "{speaks:?}: {:?}", back.elapsed());
        assert_eq!((stats(&engine).accepted, stats(&engine).open), (1, 1), "{speaks:?}");
        drop(server);
    }
}

#[tokio::test]
async fn a_dead_node_of_a_hop_is_left_out_and_a_later_hop_carries() {
    let (target, gone) = (Target::new(b'T'), closed());
    let (relay, gost) = (Hop::new(Speaks::Relay), Hop::new(Speaks::Gost));
    for (speaks, server) in [(Speaks::Relay, &relay), (Speaks::Gost, &gost)] {
        let (listen, engine) = (closed(), engine(1));
        apply(&engine, through(&[hop(speaks, &[&gone, &server.address])], &listen, &[&target.address]));
        assert_eq!(letter(&client(&listen)), 'T');
        assert_eq!(states(&engine), [NodeState::Dead, NodeState::Alive, NodeState::Alive], "{speaks:?}");
    }
}

#[tokio::test]
async fn a_target_that_a_hop_refuses_is_marked_and_the_hop_is_not() {
    let (target, refusing) = (Target::new(b'T'), Hop::new(Speaks::RelayRefuses));
    let (listen, engine) = (closed(), engine(1));
    apply(&engine, through(&[hop(Speaks::RelayRefuses, &[&refusing.address])], &listen, &[&target.address]));
    let client = client(&listen);
    client.send(b"?").unwrap();
    await_that("the target is marked", || states(&engine) == [NodeState::Alive, NodeState::Dead]).await;
}

#[tokio::test]
async fn a_hop_without_the_extension_is_marked_with_what_to_write() {
    let (target, server, listen, engine) = (Target::new(b'T'), Hop::new(Speaks::Associate), closed(), engine(1));
    apply(&engine, through(&[hop(Speaks::Gost, &[&server.address])], &listen, &[&target.address]));
    client(&listen).send(b"?").unwrap();
    await_that("the hop is marked", || states(&engine) == [NodeState::Dead, NodeState::Unknown]).await;
    let error = engine.report().forwards[0].nodes[0].last_error.clone().unwrap();
    assert!(error.contains("write udp_associate=true"), "{error}");
}

/// A Shadowsocks server for datagrams.
fn ss(method: &'static str) -> (HostPort, UdpSocket) {
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

#[tokio::test]
async fn shadowsocks_carries_datagrams_in_datagrams_and_a_hop_that_refuses_is_marked() {
    let target = Target::new(b' ');
    for method in ["aes-256-gcm", "chacha20"] {
        let ((address, _socket), listen, engine) = (ss(method), closed(), engine(1));
        let hop = |address: &HostPort| json!({"scheme": "ss", "nodes": [address], "credentials": {"directory": "memory:/s/a"}, "failTimeout": "10m"});
        let file = |key: &str, text: &str| (format!("memory:/s/a/{key}"), text.as_bytes().to_vec());
        engine.set_secrets([file("username", method), file("password", "secret")].into_iter().collect::<SecretFiles>());
        apply(&engine, through(&[hop(&address)], &listen, &[&target.address]));
        let client = client(&listen);
        for size in [0, 1, 1472, 60_000] {
            client.send(&vec![7; size]).unwrap();
            assert_eq!(received(&client), vec![7; size], "{method}");
        }
        assert_eq!(states(&engine), [NodeState::Alive, NodeState::Alive]);
        apply(&engine, through(&[hop(&closed())], &listen, &[&target.address]));
        let other = super::client(&listen);
        await_that("the hop is marked", || {
            let _ = other.send(b"?");
            states(&engine) == [NodeState::Dead, NodeState::Alive]
        })
        .await;
    }
}

#[tokio::test]
async fn a_chain_that_carries_no_datagrams_is_refused_by_name() {
    let node = json!([{"host": "a", "port": 1}]);
    let plain = |scheme: &str| json!({"scheme": scheme, "nodes": node});
    let associate = json!({"scheme": "socks5", "nodes": node, "socks5": {"udpAssociate": true}});
    for (chain, part) in [
        (vec![plain("http")], "carries no datagrams"),
        (vec![plain("socks5"), plain("forward")], "carries no datagrams"),
        (vec![plain("http"), associate], "go through no other hop"),
    ] {
        let forward = through(&chain, &HostPort::new("", 1), &[&HostPort::new("b", 1)]);
        let plan = Plan::new(Config::new(1, vec![forward]).into());
        assert!(plan.refused()[0].message.contains(part), "{}", plan.refused()[0].message);
    }
}

#[tokio::test]
async fn a_hop_that_vanished_is_noticed_within_45_s_and_its_clients_are_served_by_a_new_way() {
    let (target, server, listen, engine) = (Target::new(b'T'), Hop::new(Speaks::Gost), closed(), engine(1));
    apply(&engine, through(&[hop(Speaks::Gost, &[&server.address])], &listen, &[&target.address]));
    let (asking, idle) = (client(&listen), client(&listen));
    assert_eq!((letter(&asking), letter(&idle)), ('T', 'T'));
    // Until all is acknowledged: the far end would send it again and again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    // From now on nothing that is sent over these connections arrives, and nothing says so.
    let nothing = [socket2::SockFilter::new(0x06, 0, 0, 0)];
    for connection in server.connections.lock().unwrap().iter() {
        socket2::SockRef::from(connection).attach_filter(&nothing).unwrap();
    }
    let vanished = Instant::now();
    asking.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    while vanished.elapsed() < Duration::from_secs(50) {
        asking.send(b"?").unwrap();
        if asking.recv(&mut [0; 8]).is_ok() {
            break;
        }
    }
    // A probe may be late by the timer's grain.
    assert!(vanished.elapsed() < Duration::from_secs(47), "{:?}", vanished.elapsed());
    while vanished.elapsed() < Duration::from_secs(46) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    idle.send(b"?").unwrap();
    assert_eq!(received(&idle), b"T?", "an idle way is found out too: this datagram is not lost");
    assert_eq!((server.served(), stats(&engine).accepted), (4, 2));
}
