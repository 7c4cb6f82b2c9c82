//! What flows through an established connection: every byte, both ways, both ends, and nothing for a long time.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
};

use fairlead_tests::{
    binary::{Fairlead, Launch, allow_descriptors},
    clients::{First, dial, finish, half_close, has_ended, is_echoed, letter, open_many},
    deadline::{SOON, await_condition},
    ports,
    skip::skip,
    targets::{Behaviour, Target},
};

const MEGABYTE: u64 = 1_000_000;

fn forward_to(target: SocketAddr) -> (Fairlead, u16) {
    let port = ports::free();
    let fairlead = Fairlead::run(&["run", "-L", &format!("tcp://127.0.0.1:{port}/{target}")]);
    fairlead.await_listening(port);
    (fairlead, port)
}

#[test]
fn either_side_may_close_its_half_and_still_gets_100_mb() {
    for first in [First::Client, First::Target] {
        let mut running = None;
        let carried = half_close(100 * MEGABYTE, first, |target| {
            let (fairlead, port) = forward_to(target);
            running = Some(fairlead);
            port
        });
        assert!(carried.is_ok(), "{first:?} first: {carried:?}");
    }
}

#[test]
fn a_server_that_speaks_first_is_heard_by_a_client_that_says_nothing() {
    let target = Target::start(Behaviour::Greet('G'));
    let (_fairlead, port) = forward_to(target.address());
    let stream = dial(([127, 0, 0, 1], port)).expect("a connection");
    assert_eq!(letter(&stream).ok(), Some('G'));
    assert!(is_echoed(&stream, "and then it listens"));
    assert_eq!(finish(stream).ok(), Some(Vec::new()));
}

#[test]
fn what_was_said_right_before_the_end_arrives() {
    let target = Target::start(Behaviour::Greet('G'));
    let (_fairlead, port) = forward_to(target.address());
    for size in [1, 1000, 70_000] {
        let mut stream = dial(([127, 0, 0, 1], port)).expect("a connection");
        let words = vec![b'w'; size];
        stream.write_all(&words).expect("say it");
        let heard = finish(stream).expect("hear it");
        assert_eq!(heard.len(), 1 + size);
    }
}

#[test]
fn a_client_of_a_dead_target_is_told_so_by_a_reset() {
    let mut target = Target::letter('A');
    target.kill();
    let (_fairlead, port) = forward_to(target.address());
    // A client that says nothing: an unread word would make a reset of any close.
    let heard = dial(([127, 0, 0, 1], port)).and_then(|stream| letter(&stream));
    let error = heard.map_err(|error| error.kind());
    assert_eq!(error, Err(io::ErrorKind::ConnectionReset), "an end without a reset would read as an empty answer");
}

#[test]
fn connections_of_a_killed_target_end_at_the_client() {
    let mut target = Target::start(Behaviour::Hold('H'));
    let (_fairlead, port) = forward_to(target.address());
    let open = open_many(port, 10).expect("ten connections");
    target.kill();
    assert!(open.iter().all(has_ended));
}

/// Two descriptors each in the forwarder, two each here; each connection is proved by a letter when it is made and by
/// another at the end.
#[test]
fn thousands_of_idle_connections_are_kept_and_still_carry() {
    const COUNT: usize = 7_500;
    if !allow_descriptors(2 * COUNT as u64 + 500) {
        return skip("7,500 connections take 15,500 descriptors, and the limit (ulimit -Hn) is lower");
    }
    let target = Target::start(Behaviour::Hold('H'));
    let port = ports::free();
    let url = format!("tcp://127.0.0.1:{port}/{}", target.address());
    let fairlead = Launch::new(["run", "-L", &url]).start();
    fairlead.await_listening(port);
    let before = fairlead.descriptors();

    let open: Vec<TcpStream> = open_many(port, COUNT).unwrap_or_else(|error| panic!("{error}\n{}", fairlead.printed()));
    assert!(fairlead.descriptors() - before <= 2 * COUNT as u64, "more than two descriptors each");

    target.say_to_all(b"!").expect("say something on every connection");
    let heard = open.iter().filter(|stream| letter(*stream).is_ok_and(|letter| letter == '!')).count();
    assert_eq!(heard, COUNT);
    drop((open, target));
    await_condition("the descriptors to be given back", SOON, || fairlead.descriptors() < before + 100);
}
