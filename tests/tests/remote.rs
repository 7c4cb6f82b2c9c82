//! Ports at the far end, between two of ours: every client served, also many at once, and one holder at a time.

use std::thread;

use fairlead_tests::{
    binary::Fairlead,
    clients::{First, ask, ask_times, half_close},
    deadline::{SOON, await_condition},
    far::{await_held, forward, server},
    ports,
    proxies::Proxy,
    targets::Target,
};

fn hops(port: u16) -> [String; 3] {
    ["", "?mbind=true", "?notls=true"].map(|options| format!("socks5://127.0.0.1:{port}{options}"))
}

#[test]
fn a_hundred_clients_at_once_are_all_served() {
    let (target, socks5) = (Target::letter('A'), ports::free());
    let _server = server(socks5);
    for hop in hops(socks5) {
        let (_forward, port) = forward("rtcp", &[&hop], target.address());
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
        await_condition(format!("client {number}"), SOON, || {
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
            let (forward, port) = forward("rtcp", &[hop], target);
            running.push(forward);
            port
        })
        .unwrap_or_else(|error| panic!("through {hop}: {error:#}"));
    }
}

#[test]
fn of_two_forwards_to_one_far_port_one_holds_it_and_the_other_takes_over() {
    let (target, socks5) = (Target::letter('A'), ports::free());
    let _server = server(socks5);
    let hop = format!("socks5://127.0.0.1:{socks5}?mbind=true");
    let (holder, port) = forward("rtcp", &[&hop], target.address());
    let listen = format!("rtcp://127.0.0.1:{port}/{}", target.address());
    let other = Fairlead::run(&["run", "-o", "json", "-L", &listen, "-F", &hop]);
    let object = other.await_object("a standby", |object| object["status"]["proxies"]["standby"] == 1);
    assert!(object["status"]["addresses"].is_null(), "{object}");
    drop(holder);
    await_held(&other, port);
    assert_eq!(ask_times(([127, 0, 0, 1], port), 3), "AAA");
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
