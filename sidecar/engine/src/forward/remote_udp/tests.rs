#![allow(clippy::unwrap_used)]
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use fairlead_config::{ForwardState, NodeState};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    time::timeout,
};

use crate::{
    forward::remote::test_server::{Bench, Server, datagram_target},
    testing::{await_that, closed, host_port},
};

const SOON: Duration = Duration::from_secs(20);

struct Asker(UdpSocket);

impl Asker {
    async fn new(port: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(port).await.unwrap();
        Self(socket)
    }

    /// Sends the question until it is answered.
    async fn ask(&self, question: &[u8]) -> Vec<u8> {
        let asked = async {
            loop {
                let _ = self.0.send(question).await;
                if let Ok(answer) = timeout(Duration::from_millis(100), self.answer_to(question)).await {
                    return answer;
                }
            }
        };
        timeout(SOON, asked).await.expect("it is answered")
    }

    /// The next answer that repeats this question: a question that was sent twice is answered twice.
    async fn answer_to(&self, question: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        loop {
            match self.0.recv(&mut buffer).await {
                Ok(count) if buffer[..count].ends_with(question) => return buffer[..count].to_vec(),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

#[tokio::test]
async fn each_client_has_a_channel_and_gets_its_own_answers() {
    let (server, (target, _tasks)) = (Server::start(), datagram_target(b'A').await);
    let bench = Bench::new("rudp", closed().port, &server.address, &[&target], json!({}));
    let port = bench.held().await;
    let clients = [Asker::new(port).await, Asker::new(port).await];
    for round in 0..3_u8 {
        for (number, client) in (0_u8..).zip(&clients) {
            assert_eq!(client.ask(&[round, number]).await, [b'A', round, number]);
        }
    }
    let large = vec![7; 16_000];
    assert_eq!(clients[0].ask(&large).await.len(), 16_001);
    assert_eq!(bench.engine.stats()[0].open, 2);
    assert_eq!(bench.report().nodes.iter().map(|node| node.state).collect::<Vec<_>>(), [NodeState::Alive; 2]);
}

#[tokio::test]
async fn a_tunnel_that_is_cut_and_back_keeps_its_clients() {
    let (server, (target, _tasks)) = (Server::start(), datagram_target(b'A').await);
    let bench = Bench::new("rudp", closed().port, &server.address, &[&target], json!({}));
    let client = Asker::new(bench.held().await).await;
    assert_eq!(client.ask(b"1").await, b"A1");
    server.stop().await;
    await_that("the loss is said", || bench.report().state == ForwardState::Failed).await;
    let gone = Instant::now();
    await_that("the outage lasts", || gone.elapsed().as_secs() >= 2).await;
    server.run();
    assert_eq!(client.ask(b"2").await, b"A2");
    assert_eq!(bench.engine.stats()[0].accepted, 1, "the channel is the same");
}

#[tokio::test]
async fn channels_end_with_their_ttl_and_the_idlest_leaves_when_there_is_no_room() {
    let (server, (target, _tasks)) = (Server::start(), datagram_target(b'A').await);
    let mut bench = Bench::new("rudp", closed().port, &server.address, &[&target], json!({}));
    bench.forward["maxConnections"] = json!(2);
    bench.apply();
    let port = bench.held().await;
    let clients = [Asker::new(port).await, Asker::new(port).await, Asker::new(port).await];
    for client in &clients {
        client.ask(b"x").await;
    }
    await_that("two are left", || bench.engine.stats()[0].open == 2).await;
    bench.forward["ttl"] = json!("200ms");
    bench.apply();
    await_that("all have ended", || bench.engine.stats()[0].open == 0).await;
    assert_eq!(clients[0].ask(b"y").await, b"Ay", "and begin anew");
}

#[tokio::test]
async fn an_unreachable_target_is_dead_and_the_next_serves() {
    let (server, (target, _tasks), gone) = (Server::start(), datagram_target(b'B').await, closed());
    let bench = Bench::new("rudp", closed().port, &server.address, &[&gone, &target], json!({}));
    let client = Asker::new(bench.held().await).await;
    assert_eq!(client.ask(b"x").await, b"Bx");
    assert_eq!(bench.report().nodes[1].state, NodeState::Dead);
}

#[tokio::test]
async fn the_tunnel_is_spoken_as_gost_speaks_it() {
    // From a transcript (v2-08).
    let gost = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (target, _tasks) = datagram_target(b'!').await;
    let hop = json!({"socks5": {"noTLS": true}});
    let _bench = Bench::new("rudp", 21_026, &host_port(gost.local_addr().unwrap()), &[&target], hop);
    let (mut stream, _) = gost.accept().await.unwrap();
    let script: [(&[u8], &[u8]); 3] = [
        (b"\x05\x02\x00\x02", b"\x05\x00"),
        (
            b"\x05\xf3\x00\x01\x7f\x00\x00\x01\x52\x22",
            b"\x05\x00\x00\x01\x7f\x00\x00\x01\x52\x22\x00\x05\x00\x01\x7f\x00\x00\x01\xe5\xf2ping1",
        ),
        (b"\x00\x06\x00\x01\x7f\x00\x00\x01\xe5\xf2!ping1", b""),
    ];
    for (expected, answer) in script {
        let mut found = vec![0; expected.len()];
        timeout(SOON, stream.read_exact(&mut found)).await.unwrap().unwrap();
        assert_eq!(found, expected);
        stream.write_all(answer).await.unwrap();
    }
}
