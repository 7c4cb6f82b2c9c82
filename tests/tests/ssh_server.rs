//! Our SSH server with the clients that people have: OpenSSH's `ssh` and dropbear's `dbclient`.

#[path = "ssh_server/scene.rs"]
mod scene;

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    process::Command,
};

use fairlead_tests::{
    binary::{Fairlead, Launch},
    clients::{First, ask, ask_times, dial, half_close, has_ended, letter, open_many},
    deadline::{SOON, await_condition},
    ports,
    proxies::Proxy,
    skip::{peer, skip},
    sshd::{is_dead, through},
    targets::{Behaviour, Target},
};
use scene::{Guest, Scene};

/// Through a port that the client listens on.
fn ask_local(port: u16) -> Option<char> {
    ask(([127, 0, 0, 1], port)).ok()
}

fn local(port: u16, target: &Target) -> String {
    format!("127.0.0.1:{port}:{}", target.address())
}

#[test]
fn ports_are_forwarded_both_ways_for_whom_authorized_keys_name() {
    let (here, there) = (Target::letter('L'), Target::letter('R'));
    let scene = Scene::with_keys(|key| format!("{key}\n"));
    let (local_port, remote_port) = (ports::free(), ports::free());
    let remote = format!("{remote_port}:{}", there.address());
    let guest = scene.ssh(&["-N", "-L", &local(local_port, &here), "-R", &remote]);
    guest.await_listening(local_port);
    guest.await_listening(remote_port);
    assert_eq!((ask_local(local_port), ask_local(remote_port)), (Some('L'), Some('R')));
    drop(guest);
    await_condition("what the client listened on to be free", SOON, || ports::listener_on(remote_port).is_none());
}

#[test]
fn of_two_remote_forwards_one_may_leave_the_port_to_the_server() {
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    for _ in 0..5 {
        let scene = Scene::with_keys(|key| format!("{key}\n"));
        let fixed = ports::free();
        let (first, second) = (format!("0:{}", a.address()), format!("{fixed}:{}", b.address()));
        let guest = scene.ssh(&["-N", "-R", &first, "-R", &second]);
        let chosen = guest.await_word("Allocated port ");
        guest.await_listening(fixed);
        let chosen: u16 = chosen.parse().unwrap_or_else(|_| panic!("no port: {chosen:?}\n{}", guest.said()));
        assert_eq!((ask_local(chosen), ask_local(fixed)), (Some('A'), Some('B')), "{}", guest.said());
    }
}

#[test]
fn a_socks_proxy_of_the_client_goes_through_too() {
    let target = Target::letter('D');
    let scene = Scene::with_keys(|key| format!("{key}\n"));
    let port = ports::free();
    let guest = scene.ssh(&["-N", "-D", &format!("127.0.0.1:{port}")]);
    guest.await_listening(port);
    let through = ports::free();
    let fairlead = Fairlead::run(&[
        "run",
        "-L",
        &format!("tcp://127.0.0.1:{through}/{}", target.address()),
        "-F",
        &format!("socks5://127.0.0.1:{port}?notls=true"),
    ]);
    fairlead.await_listening(through);
    assert_eq!(ask_times(([127, 0, 0, 1], through), 3), "DDD");
}

#[test]
fn a_login_is_a_key_a_password_or_a_certificate_and_nothing_else() {
    let target = Target::letter('A');
    let works = |guest: &Guest, port| {
        await_condition("the client to be let in or not", SOON, || {
            ports::listener_on(port).is_some() || guest.has_ended()
        });
        ports::listener_on(port).is_some() && ask_local(port) == Some('A')
    };
    let both = Scene::new(|files| {
        let authority = files.key("authority");
        files.write("authorized_keys", &format!("{}\ncert-authority {authority}\n", files.key("id")));
        files.write("users", "ann s3cret\n");
        vec!["ssh_authorized_keys=authorized_keys", "secrets=users"]
    });
    both.files.key("stranger");
    both.files.certify("authority", "stranger", "somebody");
    for (what, login, want) in [
        ("the key", vec!["-i", "id"], true),
        ("another key", vec!["-i", "other"], false),
        ("a certificate for this user", vec!["-i", "stranger", "-l", "somebody"], true),
        ("a certificate for another user", vec!["-i", "stranger", "-l", "bob"], false),
        ("the password", vec!["-l", "ann", "password:s3cret"], true),
        ("another password", vec!["-l", "ann", "password:guess"], false),
        ("nothing", vec!["-o", "PreferredAuthentications=none"], false),
    ] {
        let port = ports::free();
        let mut arguments = vec!["-N".to_owned(), "-L".to_owned(), local(port, &target)];
        arguments.extend(login.iter().map(ToString::to_string));
        let guest = both.ssh_as(&arguments);
        assert_eq!(works(&guest, port), want, "{what}: {}", guest.said());
    }
}

#[test]
fn a_mistyped_password_may_be_typed_again() {
    let target = Target::letter('A');
    let scene = Scene::new(|files| {
        files.write("users", "ann s3cret\n");
        vec!["secrets=users"]
    });
    // What is typed is wrong once.
    let (typed, port) = (scene.files.path("typed"), ports::free());
    let password = format!("password:'$([ -e {typed} ] && echo s3cret || {{ touch {typed}; echo guess; }})'");
    let guest = scene.ssh_as(
        &["-N", "-o", "NumberOfPasswordPrompts=2", "-l", "ann", "-L", &local(port, &target), &password]
            .map(str::to_owned),
    );
    await_condition("the client to be let in", SOON, || ports::listener_on(port).is_some() || guest.has_ended());
    assert_eq!(ask_local(port), Some('A'), "{}", guest.said());
    let known = scene.files.path("known_hosts");
    let hop = format!("forward+ssh://ann:guess@127.0.0.1:{}?ssh_known_hosts={known}", scene.port);
    let (fairlead, port) = through(&[&hop], &target.address().to_string());
    assert!(ask_local(port).is_none());
    let address = format!("127.0.0.1:{}", scene.port);
    fairlead.await_object("a dead hop", |object| is_dead(object, &address, "refused; the server takes password"));
}

#[test]
fn options_of_authorized_keys_hold() {
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    for (options, want) in [
        ("", [Some('A'), Some('B')]),
        ("no-pty,command=\"/bin/false\"", [Some('A'), Some('B')]),
        ("restrict", [None, None]),
        (&format!("restrict,port-forwarding,permitopen=\"{}\"", a.address()), [Some('A'), None]),
    ] {
        let scene = Scene::with_keys(|key| format!("{options} {key}\n"));
        let (first, second) = (ports::free(), ports::free());
        let guest = scene.ssh(&["-N", "-L", &local(first, &a), "-L", &local(second, &b)]);
        guest.await_listening(second);
        assert_eq!([ask_local(first), ask_local(second)], want, "{options}: {}", guest.said());
    }
    for (options, want) in
        [("from=\"192.0.2.0/24\"", false), ("expiry-time=\"20200101\"", false), ("from=\"127.*\"", true)]
    {
        let scene = Scene::with_keys(|key| format!("{options} {key}\n"));
        let port = ports::free();
        let guest = scene.ssh(&["-N", "-L", &local(port, &a)]);
        await_condition("the client to be let in or not", SOON, || {
            ports::listener_on(port).is_some() || guest.has_ended()
        });
        assert_eq!(ports::listener_on(port).is_some(), want, "{options}: {}", guest.said());
    }
}

#[test]
fn where_clients_may_listen_is_limited() {
    let target = Target::letter('A');
    let scene = Scene::with_options("allow_bind=20000-20001", |key| format!("{key}\n"));
    let guest =
        scene.ssh(&["-N", "-o", "ExitOnForwardFailure=yes", "-R", &format!("{}:{}", ports::free(), target.address())]);
    await_condition("the client to be refused", SOON, || guest.has_ended());
    assert!(guest.said().contains("remote port forwarding failed"), "{}", guest.said());
}

#[test]
fn who_wants_a_shell_or_a_command_is_told_what_there_is() {
    let scene = Scene::with_keys(|key| format!("{key}\n"));
    for command in [vec![], vec!["-T"], vec!["uptime"], vec!["-s", "sftp"], vec!["-tt", "top"]] {
        let mut guest = scene.ssh(&command);
        assert_eq!(guest.await_exit(), 1, "{command:?}: {}", guest.said());
        assert!(guest.said().contains("forwards ports and nothing else"), "{command:?}: {}", guest.said());
    }
}

#[test]
fn without_a_host_key_the_machine_has_one_that_lasts() {
    let state = tempfile::tempdir().expect("a directory");
    let shown: Vec<_> = (0..2)
        .map(|_| {
            let port = ports::free();
            let url = format!("forward+ssh://127.0.0.1:{port}");
            let fairlead = Launch::new(["run", "-L", &url]).environment("XDG_STATE_HOME", state.path()).start();
            fairlead.await_listening(port);
            scene::host_keys(port)
        })
        .collect();
    assert!(shown[0].contains("ssh-ed25519 ") && shown[0] == shown[1], "{shown:?}");
}

#[test]
fn a_dead_target_is_a_refused_channel() {
    let mut target = Target::letter('A');
    target.kill();
    let scene = Scene::with_keys(|key| format!("{key}\n"));
    let port = ports::free();
    let guest = scene.ssh(&["-N", "-L", &local(port, &target)]);
    guest.await_listening(port);
    assert!(has_ended(&dial(([127, 0, 0, 1], port)).expect("a connection")));
    await_condition("the reason to be said", SOON, || guest.said().contains("open failed: connect failed"));
}

#[test]
fn a_caller_whom_the_client_has_no_target_for_is_reset() {
    let mut target = Target::letter('A');
    target.kill();
    let scene = Scene::with_keys(|key| format!("{key}\n"));
    let is_reset = |port| {
        let read = dial(([127, 0, 0, 1], port)).and_then(|mut caller| caller.read(&mut [0]));
        read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    };
    let (theirs, ours) = (ports::free(), ports::free());
    let guest = scene.ssh(&["-N", "-R", &format!("{theirs}:{}", target.address())]);
    guest.await_listening(theirs);
    assert!(is_reset(theirs), "by ssh -R: {}", guest.said());
    let listen = format!("rtcp://127.0.0.1:{ours}/{}", target.address());
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &listen, "-F", &scene.hop()]);
    fairlead.await_object("the far port", |object| object["status"]["addresses"][0]["port"] == ours);
    assert!(is_reset(ours), "by our own client: {}", fairlead.printed());
}

#[test]
fn every_byte_goes_both_ways_and_each_end_ends_alone() {
    let scene = Scene::with_keys(|key| format!("{key}\n"));
    for first in [First::Client, First::Target] {
        let mut running = Vec::new();
        half_close(16 << 20, first, |target| {
            let port = ports::free();
            let guest = scene.ssh(&["-N", "-L", &format!("127.0.0.1:{port}:{target}")]);
            guest.await_listening(port);
            running.push(guest);
            port
        })
        .expect("both halves, whole");
    }
}

#[test]
fn a_client_that_stops_reading_holds_up_no_other_channel() {
    let (flood, other) = (Target::start(Behaviour::Greet('G')), Target::letter('B'));
    let scene = Scene::with_keys(|key| format!("{key}\n"));
    let (first, second) = (ports::free(), ports::free());
    let guest = scene.ssh(&["-N", "-L", &local(first, &flood), "-L", &local(second, &other)]);
    guest.await_listening(second);
    let mut stalled = dial(([127, 0, 0, 1], first)).expect("a connection");
    stalled.set_nonblocking(true).expect("not to wait");
    // As much as anybody takes, of which nothing that comes back is read.
    let block = vec![b'x'; 1 << 16];
    let mut sent = 0;
    await_condition("nobody to take more", SOON, || match stalled.write(&block) {
        Ok(count) => {
            sent += count;
            sent > 32 << 20
        }
        Err(_) => ask_local(second) == Some('B') && sent > 1 << 20,
    });
    assert_eq!(ask_times(([127, 0, 0, 1], second), 3), "BBB", "after {sent} bytes");
    let _ = stalled.shutdown(Shutdown::Both);
}

#[test]
fn a_thousand_channels_of_one_client_are_open_at_once() {
    let target = Target::start(Behaviour::Hold('H'));
    let scene = Scene::with_keys(|key| format!("{key}\n"));
    let port = ports::free();
    let guest = scene.ssh(&["-N", "-L", &local(port, &target)]);
    guest.await_listening(port);
    let open = open_many(port, 1_000).unwrap_or_else(|error| panic!("{error}\n{}", guest.said()));
    target.say_to_all(b"!").expect("say something on every connection");
    assert!(open.iter().all(|stream| letter(stream).is_ok_and(|letter| letter == '!')));
}

#[test]
fn dropbear_forwards_through_it_as_well() {
    let (here, there) = (Target::letter('L'), Target::letter('R'));
    let scene = Scene::with_keys(|key| format!("{key}\n"));
    if Command::new("dbclient").arg("-V").output().is_err() {
        return skip("dbclient is not installed");
    }
    let (local_port, remote_port) = (ports::free(), ports::free());
    let remote = format!("{remote_port}:{}", there.address());
    let guest = scene.dropbear(&["-N", "-L", &local(local_port, &here), "-R", &remote]);
    guest.await_listening(local_port);
    guest.await_listening(remote_port);
    assert_eq!((ask_local(local_port), ask_local(remote_port)), (Some('L'), Some('R')));
}

#[test]
fn aborted_handshakes_leave_memory_and_neighbours_as_they_were() {
    let target = Target::letter('A');
    let scene = Scene::with_keys(|key| format!("{key}\n"));
    let port = ports::free();
    let guest = scene.ssh(&["-N", "-L", &local(port, &target)]);
    guest.await_listening(port);
    let abuse = |times: usize| {
        for turn in 0..times {
            let mut stream = dial(([127, 0, 0, 1], scene.port)).expect("a connection");
            let words: &[u8] = match turn % 4 {
                0 => b"",
                1 => b"GET / HTTP/1.1\r\n\r\n",
                2 => b"SSH-2.0-x\r\n",
                _ => b"SSH-2.0-x\r\n\xff\xff\xff\xff garbage",
            };
            // It may have been closed already.
            let _ = stream.write_all(words);
        }
    };
    // Silent ones wait for their time to be over, all the while.
    let silent: Vec<_> = (0..200).filter_map(|_| dial(([127, 0, 0, 1], scene.port)).ok()).collect();
    abuse(1_000);
    assert_eq!(ask_local(port), Some('A'));
    let before = scene.resident_memory();
    abuse(9_000);
    assert_eq!(ask_times(([127, 0, 0, 1], port), 3), "AAA", "the client that was there is served on");
    let another = ports::free();
    let guest = scene.ssh(&["-N", "-L", &local(another, &target)]);
    guest.await_listening(another);
    assert_eq!(ask_local(another), Some('A'), "another one is let in");
    await_condition("memory to be as it was", SOON, || scene.resident_memory() < before + (8 << 20));
    drop(silent);
}

#[test]
fn gost_forwards_through_it_both_ways() {
    let Some(gost) = peer("GOST_BIN", "GOST v2") else { return };
    let (here, there) = (Target::letter('L'), Target::letter('R'));
    let scene = Scene::new(|files| {
        files.write("users", "ann s3cret\n");
        vec!["secrets=users"]
    });
    let hop = format!("forward+ssh://ann:s3cret@127.0.0.1:{}", scene.port);
    let (local_port, remote_port) = (ports::free(), ports::free());
    let run = |listen: String, port| {
        let mut command = Command::new(&gost);
        command.args(["-L", &listen, "-F", &hop]);
        Proxy::program(command, port)
    };
    let _local = run(format!("tcp://127.0.0.1:{local_port}/{}", here.address()), local_port);
    let _remote = run(format!("rtcp://127.0.0.1:{remote_port}/{}", there.address()), remote_port);
    assert_eq!((ask_local(local_port), ask_local(remote_port)), (Some('L'), Some('R')));
}
