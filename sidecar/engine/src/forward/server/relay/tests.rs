//! Relay servers with targets of their own, by hand-written bytes.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fairlead_config::{HostPort, NodeState};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::super::tests::{Running, assert_echoes, echo};
use crate::{
    protocol::relay::{Request, Status},
    testing::{await_that, closed},
};

const SOON: Duration = Duration::from_secs(20);

fn fifo(ports: [u16; 2]) -> Value {
    let node = |port: u16| json!({"host": "127.0.0.1", "port": port});
    json!({"targets": ports.map(node), "strategy": "fifo", "failTimeout": "600s"})
}

fn states(server: &Running) -> Vec<NodeState> {
    server.engine.report().forwards[0].nodes.iter().map(|node| node.state).collect()
}

#[tokio::test]
async fn clients_are_connected_to_the_servers_own_targets_and_nowhere_else() {
    let closed = closed();
    let target = echo().await;
    let server = Running::start("relay", fifo([closed.port, target.port()]));
    let silent = Request::default().encode().unwrap();
    for _ in 0..2 {
        let mut stream = server.says(&[(&silent, &Status::Ok.encode())]).await;
        assert_echoes(&mut stream, b"hello").await;
    }
    assert_eq!(states(&server), [NodeState::Dead, NodeState::Alive]);
    let address = Some(HostPort::new("127.0.0.1", target.port()));
    for datagrams in [false, true] {
        let asks = Request { address: address.clone(), datagrams, ..Request::default() }.encode().unwrap();
        server.says(&[(&asks, &Status::Forbidden.encode())]).await;
    }
    server.apply(json!({"targets": []}));
    server.says(&[(&silent, &Status::BadRequest.encode())]).await;
    server.apply(fifo([closed.port, closed.port]));
    server.says(&[(&silent, &Status::ServiceUnavailable.encode())]).await;
}

#[tokio::test]
async fn datagrams_go_to_the_servers_own_targets_and_on_to_the_next_when_one_refuses() {
    let closed = closed();
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = Running::start("relay", fifo([closed.port, target.local_addr().unwrap().port()]));
    let asks = Request { datagrams: true, ..Request::default() }.encode().unwrap();
    let mut refused = server.says(&[(&asks, &Status::Ok.encode())]).await;
    refused.write_all(b"\0\x02hi").await.unwrap();
    assert_eq!(refused.read_to_end(&mut Vec::new()).await.unwrap_or_default(), 0, "a client is told by the end");
    await_that("the target that refused is dead", || states(&server)[0] == NodeState::Dead).await;
    let mut stream = server.says(&[(&asks, &Status::Ok.encode())]).await;
    stream.write_all(b"\0\x02hi").await.unwrap();
    let mut buffer = [0; 16];
    let (count, from) = target.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..count], b"hi");
    target.send_to(b"answer", from).await.unwrap();
    let mut got = [0; 8];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"\0\x06answer");
    await_that("the target that answered lives", || states(&server)[1] == NodeState::Alive).await;
}

fn behind(hop: &str, far_end: &Running) -> Value {
    json!({"scheme": hop, "nodes": [{"host": "127.0.0.1", "port": far_end.address.port()}]})
}

/// Whether the target hears a client and is heard by it.
async fn assert_passes(stream: &mut TcpStream, target: &UdpSocket) {
    stream.write_all(b"\0\x04ping\0\x03two").await.unwrap();
    let mut buffer = [0; 16];
    for want in [b"ping".as_slice(), b"two"] {
        let (count, from) = timeout(SOON, target.recv_from(&mut buffer)).await.expect("a datagram").unwrap();
        assert_eq!(&buffer[..count], want);
        target.send_to(b"answer", from).await.unwrap();
    }
    let mut got = [0; 16];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"\0\x06answer\0\x06answer");
}

#[tokio::test]
async fn datagrams_go_on_through_a_last_hop_that_carries_them() {
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let asks = |host: &str| {
        let address = Some(HostPort::new(host, address.port()));
        Request { address, datagrams: true, ..Request::default() }.encode().unwrap()
    };
    for scheme in ["relay", "socks5"] {
        let far_end = Running::start(scheme, json!({}));
        let server = Running::start("relay", json!({"chain": [behind(scheme, &far_end)]}));
        for host in ["127.0.0.1", "localhost"] {
            let mut stream = server.says(&[(&asks(host), &Status::Ok.encode())]).await;
            assert_passes(&mut stream, &target).await;
        }
        server.says(&[(&asks("169.254.1.1"), &Status::Forbidden.encode())]).await;
        await_that("every datagram is counted", || {
            let stats = server.engine.stats().remove(0);
            let counted = stats.datagrams.unwrap();
            (counted.to_upstream, counted.to_client, stats.bytes_to_upstream, stats.bytes_to_client) == (4, 4, 14, 24)
        })
        .await;
        let mut stream = server.says(&[(&asks("127.0.0.1"), &Status::Ok.encode())]).await;
        far_end.engine.shutdown().await;
        let ended = timeout(SOON, stream.read(&mut [0])).await.expect("the end of the way");
        assert_eq!(ended.unwrap_or_default(), 0, "{scheme}");
    }
}

#[tokio::test]
async fn datagrams_are_refused_where_the_last_hop_has_no_stream_for_them() {
    let asks = Request { datagrams: true, address: Some(HostPort::new("127.0.0.1", 53)), ..Request::default() };
    let far_end = Running::start("http", json!({}));
    let mut associates = behind("socks5", &far_end);
    associates["socks5"] = json!({"udpAssociate": true});
    for hop in [behind("http", &far_end), associates] {
        let server = Running::start("relay", json!({"chain": [hop]}));
        server.says(&[(&asks.encode().unwrap(), &Status::Forbidden.encode())]).await;
    }
}

#[tokio::test]
async fn datagrams_to_the_servers_own_targets_go_through_its_chain_and_on_to_the_next_when_one_is_refused() {
    let far_end = Running::start("relay", json!({"server": {"allowTargets": ["127.0.0.1/32"]}}));
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut own = fifo([1, target.local_addr().unwrap().port()]);
    own["targets"][0]["host"] = json!("127.0.0.2");
    own["chain"] = json!([behind("relay", &far_end)]);
    let server = Running::start("relay", own);
    let asks = Request { datagrams: true, ..Request::default() }.encode().unwrap();
    let mut stream = server.says(&[(&asks, &Status::Ok.encode())]).await;
    assert_passes(&mut stream, &target).await;
    await_that("the hop and the second target live", || {
        states(&server) == [NodeState::Alive, NodeState::Dead, NodeState::Alive]
    })
    .await;
}
