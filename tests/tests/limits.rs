//! Limits a manifest sets: connections at a time, and time without a byte.

use std::time::{Duration, Instant};

use fairlead_tests::{
    binary::{Fairlead, Launch},
    clients::{dial, finish, has_ended, is_echoed, letter},
    deadline::{SOON, await_condition, until},
    manifests::Manifest,
    ports,
    targets::{Behaviour, Target},
};

fn run(manifest: &Manifest, port: u16) -> Fairlead {
    let fairlead = Launch::new(["run", "-"]).input(&manifest.to_string()).start();
    fairlead.await_listening(port);
    fairlead
}

#[test]
fn clients_beyond_max_connections_wait_for_their_turn() {
    let target = Target::start(Behaviour::Greet('G'));
    let port = ports::free();
    let _fairlead = run(&Manifest::new("few", port).to(target.address()).with("maxConnections: 2"), port);
    let connect = || dial(([127, 0, 0, 1], port)).expect("a place in the queue");
    let mut open = vec![connect(), connect()];
    assert!(open.iter().all(|stream| letter(stream).is_ok()));
    let third = connect();
    until(Instant::now() + Duration::from_millis(300), || assert_eq!(target.accepted(), 2));
    assert!(finish(open.remove(0)).is_ok());
    assert_eq!(letter(&third).ok(), Some('G'), "the turn of the third");
    assert!(is_echoed(&open[0], "the second goes on"));
}

#[test]
fn an_idle_connection_ends_and_one_that_is_used_goes_on() {
    let target = Target::start(Behaviour::Greet('G'));
    let port = ports::free();
    let _fairlead = run(&Manifest::new("brisk", port).to(target.address()).with("idleTimeout: 2s"), port);
    let [idle, used] = [(); 2].map(|()| dial(([127, 0, 0, 1], port)).expect("a connection"));
    assert!(letter(&idle).is_ok() && letter(&used).is_ok());
    until(Instant::now() + Duration::from_secs(4), || assert!(is_echoed(&used, "in use")));
    assert!(has_ended(&idle));
    let left_alone = Instant::now();
    assert!(has_ended(&used));
    assert!(left_alone.elapsed() >= Duration::from_millis(1500), "ended after {:?}", left_alone.elapsed());
    await_condition("the target to see both ends", SOON, || target.open() == 0);
}
