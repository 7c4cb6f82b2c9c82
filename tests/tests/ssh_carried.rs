//! Proxies' protocols carried over SSH (`socks5+ssh` and the like), by a server of ours for a client of ours, and beside
//! GOST in both roles.

use std::{
    io::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use fairlead_tests::{
    carried::{Server, serve},
    clients::{First, ask, ask_times, dial, echo_both_ways, half_close, is_echoed, letter, open_many},
    datagrams::{self, client},
    deadline::{SOON, await_condition, until},
    far, ports,
    proxies::Proxy,
    skip::peer,
    sshd::{Sshd, is_dead, through},
    targets::{Behaviour, Target},
};
use rustix::process::Signal;

/// Every protocol that a hop speaks, with a login that it takes.
const CARRIED: [(&str, &str); 7] = [
    ("socks5+ssh", "ann:s3cret"),
    ("socks4+ssh", "ann:s3cret"),
    ("socks4a+ssh", "ann:s3cret"),
    ("http+ssh", "ann:s3cret"),
    ("relay+ssh", "ann:s3cret"),
    ("ssh", "ann:s3cret"),
    ("ss+ssh", "aes-256-gcm:s3cret"),
];

fn here(port: u16) -> ([u8; 4], u16) {
    ([127, 0, 0, 1], port)
}

#[test]
fn every_protocol_of_a_proxy_is_carried() {
    let target = Target::letter('A');
    for (scheme, login) in CARRIED {
        let server = Server::of(scheme, login);
        let (fairlead, port) = through(&[&server.hop(login)], &target.address().to_string());
        assert_eq!(ask_times(here(port), 5), "AAAAA", "{scheme}: {}", fairlead.printed());
        for printed in [fairlead.printed(), server.fairlead.printed()] {
            assert!(!printed.contains("s3cret"), "{scheme}: a password is shown");
        }
    }
}

#[test]
fn the_one_login_is_that_of_ssh() {
    let target = Target::letter('A');
    for scheme in ["socks5+ssh", "http+ssh", "relay+ssh", "socks4+ssh"] {
        let server = Server::of_key(scheme, str::to_owned);
        let (fairlead, port) = through(&[&server.hop_by("id")], &target.address().to_string());
        assert_eq!(ask_times(here(port), 3), "AAA", "{scheme}: {}", fairlead.printed());
        let (fairlead, port) = through(&[&server.hop_by("other")], &target.address().to_string());
        assert!(ask(here(port)).is_err());
        fairlead.await_object("a dead hop", |object| is_dead(object, &server.address(), "login as \"ann\" refused"));
    }
    let server = Server::of("socks5+ssh", "ann:s3cret");
    let (fairlead, port) = through(&[&server.hop("ann:guess")], &target.address().to_string());
    assert!(ask(here(port)).is_err());
    fairlead.await_object("a dead hop", |object| is_dead(object, &server.address(), "login as \"ann\" refused"));
}

#[test]
fn a_host_key_that_is_not_known_is_refused_before_anything_is_said() {
    let (target, server) = (Target::letter('A'), Server::of("socks5+ssh", "ann:s3cret"));
    server.keys.write("known_hosts", &server.known_by("other"));
    let (fairlead, port) = through(&[&server.hop("ann:s3cret")], &target.address().to_string());
    assert!(ask(here(port)).is_err());
    let (shown, known) = (server.keys.fingerprint("host"), server.keys.fingerprint("other"));
    fairlead.await_object("both fingerprints", |object| {
        is_dead(object, &server.address(), &shown) && is_dead(object, &server.address(), &known)
    });
}

#[test]
fn what_a_key_may_be_used_for_holds_for_what_is_carried() {
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    for (options, want) in [
        (String::new(), [Some('A'), Some('B')]),
        (format!("permitopen=\"{}\" ", a.address()), [Some('A'), None]),
        ("restrict ".to_owned(), [None, None]),
        ("restrict,port-forwarding ".to_owned(), [Some('A'), Some('B')]),
    ] {
        for scheme in ["socks5+ssh", "http+ssh"] {
            let server = Server::of_key(scheme, |key| format!("{options}{key}\n"));
            let got = [&a, &b].map(|target| {
                let (_fairlead, port) = through(&[&server.hop_by("id")], &target.address().to_string());
                ask(here(port)).ok()
            });
            assert_eq!(got, want, "{scheme} with {options:?}");
        }
    }
    let server = Server::of_key("socks5+ssh", |key| format!("permitlisten=\"127.0.0.1:1\" {key}\n"));
    let listen = format!("rtcp://127.0.0.1:{}/{}", ports::free(), a.address());
    let fairlead = far::begin(&listen, &[&server.hop_by("id")]);
    fairlead.await_object("a refusal", |object| object.to_string().contains("not allowed by its rules"));
}

#[test]
fn ports_at_the_far_end_are_held_over_ssh() {
    let (target, server) = (Target::letter('A'), Server::of("socks5+ssh", "ann:s3cret"));
    for option in ["", "&mbind=true"] {
        let hop = format!("{}{option}", server.hop("ann:s3cret"));
        let (forward, port) = far::forward("rtcp", &[&hop], target.address());
        assert_eq!(ask_times(here(port), 20), "A".repeat(20), "{option:?}: {}", forward.printed());
        drop(forward);
        await_condition("the port to be given back", SOON, || ports::listener_on(port).is_none());
    }
}

#[test]
fn datagrams_go_both_ways_over_ssh() {
    let (target, server) = (datagrams::Target::start('D'), Server::of("socks5+ssh", "ann:s3cret"));
    let relay = Server::of("relay+ssh", "ann:s3cret");
    for hop in [server.hop("ann:s3cret"), relay.hop("ann:s3cret")] {
        let port = ports::free();
        let fairlead = far::begin(&format!("udp://127.0.0.1:{port}/{}", target.address), &[&hop]);
        await_condition("a listener", SOON, || ports::takes_datagrams(port));
        assert_eq!(datagrams::letter(&client(port)), 'D', "{}", fairlead.printed());
    }
    let (_forward, port) = far::forward("rudp", &[&server.hop("ann:s3cret")], target.address);
    assert_eq!(datagrams::letter(&client(port)), 'D');
    for (option, hop) in [("&udp_associate=true", server.hop("ann:s3cret")), ("", "ss+ssh://chacha20:a@b:1".to_owned())]
    {
        let refused =
            fairlead_tests::binary::finish(&["run", "-L", "udp://127.0.0.1:53/a:1", "-F", &format!("{hop}{option}")]);
        assert!(refused.stderr.contains("not over SSH"), "{}", refused.stderr);
    }
}

#[test]
fn it_stands_behind_an_ssh_server_that_only_forwards_ports() {
    let Some(sshd) = Sshd::start() else { return };
    let (target, server) = (Target::letter('A'), Server::of("socks5+ssh", "ann:s3cret"));
    let (fairlead, port) = through(&[&sshd.hop(), &server.hop("ann:s3cret")], &target.address().to_string());
    assert_eq!(ask_times(here(port), 5), "AAAAA", "{}", fairlead.printed());
    // The other way round the chain goes on behind what is carried.
    let (fairlead, port) = through(&[&server.hop("ann:s3cret"), &sshd.hop()], &target.address().to_string());
    assert_eq!(ask_times(here(port), 5), "AAAAA", "{}", fairlead.printed());
}

#[test]
fn who_carries_nothing_and_who_forwards_nothing_say_so() {
    let Some(sshd) = Sshd::start() else { return };
    let target = Target::letter('A');
    let hop = sshd.hop().replace("forward+ssh", "socks5+ssh");
    let (fairlead, port) = through(&[&hop], &target.address().to_string());
    assert!(ask(here(port)).is_err());
    fairlead
        .await_object("what to write instead", |object| is_dead(object, &sshd.address(), "write a hop forward+ssh"));
    let server = Server::of_key("socks5+ssh", str::to_owned);
    let (fairlead, port) =
        through(&[&server.hop_by("id").replace("socks5+ssh", "forward+ssh")], &target.address().to_string());
    assert!(ask(here(port)).is_err());
    fairlead
        .await_object("what to write instead", |object| is_dead(object, &server.address(), "is written socks5+ssh"));
    let ssh = |arguments: &[&str]| {
        let mut command = Command::new("ssh");
        let known = server.keys.text_path("known_hosts");
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", &format!("UserKnownHostsFile={known}")]);
        command.args(["-p", &server.port.to_string(), "-i", &server.keys.text_path("id")]).args(arguments);
        let finished = command.arg("127.0.0.1").output().expect("run ssh");
        format!("{}{}", String::from_utf8_lossy(&finished.stdout), String::from_utf8_lossy(&finished.stderr))
    };
    let said = ssh(&[]);
    assert!(said.contains("carries a proxy's protocol and nothing else"), "{said}");
    let said = ssh(&["-W", &target.address().to_string()]);
    assert!(said.contains("unknown channel type"), "{said}");
    let said = ssh(&["-o", "ExitOnForwardFailure=yes", "-N", "-R", &format!("0:{}", target.address())]);
    assert!(said.contains("remote port forwarding failed"), "{said}");
}

#[test]
fn a_server_that_comes_back_serves_and_a_silent_one_is_left() {
    let (target, mut first) = (Target::letter('A'), Server::of("socks5+ssh", "ann:s3cret"));
    let (_fairlead, port) = through(&[&first.hop("ann:s3cret")], &target.address().to_string());
    assert_eq!(ask(here(port)).ok(), Some('A'));
    first.fairlead.signal(Signal::KILL);
    first.fairlead.await_exit(SOON);
    until(Instant::now() + Duration::from_secs(2), || assert!(ask(here(port)).is_err()));
    let url = format!(
        "socks5+ssh://ann:s3cret@127.0.0.1:{}?ssh_key={}&allow_targets=127.0.0.0/8",
        first.port,
        first.keys.text_path("host")
    );
    first.fairlead = serve(&url, first.port);
    await_condition("the forward is back", Duration::from_secs(2), || ask(here(port)).is_ok());

    let second = Server::of("socks5+ssh", "ann:s3cret");
    let known = first.keys.write("both", &(first.known_by("host") + &second.known_by("host")));
    let hop = format!(
        "socks5+ssh://ann:s3cret@{}?ip={},{}&strategy=fifo&ping=2&ssh_known_hosts={known}",
        first.address(),
        first.address(),
        second.address()
    );
    let (fairlead, port) = through(&[&hop], &target.address().to_string());
    let held = dial(here(port)).expect("a client");
    (&held).write_all(b"?").expect("ask");
    assert_eq!(letter(&held).ok(), Some('A'));
    first.fairlead.signal(Signal::STOP);
    let stopped = Instant::now();
    fairlead.await_object("the silent server, dead", |object| is_dead(object, &first.address(), "no longer answers"));
    assert!(stopped.elapsed() < Duration::from_secs(8), "after {:?}", stopped.elapsed());
    assert_eq!(ask_times(here(port), 5), "AAAAA", "by the other one");
    first.fairlead.signal(Signal::CONT);
}

#[test]
fn every_byte_comes_through_both_ways_and_half_closed() {
    let server = Server::of("socks5+ssh", "ann:s3cret");
    for first in [First::Client, First::Target] {
        let mut running = Vec::new();
        half_close(16 << 20, first, |target| {
            let (fairlead, port) = through(&[&server.hop("ann:s3cret")], &target.to_string());
            running.push(fairlead);
            port
        })
        .expect("both halves, whole");
    }
    let target = Target::start(Behaviour::Greet('G'));
    let (_fairlead, port) = through(&[&server.hop("ann:s3cret")], &target.address().to_string());
    let stream = dial(here(port)).expect("a client");
    assert_eq!(letter(&stream).ok(), Some('G'));
    echo_both_ways(&stream, 64 << 20);
}

#[test]
fn two_hundred_clients_are_carried_at_once() {
    let (target, server) = (Target::start(Behaviour::Greet('G')), Server::of("socks5+ssh", "ann:s3cret"));
    let (_fairlead, port) = through(&[&server.hop("ann:s3cret")], &target.address().to_string());
    let open = open_many(port, 200).expect("as many greetings");
    for (index, stream) in open.iter().enumerate() {
        assert!(is_echoed(stream, &format!("client {index}")), "client {index}");
    }
    drop(open);
    await_condition("all connections closed", SOON, || target.open() == 0);
}

/// A forward of GOST's through this hop, once it listens.
fn gost_through(program: &Path, scheme: &str, target: &str, hop: &str) -> (Proxy, u16) {
    let port = ports::free();
    let mut command = Command::new(program);
    command.args(["-L", &format!("{scheme}://127.0.0.1:{port}/{target}"), "-F", hop]);
    (Proxy::program(command, port), port)
}

#[test]
fn gost_carries_for_us() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let (target, echo) = (Target::letter('A'), datagrams::Target::start('D'));
    for (scheme, login) in CARRIED {
        let gost = Proxy::gost(&program, &format!("{scheme}://{login}@127.0.0.1:PORT"));
        let hop = format!("{scheme}://{login}@{}?secure=false", gost.address());
        let (fairlead, port) = through(&[&hop], &target.address().to_string());
        assert_eq!(ask_times(here(port), 5), "AAAAA", "{scheme}: {}", fairlead.printed());
        if scheme != "socks5+ssh" {
            continue;
        }
        let (fairlead, port) = far::forward("rtcp", &[&format!("{hop}&mbind=true")], target.address());
        assert_eq!(ask_times(here(port), 5), "AAAAA", "{}", fairlead.printed());
        let (_fairlead, port) = far::forward("rudp", &[&hop], echo.address);
        assert_eq!(datagrams::letter(&client(port)), 'D');
    }
}

#[test]
fn we_carry_for_gost() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::letter('A');
    for (scheme, login) in CARRIED {
        let server = Server::of(scheme, login);
        let hop = format!("{scheme}://{login}@{}", server.address());
        let (_gost, port) = gost_through(&program, "tcp", &target.address().to_string(), &hop);
        assert_eq!(ask_times(here(port), 5), "AAAAA", "{scheme}: {}", server.fairlead.printed());
        if scheme == "socks5+ssh" {
            let hop = format!("{hop}?mbind=true");
            let (_gost, port) = gost_through(&program, "rtcp", &target.address().to_string(), &hop);
            assert_eq!(ask_times(here(port), 5), "AAAAA", "{}", server.fairlead.printed());
        }
    }
}

#[test]
fn gost_with_a_key_is_let_in() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let (target, server) = (Target::letter('A'), Server::of_key("socks5+ssh", str::to_owned));
    let hop = format!("socks5+ssh://ann@{}?ssh_key={}", server.address(), server.keys.text_path("id"));
    let (_gost, port) = gost_through(&program, "tcp", &target.address().to_string(), &hop);
    assert_eq!(ask_times(here(port), 5), "AAAAA", "{}", server.fairlead.printed());
}
