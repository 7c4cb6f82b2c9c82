//! Beside the real GOST v2, where `GOST_BIN` names it: the same command line goes to both, and both do the same.

use std::{
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
};

use fairlead_tests::{
    binary::Fairlead,
    clients::{ask, ask_times},
    deadline::{SOON, await_condition},
    ports,
    proxies::Proxy,
    skip::peer,
    targets::Target,
};

/// A running GOST; dropping it kills it.
struct Gost(Child);

impl Drop for Gost {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A remote forward of ours to GOST's far end, once it listens there.
fn remote(scheme: &str, hop: &str, target: SocketAddr) -> (Fairlead, u16) {
    let port = ports::free();
    let listen = format!("{scheme}://127.0.0.1:{port}/{target}");
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &listen, "-F", hop]);
    fairlead.await_object("the far end's port", |object| object["status"]["addresses"][0]["port"] == port);
    (fairlead, port)
}

#[test]
#[allow(clippy::print_stderr, reason = "how many GOST's BIND serves is what the test is about")]
fn ports_at_a_gost_far_end_are_held_by_bind_and_by_mbind() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let (target, gost) = (Target::letter('A'), Proxy::gost(&program, "socks5://127.0.0.1:PORT"));
    for options in ["", "?notls=true", "?mbind=true", "?mbind=true&notls=true"] {
        let (_fairlead, port) = remote("rtcp", &format!("socks5://{}{options}", gost.address()), target.address());
        for number in 0..5 {
            // One peer per BIND: between two, nobody listens.
            await_condition(format!("client {number}"), SOON, || ask(([127, 0, 0, 1], port)).ok() == Some('A'));
        }
        let clients: Vec<_> = (0..100).map(|_| thread::spawn(move || ask(([127, 0, 0, 1], port)).is_ok())).collect();
        let served = clients.into_iter().filter_map(|client| client.join().ok()).filter(|served| *served).count();
        eprintln!("of 100 clients at once, GOST's far end served {served} with {options:?}");
        assert!(served == 100 || !options.contains("mbind"), "{served}");
    }
}

#[test]
fn a_port_at_a_gost_ssh_server_is_held() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::letter('A');
    for login in ["", "ann:s3cret@"] {
        let gost = Proxy::gost(&program, &format!("forward+ssh://{login}127.0.0.1:PORT"));
        let user = if login.is_empty() { "ann@" } else { login };
        let hop = format!("forward+ssh://{user}{}?secure=false", gost.address());
        let (_fairlead, port) = remote("rtcp", &hop, target.address());
        assert_eq!(ask_times(([127, 0, 0, 1], port), 5), "AAAAA", "with {login:?}");
    }
}

#[test]
fn datagrams_come_through_a_gost_far_end() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let gost = Proxy::gost(&program, "socks5://127.0.0.1:PORT");
    let echo = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let target = echo.local_addr().expect("its address");
    thread::spawn(move || {
        let mut buffer = [0; 8_192];
        while let Ok((count, peer)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..count], peer);
        }
    });
    for options in ["", "?notls=true"] {
        let (_fairlead, port) = remote("rudp", &format!("socks5://{}{options}", gost.address()), target);
        for size in [1, 512, 8_000] {
            let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            client.connect(("127.0.0.1", port)).expect("the port");
            client.set_read_timeout(Some(SOON / 100)).expect("a limit");
            let (word, mut answer) = (vec![7; size], [0; 8_192]);
            await_condition("an answer", SOON, || {
                client.send(&word).is_ok() && matches!(client.recv(&mut answer), Ok(count) if answer[..count] == word)
            });
        }
    }
}

#[test]
fn the_same_url_gives_clients_the_same_targets() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let targets = ['A', 'B', 'C'].map(Target::letter);
    let [a, b, c] = [0, 1, 2].map(|index: usize| targets[index].address());
    for rest in [
        format!("{a},{b},{c}"),
        format!("{a},{b},{c}?strategy=round"),
        format!("{a},{b},{c}?strategy=fifo&max_fails=2&fail_timeout=3s"),
        format!("{a},{b}?ip={c}&fail_timeout=3"),
        format!("{c}?strategy=fifo&ip={b},{a}"),
    ] {
        let (theirs, ours) = (ports::free(), ports::free());
        let mut command = Command::new(&program);
        command.args(["-L", &format!("tcp://127.0.0.1:{theirs}/{rest}")]);
        let gost = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let _gost = Gost(gost.expect("start GOST_BIN"));
        let fairlead = Fairlead::run(&["run", "-L", &format!("tcp://127.0.0.1:{ours}/{rest}")]);
        fairlead.await_listening(ours);
        await_condition("GOST to listen", SOON, || ports::listener_on(theirs).is_some());
        let answers = [theirs, ours].map(|port| ask_times(([127, 0, 0, 1], port), 9));
        assert_eq!(answers[0], answers[1], "GOST and fairlead on {rest}");
    }
}
