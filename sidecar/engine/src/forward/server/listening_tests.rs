//! Listening through a server, with GOST's own bytes where they are always the same.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use fairlead_config::NodeState;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use super::tests::{Running, assert_echoes, request};
use crate::testing::{await_that, closed_address};

pub(super) const OPEN: (&[u8], &[u8]) = (b"\x05\x02\x00\x02", b"\x05\x00");

fn every(address: SocketAddr) -> SocketAddr {
    ([0, 0, 0, 0], address.port()).into()
}

/// A reply as GOST gives it, to the byte.
pub(super) fn reply(address: SocketAddr, is_mapped: bool) -> Vec<u8> {
    let std::net::IpAddr::V4(ip) = address.ip() else { panic!("IPv6") };
    let address_bytes = match is_mapped {
        true => [b"\x04".as_slice(), &ip.to_ipv6_mapped().octets()].concat(),
        false => [b"\x01".as_slice(), &ip.octets()].concat(),
    };
    [b"\x05\x00\x00".as_slice(), &address_bytes, &address.port().to_be_bytes()].concat()
}

pub(super) async fn expect(stream: &mut TcpStream, want: &[u8]) {
    let mut got = vec![0; want.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, want);
}

#[tokio::test]
async fn a_peer_of_a_bound_port_is_told_and_handed_over_and_the_next_one_waits() {
    let server = Running::start("socks5", json!({}));
    let port = closed_address();
    let asks = request(2, every(port));
    let mut client = server.says(&[OPEN, (&asks, &reply(port, true))]).await;
    let mut peers = Vec::new();
    for turn in 0..3 {
        if turn == 0 {
            // Both come while only the first one is asked for.
            peers.push(TcpStream::connect(port).await.unwrap());
            peers.push(TcpStream::connect(port).await.unwrap());
        } else {
            client = server.says(&[OPEN, (&asks, &reply(port, true))]).await;
            peers.push(TcpStream::connect(port).await.unwrap());
        }
        let mut peer = peers.remove(0);
        expect(&mut client, &reply(peer.local_addr().unwrap(), false)).await;
        peer.write_all(b"hello-bind").await.unwrap();
        expect(&mut client, b"hello-bind").await;
        client.write_all(b"220 greeting\r\n").await.unwrap();
        expect(&mut peer, b"220 greeting\r\n").await;
    }
}

#[tokio::test]
async fn nobody_takes_a_port_that_somebody_has_and_a_client_that_leaves_gives_it_back() {
    let server = Running::start("socks5", json!({}));
    let port = closed_address();
    let busy: &[u8] = b"\x05\x01\x00\x01\0\0\0\0\0\0";
    let first = server.says(&[OPEN, (&request(2, port), &reply(port, false))]).await;
    for command in [2, 0xf2] {
        server.says(&[OPEN, (&request(command, port), busy)]).await;
    }
    drop(first);
    await_that("the port is free", || std::net::TcpListener::bind(port).is_ok()).await;
    for (command, port) in [(2, 80), (0xf2, 1023), (0xf3, 53)] {
        let low = SocketAddr::from(([127, 0, 0, 1], port));
        server.says(&[OPEN, (&request(command, low), b"\x05\x02\x00\x01\0\0\0\0\0\0")]).await;
    }
    server.apply(json!({"server": {"allowBind": [port.port().to_string()]}}));
    server.says(&[OPEN, (&request(2, port), &reply(port, false))]).await;
    let zero = SocketAddr::from(([127, 0, 0, 1], 0));
    server.says(&[OPEN, (&request(2, zero), b"\x05\x02\x00\x01\0\0\0\0\0\0")]).await;
}

#[tokio::test]
async fn every_peer_of_a_port_is_a_stream_of_the_clients_connection() {
    use crate::protocol::smux::{Role, Session};
    let server = Running::start("socks5", json!({}));
    let port = closed_address();
    let client = server.says(&[OPEN, (&request(0xf2, port), &reply(port, false))]).await;
    let (session, driver) = Session::new(Role::Server, client);
    let driver = tokio::spawn(driver.run());
    for _ in 0..3 {
        let mut peer = TcpStream::connect(port).await.unwrap();
        let mut stream = session.accept().await.unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..count]).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        assert_echoes(&mut peer, b"hello-mbind").await;
    }
    driver.abort();
    await_that("the port is given back", || std::net::TcpListener::bind(port).is_ok()).await;
}

#[tokio::test]
async fn datagrams_go_to_targets_over_the_connection_as_gost_frames_them() {
    let server = Running::start("socks5", json!({}));
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let mut client = server.says(&[OPEN]).await;
    client.write_all(&request(0xf3, "0.0.0.0:0".parse().unwrap())).await.unwrap();
    let mut told = [0; 22];
    client.read_exact(&mut told).await.unwrap();
    assert_eq!(told[..20], *b"\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01");
    let frame = |data: &[u8]| {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [&length[..], b"\x00\x01\x7f\0\0\x01", &address.port().to_be_bytes(), data].concat()
    };
    let both = [frame(b"ping1"), frame(b"ping-two")].concat();
    client.write_all(&both).await.unwrap();
    let mut buffer = [0; 64];
    for want in [b"ping1".as_slice(), b"ping-two"] {
        let (count, from) = target.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..count], want);
        // What has no frame is dropped and stops nothing.
        target.send_to(b"", from).await.unwrap();
        target.send_to(want, from).await.unwrap();
    }
    expect(&mut client, &both).await;
    let forbidden = [b"\x00\x01\x00\x01\xa9\xfe\xa9\xfe\0\x50x".as_slice(), &frame(b"ping1")].concat();
    client.write_all(&forbidden).await.unwrap();
    assert_eq!(target.recv_from(&mut buffer).await.unwrap().0, 5);
    await_counted(&server, (3, 2), (5 + 8 + 5, 5 + 8), [1, 0, 0, 0, 0, 2]).await;
}

#[tokio::test]
async fn the_last_hop_of_a_chain_listens_for_one_peer_or_for_many() {
    let far_end = Running::start("socks5", json!({}));
    let chain = |scheme: &str| {
        let nodes = json!([{"host": "127.0.0.1", "port": far_end.address.port()}]);
        Running::start("socks5", json!({"chain": [{"scheme": scheme, "nodes": nodes}]}))
    };
    let server = chain("socks5");
    let port = closed_address();
    let mut client = server.says(&[OPEN, (&request(2, every(port)), &reply(port, false))]).await;
    let mut peer = TcpStream::connect(port).await.unwrap();
    expect(&mut client, &reply(peer.local_addr().unwrap(), false)).await;
    peer.write_all(b"hello").await.unwrap();
    expect(&mut client, b"hello").await;
    client.write_all(b"and back").await.unwrap();
    expect(&mut peer, b"and back").await;
    drop((client, peer));
    let port = closed_address();
    let mut client = server.says(&[OPEN, (&request(0xf2, every(port)), &reply(port, false))]).await;
    let mut peer = TcpStream::connect(port).await.unwrap();
    peer.write_all(b"first").await.unwrap();
    expect(&mut client, b"\x01\0\0\0\x03\0\0\0\x01\x02\x05\0\x03\0\0\0first").await;
    let taken: &[u8] = b"\x05\x01\0\x01\0\0\0\0\0\0";
    server.says(&[OPEN, (&request(2, every(port)), taken)]).await;
    drop(client);
    await_that("the far end's port is given back", || std::net::TcpListener::bind(port).is_ok()).await;
    assert_eq!(server.engine.report().forwards[0].nodes[0].state, NodeState::Alive, "a taken port is no fault of it");
    let unknown: &[u8] = b"\x05\x07\0\x01\0\0\0\0\0\0";
    let http = chain("http");
    for command in [2, 0xf2, 0xf3] {
        http.says(&[OPEN, (&request(command, every(port)), unknown)]).await;
    }
}

#[tokio::test]
async fn datagrams_go_on_to_the_last_hop_and_only_where_they_may() {
    let far_end = Running::start("socks5", json!({}));
    let nodes = json!([{"host": "127.0.0.1", "port": far_end.address.port()}]);
    let server = Running::start("socks5", json!({"chain": [{"scheme": "socks5", "nodes": nodes}]}));
    let open = |command: SocketAddr| {
        let server = &server;
        async move {
            let mut client = server.says(&[OPEN]).await;
            client.write_all(&request(0xf3, command)).await.unwrap();
            let mut told = [0; 4];
            client.read_exact(&mut told).await.unwrap();
            assert_eq!(told[..3], *b"\x05\0\0");
            let rest = if told[3] == 4 { 18 } else { 6 };
            client.read_exact(&mut vec![0; rest]).await.unwrap();
            client
        }
    };
    let frame = |address: SocketAddr, data: &[u8]| {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [&length[..], b"\0", &request(0, address)[3..], data].concat()
    };
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let mut client = open("0.0.0.0:0".parse().unwrap()).await;
    let link_local = "169.254.1.1:53".parse().unwrap();
    client.write_all(&[frame(link_local, b"x"), frame(address, b"ping")].concat()).await.unwrap();
    let mut buffer = [0; 64];
    let (count, from) = target.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..count], b"ping");
    target.send_to(b"pong!", from).await.unwrap();
    expect(&mut client, &frame(address, b"pong!")).await;
    await_counted(&server, (1, 1), (4, 5), [1, 0, 0, 0, 0, 0]).await;
    assert_eq!(far_end.engine.stats()[0].datagrams.clone().unwrap().dropped, [0; 6]);
    let port = closed_address();
    let mut listening = open(port).await;
    target.send_to(b"first", port).await.unwrap();
    expect(&mut listening, &frame(address, b"first")).await;
    let refused: &[u8] = b"\x05\x02\0\x01\0\0\0\0\0\0";
    server.says(&[OPEN, (&request(0xf3, ([127, 0, 0, 1], 80).into()), refused)]).await;
}

/// Datagrams, and bytes of them, to nodes and to clients; and those that were dropped, by reason.
pub(super) async fn await_counted(server: &Running, datagrams: (u64, u64), bytes: (u64, u64), dropped: [u64; 6]) {
    await_that("every datagram is counted", || {
        let stats = server.engine.stats().remove(0);
        let counted = stats.datagrams.unwrap();
        (counted.to_upstream, counted.to_client) == datagrams
            && (stats.bytes_to_upstream, stats.bytes_to_client) == bytes
            && counted.dropped == dropped
    })
    .await;
}

#[tokio::test]
async fn datagrams_of_peers_come_from_a_bound_port_and_are_answered_from_there() {
    let server = Running::start("socks5", json!({"server": {"allowTargets": ["10.0.0.0/8"]}}));
    let port = closed_address();
    let mut client = server.says(&[OPEN, (&request(0xf3, port), &reply(port, false))]).await;
    for text in [b"ping1".as_slice(), b"other-client"] {
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        peer.send_to(text, port).await.unwrap();
        let from = peer.local_addr().unwrap();
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        let frame = [&length[..], b"\x00\x01\x7f\0\0\x01", &from.port().to_be_bytes(), text].concat();
        expect(&mut client, &frame).await;
        client.write_all(&frame).await.unwrap();
        let mut buffer = [0; 64];
        let (count, answered) = peer.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..count], answered), (text, port));
    }
    let busy: &[u8] = b"\x05\x01\x00\x01\0\0\0\0\0\0";
    server.says(&[OPEN, (&request(0xf3, port), busy)]).await;
}

#[tokio::test]
async fn a_server_that_stops_gives_its_clients_ports_back() {
    let server = Running::start("socks5", json!({}));
    let [one, many, kept] = [closed_address(), closed_address(), closed_address()];
    let _one = server.says(&[OPEN, (&request(2, one), &reply(one, false))]).await;
    let _many = server.says(&[OPEN, (&request(0xf2, many), &reply(many, false))]).await;
    let mut gone = server.says(&[OPEN, (&request(2, kept), &reply(kept, false))]).await;
    let peer = TcpStream::connect(kept).await.unwrap();
    expect(&mut gone, &reply(peer.local_addr().unwrap(), false)).await;
    assert!(std::net::TcpListener::bind(kept).is_err(), "kept for the client");
    server.engine.shutdown().await;
    for port in [one, many, kept] {
        assert!(std::net::TcpListener::bind(port).is_ok(), "{port}");
    }
}
