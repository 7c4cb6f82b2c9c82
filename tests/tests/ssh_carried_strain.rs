//! What a proxy's protocol over SSH costs in the long run: channels that come and go, sessions whose connection is lost,
//! and clients that open channels for nothing.

use std::{io::Write, sync::Arc, time::Duration};

use fairlead_tests::{
    carried::Server,
    clients::{ask, ask_times, dial, letter},
    deadline::{SOON, await_condition},
    passage::Passage,
    sshd::{is_dead, through},
    targets::Target,
};
use russh::{Channel, client, keys::PublicKeyOrCertificate};
use tokio::{io::AsyncWriteExt, runtime::Runtime};

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

#[test]
fn an_idle_session_keeps_no_server_from_ending() {
    let target = Target::letter('A');
    for scheme in ["socks5+ssh", "forward+ssh"] {
        let mut server = Server::of(scheme, "ann:s3cret");
        let (_fairlead, port) = through(&[&server.hop("ann:s3cret")], &target.address().to_string());
        assert_eq!(ask(here(port)).ok(), Some('A'));
        await_condition("the first client to be gone", SOON, || target.open() == 0);
        let held = dial(here(port)).expect("a client");
        await_condition("the client to be connected", SOON, || target.open() == 1);
        server.fairlead.terminate();
        server.fairlead.await_log("waiting for open connections");
        (&held).write_all(b"?").expect("ask");
        assert_eq!(letter(&held).ok(), Some('A'), "{scheme}: it goes on to its end");
        drop(held);
        // The time that open connections are given is 30 s.
        assert_eq!(server.fairlead.await_exit(Duration::from_secs(15)), 0, "{scheme}");
    }
}

/// A client of SSH that takes whatever key it is shown.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Opens channels for nothing: some are left silent, some in the middle of a word, and some carry noise.
async fn abuse(session: &client::Handle<Trusting>, times: usize) -> Vec<Channel<client::Msg>> {
    let mut left = Vec::new();
    for turn in 0..times {
        let channel = session.channel_open_unknown("gost-tunnel").await.expect("a channel");
        let words: &[u8] = match turn % 5 {
            0 => b"",
            1 => b"\x05\x02",
            2 => b"\x05\x01\x00\x05\x01\x00\x03\xff",
            3 => b"GET / HTTP/1.1\r\n\r\n",
            _ => &[0xff; 4096],
        };
        // It may have been closed already.
        let _ = channel.make_writer().write_all(words).await;
        if turn % 2 == 0 {
            left.push(channel);
        } else {
            channel.close().await.expect("a session");
        }
    }
    left
}

#[test]
fn noise_and_silence_leave_memory_and_neighbours_as_they_were() {
    let (target, server) = (Target::letter('A'), Server::of("socks5+ssh", "ann:s3cret"));
    let (fairlead, port) = through(&[&server.hop("ann:s3cret")], &target.address().to_string());
    let held = dial(here(port)).expect("a client");
    await_condition("the client to be connected", SOON, || target.open() == 1);
    let noise = |times: usize| {
        for turn in 0..times {
            let mut stream = dial(here(server.port)).expect("a connection");
            let words: &[u8] =
                [b"".as_slice(), b"\x05\x01\x00", b"SSH-2.0-x\r\n", b"SSH-2.0-x\r\n\xff garbage"][turn % 4];
            // It may have been closed already.
            let _ = stream.write_all(words);
        }
    };
    let runtime = Runtime::new().expect("a runtime");
    let round = |times: usize| {
        noise(times);
        runtime.block_on(async {
            let mut session = client::connect(Arc::default(), server.address(), Trusting).await.expect("a session");
            let login = session.authenticate_password("ann", "s3cret").await.expect("an answer");
            assert!(login.success());
            drop(abuse(&session, times).await);
        });
        assert_eq!(ask_times(here(port), 3), "AAA", "{}", fairlead.printed());
    };
    round(1_000);
    let before = server.fairlead.resident();
    (0..3).for_each(|_| round(1_000));
    await_condition("memory to be as it was", SOON, || server.fairlead.resident() < before + (6 << 20));
    (&held).write_all(b"?").expect("ask");
    assert_eq!(letter(&held).ok(), Some('A'), "who was there is served on");
}

#[test]
fn who_speaks_another_protocol_is_told_so() {
    let (target, server) = (Target::letter('A'), Server::of("socks5+ssh", "ann:s3cret"));
    let (held, held_by) = through(&[&server.hop("ann:s3cret")], &target.address().to_string());
    let plain = format!("socks5://{}", server.address());
    let within = |scheme| server.hop("ann:s3cret").replace("socks5+ssh", scheme);
    for (hop, words) in [
        (within("http+ssh"), "closed the connection in the handshake"),
        (within("relay+ssh"), "closed the connection in the handshake"),
        (plain, "the hop speaks SSH; write socks5+ssh"),
    ] {
        let (fairlead, port) = through(&[&hop], &target.address().to_string());
        assert!(ask(here(port)).is_err());
        fairlead.await_object("a dead hop", |object| is_dead(object, &server.address(), words));
        assert_eq!(ask(here(held_by)).ok(), Some('A'), "{}", held.printed());
    }
}
