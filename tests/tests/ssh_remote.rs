//! Ports of OpenSSH's server that forwards hold from afar: fixed and chosen ones, several on one session, back after an
//! outage, and taken over when they are freed.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use fairlead_tests::{
    binary::{Fairlead, Launch},
    clients::{First, ask, ask_times, half_close},
    deadline::{SOON, await_condition, until},
    ports,
    sshd::Sshd,
    targets::Target,
};

fn here(port: u16) -> ([u8; 4], u16) {
    ([127, 0, 0, 1], port)
}

/// Runs remote forwards through a server.
fn remote(sshd: &Sshd, listen: &[String]) -> Fairlead {
    let hop = sshd.hop();
    let mut arguments = vec!["run", "-o", "json"];
    arguments.extend(listen.iter().flat_map(|url| ["-L", url]));
    arguments.extend(["-F", &hop]);
    Launch::new(arguments).environment("HOME", "/nowhere").environment("SSH_AUTH_SOCK", "").start()
}

/// The far port of a forward, once it is held.
fn await_held(fairlead: &Fairlead, name: &str) -> u16 {
    let port = |object: &serde_json::Value| object.pointer("/status/addresses/0/port")?.as_u64();
    let object =
        fairlead.await_object("a far port", |object| object["metadata"]["name"] == name && port(object).is_some());
    assert_eq!(object["status"]["addresses"][0]["type"], "Remote", "{object}");
    port(&object).and_then(|port| u16::try_from(port).ok()).expect("a port")
}

#[test]
fn two_ports_of_one_session_serve_each_its_target_and_one_of_them_the_server_chose() {
    let Some(sshd) = Sshd::start() else { return };
    let (one, other, port) = (Target::letter('A'), Target::letter('B'), ports::free());
    let listen =
        [format!("rtcp://127.0.0.1:{port}/{}", one.address()), format!("rtcp://127.0.0.1:0/{}", other.address())];
    let fairlead = remote(&sshd, &listen);
    assert_eq!(await_held(&fairlead, &format!("rtcp-{port}")), port);
    let chosen = await_held(&fairlead, "rtcp-0");
    assert_eq!((ask_times(here(port), 5), ask_times(here(chosen), 5)), ("AAAAA".to_owned(), "BBBBB".to_owned()));
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "they share a session:\n{}", sshd.log());
}

#[test]
fn a_server_is_told_of_a_target_that_is_gone() {
    let Some(sshd) = Sshd::start() else { return };
    let (mut target, port) = (Target::letter('A'), ports::free());
    target.kill();
    let fairlead = remote(&sshd, &[format!("rtcp://127.0.0.1:{port}/{}", target.address())]);
    await_held(&fairlead, &format!("rtcp-{port}"));
    assert!(ask(here(port)).is_err());
    await_condition("the refusal in its log", SOON, || sshd.log().contains("open failed: connect failed"));
}

#[test]
fn a_half_close_comes_through_with_every_byte() {
    let Some(sshd) = Sshd::start() else { return };
    for first in [First::Client, First::Target] {
        let mut running = Vec::new();
        half_close(16 << 20, first, |target| {
            let port = ports::free();
            let fairlead = remote(&sshd, &[format!("rtcp://127.0.0.1:{port}/{target}")]);
            await_held(&fairlead, &format!("rtcp-{port}"));
            running.push(fairlead);
            port
        })
        .expect("both halves, whole");
    }
}

#[test]
fn a_port_is_back_within_two_seconds_of_its_servers_return() {
    const GONE: Duration = Duration::from_secs(8);
    let Some(mut sshd) = Sshd::start() else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    let fairlead = remote(&sshd, &[format!("rtcp://127.0.0.1:{port}/{}", target.address())]);
    await_held(&fairlead, &format!("rtcp-{port}"));
    assert_eq!(ask(here(port)).ok(), Some('A'));
    sshd.kill();
    until(Instant::now() + GONE, || assert!(ask(here(port)).is_err()));
    sshd.restart();
    await_condition("the port is back", Duration::from_secs(2), || ask(here(port)).is_ok());
}

#[test]
fn a_busy_port_is_stood_by_for_and_taken_within_ten_seconds_of_being_freed() {
    let Some(sshd) = Sshd::start() else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    let holder = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let fairlead = remote(&sshd, &[format!("rtcp://127.0.0.1:{port}/{}", target.address())]);
    fairlead.await_object("a standby", |object| object["status"]["proxies"]["standby"] == 1);
    drop(holder);
    await_condition("the port is taken", Duration::from_secs(10), || ask(here(port)).is_ok());
}

#[test]
fn a_stopped_forward_gives_its_port_back() {
    let Some(sshd) = Sshd::start() else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    let fairlead = remote(&sshd, &[format!("rtcp://127.0.0.1:{port}/{}", target.address())]);
    await_held(&fairlead, &format!("rtcp-{port}"));
    fairlead.terminate();
    await_condition("the port is free", Duration::from_secs(10), || TcpListener::bind(("127.0.0.1", port)).is_ok());
}
