//! Through chains of real proxies: the same answers as without, and only who fails is marked.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener},
    process::Command,
    time::Duration,
};

use fairlead_tests::{
    binary::{Fairlead, Launch},
    clients::{First, Load, ask, ask_times, half_close},
    deadline::{SOON, await_condition},
    manifests::Manifest,
    ports,
    proxies::Proxy,
    skip::{peer, skip},
    targets::Target,
};
use serde_json::Value;

/// Runs a forward from a free port to `targets` through `hops`, and returns it with its port.
fn through(hops: &[&str], targets: &str) -> (Fairlead, u16) {
    let port = ports::free();
    let listen = format!("tcp://127.0.0.1:{port}/{targets}");
    let mut arguments = vec!["run", "-o", "json", "-L", &listen];
    arguments.extend(hops.iter().flat_map(|hop| ["-F", hop]));
    let fairlead = Fairlead::run(&arguments);
    fairlead.await_listening(port);
    (fairlead, port)
}

/// The state of the node at this address, in an object.
fn state<'a>(object: &'a Value, address: &str) -> Option<&'a str> {
    let nodes = object.pointer("/status/nodes")?.as_array()?;
    nodes.iter().find(|node| node["address"] == address)?["state"].as_str()
}

#[test]
fn socks5_and_connect_proxies_serve_with_and_without_a_login() {
    let login = Some(("ann", "s3cret"));
    let (Some(open), Some(closed)) = (Proxy::microsocks(None), Proxy::microsocks(login)) else { return };
    let (Some(http), Some(http_login)) = (Proxy::tinyproxy(None), Proxy::tinyproxy(login)) else { return };
    let Some(dante) = Proxy::dante() else { return };
    let target = Target::letter('A');
    let address = target.address().to_string();
    for hops in [
        vec![format!("socks5://{}", open.address())],
        vec![format!("socks5://{}", dante.address())],
        vec![format!("socks5://ann:s3cret@{}", closed.address())],
        vec![format!("socks5://{}?notls=true&auth=YW5uOnMzY3JldA", closed.address())],
        vec![format!("http://{}", http.address())],
        vec![format!("http://ann:s3cret@{}", http_login.address())],
        vec![http.address()],
        vec![format!("socks5://{}", open.address()), format!("http://{}", http.address())],
        vec![
            format!("http://{}", http.address()),
            format!("socks5://ann:s3cret@{}", closed.address()),
            format!("socks5://{}", open.address()),
        ],
    ] {
        let hops: Vec<&str> = hops.iter().map(String::as_str).collect();
        let (_fairlead, port) = through(&hops, &address);
        assert_eq!(ask_times(([127, 0, 0, 1], port), 3), "AAA", "through {hops:?}");
    }
}

/// A target on this host's IPv6 loopback, which answers one letter to whoever asks.
fn target6(letter: u8) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("[::1]:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            // A client that has left already gets no answer.
            let _ = client.read_exact(&mut [0]).and_then(|()| client.write_all(&[letter]));
        }
    });
    Ok(address)
}

#[test]
fn names_and_ipv6_addresses_go_through_every_hop_of_ours() {
    let by_name = Target::letter('N');
    let name = format!("localhost:{}", by_name.address().port());
    let Ok(by_address) = target6(b'6') else { return skip("this host has no IPv6 loopback") };
    for scheme in ["socks5", "http", "relay", "ss", "auto"] {
        let login = if scheme == "ss" { "aes-256-gcm:s3cret@" } else { "" };
        let server = ports::free();
        let far_end = Fairlead::run(&["run", "-L", &format!("{scheme}://{login}127.0.0.1:{server}")]);
        far_end.await_listening(server);
        let hop = format!("{}://{login}127.0.0.1:{server}", if scheme == "auto" { "socks5" } else { scheme });
        for (target, want) in [(&name, 'N'), (&by_address.to_string(), '6')] {
            let (_fairlead, port) = through(&[&hop], target);
            assert_eq!(ask(([127, 0, 0, 1], port)).ok(), Some(want), "{target} through {scheme}");
        }
    }
}

#[test]
fn a_half_close_comes_through_a_hop_that_carries_it_with_every_byte() {
    for first in [First::Client, First::Target] {
        let mut running = Vec::new();
        half_close(4 << 20, first, |target| {
            // Ours, since microsocks, tinyproxy and GOST end both ways with the first.
            let (far_end, hop) = through(&[], &target.to_string());
            let (fairlead, port) = through(&[&format!("forward://127.0.0.1:{hop}")], "");
            running.extend([far_end, fairlead]);
            port
        })
        .expect("both halves, whole");
    }
}

#[test]
fn a_killed_proxy_of_a_group_is_left_out_while_the_targets_stay_alive() {
    let (Some(mut first), Some(second)) = (Proxy::microsocks(None), Proxy::microsocks(None)) else { return };
    let target = Target::letter('A');
    let hop =
        format!("socks5://{}?ip={}&strategy=fifo", first.address(), [first.address(), second.address()].join(","));
    let (fairlead, port) = through(&[&hop], &target.address().to_string());
    assert_eq!(ask(([127, 0, 0, 1], port)).ok(), Some('A'));
    first.kill();
    assert_eq!(ask_times(([127, 0, 0, 1], port), 20), "A".repeat(20), "no client notices");
    let (hop, address) = (first.address(), target.address().to_string());
    let object = fairlead.await_object("the dead hop, and nobody else", |object| {
        let others = [second.address(), address.clone()];
        state(object, &hop) == Some("Dead") && others.iter().all(|other| state(object, other) == Some("Alive"))
    });
    let node = &object["status"]["nodes"][0];
    assert_eq!((node["role"].as_str(), node["hop"].as_u64()), (Some("Hop"), Some(1)), "{object}");
}

#[test]
fn a_hop_that_is_restarted_under_load_costs_no_client() {
    let target = Target::letter('A');
    let [first, second] = [ports::free(), ports::free()];
    let serve = |port: u16| {
        let server = Fairlead::run(&["run", "-L", &format!("socks5://127.0.0.1:{port}")]);
        server.await_listening(port);
        server
    };
    let (mut restarted, _other) = (serve(first), serve(second));
    let nodes = format!("127.0.0.1:{first},127.0.0.1:{second}");
    let hop = format!("socks5://127.0.0.1:{first}?ip={nodes}&fail_timeout=1s");
    let (fairlead, port) = through(&[&hop], &target.address().to_string());
    let load = Load::start(port, 100, Duration::from_secs(8));
    let answered = |count| await_condition("clients to be answered", SOON, || target.answered() >= count);
    answered(100);
    restarted.terminate();
    assert_eq!(restarted.await_exit(SOON), 0, "{}", restarted.printed());
    let gone = format!("127.0.0.1:{first}");
    fairlead.await_object("the hop's node to be dead", |object| state(object, &gone) == Some("Dead"));
    let mark = fairlead.mark();
    let _restarted = serve(first);
    fairlead.await_object_after(mark, "the hop's node alive again", |object| state(object, &gone) == Some("Alive"));
    let fared = load.finish();
    assert_eq!((fared.clients, fared.unanswered), (800, 0), "{fared:?}\n{}", fairlead.printed());
}

#[test]
fn a_dead_target_behind_a_hop_is_marked_and_the_hop_is_not() {
    let Some(proxy) = Proxy::microsocks(None) else { return };
    let (mut dead, alive) = (Target::letter('A'), Target::letter('B'));
    dead.kill();
    let targets = format!("{},{}?strategy=fifo", dead.address(), alive.address());
    let (fairlead, port) = through(&[&format!("socks5://{}", proxy.address())], &targets);
    assert_eq!(ask_times(([127, 0, 0, 1], port), 3), "BBB");
    let gone = dead.address().to_string();
    fairlead.await_object("the dead target, and an alive hop", |object| {
        state(object, &gone) == Some("Dead") && state(object, &proxy.address()) == Some("Alive")
    });
}

#[test]
fn a_password_may_change_in_the_manifest_beside_the_forward() {
    let Some(proxy) = Proxy::microsocks(Some(("ann", "right"))) else { return };
    let target = Target::letter('A');
    let port = ports::free();
    let text = |password: &str| {
        let hop = format!(
            "chain: [{{scheme: socks5, nodes: [{{host: 127.0.0.1, port: {}}}], credentials: {{secretRef: {{name: b}}}}}}]",
            proxy.port
        );
        let secret = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: b}}\nstringData: {{username: ann, password: {password}}}\n"
        );
        format!("{}---\n{secret}", Manifest::new("db", port).to(target.address()).with(&hop))
    };
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db.yaml");
    fs::write(&path, text("wrong")).expect("write a file");
    let fairlead = Launch::new(["run", "-o", "json", path.to_str().expect("UTF-8")]).start();
    fairlead.await_listening(port);
    assert!(ask(([127, 0, 0, 1], port)).is_err());
    fairlead.await_object("the refused login", |object| object.to_string().contains("refuses the user"));
    fairlead_tests::manifests::replace(&path, text("right"));
    await_condition("the new password is used", SOON, || ask(([127, 0, 0, 1], port)).is_ok());
    let printed = fairlead.printed();
    assert!(!printed.contains("wrong") && !printed.contains("right"), "a password is shown:\n{printed}");
}

#[test]
fn a_forward_whose_secret_is_missing_says_so_and_does_not_start() {
    let text = Manifest::new("db", ports::free()).to(([127, 0, 0, 1], 1).into()).with(
        "chain: [{scheme: socks5, nodes: [{host: 127.0.0.1, port: 1}], credentials: {secretRef: {name: bastion}}}]",
    );
    let finished = Launch::new(["run", "-"]).input(&text.to_string()).finish();
    assert_ne!(finished.code, 0);
    assert!(
        finished.stderr.contains("hop 1: Secret \"bastion\", key \"username\": is not there"),
        "{}",
        finished.stderr
    );
}

/// GOST with these arguments, which listens on `port`.
fn gost(program: &std::path::Path, port: u16, url: &str) -> Proxy {
    let mut command = Command::new(program);
    command.args(["-L", url]);
    Proxy::program(command, port)
}

#[test]
fn gosts_servers_are_gone_through_as_gost_does() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::letter('A');
    let address = target.address().to_string();
    for (serve, hop) in [
        ("socks5://", "socks5://"),
        ("socks5://", "socks5://?notls=true"),
        ("socks5://u:p@", "socks5://u:p@"),
        ("socks5://u:p@", "socks5://u:p@?notls=true"),
        ("socks4://", "socks4://"),
        ("socks4a://", "socks4a://"),
        ("http://u:p@", "http://u:p@"),
        ("", "socks5://"),
        ("", ""),
    ] {
        let port = ports::free();
        let _gost = gost(&program, port, &format!("{serve}127.0.0.1:{port}"));
        let (scheme, options) = hop.split_once('?').unwrap_or((hop, ""));
        let (_fairlead, ours) = through(&[&format!("{scheme}127.0.0.1:{port}?{options}")], &address);
        assert_eq!(ask_times(([127, 0, 0, 1], ours), 3), "AAA", "{serve} by {hop}");
    }
    let port = ports::free();
    let _gost = gost(&program, port, &format!("tcp://127.0.0.1:{port}/{address}"));
    let (_fairlead, ours) = through(&[&format!("forward://127.0.0.1:{port}")], "");
    assert_eq!(ask_times(([127, 0, 0, 1], ours), 3), "AAA", "a forward hop");
}

#[test]
fn a_gost_server_that_must_prove_who_it_is_is_gone_through_only_if_it_does() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("write a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (file("cert.pem", own.cert.pem()), file("key.pem", own.signing_key.serialize_pem()));
    let other = file("other.pem", other.cert.pem());
    let target = Target::letter('A');
    let (proves, plain) = (ports::free(), Proxy::microsocks(None));
    let _gost = gost(&program, proves, &format!("socks5://127.0.0.1:{proves}?cert={cert}&key={key}"));
    let Some(plain) = plain else { return };
    for (hop, served, said) in [
        (format!("socks5://localhost:{proves}?secure=true&ca={cert}"), true, "node is alive"),
        (format!("socks5://localhost:{proves}"), true, "node is alive"),
        (format!("socks5://localhost:{proves}?ca={other}"), false, "invalid peer certificate"),
        (format!("socks5://127.0.0.1:{proves}?ca={cert}"), false, "invalid peer certificate"),
        (format!("socks5://localhost:{}?ca={cert}", plain.port), false, "the hop does not encrypt"),
    ] {
        let (fairlead, port) = through(&[&hop], &target.address().to_string());
        assert_eq!(ask(([127, 0, 0, 1], port)).is_ok(), served, "{hop}");
        fairlead.await_log(said);
    }
}

#[test]
fn a_chain_of_gost_servers_with_and_without_encryption_serves() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::start(fairlead_tests::targets::Behaviour::Greet('A'));
    let [one, two, three] = [(); 3].map(|()| ports::free());
    let _servers = [
        gost(&program, one, &format!("socks5://127.0.0.1:{one}")),
        gost(&program, two, &format!("http://127.0.0.1:{two}")),
        gost(&program, three, &format!("socks5://u:p@127.0.0.1:{three}")),
    ];
    let hops = [
        format!("socks5://127.0.0.1:{one}"),
        format!("http://127.0.0.1:{two}"),
        format!("socks5://u:p@127.0.0.1:{three}"),
    ];
    for hops in [&hops[..2], &hops] {
        let hops: Vec<&str> = hops.iter().map(String::as_str).collect();
        let (_fairlead, port) = through(&hops, &target.address().to_string());
        let stream = fairlead_tests::clients::dial(([127, 0, 0, 1], port)).expect("a connection");
        assert_eq!(fairlead_tests::clients::letter(&stream).ok(), Some('A'), "a server that speaks first is heard");
        assert!(fairlead_tests::clients::is_echoed(&stream, "through the chain"));
    }
}
