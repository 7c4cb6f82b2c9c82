//! Servers on loopback with clients that write bytes by hand.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, num::NonZeroUsize};

use fairlead_config::{Config, ForwardState};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    Plan, SecretFiles,
    engine::{Engine, EngineOptions},
    testing::{await_that, becomes, closed_address, host_port},
};

/// A server in an engine of its own.
pub(super) struct Running {
    pub(super) engine: Engine,
    pub(super) address: SocketAddr,
    forward: Value,
}

impl Running {
    pub(super) fn start(scheme: &str, more: Value) -> Self {
        Self::with_files(scheme, more, SecretFiles::default())
    }

    pub(super) fn with_files(scheme: &str, more: Value, files: SecretFiles) -> Self {
        let address = closed_address();
        let mut forward = json!({
            "key": ForwardKey::local("ns", "server"), "digest": "d", "scheme": scheme,
            "listen": host_port(address),
        });
        forward.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let two = NonZeroUsize::new(2).unwrap();
        let options = EngineOptions { workers: two, drain_timeout: Duration::from_millis(300) };
        let engine = Engine::start(&options).unwrap();
        engine.set_secrets(files);
        let running = Self { engine, address, forward };
        running.apply(json!({}));
        running
    }

    /// Goes over to the same server with other settings.
    pub(super) fn apply(&self, more: Value) {
        let mut forward = self.forward.clone();
        forward.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let plan = Plan::new(Config::new(1, vec![serde_json::from_value(forward).unwrap()]).into());
        assert!(plan.refused().is_empty(), "{:?}", plan.refused());
        self.engine.apply(plan);
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What is answered to each message in turn, as many bytes as expected.
    pub(super) async fn says(&self, exchange: &[(&[u8], &[u8])]) -> TcpStream {
        let mut stream = self.connect().await;
        for (message, answer) in exchange {
            stream.write_all(message).await.unwrap();
            let mut got = vec![0; answer.len()];
            stream.read_exact(&mut got).await.unwrap();
            assert_eq!(got, *answer, "to {message:?}");
        }
        stream
    }
}

/// A target that says who reached it, then echoes.
pub(super) async fn echo() -> SocketAddr {
    echo_on("127.0.0.1:0").await
}

async fn echo_on(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

pub(super) fn request(command: u8, address: SocketAddr) -> Vec<u8> {
    let mut message = vec![5, command, 0];
    match address.ip() {
        std::net::IpAddr::V4(ip) => {
            message.push(1);
            message.extend(ip.octets());
        }
        std::net::IpAddr::V6(ip) => {
            message.push(4);
            message.extend(ip.octets());
        }
    }
    message.extend(address.port().to_be_bytes());
    message
}

pub(super) async fn assert_echoes(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    let mut got = vec![0; text.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, text);
}

const OPEN: (&[u8], &[u8]) = (b"\x05\x02\x00\x02", b"\x05\x00");
const DONE: &[u8] = b"\x05\x00\x00\x01\0\0\0\0\0\0";

pub(super) fn logins(text: &str) -> SecretFiles {
    [("memory:/s/logins/users".to_owned(), text.as_bytes().to_vec())].into_iter().collect()
}

#[tokio::test]
async fn a_client_is_connected_to_where_it_wants_to_go() {
    let server = Running::start("socks5", json!({}));
    let target = echo().await;
    let by_name = [b"\x05\x01\x00\x03\x09localhost".as_slice(), &target.port().to_be_bytes()].concat();
    for request in [request(1, target), by_name] {
        let mut stream = server.says(&[OPEN, (&request, DONE)]).await;
        assert_echoes(&mut stream, b"hello").await;
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0, "a half-close is carried on");
    }
    await_that("everything is counted", || server.engine.stats()[0].bytes_to_upstream == 10).await;
    let stats = &server.engine.stats()[0];
    assert_eq!((stats.accepted, stats.unserved, stats.nodes.len()), (2, 0, 0));
}

#[tokio::test]
async fn what_is_refused_is_refused_with_its_reason() {
    let server = Running::start("socks5", json!({}));
    let closed = closed_address();
    let nobody = [b"\x05\x01\x00\x03\x14no-such-name.invalid".as_slice(), &80_u16.to_be_bytes()].concat();
    for (request, code) in [
        (request(1, closed), 5),
        (request(1, "169.254.169.254:80".parse().unwrap()), 2),
        (request(1, "[fe80::1]:80".parse().unwrap()), 2),
        (nobody, 4),
        (request(9, closed), 7),
    ] {
        let mut stream = server.says(&[OPEN, (&request, &[5, code, 0, 1, 0, 0, 0, 0, 0, 0])]).await;
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap_or_default(), 0, "and closed");
    }
    await_that("each is counted", || server.engine.stats()[0].unserved == 5).await;
}

#[tokio::test]
async fn names_are_judged_by_what_they_stand_for() {
    let target = echo().await;
    let by_name = [b"\x05\x01\x00\x03\x09localhost".as_slice(), &target.port().to_be_bytes()].concat();
    let refused: &[u8] = &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0];
    let server = Running::start("socks5", json!({"server": {"allowTargets": ["10.0.0.0/8"]}}));
    server.says(&[OPEN, (&by_name, refused)]).await;
    server.says(&[OPEN, (&request(1, target), refused)]).await;
    server.apply(json!({"server": {"allowTargets": ["127.0.0.0/8"]}}));
    server.says(&[OPEN, (&by_name, DONE)]).await;
}

#[tokio::test]
async fn a_server_that_others_reach_connects_nobody_to_its_own_loopback() {
    let server = Running::start("socks5", json!({}));
    let target = echo().await;
    let exposed = json!({"listen": {"host": "0.0.0.0", "port": server.address.port()}, "server": {"anonymous": true}});
    server.apply(exposed);
    let refused: &[u8] = &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0];
    await_that("it listens again", || server.engine.report().forwards[0].state == ForwardState::Listening).await;
    for address in
        [target, format!("[::ffff:127.0.0.1]:{}", target.port()).parse().unwrap(), ([0, 0, 0, 0], target.port()).into()]
    {
        server.says(&[OPEN, (&request(1, address), refused)]).await;
    }
}

#[tokio::test]
async fn a_login_is_needed_where_there_are_users_and_a_wrong_one_waits() {
    let users = json!({"server": {"users": {"directory": "memory:/s/logins"}}});
    let server = Running::with_files("socks5", users, logins("user:pass\n"));
    let target = echo().await;
    let asks: (&[u8], &[u8]) = (b"\x05\x02\x00\x02", b"\x05\x02");
    let right: (&[u8], &[u8]) = (b"\x01\x04user\x04pass", b"\x01\x00");
    let mut stream = server.says(&[asks, right, (&request(1, target), DONE)]).await;
    assert_echoes(&mut stream, b"hello").await;
    for wrong in [b"\x01\x04user\x04nope".as_slice(), b"\x01\x00\x00", b"\x01\x04user\x00"] {
        let started = Instant::now();
        let mut stream = server.says(&[asks, (wrong, b"\x01\x01")]).await;
        assert!(started.elapsed() >= Duration::from_secs(1), "guessing takes time");
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap_or_default(), 0);
    }
    server.says(&[(b"\x05\x01\x00", b"\x05\xff")]).await;
    server.engine.set_secrets(logins("other:word\n"));
    let is_known = || async {
        let mut stream = server.says(&[asks]).await;
        stream.write_all(b"\x01\x05other\x04word").await.unwrap();
        stream.read_u16().await.unwrap() == 0x0100
    };
    becomes("new logins are used", is_known).await;
}

#[tokio::test]
async fn a_server_whose_users_are_missing_serves_nobody_and_says_so() {
    let users = json!({"server": {"users": {"directory": "memory:/s/logins"}}});
    let server = Running::start("socks5", users);
    let report = server.engine.report().forwards.remove(0);
    assert_eq!((report.state, report.reason.as_deref()), (ForwardState::Failed, Some("CredentialsMissing")));
    assert_eq!(report.message.as_deref(), Some("Secret \"logins\", key \"users\": is not there"));
    server.says(&[(b"\x05\x02\x00\x02", b"\x05\x02"), (b"\x01\x04user\x04pass", b"\x01\x01")]).await;
}

#[tokio::test]
async fn silent_clients_make_way_for_others() {
    let server = Running::start("socks5", json!({"maxConnections": 8}));
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(server.connect().await);
    }
    let target = echo().await;
    let mut stream = server.says(&[OPEN, (&request(1, target), DONE)]).await;
    assert_echoes(&mut stream, b"served all the same").await;
}

#[tokio::test]
async fn a_server_behind_a_chain_connects_through_it() {
    let far_end = Running::start("socks5", json!({}));
    let nodes = json!([{"host": "127.0.0.1", "port": far_end.address.port()}]);
    let chain = json!({"chain": [{"scheme": "socks5", "nodes": nodes}]});
    let server = Running::start("http", chain.clone());
    let socks5 = Running::start("socks5", chain);
    let target = echo().await;
    let mut stream = socks5.says(&[OPEN, (&request(1, target), DONE)]).await;
    assert_echoes(&mut stream, b"through two").await;
    let request_of_name = format!("CONNECT localhost:{} HTTP/1.1\r\n\r\n", target.port());
    let mut stream = server.says(&[(request_of_name.as_bytes(), b"HTTP/1.1 200 OK\r\n")]).await;
    while stream.read_u8().await.unwrap() != b'\n' {}
    drop(stream);
    let report = socks5.engine.report().forwards.remove(0);
    assert_eq!((report.nodes.len(), report.nodes[0].hop), (1, Some(1)), "only the hop has nodes");
    let closed = closed_address();
    let mut stream = socks5.says(&[OPEN]).await;
    stream.write_all(&request(1, closed)).await.unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.unwrap();
    assert_ne!(answer[1], 0);
    let report = socks5.engine.report().forwards.remove(0);
    assert_eq!(report.nodes[0].state, fairlead_config::NodeState::Alive, "a refused target is no fault of the hop");
}

#[tokio::test]
async fn garbage_is_closed_at_once() {
    let server = Running::start("socks5", json!({}));
    for noise in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"\x16\x03\x01\x02\x00\x01\x00", b"\x00"] {
        let mut stream = server.connect().await;
        stream.write_all(noise).await.unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap_or_default(), 0);
    }
}

fn size_of_future<F>(_: impl Fn(Arc<Shared>, accept::Accepted) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_session_takes_little_more_room_than_its_copy() {
    let size = size_of_future(Session::serve);
    assert!(size <= 1_536, "{size} bytes");
}
