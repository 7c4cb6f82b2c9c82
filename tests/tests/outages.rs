//! Far ends that go and come back: how soon their clients are served again, those of streams and of datagrams alike.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use fairlead_tests::{
    binary::Fairlead,
    datagrams,
    deadline::{SOON, await_condition, until},
    far::{self, Client},
    passage::Passage,
    ports,
    proxies::Proxy,
    sshd::{self, Sshd},
    targets::Target,
};

/// When a hop that vanished is noticed at the latest.
const NOTICED: Duration = Duration::from_secs(45);
/// What a timer may be late by, and an attempt takes.
const GRACE: Duration = Duration::from_secs(8);

/// A way through a far end, and who asks there.
struct Way {
    name: &'static str,
    fairlead: Fairlead,
    client: Client,
    /// Whether it goes through the SSH server, and not through ours.
    by_ssh: bool,
}

fn remote(name: &'static str, scheme: &str, hops: &[&str], target: SocketAddr) -> Way {
    let (fairlead, port) = far::forward(scheme, hops, target);
    let client = if scheme == "rudp" { Client::of_datagrams(port) } else { Client::Streams(port) };
    Way { name, fairlead, client, by_ssh: hops[0].contains("+ssh") }
}

fn local_datagrams(name: &'static str, hops: &[&str], target: SocketAddr) -> Way {
    let port = ports::free();
    let fairlead = far::begin(&format!("udp://127.0.0.1:{port}/{target}"), hops);
    Way { name, fairlead, client: Client::of_datagrams(port), by_ssh: false }
}

/// Takes the far ends away for so long, and asks how soon after their return each way's clients are served.
#[allow(clippy::print_stderr, reason = "how soon they are served is what the tests are about")]
fn outage(length: Duration, limit: Duration) {
    let (target, echo, socks5) = (Target::letter('A'), datagrams::Target::start('A'), ports::free());
    let (running, mut sshd) = (far::server(socks5), Sshd::start());
    let [plain, mbind] = ["", "?mbind=true"].map(|options| format!("socks5://127.0.0.1:{socks5}{options}"));
    let mut ways = vec![
        remote("rtcp with BIND", "rtcp", &[&plain], target.address()),
        remote("rtcp with MBIND", "rtcp", &[&mbind], target.address()),
        remote("rudp", "rudp", &[&plain], echo.address),
        local_datagrams("local UDP", &[&plain], echo.address),
    ];
    ways.extend(sshd.iter().map(|sshd| remote("rtcp over SSH", "rtcp", &[&sshd.hop()], target.address())));
    for way in &ways {
        await_condition(way.name, SOON, || way.client.is_answered());
    }
    drop(running);
    sshd.iter_mut().for_each(Sshd::kill);
    until(Instant::now() + length, || {
        for way in &ways {
            way.client.send();
        }
    });
    for way in &ways {
        assert!(!way.client.is_answered(), "{} without a far end", way.name);
    }
    let _back = far::server(socks5);
    let socks5_is_back = Instant::now();
    sshd.iter_mut().for_each(Sshd::restart);
    let sshd_is_back = Instant::now();
    thread::scope(|scope| {
        for way in &ways {
            let back = if way.by_ssh { sshd_is_back } else { socks5_is_back };
            scope.spawn(move || {
                await_condition(way.name, limit.saturating_sub(back.elapsed()), || way.client.is_answered());
                eprintln!("{}: served {:.2?} after the return from {length:?}", way.name, back.elapsed());
            });
        }
    });
}

#[test]
fn after_two_minutes_streams_and_datagrams_are_back_within_thirty_seconds() {
    outage(Duration::from_secs(120), Duration::from_secs(30));
}

#[test]
fn after_six_seconds_streams_and_datagrams_are_back_within_two() {
    outage(Duration::from_secs(6), Duration::from_secs(2));
}

/// A server of ours, on a port of its own.
fn served(scheme: &str) -> (Fairlead, u16) {
    let (port, anonymous) = (ports::free(), if scheme.starts_with("ss") { "" } else { "anonymous=true&" });
    let url = format!("{scheme}127.0.0.1:{port}?{anonymous}allow_targets=127.0.0.0/8");
    let server = Fairlead::run(&["run", "-L", &url]);
    server.await_listening(port);
    (server, port)
}

/// Remote forwards whose second hop is behind this passage to a SOCKS5 server, by first hops of ours and another's.
fn ways_behind(passage: &Passage, servers: &mut Vec<Fairlead>, target: SocketAddr, echo: SocketAddr) -> Vec<Way> {
    let [plain, mbind] = ["", "?mbind=true"].map(|options| format!("socks5://127.0.0.1:{}{options}", passage.port));
    let mut ways = Vec::new();
    for (name, scheme) in [
        ("rtcp behind socks5", "socks5://"),
        ("rtcp behind http", "http://"),
        ("rtcp behind relay", "relay://"),
        ("rtcp behind ss", "ss://aes-256-gcm:s3cret@"),
    ] {
        let (server, port) = served(scheme);
        servers.push(server);
        let first = format!("{scheme}127.0.0.1:{port}");
        ways.push(remote(name, "rtcp", &[&first, &plain], target));
        if scheme == "socks5://" {
            ways.push(remote("rudp behind socks5", "rudp", &[&first, &plain], echo));
            ways.push(remote("rtcp with MBIND behind socks5", "rtcp", &[&first, &mbind], target));
        }
    }
    ways
}

/// Nobody but the first hop can know of it, unless something is asked of the second one end to end.
#[test]
#[allow(clippy::print_stderr, reason = "when it is noticed is what the test is about")]
fn a_second_hop_that_vanishes_behind_a_living_first_one_is_noticed_within_45_seconds() {
    let (target, echo) = (Target::letter('A'), datagrams::Target::start('A'));
    let (second, socks5) = served("socks5://");
    let (mut servers, passage) = (vec![second], Passage::to(socks5));
    let mut ways = ways_behind(&passage, &mut servers, target.address(), echo.address);
    // Others ask for no keep-alive: here it is the session that notices.
    let (others, sshd) = (Proxy::microsocks(None), Sshd::start());
    let to_sshd = sshd.as_ref().map(|sshd| Passage::to(sshd.port));
    if let Some(first) = others.as_ref().map(|first| format!("socks5://{}", first.address())) {
        let mbind = format!("socks5://127.0.0.1:{}?mbind=true", passage.port);
        ways.push(remote("rtcp with MBIND behind microsocks", "rtcp", &[&first, &mbind], target.address()));
        ways.extend(sshd.iter().zip(&to_sshd).map(|(sshd, passage)| {
            let (user, key) = (sshd::user(), sshd.keys.text_path("id"));
            let second = format!("forward+ssh://{user}@127.0.0.1:{}?ssh_key={key}&secure=false", passage.port);
            remote("rtcp over SSH behind microsocks", "rtcp", &[&first, &second], target.address())
        }));
    }
    for way in &ways {
        await_condition(way.name, SOON, || way.client.is_answered());
    }
    to_sshd.iter().for_each(Passage::vanish);
    passage.vanish();
    let vanished = Instant::now();
    thread::scope(|scope| {
        for way in &ways {
            scope.spawn(move || {
                await_condition(way.name, NOTICED + GRACE, || way.client.is_answered());
                let lost_for = vanished.elapsed();
                eprintln!("{}: served {lost_for:.2?} after its far hop had vanished", way.name);
                assert!(lost_for > Duration::from_secs(10), "{} was lost at all", way.name);
            });
        }
    });
}

/// Whether the second hop is dead, as far as the forward has said.
fn has_noticed(way: &Way) -> bool {
    let objects = way.fairlead.objects();
    let nodes = objects.last().and_then(|object| object.pointer("/status/nodes")?.as_array());
    nodes.is_some_and(|nodes| nodes.iter().any(|node| node["hop"] == 2 && node["state"] == "Dead"))
}

/// What is under way to a far hop is sent again and again by the hop before, which says nothing of it.
#[test]
#[allow(clippy::print_stderr, reason = "when it is noticed is what the test is about")]
fn a_second_hop_that_vanishes_under_datagrams_is_noticed_within_45_seconds_whoever_is_before_it() {
    let echo = datagrams::Target::start('A');
    let [(_first, first), (_socks5, socks5), (_relay, relay)] = ["socks5://", "socks5://", "relay://"].map(served);
    let passages = [Passage::to(socks5), Passage::to(relay)];
    let [socks5, relay] = [("socks5", 0), ("relay", 1)]
        .map(|(scheme, index)| format!("{scheme}://127.0.0.1:{}?timeout=2s", passages[index].port));
    let (first, others) = (format!("socks5://127.0.0.1:{first}"), Proxy::microsocks(None));
    let mut ways = vec![
        remote("rudp behind ours", "rudp", &[&first, &socks5], echo.address),
        local_datagrams("udp by socks5 behind ours", &[&first, &socks5], echo.address),
        local_datagrams("udp by relay behind ours", &[&first, &relay], echo.address),
    ];
    if let Some(first) = others.as_ref().map(|first| format!("socks5://{}", first.address())) {
        ways.push(remote("rudp behind microsocks", "rudp", &[&first, &socks5], echo.address));
        ways.push(local_datagrams("udp by socks5 behind microsocks", &[&first, &socks5], echo.address));
        ways.push(local_datagrams("udp by relay behind microsocks", &[&first, &relay], echo.address));
    }
    for way in &ways {
        await_condition(way.name, SOON, || way.client.is_answered());
    }
    passages.iter().for_each(Passage::close);
    let (closed, mut left) = (Instant::now(), ways.iter().collect::<Vec<_>>());
    await_condition("every forward to notice", NOTICED + GRACE, || {
        left.retain(|way| {
            way.client.send();
            !has_noticed(way)
        });
        left.is_empty()
    });
    eprintln!("all have noticed {:.2?} after their far hop had vanished", closed.elapsed());
    passages.iter().for_each(Passage::open);
    for way in &ways {
        await_condition(way.name, Duration::from_secs(30), || way.client.is_answered());
    }
}
