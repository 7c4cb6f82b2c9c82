#![allow(clippy::unwrap_used)]
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use fairlead_config::{ForwardState, HostPort};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    forward::remote::test_server::{Bench, Server, target},
    testing::{await_that, closed, closed_address, host_port},
};

const SOON: Duration = Duration::from_secs(20);
/// How long something that shall not come is waited for.
const NEVER: Duration = Duration::from_millis(300);

/// One conversation through the far end's port; none if it is refused or cut.
async fn ask(port: SocketAddr, question: &[u8]) -> Option<(u8, Vec<u8>)> {
    let mut stream = TcpStream::connect(port).await.ok()?;
    stream.write_all(question).await.ok()?;
    stream.shutdown().await.ok()?;
    let letter = stream.read_u8().await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Some((letter, answer))
}

/// Asks again until served.
async fn served(port: SocketAddr, question: &[u8]) -> (u8, Vec<u8>) {
    let asked = async {
        loop {
            if let Some(answer) = ask(port, question).await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, asked).await.expect("it is served soon")
}

/// Asks wherever the port is by then, until served.
async fn served_by(bench: &Bench, question: &[u8]) -> (u8, Vec<u8>) {
    let asked = async {
        loop {
            let bound = bench.report().bound;
            if let Some(bound) = bound
                && let Some(answer) = ask(([127, 0, 0, 1], bound.port).into(), question).await
            {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, asked).await.expect("it is served soon")
}

fn ways() -> [serde_json::Value; 2] {
    [json!({}), json!({"socks5": {"mbind": true}})]
}

#[tokio::test]
async fn clients_of_the_far_port_reach_the_target_one_after_the_other() {
    for way in ways() {
        let (server, (target, _tasks)) = (Server::start(), target(b'A').await);
        let bench = Bench::new("rtcp", 0, &server.address, &[&target], way);
        bench.held().await;
        assert_eq!(bench.report().listening.unwrap().port, 0, "as it was said");
        for number in 0..5_u32 {
            let question = vec![b'q'; 100_000 + number as usize];
            // Port 0 is another one each time with BIND.
            let (letter, answer) = served_by(&bench, &question).await;
            assert_eq!((letter, answer.len()), (b'A', question.len()));
            await_that("it listens again", || bench.report().bound.is_some()).await;
            if server.binds.load(std::sync::atomic::Ordering::Relaxed) > 1 {
                break;
            }
        }
    }
}

#[tokio::test]
async fn many_clients_at_once_share_one_tunnel() {
    let (server, (target, _tasks)) = (Server::start(), target(b'A').await);
    let bench = Bench::new("rtcp", closed().port, &server.address, &[&target], json!({"socks5": {"mbind": true}}));
    let port = bench.held().await;
    let clients = (0..100).map(|_| tokio::spawn(async move { ask(port, b"hello").await }));
    for client in clients.collect::<Vec<_>>() {
        assert_eq!(client.await.unwrap(), Some((b'A', b"hello".to_vec())));
    }
    assert_eq!(server.binds.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_dead_target_is_left_out_and_said() {
    for way in ways() {
        let (server, (target, _tasks), gone) = (Server::start(), target(b'B').await, closed());
        let bench = Bench::new("rtcp", closed().port, &server.address, &[&gone, &target], way);
        let port = bench.held().await;
        assert_eq!(served(port, b"x").await, (b'B', b"x".to_vec()));
        let states: Vec<_> = bench.report().nodes.iter().map(|node| (node.hop, node.state)).collect();
        use fairlead_config::NodeState::{Alive, Dead};
        assert_eq!(states, [(Some(1), Alive), (None, Dead), (None, Alive)]);
    }
}

#[tokio::test]
async fn after_an_outage_the_port_is_back() {
    for way in ways() {
        let (server, (target, _tasks)) = (Server::start(), target(b'A').await);
        let bench = Bench::new("rtcp", closed().port, &server.address, &[&target], way);
        let port = bench.held().await;
        server.stop().await;
        await_that("the loss is said", || bench.report().state == ForwardState::Failed).await;
        let report = bench.report();
        assert_eq!((report.reason.as_deref(), report.bound), (Some("BindRefused"), None));
        let gone = Instant::now();
        await_that("the outage lasts", || gone.elapsed().as_secs() >= 3).await;
        server.run();
        assert_eq!(served(port, b"x").await.0, b'A');
    }
}

#[tokio::test]
async fn a_port_that_another_holds_is_stood_by_for_and_taken_over() {
    for way in ways() {
        let (server, (target, _tasks)) = (Server::start(), target(b'A').await);
        let holder = TcpListener::bind(closed_address()).await.unwrap();
        let port = holder.local_addr().unwrap();
        let bench = Bench::new("rtcp", port.port(), &server.address, &[&target], way);
        await_that("it stands by", || bench.report().state == ForwardState::Standby).await;
        assert!(bench.report().message.unwrap().contains("general failure"));
        drop(holder);
        assert_eq!(bench.held().await, port);
        assert_eq!(served(port, b"x").await.0, b'A');
    }
}

#[tokio::test]
async fn other_targets_keep_the_port_and_its_clients() {
    for way in ways() {
        let (server, (one, _tasks), (other, _others)) = (Server::start(), target(b'A').await, target(b'B').await);
        let mut bench = Bench::new("rtcp", closed().port, &server.address, &[&one], way);
        let port = bench.held().await;
        let mut client = TcpStream::connect(port).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'A');
        bench.forward["targets"] = json!([other]);
        bench.apply();
        assert_eq!(served(port, b"x").await.0, b'B');
        client.write_all(b"y").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'y');
    }
}

#[tokio::test]
async fn a_stopped_forward_gives_its_port_back_before_its_clients_have_ended() {
    let (server, (target, _tasks)) = (Server::start(), target(b'A').await);
    let bench = Bench::new("rtcp", closed().port, &server.address, &[&target], json!({"socks5": {"mbind": true}}));
    let port = bench.held().await;
    let mut client = TcpStream::connect(port).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'A');
    let ended = async {
        let free = async {
            while TcpListener::bind(port).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, free).await.expect("the port is free");
        client.write_all(b"still here").await.unwrap();
        let mut answer = [0; 10];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"still here");
        drop(client);
    };
    tokio::join!(bench.engine.shutdown(), ended);
}

#[tokio::test]
async fn a_proxy_that_can_not_be_reached_delays_no_other_forward() {
    let (server, (target, _tasks)) = (Server::start(), target(b'A').await);
    let silent = crate::testing::Silent::new();
    let bench = Bench::new("rtcp", closed().port, &server.address, &[&target], json!({}));
    bench.held().await;
    let forward = |name: &str, hop: &HostPort| {
        let mut forward = bench.forward.clone();
        forward["key"]["name"] = json!(name);
        forward["listen"]["port"] = json!(0);
        forward["chain"][0]["nodes"] = json!([hop]);
        // Whoever waits for the silent one waits in vain.
        forward["chain"][0]["dialTimeout"] = json!("600s");
        serde_json::from_value::<fairlead_config::Forward>(forward).unwrap()
    };
    let forwards = vec![forward("a", &silent.address()), forward("b", &server.address), forward("c", &closed())];
    bench.engine.apply(crate::plan::Plan::new(fairlead_config::Config::new(2, forwards).into()));
    await_that("b is held", || bench.engine.report().forwards[1].bound.is_some()).await;
    let silent = bench.engine.report().forwards.remove(0);
    assert_eq!((silent.state, silent.reason.as_deref()), (ForwardState::Failed, Some("Pending")));
}

/// A server that plays one side of a transcript: bytes to expect and bytes to send.
async fn play(listener: &TcpListener, script: &[(&[u8], &[u8])]) -> TcpStream {
    let (mut stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    for (expected, answer) in script {
        let mut found = vec![0; expected.len()];
        timeout(SOON, stream.read_exact(&mut found)).await.unwrap().unwrap();
        assert_eq!(found, *expected);
        stream.write_all(answer).await.unwrap();
    }
    stream
}

#[tokio::test]
async fn bind_is_spoken_as_gost_speaks_it_and_nothing_behind_its_reply_is_lost() {
    let gost = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (target, _tasks) = target(b'A').await;
    let mut bench = Bench::new("rtcp", 21_008, &host_port(gost.local_addr().unwrap()), &[&target], json!({}));
    bench.forward["listen"]["host"] = json!("");
    bench.apply();
    // Two, since the first forward is given up for the second.
    let _first = gost.accept().await.unwrap();
    // The peer's word comes in one segment with the second reply.
    let second = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x92\x1ehello-bind";
    let first_reply = b"\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\x00\x00\x01\x52\x10";
    let bind = b"\x05\x02\x00\x01\x00\x00\x00\x00\x52\x10";
    let hello: (&[u8], &[u8]) = (b"\x05\x03\x00\x02\x80", b"\x05\x00");
    let mut peer = play(&gost, &[hello, (bind, &[&first_reply[..], second].concat())]).await;
    let mut word = [0; 11];
    peer.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"Ahello-bind");
    // The port is asked for again, at once.
    play(&gost, &[hello, (bind, first_reply)]).await;
}

const HELLO: (&[u8], &[u8]) = (b"\x05\x03\x00\x02\x80", b"\x05\x00");
const BIND: &[u8] = b"\x05\x02\x00\x01\x7f\x00\x00\x01\x52\x11";
const LISTENS: &[u8] = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x52\x11";
const PEER: &[u8] = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x92\x1e";

/// A forward whose port is held, the connection that holds it, and the spare one.
async fn held_with_a_spare(server: &TcpListener) -> (Bench, TcpStream, TcpStream) {
    let address = host_port(server.local_addr().unwrap());
    let bench = Bench::new("rtcp", 0x5211, &address, &[&closed()], json!({}));
    let holding = play(server, &[HELLO, (BIND, LISTENS)]).await;
    (bench, holding, play(server, &[HELLO]).await)
}

#[tokio::test]
async fn the_next_peer_is_asked_for_on_a_connection_that_was_greeted_before_the_last_one_came() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_bench, mut holding, mut spare) = held_with_a_spare(&server).await;
    holding.write_all(PEER).await.unwrap();
    let mut request = [0; 10];
    timeout(SOON, spare.read_exact(&mut request)).await.unwrap().unwrap();
    assert_eq!(request, BIND);
    // The server does not want it after all: the port is asked for on a new one.
    drop(spare);
    play(&server, &[HELLO, (BIND, LISTENS)]).await;
}

#[tokio::test]
async fn a_server_that_ends_silent_connections_is_spared_them_until_peers_come_in_numbers() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_bench, mut holding, spare) = held_with_a_spare(&server).await;
    drop(spare);
    assert!(timeout(NEVER, server.accept()).await.is_err(), "it is not bothered");
    holding.write_all(PEER).await.unwrap();
    let (mut served, mut request) = (Vec::new(), [0; 10]);
    let one_leaves = async {
        loop {
            let mut stream = play(&server, &[HELLO]).await;
            // One that is there for the next peer ends when none comes.
            let Ok(_) = stream.read_exact(&mut request).await else { return };
            let has_peer = served.len() < 10;
            stream.write_all(&[LISTENS, if has_peer { PEER } else { b"" }].concat()).await.unwrap();
            served.push(stream);
        }
    };
    timeout(SOON, one_leaves).await.expect("a spare connection that nobody needed ends");
    assert!(served.len() > 1, "after peers had come");
}

#[tokio::test]
async fn mbind_is_spoken_as_gost_speaks_it() {
    let gost = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = host_port(echo.local_addr().unwrap());
    let way = json!({"socks5": {"mbind": true}});
    let bench = Bench::new("rtcp", 21_022, &host_port(gost.local_addr().unwrap()), &[&target], way);
    let reply = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x52\x1e";
    let mbind = b"\x05\xf2\x00\x01\x7f\x00\x00\x01\x52\x1e";
    let announced: &[u8] = b"\x01\x03\x00\x00fair";
    let mut tunnel = play(&gost, &[HELLO, (mbind, reply), (announced, b"")]).await;
    let exchanges: [(&[u8], &[u8], &[u8]); 2] = [
        (b"\x01\0\0\0\x03\0\0\0", b"\x01\x02\x0b\0\x03\0\0\0hello-mbind", b"\x01\x01\0\0\x03\0\0\0"),
        (b"\x01\0\0\0\x05\0\0\0", b"\x01\x02\x06\0\x05\0\0\0second", b"\x01\x01\0\0\x05\0\0\0"),
    ];
    for (opened, data, ended) in exchanges {
        tunnel.write_all(&[opened, data].concat()).await.unwrap();
        let (mut at_target, _) = timeout(SOON, echo.accept()).await.unwrap().unwrap();
        let mut word = vec![0; data.len() - 8];
        timeout(SOON, at_target.read_exact(&mut word)).await.unwrap().unwrap();
        at_target.write_all(&word).await.unwrap();
        let mut frame = vec![0; data.len()];
        timeout(SOON, tunnel.read_exact(&mut frame)).await.unwrap().unwrap();
        assert_eq!(frame, data);
        tunnel.write_all(ended).await.unwrap();
        assert_eq!(timeout(SOON, at_target.read(&mut word)).await.unwrap().unwrap(), 0);
        drop(at_target);
        let mut end = vec![0; ended.len()];
        timeout(SOON, tunnel.read_exact(&mut end)).await.unwrap().unwrap();
        assert_eq!(end, ended);
    }
    assert_eq!(bench.held().await.to_string(), "127.0.0.1:21022");
}
