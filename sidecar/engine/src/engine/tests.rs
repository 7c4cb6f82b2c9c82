//! The whole engine over loopback: a configuration in, connections and reports out.
#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, TcpListener as StdListener};

use fairlead_config::{Config, Forward, ForwardState, HostPort, NodeState};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::testing::{await_that, closed, host_port};

/// A target that answers every connection with its letter, then echoes.
struct Target {
    address: HostPort,
    task: JoinHandle<()>,
}

impl Target {
    async fn new(letter: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = host_port(listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    stream.write_all(&[letter]).await.unwrap();
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn forward(name: &str, listen: &HostPort, targets: &[&HostPort]) -> Forward {
    serde_json::from_value(serde_json::json!({
        "key": ForwardKey::local("ns", name), "digest": name, "scheme": "tcp", "listen": listen, "targets": targets,
    }))
    .unwrap()
}

fn engine() -> Engine {
    draining(Duration::from_millis(300))
}

fn draining(drain_timeout: Duration) -> Engine {
    let two = NonZeroUsize::new(2).unwrap();
    Engine::start(&EngineOptions { workers: two, drain_timeout }).unwrap()
}

fn apply(engine: &Engine, forwards: Vec<Forward>) {
    engine.apply(Plan::new(Config::new(1, forwards).into()));
}

fn socket(address: &HostPort) -> SocketAddr {
    address.to_string().parse().unwrap()
}

/// Connects through the forward; the letter says which target answered.
async fn connect(listen: &HostPort) -> (char, TcpStream) {
    let mut stream = TcpStream::connect(socket(listen)).await.unwrap();
    let letter = stream.read_u8().await.unwrap();
    (letter.into(), stream)
}

async fn echoes(stream: &mut TcpStream) -> bool {
    stream.write_all(b"ping").await.is_ok() && {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.is_ok() && &answer == b"ping"
    }
}

async fn letters(listen: &HostPort, count: usize) -> String {
    let mut letters = String::new();
    for _ in 0..count {
        letters.push(connect(listen).await.0);
    }
    letters
}

#[tokio::test]
async fn clients_go_round_the_targets() {
    let (a, b, listen) = (Target::new(b'A').await, Target::new(b'B').await, closed());
    let engine = engine();
    apply(&engine, vec![forward("f", &listen, &[&a.address, &b.address])]);
    assert_eq!(letters(&listen, 4).await, "ABAB");
    let report = engine.report();
    assert_eq!(report.forwards[0].state, ForwardState::Listening);
    assert!(report.forwards[0].nodes.iter().all(|node| node.state == NodeState::Alive));
}

#[tokio::test]
async fn a_new_target_list_cuts_no_connection() {
    let (a, b, listen) = (Target::new(b'A').await, Target::new(b'B').await, closed());
    let engine = engine();
    apply(&engine, vec![forward("f", &listen, &[&a.address])]);
    let (_, mut old) = connect(&listen).await;
    apply(&engine, vec![forward("f", &listen, &[&b.address])]);
    assert_eq!(letters(&listen, 2).await, "BB");
    assert!(echoes(&mut old).await, "a connection to a target that is no longer listed goes on");
}

#[tokio::test]
async fn a_removed_forward_gives_its_port_back_at_once_and_drains() {
    let (a, listen) = (Target::new(b'A').await, closed());
    let engine = draining(Duration::from_secs(5));
    apply(&engine, vec![forward("f", &listen, &[&a.address])]);
    let (_, mut old) = connect(&listen).await;
    apply(&engine, vec![]);
    assert!(StdListener::bind(socket(&listen)).is_ok(), "the port is free");
    assert!(echoes(&mut old).await, "its connections drain");
    let mut rest = [0; 1];
    let ended = tokio::time::timeout(Duration::from_secs(25), old.read(&mut rest)).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "and end at the deadline");
}

#[tokio::test]
async fn a_port_goes_from_one_forward_to_another_in_one_step() {
    let (a, b, listen) = (Target::new(b'A').await, Target::new(b'B').await, closed());
    let engine = engine();
    apply(&engine, vec![forward("one", &listen, &[&a.address])]);
    assert_eq!(letters(&listen, 1).await, "A");
    apply(&engine, vec![forward("two", &listen, &[&b.address])]);
    assert_eq!(letters(&listen, 1).await, "B");
    assert_eq!(engine.report().forwards.len(), 1);
}

#[tokio::test]
async fn an_address_in_use_is_reported_and_tried_again() {
    let (a, listen) = (Target::new(b'A').await, closed());
    let other = StdListener::bind(socket(&listen)).unwrap();
    let engine = engine();
    apply(&engine, vec![forward("f", &listen, &[&a.address])]);
    let report = engine.report();
    assert_eq!(report.forwards[0].state, ForwardState::Failed);
    assert_eq!(report.forwards[0].reason.as_deref(), Some("ListenFailed"));
    let message = report.forwards[0].message.clone().unwrap();
    assert!(message.starts_with(&format!("listen on {listen}: the address is in use")), "{message}");
    drop(other);
    await_that("it listens", || engine.report().forwards[0].state == ForwardState::Listening).await;
    assert_eq!(letters(&listen, 1).await, "A");
}

#[tokio::test]
async fn a_refused_forward_stands_in_the_report_beside_those_that_run() {
    let (a, listen) = (Target::new(b'A').await, closed());
    let engine = engine();
    let mut newer = forward("newer", &closed(), &[&a.address]);
    newer.scheme = "warp".to_owned();
    apply(&engine, vec![forward("f", &listen, &[&a.address]), newer]);
    assert_eq!(letters(&listen, 1).await, "A");
    let report = engine.report();
    let refused = report.forwards.iter().find(|forward| forward.state == ForwardState::Refused).unwrap();
    assert_eq!((refused.key.name.as_str(), refused.reason.as_deref()), ("newer", Some("ProxyTooOld")));
}

#[tokio::test]
async fn a_forward_whose_new_version_is_not_understood_goes_on_and_says_why_it_is_the_old_one() {
    let (a, listen) = (Target::new(b'A').await, closed());
    let engine = engine();
    apply(&engine, vec![forward("f", &listen, &[&a.address])]);
    let newer = |forward| Forward { scheme: "warp".to_owned(), digest: "f2".to_owned(), ..forward };
    apply(&engine, vec![newer(forward("f", &listen, &[&a.address]))]);
    assert_eq!(letters(&listen, 1).await, "A");
    let report = &engine.report().forwards[0];
    assert_eq!((report.state, report.digest.as_str()), (ForwardState::Listening, "f"));
    assert_eq!(report.reason.as_deref(), Some("ProxyTooOld"));
    assert!(report.message.as_ref().unwrap().contains("warp"), "{report:?}");

    let other = StdListener::bind("127.0.0.1:0").unwrap();
    let taken = host_port(other.local_addr().unwrap());
    apply(&engine, vec![forward("f", &taken, &[&a.address])]);
    apply(&engine, vec![newer(forward("f", &taken, &[&a.address]))]);
    let report = &engine.report().forwards[0];
    assert_eq!((report.state, report.reason.as_deref()), (ForwardState::Refused, Some("ProxyTooOld")));
    assert_eq!(report.digest, "f2", "nothing of the old version is in force");
}

#[tokio::test]
async fn a_client_that_nobody_serves_gets_a_reset() {
    let (dead, listen) = (closed(), closed());
    let engine = engine();
    apply(&engine, vec![forward("f", &listen, &[&dead])]);
    // The reset may come before the client has noticed that it is connected.
    let error = match TcpStream::connect(socket(&listen)).await {
        Ok(mut client) => client.read_u8().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let node = &engine.report().forwards[0].nodes[0];
    assert_eq!((node.state, node.last_error.as_deref()), (NodeState::Dead, Some("connection refused")));
    assert_eq!(engine.stats()[0].unserved, 1);
}

#[tokio::test]
async fn a_health_check_finds_the_dead_and_the_living_without_a_client() {
    let (up, down, listen) = (Target::new(b'A').await, closed(), closed());
    let engine = engine();
    let mut checked = forward("f", &listen, &[&up.address, &down]);
    checked.health_check = Some(fairlead_config::HealthCheck { interval: Duration::from_millis(100), timeout: None });
    let mut changes = engine.changes();
    apply(&engine, vec![checked]);
    let states = || -> Vec<_> { engine.report().forwards[0].nodes.iter().map(|node| node.state).collect() };
    await_that("both are known", || states() == [NodeState::Alive, NodeState::Dead]).await;
    assert!(changes.has_changed().unwrap(), "who watches is told");
    changes.mark_unchanged();
    let _revived = TcpListener::bind(socket(&down)).await.unwrap();
    await_that("the dead one is back", || states() == [NodeState::Alive, NodeState::Alive]).await;
}

#[tokio::test]
async fn shutdown_lets_connections_end_and_cuts_them_at_the_deadline() {
    let (a, listen) = (Target::new(b'A').await, closed());
    let engine = engine();
    apply(&engine, vec![forward("f", &listen, &[&a.address])]);
    let (_, mut stays) = connect(&listen).await;
    let begun = std::time::Instant::now();
    engine.shutdown().await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(!echoes(&mut stays).await);
    assert!(TcpStream::connect(socket(&listen)).await.is_err());
}
