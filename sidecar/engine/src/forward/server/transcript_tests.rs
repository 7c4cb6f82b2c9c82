//! What GOST's client and server exchanged, with our server in the place of GOST's: a login inside TLS (v2-03), and a
//! port whose peers are streams of one connection (v2-07). Other transcripts are in the tests beside this file.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fairlead_config::HopTls;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    listening_tests::{OPEN, expect, reply},
    tests::{Running, echo, logins, request},
};
use crate::{
    secrets::Secrets,
    socket::Socket,
    stream::Stream,
    testing::closed_address,
    tls::{self, Settings},
};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_login_inside_tls_is_exchanged_as_gost_exchanges_it() {
    let users = json!({"server": {"users": {"directory": "memory:/s/logins"}}});
    let server = Running::with_files("socks5", users, logins("user:pass\n"));
    let target = echo().await;
    let greeted = server.says(&[(b"\x05\x03\x00\x02\x80", b"\x05\x82")]).await;
    // The next that is said is the server's part of TLS, and nothing before the client's.
    assert!(timeout(Duration::from_millis(20), greeted.peek(&mut [0])).await.is_err());
    let stream = Stream::Tcp(Socket::new(greeted.into_std().unwrap()).unwrap());
    let config = Settings::default().config(&HopTls::default(), false, &Secrets::default()).unwrap();
    let mut inside = tls::connect(stream, "127.0.0.1", config).await.unwrap();
    assert!(inside.get_ref().1.alpn_protocol().is_none());
    let connect = [b"\x05\x01\x00\x03\x09127.0.0.1".as_slice(), &target.port().to_be_bytes()].concat();
    for (message, answer) in [
        (b"\x01\x04user\x04pass".as_slice(), b"\x01\x00".as_slice()),
        (&connect, b"\x05\x00\x00\x01\0\0\0\0\0\0"),
        (b"hello", b"hello"),
    ] {
        inside.write_all(message).await.unwrap();
        inside.flush().await.unwrap();
        let mut got = vec![0; answer.len()];
        timeout(SOON, inside.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(got, answer);
    }
    inside.shutdown().await.unwrap();
    assert_eq!(inside.read_to_end(&mut Vec::new()).await.unwrap(), 0, "TLS is ended before the connection is");
}

#[tokio::test]
async fn peers_of_one_port_are_streams_as_gost_opens_and_ends_them() {
    let server = Running::start("socks5", json!({}));
    let port = closed_address();
    let mut client = server.says(&[OPEN, (&request(0xf2, port), &reply(port, false))]).await;
    let opened_ended: [(&[u8], &[u8], &[u8]); 2] = [
        (b"\x01\0\0\0\x03\0\0\0", b"\x01\x02\x0b\0\x03\0\0\0hello-mbind", b"\x01\x01\0\0\x03\0\0\0"),
        (b"\x01\0\0\0\x05\0\0\0", b"\x01\x02\x06\0\x05\0\0\0second", b"\x01\x01\0\0\x05\0\0\0"),
    ];
    for (opened, data, ended) in opened_ended {
        let mut peer = TcpStream::connect(port).await.unwrap();
        let word = &data[8..];
        peer.write_all(word).await.unwrap();
        expect(&mut client, &[opened, data].concat()).await;
        client.write_all(data).await.unwrap();
        expect(&mut peer, word).await;
        peer.shutdown().await.unwrap();
        expect(&mut client, ended).await;
        client.write_all(ended).await.unwrap();
        assert_eq!(timeout(SOON, peer.read_to_end(&mut Vec::new())).await.unwrap().unwrap(), 0);
    }
    // Ten seconds after its beginning the session says that it lives.
    timeout(SOON, expect(&mut client, b"\x01\x03\0\0\0\0\0\0")).await.unwrap();
}
