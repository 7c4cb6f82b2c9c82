//! Datagrams through hops that carry them: served whole, again after a cut, and only who fails is marked.

mod fake;

use std::io::{Read, Write};

use super::*;
use crate::SecretFiles;
use fake::{Hop, Speaks, ss};

fn hop(speaks: Speaks, nodes: &[&HostPort]) -> Value {
    let scheme = if matches!(speaks, Speaks::Relay | Speaks::RelayRefuses) { "relay" } else { "socks5" };
    let associate = json!({"udpAssociate": true, "noTLS": true});
    let mut hop = json!({
        "scheme": scheme, "nodes": nodes, "strategy": "fifo", "dialTimeout": "20s", "failTimeout": "10m",
    });
    if speaks == Speaks::Associate {
        hop["socks5"] = associate;
    }
    hop
}

fn through(hops: &[Value], listen: &HostPort, targets: &[&HostPort]) -> Forward {
    forward(listen, targets, json!({"chain": hops, "dialTimeout": "20s", "failTimeout": "10m", "strategy": "fifo"}))
}

#[tokio::test]
async fn datagrams_of_every_size_pass_through_each_kind_of_hop() {
    let target = Target::new(b' ');
    for (speaks, sizes) in [
        (Speaks::Gost, vec![1, 1472, 8192, 16_374]),
        (Speaks::Relay, vec![0, 1, 1472, 9000, 65_507]),
        (Speaks::Associate, vec![0, 1, 1472, 9000, 65_497]),
    ] {
        let (server, listen, engine) = (Hop::new(speaks), closed(), engine(2));
        apply(&engine, through(&[hop(speaks, &[&server.address])], &listen, &[&target.address]));
        let client = client(&listen);
        for size in sizes {
            let datagram: Vec<u8> = (0..size).map(|index| (index * 7 + size) as u8).collect();
            client.send(&datagram).unwrap();
            assert!(received(&client) == datagram, "{speaks:?}: {size} bytes");
        }
        assert_eq!(states(&engine), [NodeState::Alive, NodeState::Alive], "{speaks:?}");
        assert_eq!(server.served(), 1, "{speaks:?}: one way for one client");
    }
}

#[tokio::test]
async fn what_would_stall_or_end_a_gost_peer_is_dropped_and_counted() {
    let (target, server, listen, engine) = (Target::new(b' '), Hop::new(Speaks::Gost), closed(), engine(1));
    apply(&engine, through(&[hop(Speaks::Gost, &[&server.address])], &listen, &[&target.address]));
    let client = client(&listen);
    for datagram in [vec![1; 16_375], vec![], vec![2; 65_507], b"fits".to_vec()] {
        client.send(&datagram).unwrap();
    }
    assert_eq!(received(&client), b"fits");
    await_that("what was sent and what was dropped is counted", || {
        let counted = stats(&engine).datagrams.unwrap();
        (counted.to_upstream, counted.dropped.iter().sum::<u64>()) == (1, 3)
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_is_what_gost_exchanges_byte_for_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (listen, engine) = (closed(), engine(1));
    let mut hop = hop(Speaks::Gost, &[&host_port(listener.local_addr().unwrap())]);
    hop["socks5"] = json!({"noTLS": true});
    apply(&engine, through(&[hop], &listen, &[&HostPort::new("127.0.0.1", 21_011)]));
    let client = client(&listen);
    client.send(b"ping1").unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut exchange = |want: &[u8], answer: &[u8]| {
        let mut got = vec![0; want.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, want);
        stream.write_all(answer).unwrap();
    };
    exchange(b"\x05\x02\x00\x02", b"\x05\x00");
    let reply = b"\x05\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\x00\x00\x01\xc9\xd0";
    exchange(b"\x05\xf3\x00\x01\x00\x00\x00\x00\x00\x00", reply);
    let first = b"\x00\x05\x00\x01\x7f\x00\x00\x01\x52\x13ping1";
    exchange(first, first);
    assert_eq!(received(&client), b"ping1");
    client.send(b"ping-two").unwrap();
    let second = b"\x00\x08\x00\x01\x7f\x00\x00\x01\x52\x13ping-two";
    let stranger = b"\x00\x03\x00\x01\x7f\x00\x00\x09\x52\x13not";
    exchange(second, &[&stranger[..], second].concat());
    assert_eq!(received(&client), b"ping-two", "what a stranger sends to the far end's port is not the client's");
}

#[tokio::test]
async fn a_cut_way_is_opened_again_and_the_client_keeps_its_association() {
    let target = Target::new(b'T');
    for speaks in [Speaks::Gost, Speaks::Relay, Speaks::Associate] {
        let (mut server, listen, engine) = (Hop::new(speaks), closed(), engine(1));
        let address = server.address.clone();
        apply(&engine, through(&[hop(speaks, &[&address])], &listen, &[&target.address]));
        let client = client(&listen);
        assert_eq!(letter(&client), 'T');
        server.cut();
        assert_eq!(letter(&client), 'T', "{speaks:?}: after a cut");
        drop(server);
        await_that(&format!("{speaks:?}: the hop is dead"), || {
            let _ = client.send(b"?");
            states(&engine)[0] == NodeState::Dead
        })
        .await;
        assert_eq!(states(&engine)[1], NodeState::Alive, "{speaks:?}: the target is not");
        server = Hop::at(&address.to_string(), speaks);
        assert_eq!(letter(&client), 'T', "{speaks:?}: after an outage");
        assert_eq!((stats(&engine).accepted, stats(&engine).open), (1, 1), "{speaks:?}");
        drop(server);
    }
}

#[tokio::test]
async fn a_dead_node_of_a_hop_is_left_out_and_a_later_hop_carries() {
    let (target, gone) = (Target::new(b'T'), closed());
    let (relay, gost) = (Hop::new(Speaks::Relay), Hop::new(Speaks::Gost));
    for (speaks, server) in [(Speaks::Relay, &relay), (Speaks::Gost, &gost)] {
        let (listen, engine) = (closed(), engine(1));
        apply(&engine, through(&[hop(speaks, &[&gone, &server.address])], &listen, &[&target.address]));
        assert_eq!(letter(&client(&listen)), 'T');
        assert_eq!(states(&engine), [NodeState::Dead, NodeState::Alive, NodeState::Alive], "{speaks:?}");
    }
}

#[tokio::test]
async fn a_target_that_a_hop_refuses_is_marked_and_the_hop_is_not() {
    let (target, refusing) = (Target::new(b'T'), Hop::new(Speaks::RelayRefuses));
    let (listen, engine) = (closed(), engine(1));
    apply(&engine, through(&[hop(Speaks::RelayRefuses, &[&refusing.address])], &listen, &[&target.address]));
    let client = client(&listen);
    client.send(b"?").unwrap();
    await_that("the target is marked", || states(&engine) == [NodeState::Alive, NodeState::Dead]).await;
}

#[tokio::test]
async fn a_hop_without_the_extension_is_marked_with_what_to_write() {
    let (target, server, listen, engine) = (Target::new(b'T'), Hop::new(Speaks::Associate), closed(), engine(1));
    apply(&engine, through(&[hop(Speaks::Gost, &[&server.address])], &listen, &[&target.address]));
    client(&listen).send(b"?").unwrap();
    await_that("the hop is marked", || states(&engine) == [NodeState::Dead, NodeState::Unknown]).await;
    let error = engine.report().forwards[0].nodes[0].last_error.clone().unwrap();
    assert!(error.contains("write udp_associate=true"), "{error}");
}

#[tokio::test]
async fn shadowsocks_carries_datagrams_in_datagrams_and_a_hop_that_refuses_is_marked() {
    let target = Target::new(b' ');
    for method in ["aes-256-gcm", "chacha20"] {
        let ((address, _socket), listen, engine) = (ss(method), closed(), engine(1));
        let hop = |address: &HostPort| json!({"scheme": "ss", "nodes": [address], "credentials": {"directory": "memory:/s/a"}, "failTimeout": "10m"});
        let file = |key: &str, text: &str| (format!("memory:/s/a/{key}"), text.as_bytes().to_vec());
        engine.set_secrets([file("username", method), file("password", "secret")].into_iter().collect::<SecretFiles>());
        apply(&engine, through(&[hop(&address)], &listen, &[&target.address]));
        let client = client(&listen);
        for size in [0, 1, 1472, 60_000] {
            client.send(&vec![7; size]).unwrap();
            assert_eq!(received(&client), vec![7; size], "{method}");
        }
        assert_eq!(states(&engine), [NodeState::Alive, NodeState::Alive]);
        apply(&engine, through(&[hop(&closed())], &listen, &[&target.address]));
        let other = super::client(&listen);
        await_that("the hop is marked", || {
            let _ = other.send(b"?");
            states(&engine) == [NodeState::Dead, NodeState::Alive]
        })
        .await;
    }
}

#[tokio::test]
async fn a_chain_that_carries_no_datagrams_is_refused_by_name() {
    let node = json!([{"host": "a", "port": 1}]);
    let plain = |scheme: &str| json!({"scheme": scheme, "nodes": node});
    let associate = json!({"scheme": "socks5", "nodes": node, "socks5": {"udpAssociate": true}});
    for (chain, part) in [
        (vec![plain("http")], "carries no datagrams"),
        (vec![plain("socks5"), plain("forward")], "carries no datagrams"),
        (vec![plain("http"), associate], "go through no other hop"),
    ] {
        let forward = through(&chain, &HostPort::new("", 1), &[&HostPort::new("b", 1)]);
        let plan = Plan::new(Config::new(1, vec![forward]).into());
        assert!(plan.refused()[0].message.contains(part), "{}", plan.refused()[0].message);
    }
}

#[tokio::test]
async fn a_hop_that_vanished_is_noticed_within_45_s_and_its_clients_are_served_by_a_new_way() {
    let (target, server, listen, engine) = (Target::new(b'T'), Hop::new(Speaks::Gost), closed(), engine(1));
    apply(&engine, through(&[hop(Speaks::Gost, &[&server.address])], &listen, &[&target.address]));
    let (asking, idle) = (client(&listen), client(&listen));
    assert_eq!((letter(&asking), letter(&idle)), ('T', 'T'));
    let port = server.address.port;
    // The far end would send it again and again.
    await_that("all is acknowledged", || {
        connections().iter().all(|row| ![row.local, row.remote].contains(&port) || row.under_way == 0)
    })
    .await;
    // From now on nothing that is sent over these connections arrives, and nothing says so.
    let nothing = [socket2::SockFilter::new(0x06, 0, 0, 0)];
    for connection in server.connections.lock().unwrap().iter() {
        socket2::SockRef::from(connection).attach_filter(&nothing).unwrap();
    }
    let vanished = Instant::now();
    asking.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    while vanished.elapsed() < Duration::from_secs(50) {
        let question = question();
        asking.send(&question).unwrap();
        if letter_before(&question, &asking).is_some() {
            break;
        }
    }
    // A probe may be late by the timer's grain.
    assert!(vanished.elapsed() < Duration::from_secs(47), "{:?}", vanished.elapsed());
    let ways = || connections().iter().filter(|row| row.remote == port && row.is_established).count();
    let rest = Duration::from_secs(47).saturating_sub(vanished.elapsed());
    await_within(rest, "the idle way is found out, too: only the new one is there", || ways() == 1).await;
    assert_eq!(letter_at_once(&idle), 'T', "by a new way: this datagram is not lost");
    assert_eq!((server.served(), stats(&engine).accepted), (4, 2));
}
