//! Ports at the far end, between two of ours: every client served, also many at once, and back soon after an outage.

use std::{
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use fairlead_tests::{
    binary::Fairlead,
    clients::{First, ask, ask_times, half_close},
    deadline::{SOON, await_condition, until},
    ports,
    proxies::Proxy,
    targets::Target,
};

/// A SOCKS5 server of ours on a port.
fn server(port: u16) -> Fairlead {
    let server =
        Fairlead::run(&["run", "-L", &format!("socks5://127.0.0.1:{port}?anonymous=true&allow_targets=0.0.0.0/0")]);
    server.await_listening(port);
    server
}

/// A remote forward of ours, once the far end listens; with its port there.
fn forward(scheme: &str, hop: &str, target: SocketAddr) -> (Fairlead, u16) {
    let port = ports::free();
    let listen = format!("{scheme}://127.0.0.1:{port}/{target}");
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &listen, "-F", hop]);
    await_held(&fairlead, port);
    (fairlead, port)
}

fn await_held(fairlead: &Fairlead, port: u16) {
    let object = fairlead.await_object("the far end's port", |object| {
        object.pointer("/status/addresses/0/port").and_then(serde_json::Value::as_u64) == Some(port.into())
    });
    assert_eq!(object["status"]["addresses"][0]["type"], "Remote", "{object}");
}

fn hops(port: u16) -> [String; 3] {
    ["", "?mbind=true", "?notls=true"].map(|options| format!("socks5://127.0.0.1:{port}{options}"))
}

#[test]
fn a_hundred_clients_at_once_are_all_served() {
    let (target, socks5) = (Target::letter('A'), ports::free());
    let _server = server(socks5);
    for hop in hops(socks5) {
        let (_forward, port) = forward("rtcp", &hop, target.address());
        let clients: Vec<_> = (0..100).map(|_| thread::spawn(move || ask(([127, 0, 0, 1], port)).ok())).collect();
        let served = clients.into_iter().filter_map(|client| client.join().expect("a client")).count();
        assert_eq!(served, 100, "through {hop}");
    }
}

#[test]
fn a_server_that_knows_only_bind_serves_one_client_after_the_other() {
    let Some(dante) = Proxy::dante() else { return };
    let target = Target::letter('A');
    // It chooses another port each time, also where one was asked for.
    let (listen, hop) = (format!("rtcp://:0/{}", target.address()), format!("socks5://{}", dante.address()));
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &listen, "-F", &hop]);
    let port = || fairlead.objects().last()?["status"]["addresses"][0]["port"].as_u64();
    for number in 0..5 {
        await_condition(&format!("client {number}"), SOON, || {
            let port = port().and_then(|port| u16::try_from(port).ok());
            port.is_some_and(|port| ask(([127, 0, 0, 1], port)).ok() == Some('A'))
        });
    }
}

#[test]
fn a_half_close_comes_through_with_every_byte() {
    let socks5 = ports::free();
    let _server = server(socks5);
    for (hop, first) in hops(socks5).iter().zip([First::Client, First::Target, First::Client]) {
        let mut running = Vec::new();
        half_close(4 << 20, first, |target| {
            let (forward, port) = forward("rtcp", hop, target);
            running.push(forward);
            port
        })
        .unwrap_or_else(|error| panic!("through {hop}: {error:#}"));
    }
}

#[test]
fn after_an_outage_streams_and_datagrams_are_back_within_two_seconds() {
    let (target, socks5) = (Target::letter('A'), ports::free());
    let running = server(socks5);
    let hop = format!("socks5://127.0.0.1:{socks5}?mbind=true");
    let (_one, bind) = forward("rtcp", &format!("socks5://127.0.0.1:{socks5}"), target.address());
    let (_other, mbind) = forward("rtcp", &hop, target.address());
    let echo = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let (_datagrams, datagrams) = forward("rudp", &hop, echo.local_addr().expect("its address"));
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    thread::spawn(move || answer_all(&echo));
    assert!(is_echoed(&client, datagrams, SOON));
    drop(running);
    let outage = Instant::now() + Duration::from_secs(6);
    until(outage, || {});
    let _back = server(socks5);
    let begun = Instant::now();
    let limit = Duration::from_secs(2);
    assert!(is_echoed(&client, datagrams, limit), "datagrams");
    for port in [bind, mbind] {
        await_condition("streams", limit.saturating_sub(begun.elapsed()), || ask(([127, 0, 0, 1], port)).is_ok());
    }
}

#[test]
fn of_two_forwards_to_one_far_port_one_holds_it_and_the_other_takes_over() {
    let (target, socks5) = (Target::letter('A'), ports::free());
    let _server = server(socks5);
    let hop = format!("socks5://127.0.0.1:{socks5}?mbind=true");
    let (holder, port) = forward("rtcp", &hop, target.address());
    let listen = format!("rtcp://127.0.0.1:{port}/{}", target.address());
    let other = Fairlead::run(&["run", "-o", "json", "-L", &listen, "-F", &hop]);
    let object = other.await_object("a standby", |object| object["status"]["proxies"]["standby"] == 1);
    assert!(object["status"]["addresses"].is_null(), "{object}");
    drop(holder);
    await_held(&other, port);
    assert_eq!(ask_times(([127, 0, 0, 1], port), 3), "AAA");
}

fn answer_all(echo: &UdpSocket) {
    let mut buffer = [0; 2_048];
    while let Ok((count, peer)) = echo.recv_from(&mut buffer) {
        let _ = echo.send_to(&buffer[..count], peer);
    }
}

/// Asks the port until it answers or the limit has passed.
fn is_echoed(client: &UdpSocket, port: u16, limit: Duration) -> bool {
    client.set_read_timeout(Some(Duration::from_millis(50))).expect("a limit");
    let end = Instant::now() + limit;
    let mut buffer = [0; 64];
    while Instant::now() < end {
        let _ = client.send_to(b"word", ("127.0.0.1", port));
        if matches!(client.recv(&mut buffer), Ok(4)) {
            return true;
        }
    }
    false
}

#[test]
fn a_last_hop_that_can_not_listen_is_refused_by_name() {
    for (scheme, hop) in [("rtcp", "http"), ("rtcp", "forward"), ("rudp", "socks4"), ("rtcp", "ss")] {
        let hop = format!("{hop}://127.0.0.1:1080");
        let refused =
            fairlead_tests::binary::finish(&["run", "-L", &format!("{scheme}://:0/127.0.0.1:80"), "-F", &hop]);
        assert_ne!(refused.code, 0, "{refused:?}");
        assert!(refused.stderr.contains("needs a last hop that can listen"), "{}", refused.stderr);
    }
}
