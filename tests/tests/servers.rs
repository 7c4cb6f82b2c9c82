//! Real clients of our servers: curl with right logins and wrong ones, our own hops, and what garbage costs.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use fairlead_tests::{
    binary::{Fairlead, Launch},
    clients::{ask, ask_times, dial, has_ended, is_echoed, letter},
    deadline::{SOON, await_condition},
    manifests::replace,
    ports, silence,
    skip::skip,
    targets::{Behaviour, Target},
};

/// A server on a free port of 127.0.0.1; `url` is `scheme://USER@` and `options` what stands behind the port.
fn serving(url: &str, options: &str) -> (Fairlead, u16) {
    let port = ports::free();
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &format!("{url}127.0.0.1:{port}{options}")]);
    fairlead.await_listening(port);
    (fairlead, port)
}

/// A web server that answers every request with its head and its body, one request per connection.
fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    let head = loop {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => got.extend_from_slice(&buffer[..count]),
            _ => return,
        }
        if let Some(end) = got.windows(4).position(|part| part == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&got[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    while got.len() < head + length.unwrap_or_default() {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => got.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    // The client may have what it wants already.
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", got.len());
    let _ = stream.write_all(&got);
}

/// What curl gets with these arguments, and its exit code; none where it is missing, which is said.
fn curl(arguments: &[&str]) -> Option<(String, i32)> {
    let output = Command::new("curl").args(["--silent", "--max-time", "20"]).args(arguments).output();
    let Ok(output) = output else {
        skip("curl is not installed");
        return None;
    };
    Some((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap_or(-1)))
}

#[test]
fn curl_goes_through_a_socks5_server_with_the_right_login_only() {
    let web = web();
    let url = format!("http://localhost:{}/path", web.port());
    let (_open, open) = serving("socks5://", "");
    let (closed_server, closed) = serving("socks5://ann:s3cret@", "");
    for (proxy, served) in [
        (format!("socks5h://127.0.0.1:{open}"), true),
        (format!("socks5://127.0.0.1:{open}"), true),
        (format!("socks5h://any:body@127.0.0.1:{open}"), true),
        (format!("socks5h://ann:s3cret@127.0.0.1:{closed}"), true),
        (format!("socks5h://ann:wrong@127.0.0.1:{closed}"), false),
        (format!("socks5h://127.0.0.1:{closed}"), false),
    ] {
        let Some((text, code)) = curl(&["--proxy", &proxy, &url]) else { return };
        assert_eq!(code == 0, served, "{proxy}: {text}");
        assert_eq!(text.starts_with("GET /path HTTP/1.1\r\n"), served, "{proxy}: {text}");
    }
    let printed = closed_server.printed();
    assert!(!printed.contains("s3cret"), "a password is shown:\n{printed}");
}

#[test]
fn curl_goes_through_http_auto_and_socks4_servers() {
    let web = web();
    let url = format!("http://localhost:{}/path", web.port());
    let (_http, http) = serving("http://ann:s3cret@", "");
    let (_auto, auto) = serving("", "");
    let (_four, four) = serving("socks4a://", "");
    for (arguments, served) in [
        (vec!["--proxy".to_owned(), format!("http://ann:s3cret@127.0.0.1:{http}")], true),
        (vec!["--proxytunnel".to_owned(), "--proxy".to_owned(), format!("http://ann:s3cret@127.0.0.1:{http}")], true),
        (vec!["--proxytunnel".to_owned(), "--proxy".to_owned(), format!("http://ann:wrong@127.0.0.1:{http}")], false),
        (vec!["--proxytunnel".to_owned(), "--proxy".to_owned(), format!("http://127.0.0.1:{http}")], false),
        (vec!["--proxy".to_owned(), format!("http://127.0.0.1:{auto}")], true),
        (vec!["--proxytunnel".to_owned(), "--proxy".to_owned(), format!("http://127.0.0.1:{auto}")], true),
        (vec!["--proxy".to_owned(), format!("socks5h://127.0.0.1:{auto}")], true),
        (vec!["--proxy".to_owned(), format!("socks4a://127.0.0.1:{auto}")], true),
        (vec!["--proxy".to_owned(), format!("socks4a://127.0.0.1:{four}")], true),
        (vec!["--proxy".to_owned(), format!("socks4://127.0.0.1:{four}")], true),
    ] {
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.push(&url);
        let Some((text, code)) = curl(&arguments) else { return };
        assert_eq!(code == 0, served, "{arguments:?}: {text}");
        assert_eq!(text.starts_with("GET /path HTTP/1.1\r\n"), served, "{arguments:?}: {text}");
        assert!(!text.to_ascii_lowercase().contains("proxy-"), "what is the proxy's goes no further: {text}");
    }
    let body = "x".repeat(200_000);
    let proxy = format!("http://ann:s3cret@127.0.0.1:{http}");
    let Some((text, code)) = curl(&["--proxy", &proxy, "--header", "Expect:", "--data", &body[..100_000], &url]) else {
        return;
    };
    assert!(code == 0 && text.ends_with(&body[..100_000]), "a body is forwarded whole");
}

#[test]
fn users_and_rules_of_a_running_server_follow_its_manifest() {
    let target = Target::letter('A');
    let port = ports::free();
    let text = |users: &str, networks: &str| {
        format!(
            "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {{name: proxy}}\nspec:\n  scheme: socks5\n  \
             listen: {{port: {port}}}\n  server: {{users: {{secretRef: {{name: logins}}}}, allowTargets: [{networks}]}}\n\
             ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: logins}}\nstringData: {{users: \"{users}\"}}\n"
        )
    };
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("proxy.yaml");
    std::fs::write(&path, text("ann:one", "127.0.0.0/8")).expect("write a file");
    let fairlead = Launch::new(["run", "-o", "json", path.to_str().expect("UTF-8")]).start();
    fairlead.await_listening(port);
    let object = fairlead.await_object("the server", |object| object.to_string().contains("NoNodes"));
    assert_eq!(object["status"]["effective"]["scheme"], "socks5");
    let through = |login: &str| {
        let ours = ports::free();
        let listen = format!("tcp://127.0.0.1:{ours}/{}", target.address());
        let hop = format!("socks5://{login}@127.0.0.1:{port}");
        let client = Fairlead::run(&["run", "-o", "json", "-L", &listen, "-F", &hop]);
        client.await_listening(ours);
        ask(([127, 0, 0, 1], ours)).is_ok()
    };
    assert!(through("ann:one") && !through("bob:two"));
    replace(&path, text("bob:two", "127.0.0.0/8"));
    await_condition("the new user is known", SOON, || through("bob:two"));
    assert!(!through("ann:one"), "and the old one is not");
    replace(&path, text("bob:two", "10.0.0.0/8"));
    await_condition("the target is not allowed any more", SOON, || !through("bob:two"));
}

#[test]
fn a_server_for_everybody_has_to_be_asked_for() {
    for (url, part) in [
        ("socks5://0.0.0.0:1080", "serves everybody who can reach 0.0.0.0"),
        ("socks5://ann@:1080", "a user needs a password"),
    ] {
        let finished = Launch::new(["run", "-L", url]).finish();
        assert_eq!(finished.code, 2, "{}", finished.stderr);
        assert!(finished.stderr.contains(part), "{url}: {}", finished.stderr);
    }
    let port = ports::free();
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &format!("socks5://:{port}")]);
    fairlead.await_log("without users it listens on 127.0.0.1 only");
    fairlead.await_listening(port);
}

/// Ten thousand clients that say this noise leave a server's memory and its other clients as they were.
fn endures(scheme: &str, noise: &[&[u8]]) {
    let target = Target::start(Behaviour::Greet('A'));
    let (server, port) = serving(scheme, "");
    let ours = ports::free();
    let listen = format!("tcp://127.0.0.1:{ours}/{}", target.address());
    let client = Fairlead::run(&["run", "-o", "json", "-L", &listen, "-F", &format!("{scheme}127.0.0.1:{port}")]);
    client.await_listening(ours);
    let neighbour = dial(([127, 0, 0, 1], ours)).expect("a connection");
    assert_eq!(letter(&neighbour).ok(), Some('A'));
    let mut memory = 0;
    for round in 0..2 {
        // The first round shows what so many cost at all, the second one that it is not kept.
        let mut held = Vec::new();
        for index in 0..5_000 {
            let mut stream = dial(([127, 0, 0, 1], port)).expect("a connection");
            // It may have been closed already.
            let _ = stream.write_all(noise[index % noise.len()]);
            held.push(stream);
            if held.len() > 400 {
                held.clear();
            }
        }
        assert_eq!(ask_times(([127, 0, 0, 1], ours), 5), "AAAAA", "neighbours are served");
        drop(held);
        let now = server.resident_kib();
        assert!(round == 0 || now < memory + 4_096, "{memory} KiB before, {now} KiB after");
        memory = now;
    }
    assert!(is_echoed(&neighbour, "still here"), "who was connected before goes on");
    let silent = dial(([127, 0, 0, 1], port)).expect("a connection");
    assert!(has_ended(&silent), "who says nothing is closed after ten seconds");
}

#[test]
fn ten_thousand_that_say_nothing_or_nonsense_leave_a_socks5_server_as_it_was() {
    let noise: [&[u8]; 5] =
        [b"", b"\x05", b"\x05\xff\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x05\x01\x00\x05\x01\x00\x03\xff"];
    endures("socks5://", &noise);
}

#[test]
fn ten_thousand_that_say_nothing_or_nonsense_leave_an_http_server_as_it_was() {
    let huge = [b"GET http://127.0.0.1:1/ HTTP/1.1\r\nA: ".as_slice(), &[b'x'; 100_000]].concat();
    let many = [b"GET http://127.0.0.1:1/ HTTP/1.1\r\n".as_slice(), &b"A: b\r\n".repeat(200), b"\r\n"].concat();
    let noise: [&[u8]; 10] = [
        b"",
        b"G",
        b"\x05\x01\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nProxy-Authorization: Basic ",
        b"POST http://127.0.0.1:1/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST http://127.0.0.1:1/ HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nx",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &huge,
        &many,
    ];
    endures("http://", &noise);
}

/// Asks a SOCKS5 server for a port of 127.0.0.1, by `command`, and returns the client's connection.
fn bound(server: u16, command: u8, port: u16) -> TcpStream {
    let mut stream = dial(([127, 0, 0, 1], server)).expect("a connection");
    let [high, low] = port.to_be_bytes();
    let mut answer = [0; 12];
    stream.write_all(&[5, 1, 0]).expect("say");
    stream.read_exact(&mut answer[..2]).expect("hear");
    stream.write_all(&[5, command, 0, 1, 127, 0, 0, 1, high, low]).expect("say");
    stream.read_exact(&mut answer[2..]).expect("hear");
    assert_eq!(answer, [5, 0, 5, 0, 0, 1, 127, 0, 0, 1, high, low]);
    stream
}

#[test]
fn ports_of_clients_that_vanish_are_free_within_45_seconds() {
    const LIMIT: Duration = Duration::from_secs(45);
    let (_server, server) = serving("socks5://", "");
    let ports = [ports::free(), ports::free(), ports::free(), ports::free()];
    let commands = [0x02, 0xf2, 0xf3, 0xf3];
    let clients: Vec<_> = commands.iter().zip(ports).map(|(command, port)| bound(server, *command, port)).collect();
    for client in &clients {
        silence::cut_off(client).expect("a filter");
    }
    let started = Instant::now();
    let is_free = |index: usize| match commands[index] {
        0xf3 => UdpSocket::bind(("127.0.0.1", ports[index])).is_ok(),
        _ => ports::listener_on(ports[index]).is_none(),
    };
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    await_condition("every port to be free", LIMIT, || {
        // What is under way to a client must not keep its port.
        let _ = sender.send_to(b"?", ("127.0.0.1", ports[3]));
        (0..ports.len()).all(is_free)
    });
    assert!(started.elapsed() > Duration::from_secs(5), "they were bound at all");
}
