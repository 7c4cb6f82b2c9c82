//! How it ends: asked once it drains and ends with 0, asked twice it ends at once.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use fairlead_tests::{
    binary::Fairlead,
    clients::{dial, finish, has_ended, is_echoed, letter},
    deadline::{SOON, await_condition, until},
    ports,
    targets::{Behaviour, Target},
};
use rustix::process::Signal;

struct Scene {
    _target: Target,
    fairlead: Fairlead,
    port: u16,
    connection: TcpStream,
}

/// A forward with one established connection.
fn scene(more: &[&str]) -> Scene {
    let target = Target::start(Behaviour::Greet('G'));
    let port = ports::free();
    let url = format!("tcp://127.0.0.1:{port}/{}", target.address());
    let fairlead = Fairlead::run(&[&["run", "-L", &url], more].concat());
    fairlead.await_listening(port);
    let connection = dial(([127, 0, 0, 1], port)).expect("a connection");
    letter(&connection).expect("a greeting");
    Scene { _target: target, fairlead, port, connection }
}

#[test]
fn a_signal_stops_accepting_and_lets_connections_finish() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut scene = scene(&[]);
        scene.fairlead.signal(signal);
        await_condition("the listener to close", SOON, || ports::listener_on(scene.port).is_none());
        until(Instant::now() + Duration::from_millis(300), || {
            assert!(is_echoed(&scene.connection, "a connection goes on while it drains"), "{signal:?}");
        });
        assert!(scene.fairlead.is_running());
        assert!(finish(scene.connection).is_ok());
        assert_eq!(scene.fairlead.await_exit(SOON), 0, "{signal:?}: {}", scene.fairlead.printed());
    }
}

#[test]
fn without_connections_a_signal_ends_it_at_once() {
    let mut scene = scene(&[]);
    drop(scene.connection);
    let asked = Instant::now();
    scene.fairlead.terminate();
    assert_eq!(scene.fairlead.await_exit(SOON), 0);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut scene = scene(&[]);
    scene.fairlead.terminate();
    await_condition("draining to begin", SOON, || ports::listener_on(scene.port).is_none());
    let asked = Instant::now();
    scene.fairlead.terminate();
    scene.fairlead.await_exit(SOON);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(has_ended(&scene.connection));
}

#[test]
fn draining_has_a_deadline() {
    let mut scene = scene(&["--drain-timeout", "1s"]);
    let asked = Instant::now();
    scene.fairlead.terminate();
    assert_eq!(scene.fairlead.await_exit(SOON), 0, "{}", scene.fairlead.printed());
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(950) && took < Duration::from_secs(10), "{took:?}");
    assert!(has_ended(&scene.connection));
}
