//! Who is nobody to a Shadowsocks server: whatever it says, nothing is answered, and its time is over when it would
//! have been over had it said nothing.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use fairlead_config::{defaults::HANDSHAKE_TIMEOUT, url::Secret};
use futures::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::tests::{Running, echo, logins, request};
use crate::{
    protocol::{ss::SsStream, ss_cipher::Key},
    secrets::Login,
    testing::await_that,
};

const SOON: Duration = Duration::from_secs(20);

fn key(cipher: &str, password: &str) -> Key {
    Key::of(&Login { user: cipher.to_owned(), password: Secret::new(password) }).unwrap()
}

/// What a client with the key puts on the wire.
async fn sealed(key: Key, plain: &[u8]) -> Vec<u8> {
    let mut stream = SsStream::new(Vec::new(), key);
    stream.write_all(plain).await.unwrap();
    stream.flush().await.unwrap();
    stream.into_inner()
}

/// What a client says first to have `hello` echoed.
fn hello(target: SocketAddr) -> Vec<u8> {
    [&request(1, target)[3..], b"hello"].concat()
}

/// Says it, waits until the server is heard or leaves, and returns what was heard, and after how long.
async fn heard(server: &Running, words: Vec<u8>) -> (Vec<u8>, Duration) {
    let started = Instant::now();
    let mut stream = server.connect().await;
    stream.write_all(&words).await.unwrap();
    let mut answer = vec![0; 1_000];
    let count = timeout(HANDSHAKE_TIMEOUT + SOON, stream.read(&mut answer)).await.unwrap().unwrap();
    answer.truncate(count);
    (answer, started.elapsed())
}

#[tokio::test]
async fn whoever_repeats_a_client_hears_as_little_and_as_long_as_whoever_says_nothing() {
    let users = json!({"server": {"users": {"directory": "memory:/s/logins"}}});
    let target = echo().await;
    let watched = ["aes-128-gcm", "aes-256-gcm", "chacha20-ietf-poly1305"].map(|cipher| {
        let server = Running::with_files("ss", users.clone(), logins(&format!("{cipher}:s3cret\n")));
        async move {
            let recorded = sealed(key(cipher, "s3cret"), &hello(target)).await;
            let (answer, _) = heard(&server, recorded.clone()).await;
            assert!(!answer.is_empty(), "{cipher}: the client itself is answered");
            let strangers = [
                ("nothing", Vec::new()),
                ("a byte", vec![7]),
                ("noise", vec![7; 100_000]),
                ("another password", sealed(key(cipher, "other"), &hello(target)).await),
                ("no address", sealed(key(cipher, "s3cret"), b"\x09\0\0\0\0").await),
                ("a repetition", recorded.clone()),
                ("a part of one", recorded[..60].to_vec()),
                ("one that goes on", [recorded, vec![7; 100_000]].concat()),
            ];
            let count = strangers.len() as u64;
            join_all(strangers.map(async |(what, words)| {
                let (answer, time) = heard(&server, words).await;
                assert!(answer.is_empty(), "{cipher}, {what}: {answer:?}");
                assert!(time >= HANDSHAKE_TIMEOUT, "{cipher}, {what}: left after {time:?}");
            }))
            .await;
            await_that("each is counted", || server.engine.stats()[0].unserved == count).await;
            assert_eq!(server.engine.stats()[0].bytes_to_upstream, 5, "{cipher}: nothing was sent again");
            let (answer, _) = heard(&server, sealed(key(cipher, "s3cret"), &hello(target)).await).await;
            assert!(!answer.is_empty(), "{cipher}: another client is answered");
        }
    });
    join_all(watched).await;
}

#[tokio::test]
async fn a_stranger_that_leaves_is_let_go_at_once() {
    let users = json!({"server": {"users": {"directory": "memory:/s/logins"}}});
    let server = Running::with_files("ss", users, logins("aes-256-gcm:s3cret\n"));
    for words in [b"".as_slice(), b"x", &[7; 1_000]] {
        let mut stream = server.connect().await;
        stream.write_all(words).await.unwrap();
        stream.shutdown().await.unwrap();
        let ended = timeout(HANDSHAKE_TIMEOUT / 2, stream.read_to_end(&mut Vec::new())).await;
        assert_eq!(ended.unwrap().unwrap(), 0);
    }
}
