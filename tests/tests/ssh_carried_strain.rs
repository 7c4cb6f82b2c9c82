//! What a proxy's protocol over SSH costs in the long run: channels that come and go, sessions whose connection is lost,
//! and clients that open channels for nothing.

use std::time::Duration;

use fairlead_tests::{
    carried::Server,
    clients::{ask, ask_times},
    deadline::await_condition,
    passage::Passage,
    sshd::through,
    targets::Target,
};

fn here(port: u16) -> ([u8; 4], u16) {
    ([127, 0, 0, 1], port)
}

#[test]
fn channels_that_have_ended_leave_nothing_behind_at_either_end() {
    const CHANNELS: usize = 2_500;
    let target = Target::letter('A');
    for scheme in ["socks5+ssh", "forward+ssh"] {
        let server = Server::of(scheme, "ann:s3cret");
        let (fairlead, port) = through(&[&server.hop("ann:s3cret")], &target.address().to_string());
        let resident = || [fairlead.resident(), server.fairlead.resident()];
        assert_eq!(ask_times(here(port), CHANNELS / 4), "A".repeat(CHANNELS / 4));
        let before = resident();
        assert_eq!(ask_times(here(port), CHANNELS), "A".repeat(CHANNELS));
        let grown = resident().iter().zip(before).map(|(now, before)| now.saturating_sub(before)).max();
        assert!(grown < Some(CHANNELS as u64 * 1_500), "{scheme}: by {grown:?} bytes");
    }
}

#[test]
fn a_session_whose_connection_is_lost_is_left_by_the_next_client() {
    let (target, server) = (Target::letter('A'), Server::of("socks5+ssh", "ann:s3cret"));
    let passage = Passage::to(server.port);
    let known = format!("[127.0.0.1]:{} {}\n", passage.port, server.keys.public("host"));
    let hop = format!(
        "socks5+ssh://ann:s3cret@127.0.0.1:{}?timeout=1s&ssh_known_hosts={}",
        passage.port,
        server.keys.write("known_too", &known)
    );
    let (fairlead, port) = through(&[&hop], &target.address().to_string());
    assert_eq!(ask(here(port)).ok(), Some('A'));
    passage.vanish();
    let soon = Duration::from_secs(10);
    await_condition("another session", soon, || ask(here(port)).is_ok());
    assert_eq!(ask_times(here(port), 5), "AAAAA", "{}", fairlead.printed());
}
