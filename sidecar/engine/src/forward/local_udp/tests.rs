//! A local UDP forward over loopback, by way of the engine.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, UdpSocket},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fairlead_config::{Config, Forward, ForwardKey, ForwardState, HostPort, NodeState};
use serde_json::{Value, json};

use crate::{
    Engine, EngineOptions, ForwardStats, Plan,
    testing::{await_that, await_within, closed, connections, host_port},
};

mod chains;

/// How long something that shall not come is waited for.
const NEVER: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(20);

/// A target that sends every datagram back, behind its letter unless that is a blank.
struct Target {
    address: HostPort,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    fn new(letter: u8) -> Self {
        Self::at(&closed().to_string(), letter)
    }

    fn at(address: &str, letter: u8) -> Self {
        let socket = bound(address);
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = host_port(socket.local_addr().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![letter; 65_536];
            while !ended.load(Ordering::Relaxed) {
                let Ok((size, peer)) = socket.recv_from(&mut buffer[1..]) else { continue };
                let answer = if letter == b' ' { &buffer[1..=size] } else { &buffer[..=size] };
                let _ = socket.send_to(answer, peer);
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn bound(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    socket
}

fn forward(listen: &HostPort, targets: &[&HostPort], more: Value) -> Forward {
    let mut forward = json!({
        "key": ForwardKey::local("ns", "f"), "digest": "d", "scheme": "udp", "listen": listen, "targets": targets,
    });
    forward.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(forward).unwrap()
}

fn engine(workers: usize) -> Engine {
    let workers = NonZeroUsize::new(workers).unwrap();
    Engine::start(&EngineOptions { workers, drain_timeout: Duration::from_secs(5) }).unwrap()
}

fn apply(engine: &Engine, forward: Forward) {
    engine.apply(Plan::new(Config::new(1, vec![forward]).into()));
    let report = engine.report();
    assert_eq!(report.forwards[0].state, ForwardState::Listening, "{report:?}");
}

fn client(of: &HostPort) -> UdpSocket {
    let socket = bound("127.0.0.1:0");
    socket.connect(socket_address(of)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

fn socket_address(of: &HostPort) -> SocketAddr {
    of.to_string().parse().unwrap()
}

fn received(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let size = client.recv(&mut buffer).expect("a datagram");
    buffer.truncate(size);
    buffer
}

/// The letter of whoever answers; asks again as a client does whose datagram was lost.
fn letter(client: &UdpSocket) -> char {
    let (give_up, question) = (Instant::now() + SOON, question());
    client.set_read_timeout(Some(NEVER)).unwrap();
    while Instant::now() < give_up {
        client.send(&question).unwrap();
        if let Some(letter) = letter_before(&question, client) {
            client.set_read_timeout(Some(SOON)).unwrap();
            return letter;
        }
    }
    panic!("nobody answers");
}

/// The letter of whoever answers, asked once: each datagram counts.
fn letter_at_once(client: &UdpSocket) -> char {
    let question = question();
    client.send(&question).unwrap();
    letter_before(&question, client).expect("an answer")
}

/// One that nobody has asked before: a question that was sent twice is answered twice, and late.
fn question() -> Vec<u8> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    format!("?{}", ASKED.fetch_add(1, Ordering::Relaxed)).into_bytes()
}

/// The letter of the next answer to this question; none if the socket's time is out, or it has an error.
fn letter_before(question: &[u8], client: &UdpSocket) -> Option<char> {
    let mut answer = [0; 16];
    loop {
        let size = client.recv(&mut answer).ok()?;
        match answer[..size].split_first() {
            Some((letter, rest)) if rest == question => return Some((*letter).into()),
            Some(_) | None => {}
        }
    }
}

fn stats(engine: &Engine) -> ForwardStats {
    engine.stats().remove(0)
}

fn states(engine: &Engine) -> Vec<NodeState> {
    engine.report().forwards[0].nodes.iter().map(|node| node.state).collect()
}

#[tokio::test]
async fn datagrams_of_every_size_pass_unaltered_both_ways_and_in_order() {
    let (target, listen, engine) = (Target::new(b' '), closed(), engine(2));
    apply(&engine, forward(&listen, &[&target.address], json!({})));
    let client = client(&listen);
    for size in [0usize, 1, 1472, 9000, 65_507] {
        let datagram: Vec<u8> = (0..size).map(|index| (index * 7 + size) as u8).collect();
        client.send(&datagram).unwrap();
        assert!(received(&client) == datagram, "{size} bytes");
    }
    let sent: Vec<Vec<u8>> = (0..200u8).map(|index| vec![index; [100, 100, 100, 40, 0][index as usize % 5]]).collect();
    for datagrams in sent.chunks(50) {
        for datagram in datagrams {
            client.send(datagram).unwrap();
        }
        for datagram in datagrams {
            assert_eq!(&received(&client), datagram);
        }
    }
    let counted = || stats(&engine).datagrams.map(|counts| (counts.to_upstream, counts.to_client, counts.dropped));
    await_that("all are counted", || counted() == Some((205, 205, [0; 6]))).await;
    let stats = stats(&engine);
    assert_eq!((stats.accepted, stats.open), (1, 1));
    assert_eq!(stats.bytes_to_client, stats.bytes_to_upstream);
    assert_eq!(states(&engine), [NodeState::Alive]);
}

#[tokio::test]
async fn a_thousand_clients_get_their_own_answers_on_all_workers() {
    let (target, listen, engine) = (Target::new(b'A'), closed(), engine(2));
    apply(&engine, forward(&listen, &[&target.address], json!({})));
    let clients: Vec<UdpSocket> = (0..1000).map(|_| client(&listen)).collect();
    for (index, client) in clients.iter().enumerate() {
        let question = format!("question {index}");
        client.send(question.as_bytes()).unwrap();
        assert_eq!(received(client), [b"A", question.as_bytes()].concat());
    }
    assert_eq!((stats(&engine).accepted, stats(&engine).open), (1000, 1000));
    let busy = engine.context.workers.load();
    assert!((0..2).all(|worker| busy.associations(worker) > 0), "one worker has them all");
}

#[tokio::test]
async fn a_client_keeps_its_node_and_two_answers_to_one_question_reach_it() {
    let (listen, engine) = (closed(), engine(2));
    let target = bound("127.0.0.1:0");
    target.set_read_timeout(Some(SOON)).unwrap();
    apply(&engine, forward(&listen, &[&host_port(target.local_addr().unwrap())], json!({})));
    let (one, other) = (client(&listen), client(&listen));
    let mut peers = HashSet::new();
    for client in [&one, &other, &one] {
        client.send(b"question").unwrap();
        let (_, peer) = target.recv_from(&mut [0; 16]).unwrap();
        peers.insert(peer);
        target.send_to(b"first", peer).unwrap();
        target.send_to(b"", peer).unwrap();
        assert_eq!((received(client), received(client)), (b"first".to_vec(), Vec::new()));
    }
    assert_eq!(peers.len(), 2, "each client has a socket of its own, and keeps it");
}

#[tokio::test]
async fn clients_go_round_the_targets_and_a_changed_list_moves_nobody() {
    let (a, b, listen, engine) = (Target::new(b'A'), Target::new(b'B'), closed(), engine(2));
    apply(&engine, forward(&listen, &[&a.address, &b.address], json!({})));
    let (one, other) = (client(&listen), client(&listen));
    assert_eq!((letter(&one), letter(&other)), ('A', 'B'));
    apply(&engine, forward(&listen, &[&b.address], json!({"ttl": "1h"})));
    assert_eq!((letter(&one), letter(&client(&listen))), ('A', 'B'));
    assert_eq!(stats(&engine).accepted, 3);
}

#[tokio::test]
async fn an_association_ends_when_it_was_idle_for_the_ttl() {
    let (target, listen, engine) = (Target::new(b'A'), closed(), engine(2));
    apply(&engine, forward(&listen, &[&target.address], json!({"ttl": "1h"})));
    let client = client(&listen);
    letter_at_once(&client);
    assert_eq!(stats(&engine).open, 1);
    apply(&engine, forward(&listen, &[&target.address], json!({"ttl": "50ms"})));
    await_that("the shorter ttl ends it", || stats(&engine).open == 0).await;
    apply(&engine, forward(&listen, &[&target.address], json!({"ttl": "1h"})));
    letter_at_once(&client);
    assert_eq!(stats(&engine).accepted, 2, "the client's next datagram begins another one");
}

#[tokio::test]
async fn at_the_limit_the_idlest_leaves_first() {
    let (target, listen, engine) = (Target::new(b'A'), closed(), engine(2));
    apply(&engine, forward(&listen, &[&target.address], json!({"maxConnections": 3})));
    let clients: Vec<UdpSocket> = (0..4).map(|_| client(&listen)).collect();
    for index in [0, 1, 2, 0, 3, 0, 2, 3] {
        letter_at_once(&clients[index]);
    }
    assert_eq!((stats(&engine).accepted, stats(&engine).open), (4, 3), "the second made way for the fourth");
    let told = engine.report().forwards[0].message.clone().unwrap_or_default();
    assert!(told.contains("the idlest leaves"), "{told}");
    letter_at_once(&clients[1]);
    assert_eq!((stats(&engine).accepted, stats(&engine).open), (5, 3));
}

#[tokio::test]
async fn a_closed_target_is_dead_and_its_clients_move_on_at_their_next_datagram() {
    let (gone, b, listen, engine) = (closed(), Target::new(b'B'), closed(), engine(2));
    let rules = json!({"strategy": "fifo", "failTimeout": "300ms"});
    apply(&engine, forward(&listen, &[&gone, &b.address], rules));
    let moved = client(&listen);
    assert_eq!(letter(&moved), 'B');
    assert_eq!(states(&engine), [NodeState::Dead, NodeState::Alive]);
    let error = engine.report().forwards[0].nodes[0].last_error.clone().unwrap();
    assert_eq!(error, "connection refused");
    assert_eq!(stats(&engine).accepted, 1, "it is the same association");
    let _back = Target::at(&gone.to_string(), b'A');
    let deadline = Instant::now() + SOON;
    while letter(&client(&listen)) != 'A' {
        assert!(Instant::now() < deadline, "the first target is never tried again");
    }
    assert_eq!(states(&engine), [NodeState::Alive, NodeState::Alive]);
    assert_eq!(letter(&moved), 'B', "and who has moved stays");
}

#[tokio::test]
async fn a_target_that_dies_under_its_clients_is_left() {
    let (a, b, listen, engine) = (Target::new(b'A'), Target::new(b'B'), closed(), engine(2));
    apply(&engine, forward(&listen, &[&a.address, &b.address], json!({"strategy": "fifo"})));
    let client = client(&listen);
    assert_eq!(letter(&client), 'A');
    drop(a);
    assert_eq!(letter(&client), 'B');
    assert_eq!(states(&engine), [NodeState::Dead, NodeState::Alive]);
}

#[tokio::test]
async fn a_target_that_never_answers_is_not_dead_and_one_that_was_dead_lives_when_it_draws_no_error() {
    let (listen, engine) = (closed(), engine(2));
    let address = closed();
    let silent = bound(&address.to_string());
    apply(&engine, forward(&listen, &[&address], json!({"failTimeout": "100ms"})));
    let client = client(&listen);
    client.send(b"hello").unwrap();
    silent.set_read_timeout(Some(SOON)).unwrap();
    silent.recv(&mut [0; 8]).unwrap();
    drop(silent);
    assert_eq!(states(&engine), [NodeState::Unknown], "silence says nothing");
    await_that("the closed port is found", || {
        client.send(b"hello").unwrap();
        states(&engine) == [NodeState::Dead]
    })
    .await;
    let _silent = bound(&address.to_string());
    await_that("it lives, for it draws no error", || {
        client.send(b"hello").unwrap();
        states(&engine) == [NodeState::Alive]
    })
    .await;
}

#[tokio::test]
async fn names_are_resolved_while_the_first_datagrams_wait() {
    let (target, listen, engine) = (Target::new(b' '), closed(), engine(2));
    let named = HostPort::new("localhost", target.address.port);
    let unknown = HostPort::new("no-such-name.invalid", 1);
    apply(&engine, forward(&listen, &[&unknown, &named], json!({"strategy": "fifo"})));
    let client = client(&listen);
    for number in 0..5u8 {
        client.send(&[number]).unwrap();
    }
    for number in 0..5u8 {
        assert_eq!(received(&client), [number]);
    }
    assert_eq!(states(&engine), [NodeState::Dead, NodeState::Alive]);
}

#[tokio::test]
async fn answers_come_from_the_address_that_was_asked() {
    let (target, engine) = (Target::new(b'A'), engine(2));
    let port = closed().port;
    apply(&engine, forward(&HostPort::new("", port), &[&target.address], json!({})));
    for host in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        // A connected socket takes datagrams of that address alone.
        assert_eq!(letter(&client(&HostPort::new(host, port))), 'A');
    }
    let unbound = bound("127.0.0.1:0");
    unbound.set_read_timeout(Some(SOON)).unwrap();
    for host in [[127, 0, 0, 2], [127, 0, 0, 3]] {
        unbound.send_to(b"?", SocketAddr::from((host, port))).unwrap();
        assert_eq!(unbound.recv_from(&mut [0; 8]).unwrap().1, SocketAddr::from((host, port)));
    }
    if let Ok(six) = UdpSocket::bind("[::1]:0") {
        six.set_read_timeout(Some(SOON)).unwrap();
        six.send_to(b"?", ("::1", port)).unwrap();
        assert_eq!(six.recv_from(&mut [0; 8]).unwrap().1, SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)));
    }
}

#[tokio::test]
async fn a_removed_forward_answers_what_was_asked_and_then_gives_its_port_back() {
    let (listen, engine) = (closed(), engine(2));
    let target = bound("127.0.0.1:0");
    target.set_read_timeout(Some(SOON)).unwrap();
    apply(&engine, forward(&listen, &[&host_port(target.local_addr().unwrap())], json!({})));
    let (asked, late) = (client(&listen), client(&listen));
    asked.send(b"?").unwrap();
    let (_, peer) = target.recv_from(&mut [0; 8]).unwrap();
    engine.apply(Plan::new(Config::new(2, Vec::new()).into()));
    target.send_to(b"!", peer).unwrap();
    assert_eq!(received(&asked), b"!");
    late.send(b"?").unwrap();
    late.set_read_timeout(Some(NEVER)).unwrap();
    assert!(late.recv(&mut [0; 8]).is_err(), "no further client is taken");
    await_that("the port is free", || UdpSocket::bind(socket_address(&listen)).is_ok()).await;
}

#[tokio::test]
async fn a_forward_takes_over_the_port_of_another_one() {
    let (a, b, listen, engine) = (Target::new(b'A'), Target::new(b'B'), closed(), engine(2));
    apply(&engine, forward(&listen, &[&a.address], json!({})));
    let client = client(&listen);
    assert_eq!(letter(&client), 'A');
    let next = forward(&listen, &[&b.address], json!({"key": ForwardKey::local("ns", "next")}));
    engine.apply(Plan::new(Config::new(2, vec![next]).into()));
    await_that("it listens", || engine.report().forwards[0].state == ForwardState::Listening).await;
    assert_eq!(letter(&client), 'B');
}

#[tokio::test]
async fn tcp_and_udp_share_a_port_number() {
    let (target, listen, engine) = (Target::new(b'A'), closed(), engine(2));
    let udp = forward(&listen, &[&target.address], json!({}));
    let tcp = forward(&listen, &[&target.address], json!({"key": ForwardKey::local("ns", "tcp"), "scheme": "tcp"}));
    engine.apply(Plan::new(Config::new(1, vec![tcp, udp]).into()));
    assert!(engine.report().forwards.iter().all(|forward| forward.state == ForwardState::Listening));
    assert_eq!(letter(&client(&listen)), 'A');
}

#[tokio::test]
async fn the_end_of_the_engine_waits_for_answers_but_not_for_the_ttl() {
    let (target, listen) = (Target::new(b'A'), closed());
    let options = EngineOptions { drain_timeout: Duration::from_secs(600), ..EngineOptions::default() };
    let engine = Engine::start(&options).unwrap();
    apply(&engine, forward(&listen, &[&target.address], json!({"ttl": "1h"})));
    letter(&client(&listen));
    tokio::time::timeout(SOON, engine.shutdown()).await.expect("it ends");
    let refused = client(&listen);
    refused.send(b"?").unwrap();
    assert_eq!(refused.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}
