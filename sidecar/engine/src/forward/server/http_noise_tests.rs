//! Clients of an HTTP server that send their request in any pieces, ever so slowly, or with more than anybody needs.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use fairlead_config::defaults::HANDSHAKE_TIMEOUT;
use futures::{StreamExt, stream::FuturesUnordered};
use proptest::{
    collection::vec,
    prelude::any,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::tests::{Running, assert_echoes, echo};

const SOON: Duration = Duration::from_secs(20);
/// How long a client pauses that says one byte after the other.
const DRIP: Duration = Duration::from_millis(50);

fn connect_to(target: SocketAddr) -> Vec<u8> {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: a\r\n\r\n").into_bytes()
}

/// The status line of the answer, and the stream behind its head; none if the server leaves.
async fn status(stream: &mut TcpStream) -> Option<String> {
    let read = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        String::from_utf8_lossy(&head).lines().next().map(str::to_owned)
    };
    timeout(SOON, read).await.unwrap()
}

#[tokio::test]
async fn a_request_in_two_pieces_is_the_same_wherever_it_is_split() {
    let target = echo().await;
    let request = connect_to(target);
    for scheme in ["http", "auto"] {
        let server = Running::start(scheme, json!({}));
        for split in 1..request.len() {
            let mut stream = server.connect().await;
            stream.set_nodelay(true).unwrap();
            stream.write_all(&request[..split]).await.unwrap();
            // By then the server has most likely read the first piece; it may as well read both at once.
            tokio::task::yield_now().await;
            stream.write_all(&request[split..]).await.unwrap();
            assert_eq!(status(&mut stream).await.as_deref(), Some("HTTP/1.1 200 OK"), "{scheme}, at {split}");
            assert_echoes(&mut stream, b"hello").await;
        }
    }
}

#[tokio::test]
async fn a_request_byte_by_byte_is_served_and_one_that_takes_too_long_is_not() {
    let target = echo().await;
    let server = Running::start("http", json!({}));
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in connect_to(target) {
        stream.write_all(&[byte]).await.unwrap();
        // By then the server has most likely read it.
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&mut stream).await.as_deref(), Some("HTTP/1.1 200 OK"));

    let started = Instant::now();
    let mut slow = server.connect().await;
    let dripped = async {
        // Until the server answers or leaves.
        while timeout(DRIP, slow.read(&mut [0])).await.is_err() {
            let _ = slow.write_all(b"G").await;
        }
    };
    timeout(HANDSHAKE_TIMEOUT + SOON, dripped).await.unwrap();
    assert!(started.elapsed() >= HANDSHAKE_TIMEOUT, "{:?}", started.elapsed());
    assert_echoes(&mut stream, b"its neighbour goes on").await;
}

#[tokio::test]
async fn more_than_anybody_needs_is_refused_at_the_limit() {
    let server = Running::start("http", json!({}));
    let line = "GET http://127.0.0.1:1/ HTTP/1.1\r\n";
    for (what, request, want) in [
        ("a long field", format!("{line}A: {}\r\n\r\n", "x".repeat(70_000)), Some("431")),
        ("a field without end", format!("{line}A: {}", "x".repeat(70_000)), Some("431")),
        ("a long target", format!("GET http://127.0.0.1:1/{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)), Some("431")),
        ("129 fields", format!("{line}{}\r\n", "A: b\r\n".repeat(129)), Some("431")),
        ("128 fields", format!("{line}{}\r\n", "A: b\r\n".repeat(128)), Some("502")),
        ("two lengths", format!("{line}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"), Some("400")),
        ("a length that is none", format!("{line}Content-Length: -1\r\n\r\n"), Some("400")),
        ("a name with a space", format!("{line}A b: c\r\n\r\n"), Some("400")),
    ] {
        let mut stream = server.connect().await;
        // It may be refused before it is over.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = status(&mut stream).await;
        let code = answer.as_deref().and_then(|line| line.split(' ').nth(1));
        assert_eq!(code, want, "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn noise_ends_no_neighbour_and_is_forwarded_nowhere() {
    let target = echo().await;
    let server = Running::start("http", json!({}));
    let mut neighbour = server.connect().await;
    neighbour.write_all(&connect_to(target)).await.unwrap();
    assert_eq!(status(&mut neighbour).await.as_deref(), Some("HTTP/1.1 200 OK"));
    let mut runner = TestRunner::default();
    let words = ["", "GET ", "CONNECT ", "POST http://", "GET / HTTP/1.1\r\n", "GET http://a/ HTTP/1.1\r\nA: "];
    let noise = (0..words.len(), vec(any::<u8>(), 0..300))
        .prop_map(|(word, bytes)| [words[word].as_bytes(), b"\x00", &bytes].concat());
    let noises: Vec<Vec<u8>> =
        (0..256).map(|_| noise.new_tree(&mut runner).map(|tree| tree.current()).unwrap()).collect();
    let (mut ends, server) = (FuturesUnordered::new(), &server);
    for noise in &noises {
        ends.push(async move {
            let mut stream = server.connect().await;
            let _ = stream.write_all(noise).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{noise:?}: {answer:?}");
        });
    }
    while ends.next().await.is_some() {}
    drop(ends);
    assert_echoes(&mut neighbour, b"as it was").await;
    assert_eq!(server.engine.stats()[0].bytes_to_upstream, 9);
}
