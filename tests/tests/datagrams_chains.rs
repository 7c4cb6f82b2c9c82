//! Datagrams through real hops: dante by UDP ASSOCIATE, shadowsocks-libev, and GOST by its UDP over TCP, relay and
//! Shadowsocks, alone and behind others.

use std::{net::UdpSocket, time::Instant};

use fairlead_tests::{
    binary::Fairlead,
    datagrams::{Target, client, letter},
    deadline::{SOON, await_condition},
    objects::{is_true, node_state},
    ports,
    proxies::Proxy,
    skip::peer,
};

/// Runs a forward of datagrams from a free port to the target through `hops`.
fn through(hops: &[&str], target: &Target) -> (Fairlead, u16) {
    let port = ports::free();
    let listen = format!("udp://127.0.0.1:{port}/{}", target.address);
    let mut arguments = vec!["run", "-o", "json", "-L", &listen];
    arguments.extend(hops.iter().flat_map(|hop| ["-F", hop]));
    let fairlead = Fairlead::run(&arguments);
    fairlead.await_object("Programmed", |object| is_true(object, "Programmed"));
    (fairlead, port)
}

/// Whether datagrams of these sizes come back whole, behind the target's letter.
fn are_answered(client: &UdpSocket, sizes: &[usize]) {
    client.set_read_timeout(Some(SOON)).expect("a time-out");
    for size in sizes {
        let sent: Vec<u8> = (0..*size).map(|index| (index % 251) as u8).collect();
        client.send(&sent).expect("send");
        let (mut received, want) = (vec![0; 65_536], [b"T", &sent[..]].concat());
        let mut length = 0;
        // Answers to what was asked twice may come before.
        while received[..length] != want {
            length = client.recv(&mut received).expect("an answer");
        }
    }
}

#[test]
fn dante_serves_by_udp_associate() {
    let Some(dante) = Proxy::dante() else { return };
    let target = Target::start('T');
    let (fairlead, port) = through(&[&format!("socks5://{}?udp_associate=true", dante.address())], &target);
    are_answered(&client(port), &[1, 1472, 9000, 60_000]);
    let (hop, target) = (dante.address(), target.address.to_string());
    fairlead.await_object("both alive", |object| {
        [&hop, &target].iter().all(|node| node_state(object, node) == Some("Alive"))
    });
}

#[test]
fn shadowsocks_libev_serves_datagrams_with_aead_ciphers_and_the_legacy_one() {
    let target = Target::start('T');
    for method in ["chacha20", "aes-256-gcm", "chacha20-ietf-poly1305"] {
        let Some(server) = Proxy::shadowsocks(method, "s3cret") else { return };
        let (_fairlead, port) = through(&[&format!("ss://{method}:s3cret@{}", server.address())], &target);
        let client = client(port);
        assert_eq!(letter(&client), 'T', "{method}");
        are_answered(&client, &[1, 512, 1200]);
    }
}

#[test]
fn a_server_without_gosts_command_says_what_to_write() {
    let Some(proxy) = Proxy::microsocks(None) else { return };
    let target = Target::start('T');
    let (fairlead, port) = through(&[&format!("socks5://{}", proxy.address())], &target);
    client(port).send(b"?").expect("send");
    fairlead.await_object("the reason", |object| object.to_string().contains("write udp_associate=true"));
}

#[test]
fn gosts_servers_carry_datagrams_alone_and_behind_others() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::start('T');
    let [open, closed, http, relay] = [
        "socks5://127.0.0.1:PORT",
        "socks5://u:p@127.0.0.1:PORT",
        "http://127.0.0.1:PORT",
        "relay://u:p@127.0.0.1:PORT",
    ]
    .map(|serve| Proxy::gost(&program, serve));
    let socks = format!("socks5://{}", open.address());
    let plain = format!("socks5://{}?notls=true", open.address());
    let login = format!("socks5://u:p@{}", closed.address());
    let http = format!("http://{}", http.address());
    let relay = format!("relay://u:p@{}", relay.address());
    for hops in [
        [&socks].as_slice(),
        &[&plain],
        &[&login],
        &[&relay],
        &[&http, &socks],
        &[&socks, &relay],
        &[&http, &login, &socks],
        &[&login, &http, &relay],
    ] {
        let hops: Vec<&str> = hops.iter().map(|hop| hop.as_str()).collect();
        let (_fairlead, port) = through(&hops, &target);
        let client = client(port);
        assert_eq!(letter(&client), 'T', "{hops:?}");
        // GOST cuts off what its buffer of 8192 bytes can't hold, the letter included.
        are_answered(&client, &[1, 1472, 8000]);
        // What it would stall or end at is never sent.
        for size in [0, 16_375, 60_000] {
            client.send(&vec![1; size]).expect("send");
        }
        if !hops.last().is_some_and(|hop| hop.starts_with("relay")) {
            are_answered(&client, &[5]);
        }
    }
}

#[test]
fn gosts_restart_loses_no_client() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::start('T');
    for (serve, hop) in [("socks5://127.0.0.1:PORT", "socks5://"), ("relay://127.0.0.1:PORT", "relay://")] {
        let mut gost = Proxy::gost(&program, serve);
        let (_fairlead, port) = through(&[&format!("{hop}{}", gost.address())], &target);
        let client = client(port);
        assert_eq!(letter(&client), 'T', "{serve}");
        let at = gost.port;
        gost.kill();
        let away = Instant::now();
        while away.elapsed().as_secs() < 2 {
            let _ = client.send(b"?");
            let _ = client.recv(&mut [0; 8]);
        }
        let mut command = std::process::Command::new(&program);
        command.args(["-L", &serve.replace("PORT", &at.to_string())]);
        let _gost = Proxy::program(command, at);
        let back = Instant::now();
        assert_eq!(letter(&client), 'T', "{serve}");
        assert!(back.elapsed().as_secs() < 2, "{serve}: {:?}", back.elapsed());
    }
}

/// Runs a server of ours on a free port behind these hops.
fn behind(url: &str, hops: &[&str]) -> (Fairlead, u16) {
    let port = ports::free();
    let listen = url.replace("PORT", &port.to_string());
    let mut arguments = vec!["run", "-L", &listen];
    arguments.extend(hops.iter().flat_map(|hop| ["-F", hop]));
    let fairlead = Fairlead::run(&arguments);
    await_condition("a listener", SOON, || ports::listener_on(port).is_some() || ports::takes_datagrams(port));
    (fairlead, port)
}

#[test]
fn gosts_servers_and_ours_carry_datagrams_for_each_other() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::start('T');
    let [gosts_socks, gosts_relay] = ["socks5", "relay"].map(|word| {
        let gost = Proxy::gost(&program, &format!("{word}://u:p@127.0.0.1:PORT"));
        let hop = format!("{word}://u:p@{}", gost.address());
        (gost, hop)
    });
    let (_server, ours) = behind("socks5://u:p@127.0.0.1:PORT", &[]);
    let ours = format!("socks5://u:p@127.0.0.1:{ours}");
    for (word, hop, is_gost) in [
        ("socks5", &gosts_socks.1, false),
        ("relay", &gosts_socks.1, false),
        ("relay", &gosts_relay.1, false),
        ("socks5", &ours, true),
        ("relay", &ours, true),
    ] {
        let (mut command, at) = (std::process::Command::new(&program), ports::free());
        command.args(["-L", &format!("{word}://127.0.0.1:{at}"), "-F", hop]);
        let _gost = is_gost.then(|| Proxy::program(command, at));
        let server = (!is_gost).then(|| behind(&format!("{word}://127.0.0.1:PORT"), &[hop]));
        let port = server.as_ref().map_or(at, |(_, port)| *port);
        let option = if word == "socks5" { "?udp_associate=true" } else { "" };
        let (_fairlead, port) = through(&[&format!("{word}://127.0.0.1:{port}{option}")], &target);
        let client = client(port);
        assert_eq!(letter(&client), 'T', "{word} behind {hop}");
        are_answered(&client, &[1, 1472, 8000]);
    }
}

#[test]
fn our_own_servers_carry_datagrams_alone_and_behind_others() {
    let target = Target::start('T');
    let served = |url: &str| behind(url, &[]);
    let (_socks, socks) = served("socks5://u:p@127.0.0.1:PORT");
    let (_relay, relay) = served("relay://u:p@127.0.0.1:PORT");
    let (_ssu, ssu) = served("ssu://aes-256-gcm:p@127.0.0.1:PORT");
    let ss = format!("ss://aes-256-gcm:p@127.0.0.1:{ssu}");
    let socks = format!("socks5://u:p@127.0.0.1:{socks}");
    let (_chained, chained) = behind("socks5://127.0.0.1:PORT", &[&socks]);
    let chained = format!("socks5://127.0.0.1:{chained}");
    let (_far_ssu, far_ssu) = behind("ssu://aes-256-gcm:p@127.0.0.1:PORT", &[&socks]);
    let far_ssu = format!("ss://aes-256-gcm:p@127.0.0.1:{far_ssu}");
    let far_associate = format!("{chained}?udp_associate=true");
    let relay = format!("relay://u:p@127.0.0.1:{relay}");
    let [(_over_socks, over_socks), (_over_relay, over_relay)] =
        [&socks, &relay].map(|hop| behind("relay://127.0.0.1:PORT", &[hop]));
    let [over_socks, over_relay] = [over_socks, over_relay].map(|port| format!("relay://127.0.0.1:{port}"));
    let associate = format!("{socks}?udp_associate=true");
    for (hops, sizes) in [
        ([&socks].as_slice(), [1, 1472, 16_373]),
        (&[&chained], [1, 1472, 16_373]),
        (&[&associate], [0, 1472, 60_000]),
        (&[&far_associate], [1, 1472, 16_373]),
        (&[&over_socks], [1, 1472, 16_373]),
        (&[&over_relay], [0, 1472, 60_000]),
        (&[&relay], [0, 1472, 60_000]),
        (&[&ss], [0, 1472, 60_000]),
        (&[&far_ssu], [1, 1472, 16_373]),
        (&[&relay, &socks], [1, 1472, 9000]),
        (&[&socks, &socks, &relay], [0, 1472, 9000]),
    ] {
        let hops: Vec<&str> = hops.iter().map(|hop| hop.as_str()).collect();
        let (_fairlead, port) = through(&hops, &target);
        let client = client(port);
        assert_eq!(letter(&client), 'T', "{hops:?}");
        are_answered(&client, &sizes);
    }
}
