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
    ports,
    sshd::Sshd,
    targets::Target,
};

/// A way through a far end, and who asks there.
struct Way {
    name: &'static str,
    _fairlead: Fairlead,
    client: Client,
    /// Whether it goes through the SSH server, and not through ours.
    by_ssh: bool,
}

fn remote(name: &'static str, scheme: &str, hop: &str, target: SocketAddr) -> Way {
    let (fairlead, port) = far::forward(scheme, &[hop], target);
    let client = if scheme == "rudp" { Client::of_datagrams(port) } else { Client::Streams(port) };
    Way { name, _fairlead: fairlead, client, by_ssh: hop.contains("+ssh") }
}

fn local_datagrams(hop: &str, target: SocketAddr) -> Way {
    let port = ports::free();
    let fairlead = far::begin(&format!("udp://127.0.0.1:{port}/{target}"), &[hop]);
    Way { name: "local UDP", _fairlead: fairlead, client: Client::of_datagrams(port), by_ssh: false }
}

/// Takes the far ends away for so long, and asks how soon after their return each way's clients are served.
#[allow(clippy::print_stderr, reason = "how soon they are served is what the tests are about")]
fn outage(length: Duration, limit: Duration) {
    let (target, echo, socks5) = (Target::letter('A'), datagrams::Target::start('A'), ports::free());
    let (running, mut sshd) = (far::server(socks5), Sshd::start());
    let [plain, mbind] = ["", "?mbind=true"].map(|options| format!("socks5://127.0.0.1:{socks5}{options}"));
    let mut ways = vec![
        remote("rtcp with BIND", "rtcp", &plain, target.address()),
        remote("rtcp with MBIND", "rtcp", &mbind, target.address()),
        remote("rudp", "rudp", &plain, echo.address),
        local_datagrams(&plain, echo.address),
    ];
    ways.extend(sshd.iter().map(|sshd| remote("rtcp over SSH", "rtcp", &sshd.hop(), target.address())));
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
