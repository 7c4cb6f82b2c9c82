//! Relay servers with targets of their own, by hand-written bytes.
#![allow(clippy::unwrap_used)]

use fairlead_config::{HostPort, NodeState};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
};

use super::super::tests::{Running, assert_echoes, echo};
use crate::{
    protocol::relay::{Request, Status},
    testing::await_that,
};

fn fifo(ports: [u16; 2]) -> Value {
    let node = |port: u16| json!({"host": "127.0.0.1", "port": port});
    json!({"targets": ports.map(node), "strategy": "fifo", "failTimeout": "600s"})
}

fn states(server: &Running) -> Vec<NodeState> {
    server.engine.report().forwards[0].nodes.iter().map(|node| node.state).collect()
}

#[tokio::test]
async fn clients_are_connected_to_the_servers_own_targets_and_nowhere_else() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = echo().await;
    let server = Running::start("relay", fifo([closed.port(), target.port()]));
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
    server.apply(fifo([closed.port(), closed.port()]));
    server.says(&[(&silent, &Status::ServiceUnavailable.encode())]).await;
}

#[tokio::test]
async fn datagrams_go_to_the_servers_own_targets_and_on_to_the_next_when_one_refuses() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = Running::start("relay", fifo([closed.port(), target.local_addr().unwrap().port()]));
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
