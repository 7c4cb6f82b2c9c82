//! UDP ASSOCIATE by hand-written bytes: at a server that sends datagrams itself, and behind a chain.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    listening_tests::{OPEN, await_counted},
    tests::{Running, request},
};
use crate::testing::await_that;

const SOON: Duration = Duration::from_secs(20);

/// A client with an association.
struct Associated {
    /// The connection that it lives as long as.
    control: TcpStream,
    socket: UdpSocket,
    /// Where the server takes its datagrams.
    relay: SocketAddr,
}

impl Associated {
    async fn with(server: &Running) -> Self {
        let mut control = server.says(&[OPEN]).await;
        control.write_all(&request(3, "0.0.0.0:0".parse().unwrap())).await.unwrap();
        let mut told = [0; 10];
        control.read_exact(&mut told).await.unwrap();
        assert_eq!(told[..8], *b"\x05\x00\x00\x01\x7f\0\0\x01");
        let relay = SocketAddr::from(([127, 0, 0, 1], u16::from_be_bytes([told[8], told[9]])));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self { control, socket, relay }
    }

    async fn send(&self, message: &[u8]) {
        self.socket.send_to(message, self.relay).await.unwrap();
    }

    async fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let count = timeout(SOON, self.socket.recv(&mut buffer)).await.expect("an answer").unwrap();
        buffer[..count].to_vec()
    }
}

/// A datagram as a client writes it.
fn to(address: SocketAddr, fragment: u8, data: &[u8]) -> Vec<u8> {
    [&[0, 0, fragment][..], &request(0, address)[3..], data].concat()
}

fn to_name(name: &str, port: u16, data: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 3, u8::try_from(name.len()).unwrap()][..], name.as_bytes(), &port.to_be_bytes(), data].concat()
}

async fn received(target: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (count, from) = timeout(SOON, target.recv_from(&mut buffer)).await.expect("a datagram").unwrap();
    (buffer[..count].to_vec(), from)
}

/// A socket, and where it is.
async fn target() -> (UdpSocket, SocketAddr) {
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    (target, address)
}

fn hop(scheme: &str, far_end: &Running) -> Value {
    json!({"scheme": scheme, "nodes": [{"host": "127.0.0.1", "port": far_end.address.port()}]})
}

#[tokio::test]
async fn an_association_is_its_clients_alone() {
    let server = Running::start("socks5", json!({}));
    let (target, address) = target().await;
    let client = Associated::with(&server).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send(&to(address, 0, b"first")).await;
    let (first, from) = received(&target).await;
    assert_eq!(first, b"first");
    stranger.send_to(&to(address, 0, b"stranger"), client.relay).await.unwrap();
    client.send(&to(address, 1, b"fragment")).await;
    client.send(&to(address, 0, b"")).await;
    assert_eq!(received(&target).await.0, b"", "neither stranger nor fragment, but an empty one");
    target.send_to(b"answer", from).await.unwrap();
    assert_eq!(client.receive().await, to(address, 0, b"answer"));
    await_counted(&server, (2, 1), (5, 6), [0, 0, 0, 0, 0, 1]).await;
    let Associated { control, relay, .. } = client;
    drop(control);
    let has_ended = || std::net::UdpSocket::bind(relay).is_ok();
    await_that("the association to end with its connection", has_ended).await;
}

#[tokio::test]
async fn a_name_that_is_not_answered_holds_up_no_other_datagram() {
    let server = Running::start("socks5", json!({"dialTimeout": "600s"}));
    let names: Vec<String> = (0..9).map(|number| format!("slow-{number}.example")).collect();
    names.iter().for_each(|name| server.engine.context.resolver.hang(name));
    let (target, address) = target().await;
    let client = Associated::with(&server).await;
    for name in &names {
        client.send(&to_name(name, 53, b"x")).await;
    }
    client.send(&to(address, 0, b"literal")).await;
    assert_eq!(received(&target).await.0, b"literal");
    client.send(&to_name("localhost", address.port(), b"name")).await;
    assert_eq!(received(&target).await.0, b"name");
    await_counted(&server, (2, 0), (11, 0), [0, 0, 1, 0, 0, 0]).await;
}

#[tokio::test]
async fn an_association_behind_a_chain_goes_through_a_tunnel_of_its_last_hop() {
    let far_end = Running::start("socks5", json!({}));
    let server = Running::start("socks5", json!({"chain": [hop("socks5", &far_end)]}));
    let [(one, first), (other, second)] = [target().await, target().await];
    let mut client = Associated::with(&server).await;
    client.send(&to("169.254.1.1:53".parse().unwrap(), 0, b"forbidden")).await;
    client.send(&to(first, 0, b"")).await;
    client.send(&to(first, 0, &[1; 16_375])).await;
    client.send(&to(first, 0, &[2; 16_374])).await;
    client.send(&to_name("localhost", second.port(), b"by name")).await;
    let (largest, from) = received(&one).await;
    assert_eq!(largest, [2; 16_374]);
    let (by_name, from_as_well) = received(&other).await;
    assert_eq!((by_name.as_slice(), from_as_well), (b"by name".as_slice(), from), "one tunnel for all");
    one.send_to(b"answer", from).await.unwrap();
    assert_eq!(client.receive().await, to(first, 0, b"answer"));
    other.send_to(b"", from).await.unwrap();
    other.send_to(b"another", from).await.unwrap();
    assert_eq!(client.receive().await, to(second, 0, b"another"));
    await_counted(&server, (2, 2), (16_374 + 7, 6 + 7), [1, 0, 0, 0, 1, 1]).await;
    assert_eq!(far_end.engine.stats()[0].datagrams.clone().unwrap().to_upstream, 2, "what is refused stays here");
    far_end.engine.shutdown().await;
    let ended = timeout(SOON, client.control.read(&mut [0])).await.expect("the end of the association");
    assert_eq!(ended.unwrap_or_default(), 0, "it ends with its tunnel");
}

#[tokio::test]
async fn names_wait_behind_a_chain_only_where_their_addresses_are_judged() {
    let far_end = Running::start("socks5", json!({}));
    let judged = json!({"allowTargets": ["127.0.0.0/8"]});
    let (target, address) = target().await;
    for (rules, is_asked_here) in [(judged, true), (json!({}), false)] {
        let more = json!({"chain": [hop("socks5", &far_end)], "server": rules, "dialTimeout": "600s"});
        let server = Running::start("socks5", more);
        server.engine.context.resolver.hang("slow.example");
        let before = far_end.engine.stats()[0].datagrams.clone().unwrap().dropped[0];
        let client = Associated::with(&server).await;
        client.send(&to_name("slow.example", 53, b"x")).await;
        client.send(&to(address, 0, b"literal")).await;
        assert_eq!(received(&target).await.0, b"literal");
        // It asks for the name, which nobody has.
        let asks = || far_end.engine.stats()[0].datagrams.clone().unwrap().dropped[0] > before;
        if is_asked_here {
            assert!(!asks());
        } else {
            await_that("the far end asks for the name", asks).await;
        }
    }
}

#[tokio::test]
async fn a_name_that_is_not_answered_holds_up_no_other_datagram_of_a_tunnel() {
    let far_end = Running::start("socks5", json!({}));
    let judged = json!({"allowTargets": ["127.0.0.0/8"]});
    let (target, address) = target().await;
    for more in [json!({}), json!({"chain": [hop("socks5", &far_end)], "server": judged})] {
        let server = Running::start("socks5", json!({"dialTimeout": "600s"}));
        server.apply(more);
        server.engine.context.resolver.hang("slow.example");
        let mut client = server.says(&[OPEN]).await;
        client.write_all(&request(0xf3, "0.0.0.0:0".parse().unwrap())).await.unwrap();
        client.read_exact(&mut [0; 10]).await.unwrap();
        let slow = [b"\0\x01\0".as_slice(), &to_name("slow.example", 53, b"x")[3..]].concat();
        let literal = [b"\0\x07\0".as_slice(), &to(address, 0, b"literal")[3..]].concat();
        client.write_all(&[slow, literal].concat()).await.unwrap();
        assert_eq!(received(&target).await.0, b"literal");
    }
}

#[tokio::test]
async fn an_association_is_refused_where_the_last_hop_has_no_tunnel() {
    let far_end = Running::start("socks5", json!({}));
    let mut associates = hop("socks5", &far_end);
    associates["socks5"] = json!({"udpAssociate": true});
    let http = Running::start("http", json!({}));
    let closed = json!({"scheme": "socks5", "nodes": [{"host": "127.0.0.1", "port": crate::testing::closed().port}]});
    for (hop, code) in [(associates, 7), (hop("relay", &far_end), 7), (hop("http", &http), 7), (closed, 1)] {
        let server = Running::start("socks5", json!({"chain": [hop]}));
        let refused: &[u8] = &[5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        server.says(&[OPEN, (&request(3, "0.0.0.0:0".parse().unwrap()), refused)]).await;
    }
}
