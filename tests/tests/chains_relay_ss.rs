//! Through relay and Shadowsocks hops: shadowsocks-libev and, where there is one, GOST, alone and among others.

use fairlead_tests::{
    binary::Fairlead,
    clients::{ask, ask_times, dial, is_echoed, letter},
    manifests::Manifest,
    ports,
    proxies::Proxy,
    skip::peer,
    targets::{Behaviour, Target},
};

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

#[test]
fn shadowsocks_servers_serve_with_aead_ciphers_and_the_legacy_one() {
    let (speaks, silent) = (Target::start(Behaviour::Greet('G')), Target::letter('A'));
    for method in ["chacha20", "aes-128-gcm", "aes-256-gcm", "chacha20-ietf-poly1305"] {
        let Some(server) = Proxy::shadowsocks(method, "s3cret") else { return };
        let hop = format!("ss://{method}:s3cret@{}", server.address());
        let (_fairlead, port) = through(&[&hop], &silent.address().to_string());
        assert_eq!(ask_times(([127, 0, 0, 1], port), 3), "AAA", "{method}");
        let (_fairlead, port) = through(&[&hop], &speaks.address().to_string());
        let stream = dial(([127, 0, 0, 1], port)).expect("a connection");
        assert_eq!(letter(&stream).ok(), Some('G'), "{method}: a server that speaks first is heard");
        assert!(is_echoed(&stream, "through the hop"), "{method}");
    }
}

#[test]
fn a_shadowsocks_hop_takes_its_password_from_a_secret_and_shows_it_nowhere() {
    let Some(server) = Proxy::shadowsocks("chacha20", "s3cret") else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    let hop =
        format!("chain: [{{url: 'ss://chacha20@{}', credentials: {{secretRef: {{name: tunnel}}}}}}]", server.address());
    let text = format!(
        "{}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: tunnel}}\nstringData: {{password: s3cret}}\n",
        Manifest::new("db", port).to(target.address()).with(&hop)
    );
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db.yaml");
    std::fs::write(&path, text).expect("write a file");
    let fairlead = Fairlead::run(&["run", "-o", "json", path.to_str().expect("UTF-8")]);
    fairlead.await_listening(port);
    assert_eq!(ask(([127, 0, 0, 1], port)).ok(), Some('A'));
    assert!(!fairlead.printed().contains("s3cret"));
}

#[test]
fn gosts_relay_and_shadowsocks_servers_are_gone_through() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let (speaks, silent) = (Target::start(Behaviour::Greet('G')), Target::letter('A'));
    for (serve, hop) in [
        ("relay://127.0.0.1:PORT", "relay://"),
        ("relay://u:p@127.0.0.1:PORT", "relay://u:p@"),
        ("ss://chacha20:pass@127.0.0.1:PORT", "ss://chacha20:pass@"),
        ("ss://AEAD_AES_256_GCM:pass@127.0.0.1:PORT", "ss://AEAD_AES_256_GCM:pass@"),
        ("ss://chacha20-ietf-poly1305:pass@127.0.0.1:PORT", "ss://CHACHA20-IETF-POLY1305:pass@"),
    ] {
        let gost = Proxy::gost(&program, serve);
        let hop = format!("{hop}{}", gost.address());
        let (_fairlead, port) = through(&[&hop], &silent.address().to_string());
        assert_eq!(ask_times(([127, 0, 0, 1], port), 3), "AAA", "{serve}");
        let (_fairlead, port) = through(&[&hop], &speaks.address().to_string());
        let stream = dial(([127, 0, 0, 1], port)).expect("a connection");
        assert_eq!(letter(&stream).ok(), Some('G'), "{serve}");
    }
    let fixed = Proxy::gost(&program, &format!("relay://127.0.0.1:PORT/{}", silent.address()));
    let (_fairlead, port) = through(&[&format!("relay://{}", fixed.address())], "");
    assert_eq!(ask_times(([127, 0, 0, 1], port), 3), "AAA", "a relay with a target of its own");
}

#[test]
fn chains_of_gost_servers_end_in_relay_and_shadowsocks() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::letter('A');
    let [socks, http, relay, ss] = [
        "socks5://127.0.0.1:PORT",
        "http://127.0.0.1:PORT",
        "relay://u:p@127.0.0.1:PORT",
        "ss://chacha20:pass@127.0.0.1:PORT",
    ]
    .map(|serve| Proxy::gost(&program, serve));
    let socks = format!("socks5://{}", socks.address());
    let http = format!("http://{}", http.address());
    let relay = format!("relay://u:p@{}", relay.address());
    let ss = format!("ss://chacha20:pass@{}", ss.address());
    for hops in [[&socks, &relay].as_slice(), &[&http, &ss], &[&relay, &ss, &socks], &[&socks, &http, &relay]] {
        let hops: Vec<&str> = hops.iter().map(|hop| hop.as_str()).collect();
        let (_fairlead, port) = through(&hops, &target.address().to_string());
        assert_eq!(ask_times(([127, 0, 0, 1], port), 3), "AAA", "{hops:?}");
    }
}
