//! The servers beside SOCKS5, by hand-written bytes and by the client halves of the same protocols.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use fairlead_config::{HostPort, url::Secret};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::tests::{Running, assert_echoes, echo, logins, request};
use crate::{
    protocol::{
        relay::{Request, Status},
        ss::SsStream,
        ss_cipher::Key,
    },
    secrets::Login,
    testing::closed_address,
};

const SOCKS5: (&[u8], &[u8]) = (b"\x05\x02\x00\x02", b"\x05\x00");
const SOCKS5_DONE: &[u8] = b"\x05\x00\x00\x01\0\0\0\0\0\0";

fn socks4(address: SocketAddr) -> Vec<u8> {
    let std::net::IpAddr::V4(ip) = address.ip() else { panic!("IPv6") };
    [&[4, 1][..], &address.port().to_be_bytes(), &ip.octets(), b"ann\0"].concat()
}

/// A web server that answers each request with its head, and closes only when asked to.
async fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n", head.len());
                stream.write_all(answer.as_bytes()).await?;
                stream.write_all(&head).await?;
                stream.read_to_end(&mut Vec::new()).await
            });
        }
    });
    address
}

/// The head of an answer and as much of its body as it announces.
async fn answer(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn an_http_server_connects_and_what_follows_is_the_targets() {
    for scheme in ["http", "auto"] {
        let server = Running::start(scheme, json!({}));
        let target = echo().await;
        let mut stream = server.connect().await;
        // Nothing forbids a client to send on at once.
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nearly");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (head, _) = answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let mut early = [0; 5];
        stream.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"early");
        assert_echoes(&mut stream, b"hello").await;
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn an_http_server_forwards_one_request_after_the_other_wherever_they_go() {
    let server = Running::start("http", json!({}));
    let mut stream = server.connect().await;
    for path in ["/a?b=c", "/d"] {
        let web = web().await;
        let request = format!(
            "GET http://{web}{path} HTTP/1.1\r\nHost: wrong.example\r\nProxy-Connection: keep-alive\r\n\
             Proxy-Authorization: Basic c2VjcmV0OnNlY3JldA==\r\nAccept: */*\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 200 ok"), "{head}");
        assert!(body.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{body}");
        let body = body.to_ascii_lowercase();
        assert!(body.contains(&format!("host: {web}\r\n")) && body.contains("connection: close"), "{body}");
        assert!(!body.contains("proxy-") && !body.contains("wrong.example"), "{body}");
    }
    let stats = server.engine.stats().remove(0);
    assert!(stats.bytes_to_upstream > 100 && stats.bytes_to_client > 200, "{stats:?}");
}

#[tokio::test]
async fn an_http_server_refuses_with_a_status_that_says_why() {
    let server = Running::start("http", json!({}));
    let closed = closed_address();
    for (request, status) in [
        (format!("CONNECT {closed} HTTP/1.1\r\n\r\n"), 502),
        ("CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n".to_owned(), 403),
        ("GET http://[fe80::1]/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 403),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET http://{closed}/ HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(100_000)), 431),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let (head, _) = answer(&mut stream).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
    }
}

#[tokio::test]
async fn an_http_server_with_users_asks_each_client_who_it_is() {
    let users = json!({"server": {"users": {"directory": "memory:/s/logins"}}});
    let server = Running::with_files("http", users, logins("ann:s3cret\n"));
    let target = echo().await;
    for (login, status) in [
        ("", 407),
        ("Proxy-Authorization: Basic YW5uOm5vcGU=\r\n", 407),
        ("Proxy-Authorization: Basic YW5uOnMzY3JldA==\r\n", 200),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(format!("CONNECT {target} HTTP/1.1\r\n{login}\r\n").as_bytes()).await.unwrap();
        let (head, _) = answer(&mut stream).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
        assert_eq!(head.contains("proxy-authenticate: basic realm"), status == 407, "{head}");
    }
}

#[tokio::test]
async fn an_auto_server_speaks_what_its_client_speaks() {
    let server = Running::start("auto", json!({}));
    let target = echo().await;
    let mut five = server.says(&[SOCKS5, (&request(1, target), SOCKS5_DONE)]).await;
    assert_echoes(&mut five, b"five").await;
    let mut four = server.says(&[(&socks4(target), b"\0\x5a\0\0\0\0\0\0")]).await;
    assert_echoes(&mut four, b"four").await;
    for noise in [b"\x16\x03\x01".as_slice(), b"\x00", b"\xff"] {
        let mut stream = server.connect().await;
        stream.write_all(noise).await.unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap_or_default(), 0);
    }
    server.engine.set_secrets(logins("ann:s3cret\n"));
    server.apply(json!({"server": {"users": {"directory": "memory:/s/logins"}}}));
    server.says(&[(&socks4(target), b"\0\x5d\0\0\0\0\0\0")]).await;
}

#[tokio::test]
async fn a_socks4_server_takes_addresses_and_names() {
    let server = Running::start("socks4a", json!({}));
    let target = echo().await;
    let by_name = [b"\x04\x01".as_slice(), &target.port().to_be_bytes(), b"\0\0\0\x01\0localhost\0"].concat();
    for asks in [socks4(target), by_name] {
        let mut stream = server.says(&[(&asks, b"\0\x5a\0\0\0\0\0\0")]).await;
        assert_echoes(&mut stream, b"hello").await;
    }
    let forbidden = socks4("169.254.1.1:80".parse().unwrap());
    server.says(&[(&forbidden, b"\0\x5b\0\0\0\0\0\0")]).await;
}

#[tokio::test]
async fn an_sni_server_sends_a_request_on_as_it_came() {
    let server = Running::start("sni", json!({}));
    let web = web().await;
    let mut stream = server.connect().await;
    stream.write_all(format!("GET /x HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", web.port()).as_bytes()).await.unwrap();
    let (_, body) = answer(&mut stream).await;
    assert_eq!(body, format!("GET /x HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", web.port()));
}

#[tokio::test]
async fn a_relay_server_connects_and_carries_datagrams_for_those_it_knows() {
    let users = json!({"server": {"users": {"directory": "memory:/s/logins"}}});
    let server = Running::with_files("relay", users, logins("ann:s3cret\n"));
    let target = echo().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let login = |password: &str| Some(Login { user: "ann".to_owned(), password: Secret::new(password) });
    let ask = |login: Option<Login>, address: SocketAddr, datagrams: bool| {
        let address = Some(HostPort::new(address.ip().to_string(), address.port()));
        Request { datagrams, login, address }.encode().unwrap()
    };
    let ok = Status::Ok.encode();
    let mut stream = server.says(&[(&ask(login("s3cret"), target, false), &ok)]).await;
    assert_echoes(&mut stream, b"hello").await;
    for wrong in [login("nope"), None] {
        server.says(&[(&ask(wrong, target, false), &Status::Unauthorized.encode())]).await;
    }
    let forbidden = ask(login("s3cret"), "169.254.1.1:80".parse().unwrap(), false);
    server.says(&[(&forbidden, &Status::Forbidden.encode())]).await;
    let nowhere = Request { login: login("s3cret"), ..Request::default() }.encode().unwrap();
    server.says(&[(&nowhere, &Status::BadRequest.encode())]).await;
    let mut stream = server.says(&[(&ask(login("s3cret"), socket.local_addr().unwrap(), true), &ok)]).await;
    stream.write_all(b"\0\x02hi\0\0").await.unwrap();
    let mut buffer = [0; 16];
    let (count, from) = socket.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..count], b"hi");
    assert_eq!(socket.recv_from(&mut buffer).await.unwrap().0, 0, "an empty one, too");
    socket.send_to(b"answer", from).await.unwrap();
    let mut got = [0; 8];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"\0\x06answer");
}

#[tokio::test]
async fn a_shadowsocks_server_serves_who_has_its_key() {
    let users = json!({"server": {"users": {"directory": "memory:/s/logins"}}});
    for cipher in ["chacha20-ietf-poly1305", "aes-256-gcm", "chacha20"] {
        let server = Running::with_files("ss", users.clone(), logins(&format!("{cipher}:s3cret\n")));
        let target = echo().await;
        let key = Key::of(&Login { user: cipher.to_owned(), password: Secret::new("s3cret") }).unwrap();
        let mut stream = SsStream::new(server.connect().await, key);
        stream.write_all(&request(1, target)[3..]).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        let mut got = [0; 5];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello", "{cipher}");
    }
}
