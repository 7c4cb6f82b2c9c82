//! A Shadowsocks server for datagrams, by datagrams sealed here.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use fairlead_config::url::Secret;
use serde_json::json;
use tokio::{net::UdpSocket, time::timeout};

use super::super::tests::{Running, logins, request};
use crate::{protocol::ss_cipher::Key, secrets::Login, testing::await_that};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn datagrams_under_the_key_reach_their_targets_and_others_are_counted_and_dropped() {
    for cipher in ["chacha20-ietf-poly1305", "aes-256-gcm", "chacha20"] {
        let more = json!({"server": {"users": {"directory": "memory:/s/logins"}}, "maxConnections": 1});
        let server = Running::with_files("ssu", more, logins(&format!("{cipher}:s3cret\n")));
        let key =
            |password: &str| Key::of(&Login { user: cipher.to_owned(), password: Secret::new(password) }).unwrap();
        let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = target.local_addr().unwrap();
        let mut buffer = [0; 64];
        let sealed = |address: SocketAddr, data: &[u8], password: &str| {
            key(password).seal_datagram(&[&request(1, address)[3..], data].concat()).unwrap()
        };
        // The second client makes the first, which is idle, leave.
        for text in [b"first".as_slice(), b""] {
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.connect(server.address).await.unwrap();
            client.send(&sealed("169.254.1.1:53".parse().unwrap(), b"x", "s3cret")).await.unwrap();
            let first = sealed(address, text, "s3cret");
            client.send(&first).await.unwrap();
            let (count, from) = target.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..count], text, "{cipher}");
            target.send_to(b"answer", from).await.unwrap();
            let count = client.recv(&mut buffer).await.unwrap();
            let answer = key("s3cret").open_datagram(&mut buffer[..count]).unwrap().to_vec();
            assert_eq!(answer, [&request(1, address)[3..], b"answer"].concat(), "{cipher}");
            client.send(b"noise").await.unwrap();
            if cipher != "chacha20" {
                client.send(&sealed(address, b"foreign", "other")).await.unwrap();
                // Whoever recorded it has no key.
                client.send(&first).await.unwrap();
            }
        }
        let unsent = if cipher == "chacha20" { 4 } else { 8 };
        await_that("all is counted", || {
            let stats = server.engine.stats().remove(0);
            let datagrams = stats.datagrams.unwrap();
            let dropped = datagrams.dropped.iter().sum::<u64>();
            (stats.accepted, stats.open, datagrams.to_upstream, datagrams.to_client, dropped) == (2, 1, 2, 2, unsent)
        })
        .await;
        let stats = server.engine.stats().remove(0);
        assert_eq!((stats.bytes_to_upstream, stats.bytes_to_client), (5, 12), "{cipher}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_answered_holds_up_no_other_datagram() {
    let more = json!({"server": {"users": {"directory": "memory:/s/logins"}}, "dialTimeout": "600s"});
    let server = Running::with_files("ssu", more, logins("aes-256-gcm:s3cret\n"));
    server.engine.context.resolver.hang("slow.example");
    let key = Key::of(&Login { user: "aes-256-gcm".to_owned(), password: Secret::new("s3cret") }).unwrap();
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to_target = [&request(1, target.local_addr().unwrap())[3..], b"hi"].concat();
    for message in [b"\x03\x0cslow.example\0\x35x".as_slice(), &to_target] {
        client.send_to(&key.seal_datagram(message).unwrap(), server.address).await.unwrap();
    }
    let mut buffer = [0; 64];
    let received = timeout(SOON, target.recv_from(&mut buffer)).await.expect("a datagram");
    assert_eq!(&buffer[..received.unwrap().0], b"hi");
}

#[tokio::test]
async fn behind_a_chain_datagrams_go_through_a_tunnel_and_through_another_when_it_was_lost() {
    let far_ends = [Running::start("socks5", json!({})), Running::start("socks5", json!({}))];
    let nodes = far_ends.each_ref().map(|far_end| json!({"host": "127.0.0.1", "port": far_end.address.port()}));
    let more = json!({
        "server": {"users": {"directory": "memory:/s/logins"}},
        "chain": [{"scheme": "socks5", "nodes": nodes, "strategy": "fifo"}],
    });
    let server = Running::with_files("ssu", more, logins("aes-256-gcm:s3cret\n"));
    let key = Key::of(&Login { user: "aes-256-gcm".to_owned(), password: Secret::new("s3cret") }).unwrap();
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to_target = request(1, target.local_addr().unwrap())[3..].to_vec();
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((count, from)) = target.recv_from(&mut buffer).await {
            target.send_to(&buffer[..count], from).await.unwrap();
        }
    });
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(server.address).await.unwrap();
    for (far_end, text) in far_ends.iter().zip(["by the first", "by the second"]) {
        let (message, mut answer) = ([&to_target, text.as_bytes()].concat(), Vec::new());
        let deadline = Instant::now() + SOON;
        // What is on its way when a tunnel is lost is lost with it.
        while answer != message {
            assert!(Instant::now() < deadline, "{text}");
            client.send(&key.seal_datagram(&message).unwrap()).await.unwrap();
            let mut buffer = [0; 128];
            let Ok(count) = timeout(Duration::from_millis(200), client.recv(&mut buffer)).await else { continue };
            answer = key.open_datagram(&mut buffer[..count.unwrap()]).unwrap().to_vec();
        }
        let counted = || far_end.engine.stats()[0].datagrams.clone().unwrap().to_client;
        await_that(&format!("it went {text}"), || counted() > 0).await;
        far_end.engine.shutdown().await;
    }
    assert_eq!(server.engine.stats()[0].accepted, 1, "the association outlives its tunnels");
}
