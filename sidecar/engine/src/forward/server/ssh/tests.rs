//! Sessions of a client that does more than clients do, with a server on loopback.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use russh::{
    Channel, ChannelMsg, client,
    keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, ssh_key::private::Ed25519Keypair},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{super::tests::*, *};
use crate::{SecretFiles, ssh::CARRIER, testing::becomes};

const SOON: Duration = Duration::from_secs(20);
const GREETING: (&[u8], &[u8]) = (b"\x05\x01\x00", b"\x05\x00");

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// Files of a server, whose clients are these.
fn files(options: &str, users: &str) -> SecretFiles {
    let host = crate::new_ssh_host_key().unwrap().expose().to_owned();
    let line = if options == "none" {
        "# nobody".to_owned()
    } else {
        format!("{options} {}", key(1).public_key().to_openssh().unwrap()).trim_start().to_owned()
    };
    [("host", host), ("logins/authorized_keys", line), ("logins/users", users.to_owned())]
        .map(|(name, text)| (format!("memory:/s/{name}"), text.into_bytes()))
        .into_iter()
        .collect()
}

fn settings(more: Value) -> Value {
    let mut server = json!({"users": {"directory": "memory:/s/logins"}, "hostKey": "memory:/s/host"});
    server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "server": server })
}

fn server(scheme: &str) -> Running {
    Running::with_files(scheme, settings(json!({})), files("", "ann:s3cret\n"))
}

/// A session by the key.
async fn session(server: &Running) -> client::Handle<Trusting> {
    let mut session = unknown(server).await;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key(1)), None);
    assert!(session.authenticate_publickey("ann", key).await.unwrap().success());
    session
}

async fn unknown(server: &Running) -> client::Handle<Trusting> {
    client::connect(Arc::default(), server.address, Trusting).await.unwrap()
}

async fn carried(session: &client::Handle<Trusting>) -> Result<Channel<client::Msg>, russh::Error> {
    session.channel_open_unknown(CARRIER).await
}

/// Says something and waits for the answer, of which it takes as much as is expected.
async fn says(channel: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), exchange: &[(&[u8], &[u8])]) {
    for (message, answer) in exchange {
        channel.write_all(message).await.unwrap();
        let mut got = vec![0; answer.len()];
        timeout(SOON, channel.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(got, *answer, "to {message:?}");
    }
}

fn connect_to(target: SocketAddr) -> Vec<u8> {
    request(1, target)
}

#[tokio::test]
async fn who_is_no_longer_let_in_opens_nothing_more_and_keeps_what_there_is() {
    let (target, server) = (echo().await, server("socks5+ssh"));
    let by_key = session(&server).await;
    let mut by_password = unknown(&server).await;
    assert!(by_password.authenticate_password("ann", "s3cret").await.unwrap().success());
    for session in [&by_key, &by_password] {
        let mut held = carried(session).await.unwrap().into_stream();
        says(&mut held, &[GREETING, (&connect_to(target), b"\x05\x00\x00\x01\0\0\0\0\0\0")]).await;
        for (options, users) in [("none", "bob:other\n"), ("expiry-time=\"20200101\"", "ann:changed\n")] {
            server.engine.set_secrets(files(options, users));
            becomes("no further channel", || async { carried(session).await.is_err() }).await;
            says(&mut held, &[(b"as before", b"as before")]).await;
            server.engine.set_secrets(files("", "ann:s3cret\n"));
            becomes("a channel again", || async { carried(session).await.is_ok() }).await;
        }
    }
}

#[tokio::test]
async fn the_same_holds_for_ports_that_are_forwarded() {
    let (target, server) = (echo().await, server("forward+ssh"));
    let session = session(&server).await;
    let (host, port) = (target.ip().to_string(), u32::from(target.port()));
    let open = || async { session.channel_open_direct_tcpip(host.clone(), port, "127.0.0.1", 0).await.is_ok() };
    assert!(open().await && session.tcpip_forward("127.0.0.1", 0).await.is_ok());
    server.engine.set_secrets(files("none", "bob:other\n"));
    becomes("no further channel", || async { !open().await }).await;
    assert!(session.tcpip_forward("localhost", 0).await.is_err());
}

#[tokio::test]
async fn a_later_plan_holds_for_the_next_channel_of_a_session() {
    let (target, server) = (echo().await, server("socks5+ssh"));
    let session = session(&server).await;
    for (more, code) in [(json!({}), 0), (json!({"allowTargets": ["192.0.2.0/24"]}), 2)] {
        server.apply(settings(more));
        let mut channel = carried(&session).await.unwrap().into_stream();
        says(&mut channel, &[GREETING, (&connect_to(target), &[5, code])]).await;
    }
    // Whoever is served in another way has to come anew.
    for scheme in ["http+ssh", "forward+ssh", "socks5"] {
        let mut more = settings(json!({}));
        more["scheme"] = json!(scheme);
        server.apply(more);
        assert!(carried(&session).await.is_err(), "{scheme}");
    }
    server.apply(settings(json!({})));
    assert!(carried(&session).await.is_ok());
}

#[tokio::test]
async fn who_opens_channels_and_says_nothing_displaces_nobody_else() {
    let mut more = settings(json!({}));
    more["maxConnections"] = json!(2);
    let server = Running::with_files("socks5+ssh", more, files("", "ann:s3cret\n"));
    let (one, other) = (session(&server).await, session(&server).await);
    let mut slow = carried(&one).await.unwrap().into_stream();
    slow.write_all(b"\x05").await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(carried(&other).await.unwrap().into_stream());
    }
    says(&mut slow, &[(b"\x01\x00", b"\x05\x00")]).await;
    for channel in &mut silent {
        says(channel, &[GREETING]).await;
    }
}

#[tokio::test]
async fn a_client_may_ask_for_a_shell_so_often_and_nowhere_else() {
    for (scheme, limit) in [("socks5+ssh", 64), ("forward+ssh", 64)] {
        let server = server(scheme);
        let greedy = session(&server).await;
        let mut shells = Vec::new();
        while let Ok(shell) = greedy.channel_open_session().await {
            shells.push(shell);
        }
        assert_eq!(shells.len(), limit, "{scheme}");
        shells[0].exec(true, "uptime").await.unwrap();
        let mut said = None;
        while let Some(message) = timeout(SOON, shells[0].wait()).await.unwrap() {
            if let ChannelMsg::ExtendedData { data, .. } = message {
                said = Some(String::from_utf8(data.to_vec()).unwrap());
            }
        }
        assert!(said.is_some_and(|said| said.contains("nothing else")), "{scheme}");
    }
    let server = server("socks5+ssh");
    let session = session(&server).await;
    let channel = carried(&session).await.unwrap();
    channel.set_env(false, "A", "x".repeat(30_000)).await.unwrap();
    crate::testing::await_that("the session to end", || session.is_closed()).await;
}

#[tokio::test]
async fn what_is_carried_is_counted_as_clients_are() {
    let server = server("socks5+ssh");
    let session = session(&server).await;
    for _ in 0..3 {
        let mut garbage = carried(&session).await.unwrap().into_stream();
        garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let _ = timeout(SOON, garbage.read_to_end(&mut Vec::new())).await.unwrap();
    }
    let counted = || server.engine.stats().remove(0);
    crate::testing::await_that("three were not served", || counted().unserved == 3).await;
    assert_eq!(counted().accepted, 4);
}
