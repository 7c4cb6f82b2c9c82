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
    objects::node_state,
    passage::Passage,
    ports,
    proxies::Proxy,
    sshd::Sshd,
    targets::Target,
};

/// When a hop that vanished is noticed at the latest.
const NOTICED: Duration = Duration::from_secs(45);
/// What a timer may be late by, and an attempt takes.
const GRACE: Duration = Duration::from_secs(4);

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

/// Servers of ours that connect onward, by the hop to go through each.
fn first_hops() -> (Vec<Fairlead>, Vec<String>) {
    let schemes = ["socks5://", "http://", "relay://", "ss://aes-256-gcm:s3cret@"];
    let serve = |scheme: &str| {
        let (port, is_ss) = (ports::free(), scheme.starts_with("ss"));
        let options = if is_ss { "" } else { "anonymous=true&" };
        let url = format!("{scheme}127.0.0.1:{port}?{options}allow_targets=127.0.0.0/8");
        let server = Fairlead::run(&["run", "-L", &url]);
        server.await_listening(port);
        (server, format!("{scheme}127.0.0.1:{port}"))
    };
    schemes.map(serve).into_iter().unzip()
}

/// Nobody but the first hop can know of it, unless something is asked of the second one end to end.
#[test]
#[allow(clippy::print_stderr, reason = "when it is noticed is what the test is about")]
fn a_second_hop_that_vanishes_behind_a_living_first_one_is_noticed_within_45_seconds() {
    let (target, echo) = (Target::letter('A'), datagrams::Target::start('A'));
    let (socks5, (_servers, firsts)) = (ports::free(), first_hops());
    let _second = far::server(socks5);
    let passage = Passage::to(socks5);
    let [plain, mbind] = ["", "?mbind=true"].map(|options| format!("socks5://127.0.0.1:{}{options}", passage.port));
    let names = ["rtcp behind socks5", "rtcp behind http", "rtcp behind relay", "rtcp behind ss"];
    let streams = names.into_iter().zip(&firsts);
    let mut ways: Vec<Way> =
        streams.map(|(name, first)| remote(name, "rtcp", &[first, &plain], target.address())).collect();
    ways.push(remote("rudp behind socks5", "rudp", &[&firsts[0], &plain], echo.address));
    ways.push(remote("rtcp with MBIND behind socks5", "rtcp", &[&firsts[0], &mbind], target.address()));
    // Of others no keep-alive is asked: here it is the session that notices.
    let others = Proxy::microsocks(None);
    ways.extend(others.iter().map(|first| {
        let first = format!("socks5://{}", first.address());
        remote("rtcp with MBIND behind microsocks", "rtcp", &[&first, &mbind], target.address())
    }));
    for way in &ways {
        await_condition(way.name, SOON, || way.client.is_answered());
    }
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

/// What is under way to a far hop is sent again and again by the hop before, which says nothing of it.
#[test]
#[allow(clippy::print_stderr, reason = "when it is noticed is what the test is about")]
fn a_second_hop_that_vanishes_under_datagrams_is_noticed_within_45_seconds_whoever_is_before_it() {
    let (echo, socks5, (_servers, firsts)) = (datagrams::Target::start('A'), ports::free(), first_hops());
    let _second = far::server(socks5);
    let passage = Passage::to(socks5);
    let second = format!("socks5://127.0.0.1:{}?timeout=2s", passage.port);
    let others = Proxy::microsocks(None).map(|first| (format!("socks5://{}", first.address()), first));
    let mut ways = vec![
        remote("rudp behind ours", "rudp", &[&firsts[0], &second], echo.address),
        local_datagrams("udp behind ours", &[&firsts[0], &second], echo.address),
    ];
    if let Some((first, _)) = &others {
        ways.push(remote("rudp behind microsocks", "rudp", &[first, &second], echo.address));
        ways.push(local_datagrams("udp behind microsocks", &[first, &second], echo.address));
    }
    for way in &ways {
        await_condition(way.name, SOON, || way.client.is_answered());
    }
    passage.close();
    let (closed, hop) = (Instant::now(), format!("127.0.0.1:{}", passage.port));
    let mut left: Vec<&Way> = ways.iter().collect();
    await_condition("every forward to notice", NOTICED + GRACE, || {
        left.retain(|way| {
            way.client.send();
            let is_noticed =
                way.fairlead.objects().last().is_some_and(|object| node_state(object, &hop) == Some("Dead"));
            if is_noticed {
                eprintln!("{}: noticed {:.2?} after its far hop had vanished", way.name, closed.elapsed());
            }
            !is_noticed
        });
        left.is_empty()
    });
    passage.open();
    let opened = Instant::now();
    for way in &ways {
        await_condition(way.name, Duration::from_secs(30), || way.client.is_answered());
    }
    eprintln!("all are served {:.2?} after its return", opened.elapsed());
}
