//! Other programs as clients of our servers: GOST, where `GOST_BIN` names it, and shadowsocks-libev.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::Command,
    time::Duration,
};

use fairlead_tests::{
    binary::Fairlead,
    clients::{ask, ask_times},
    datagrams,
    deadline::{SOON, await_condition},
    objects::node_state,
    ports,
    proxies::Proxy,
    skip::{peer, skip},
    targets::Target,
};

/// A server on a free port of 127.0.0.1; `url` is `scheme://USER@`.
fn serving(url: &str) -> (Fairlead, u16) {
    let port = ports::free();
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &format!("{url}127.0.0.1:{port}")]);
    fairlead.await_listening(port);
    (fairlead, port)
}

/// GOST, which listens on `port`.
fn gost(program: &Path, port: u16, listen: &str, hop: &str) -> Proxy {
    let mut command = Command::new(program);
    command.args(["-L", listen, "-F", hop]);
    Proxy::program(command, port)
}

#[test]
fn gost_goes_through_our_servers_as_through_its_own() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::letter('A');
    for (serve, hop) in [
        ("socks5://", "socks5://"),
        ("socks5://", "socks5://?notls=true"),
        ("socks5://ann:s3cret@", "socks5://ann:s3cret@"),
        ("socks5://ann:s3cret@", "socks5://ann:s3cret@?notls=true"),
        ("socks4://", "socks4://"),
        ("socks4a://", "socks4a://"),
        ("http://ann:s3cret@", "http://ann:s3cret@"),
        ("", "socks5://"),
        ("", "http://"),
        ("", "socks4a://"),
        ("relay://ann:s3cret@", "relay://ann:s3cret@"),
        ("ss://chacha20:s3cret@", "ss://chacha20:s3cret@"),
        ("ss://AEAD_CHACHA20_POLY1305:s3cret@", "ss://AEAD_CHACHA20_POLY1305:s3cret@"),
    ] {
        let (_server, port) = serving(serve);
        let (scheme, options) = hop.split_once('?').unwrap_or((hop, ""));
        let ours = ports::free();
        let hop = format!("{scheme}127.0.0.1:{port}?{options}");
        let _gost = gost(&program, ours, &format!("tcp://127.0.0.1:{ours}/{}", target.address()), &hop);
        assert_eq!(ask_times(([127, 0, 0, 1], ours), 3), "AAA", "{serve} by {hop}");
    }
}

#[test]
fn gost_listens_through_our_socks5_server() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::letter('A');
    for options in ["", "?mbind=true"] {
        let (_server, port) = serving("socks5://ann:s3cret@");
        let bound = ports::free();
        let listen = format!("rtcp://127.0.0.1:{bound}/{}", target.address());
        let hop = format!("socks5://ann:s3cret@127.0.0.1:{port}{options}");
        let _gost = gost(&program, bound, &listen, &hop);
        assert_eq!(ask_times(([127, 0, 0, 1], bound), 20), "A".repeat(20), "{options}");
    }
}

#[test]
fn a_hundred_clients_at_once_of_gosts_bound_port_are_all_served() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::letter('A');
    let (_server, port) = serving("socks5://");
    let bound = ports::free();
    let listen = format!("rtcp://127.0.0.1:{bound}/{}", target.address());
    let _gost = gost(&program, bound, &listen, &format!("socks5://127.0.0.1:{port}"));
    let clients: Vec<_> = (0..100).map(|_| std::thread::spawn(move || ask(([127, 0, 0, 1], bound)))).collect();
    let served = clients.into_iter().filter(|_| true).map(|client| client.join().expect("a client"));
    assert_eq!(served.filter(|answer| matches!(answer, Ok('A'))).count(), 100);
}

/// Who sends every datagram back.
fn echo() -> SocketAddr {
    let echo = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = echo.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut buffer = [0; 9_000];
        while let Ok((count, from)) = echo.recv_from(&mut buffer) {
            // The sender may be gone.
            let _ = echo.send_to(&buffer[..count], from);
        }
    });
    address
}

/// Datagrams of these sizes come back from here; what is lost before everybody listens is sent again.
fn assert_echoes(bound: SocketAddr, sizes: [usize; 3]) {
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.set_read_timeout(Some(Duration::from_millis(300))).expect("a limit");
    for size in sizes {
        let message = vec![b'x'; size];
        let mut answer = vec![0; 9_000];
        await_condition("an answer", SOON, || {
            client.send_to(&message, bound).is_ok()
                && client.recv_from(&mut answer).is_ok_and(|(count, from)| count == size && from == bound)
        });
    }
}

#[test]
fn gost_sends_datagrams_through_our_servers_both_ways() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = echo();
    let (_server, port) = serving("socks5://ann:s3cret@");
    let socks5 = format!("socks5://ann:s3cret@127.0.0.1:{port}");
    let ssu = format!("ssu://chacha20-ietf-poly1305:s3cret@127.0.0.1:{}", ports::free());
    let _ssu = Fairlead::run(&["run", "-o", "json", "-L", &ssu]);
    let behind_ours = format!("relay://ann:s3cret@127.0.0.1:{}", ports::free());
    let _relay = Fairlead::run(&["run", "-o", "json", "-L", &behind_ours, "-F", &socks5]);
    for (scheme, hop) in [("udp", &socks5), ("rudp", &socks5), ("udp", &ssu), ("udp", &behind_ours)] {
        let bound = UdpSocket::bind("127.0.0.1:0").expect("a socket").local_addr().expect("an address");
        let mut command = Command::new(&program);
        command.args(["-L", &format!("{scheme}://{bound}/{target}"), "-F", hop]);
        let _gost = Datagrams::start(command);
        assert_echoes(bound, [1, 100, 8_000]);
    }
}

#[test]
fn clients_of_our_relay_server_are_led_to_its_own_targets() {
    let (target, datagrams) = (Target::letter('A'), datagrams::Target::start('T'));
    let serve = |targets: SocketAddr| {
        let port = ports::free();
        let listen = format!("relay://ann:s3cret@127.0.0.1:{port}/{targets}");
        let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &listen]);
        fairlead.await_listening(port);
        (fairlead, format!("relay://ann:s3cret@127.0.0.1:{port}"))
    };
    let (server, hop) = serve(target.address());
    let [ours, gosts] = [ports::free(), ports::free()];
    let client = Fairlead::run(&["run", "-L", &format!("tcp://127.0.0.1:{ours}"), "-F", &hop]);
    client.await_listening(ours);
    assert_eq!(ask_times(([127, 0, 0, 1], ours), 3), "AAA");
    server.await_object("the target's state", |object| {
        node_state(object, &target.address().to_string()) == Some("Alive")
    });
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let _gost = gost(&program, gosts, &format!("tcp://127.0.0.1:{gosts}"), &hop);
    assert_eq!(ask_times(([127, 0, 0, 1], gosts), 3), "AAA");
    let ((_server, hop), port) = (serve(datagrams.address), ports::free());
    let mut command = Command::new(&program);
    command.args(["-L", &format!("udp://127.0.0.1:{port}"), "-F", &hop]);
    let _gost = Datagrams::start(command);
    assert_eq!(datagrams::letter(&datagrams::client(port)), 'T');
}

/// A program that listens for datagrams; dropping it kills it.
struct Datagrams(std::process::Child);

impl Datagrams {
    fn start(mut command: Command) -> Self {
        use std::process::Stdio;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.expect("start the program"))
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn shadowsocks_libev_goes_through_our_server() {
    let target = Target::letter('A');
    for cipher in ["chacha20-ietf-poly1305", "aes-256-gcm", "chacha20"] {
        let (_server, port) = serving(&format!("ss://{cipher}:s3cret@"));
        let (local, ours) = (ports::free(), ports::free());
        let mut command = Command::new("ss-local");
        command.args(["-s", "127.0.0.1", "-p", &port.to_string(), "-b", "127.0.0.1", "-l", &local.to_string()]);
        command.args(["-k", "s3cret", "-m", cipher]);
        if Command::new("ss-local").arg("-h").output().is_err() {
            skip("ss-local is not installed");
            return;
        }
        let _client = Proxy::program(command, local);
        let listen = format!("tcp://127.0.0.1:{ours}/{}", target.address());
        let hop = format!("socks5://127.0.0.1:{local}?notls=true");
        let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &listen, "-F", &hop]);
        fairlead.await_listening(ours);
        assert_eq!(ask_times(([127, 0, 0, 1], ours), 3), "AAA", "{cipher}");
    }
}

#[test]
fn shadowsocks_libev_sends_datagrams_through_our_server() {
    let target = echo();
    for cipher in ["chacha20-ietf-poly1305", "aes-256-gcm", "chacha20"] {
        let (server, bound) = (ports::free(), SocketAddr::from(([127, 0, 0, 1], ports::free())));
        let _server = Fairlead::run(&["run", "-o", "json", "-L", &format!("ssu://{cipher}:s3cret@127.0.0.1:{server}")]);
        if Command::new("ss-tunnel").arg("-h").output().is_err() {
            skip("ss-tunnel is not installed");
            return;
        }
        let mut command = Command::new("ss-tunnel");
        command.args(["-s", "127.0.0.1", "-p", &server.to_string(), "-b", "127.0.0.1"]);
        command.args(["-l", &bound.port().to_string(), "-L", &target.to_string()]);
        command.args(["-k", "s3cret", "-m", cipher, "-U"]);
        let _client = Datagrams::start(command);
        // It takes no more than fits a packet.
        assert_echoes(bound, [1, 100, 1_400]);
    }
}
