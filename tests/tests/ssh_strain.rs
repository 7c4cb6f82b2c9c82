//! Through OpenSSH's server when it goes, comes back and falls silent, when much goes through it, and when one of its
//! channels is not read.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use fairlead_tests::{
    binary::{Fairlead, allow_descriptors},
    carried::Server,
    clients::{First, ask, ask_times, dial, echo_both_ways, half_close, is_echoed, letter, open_many},
    deadline::{SOON, await_condition, until},
    ports,
    skip::skip,
    sshd::{Sshd, is_dead, through},
    targets::{Behaviour, Target},
};

fn here(port: u16) -> ([u8; 4], u16) {
    ([127, 0, 0, 1], port)
}

/// A hop through the first of two servers, and through the second where that one is dead.
fn either(first: &Sshd, second: &Sshd, option: &str) -> String {
    let known = first.keys.write("both", &(first.known_as("host") + &second.known_as("host")));
    second.authorize(&first.keys.public("id"));
    let (ip, key) = (format!("{},{}", first.address(), second.address()), first.keys.text_path("id"));
    format!("{}?ip={ip}&strategy=fifo{option}&ssh_key={key}&ssh_known_hosts={known}", first.url())
}

#[test]
fn clients_are_served_within_two_seconds_of_a_servers_return() {
    const GONE: Duration = Duration::from_secs(8);
    let Some(mut sshd) = Sshd::start() else { return };
    let target = Target::letter('A');
    let (_fairlead, port) = through(&[&sshd.hop()], &target.address().to_string());
    assert_eq!(ask(here(port)).ok(), Some('A'));
    sshd.kill();
    until(Instant::now() + GONE, || assert!(ask(here(port)).is_err()));
    sshd.restart();
    await_condition("the forward is back", Duration::from_secs(2), || ask(here(port)).is_ok());
}

/// Stops a server in its tracks while a client is on it, and answers how long it takes until its node is dead; the next
/// server is used from then on.
fn noticed_after(option: &str, patience: Duration) -> Option<Duration> {
    let (first, second) = (Sshd::start()?, Sshd::start()?);
    let target = Target::letter('A');
    let (fairlead, port) = through(&[&either(&first, &second, option)], &target.address().to_string());
    let held = dial(here(port)).expect("a client");
    (&held).write_all(b"?").expect("ask");
    assert_eq!(letter(&held).ok(), Some('A'));
    first.fall_silent();
    let stopped = Instant::now();
    await_condition("the silent server, dead", patience, || {
        fairlead.objects().iter().any(|object| is_dead(object, &first.address(), "no longer answers"))
    });
    let noticed = stopped.elapsed();
    assert_eq!(ask_times(here(port), 5), "AAAAA", "by the other one");
    Some(noticed)
}

#[test]
fn a_silent_server_is_noticed_without_a_client_and_the_next_one_is_used() {
    // At the worst it was heard right before, and three signs of life stay out.
    for (option, within) in [("&ping=2", Duration::from_secs(8)), ("", Duration::from_secs(45))] {
        let Some(noticed) = noticed_after(option, within + SOON) else { return };
        assert!(noticed < within, "{option:?}: after {noticed:?}");
    }
}

#[test]
fn a_silent_server_is_overtaken_while_clients_wait() {
    let (Some(first), Some(second)) = (Sshd::start(), Sshd::start()) else { return };
    let target = Target::letter('A');
    let (fairlead, port) = through(&[&either(&first, &second, "&timeout=1s")], &target.address().to_string());
    assert_eq!(ask(here(port)).ok(), Some('A'));
    first.fall_silent();
    let begin = Instant::now();
    await_condition("an answer by the other server", SOON, || ask(here(port)).is_ok());
    assert!(begin.elapsed() < Duration::from_secs(8), "after {:?}:\n{}", begin.elapsed(), fairlead.printed());
    fairlead.await_object("the silent server, dead", |object| is_dead(object, &first.address(), "no answer within"));
}

#[test]
fn a_half_close_comes_through_with_every_byte() {
    let Some(sshd) = Sshd::start() else { return };
    for first in [First::Client, First::Target] {
        let mut running = Vec::new();
        half_close(64 << 20, first, |target| {
            let (fairlead, port) = through(&[&sshd.hop()], &target.to_string());
            running.push(fairlead);
            port
        })
        .expect("both halves, whole");
    }
}

/// So much goes each way through a hop, and every byte is compared.
fn carry(size: u64, hop: &str) -> anyhow::Result<()> {
    let mut running = None;
    half_close(size, First::Target, |target: SocketAddr| {
        let (fairlead, port) = through(&[hop], &target.to_string());
        running = Some(fairlead);
        port
    })
}

/// Sessions change their keys after 1 GiB each way, or as often as their peer wants it.
#[test]
fn what_is_on_its_way_while_keys_are_changed_arrives() {
    for (line, size) in [("", 1_100 << 20), ("RekeyLimit 16M", 96 << 20)] {
        let Some(sshd) = Sshd::with(line) else { return };
        carry(size, &sshd.hop()).unwrap_or_else(|error| panic!("{line:?}: {error:#}\n{}", sshd.log()));
    }
}

#[test]
fn between_two_of_ours_it_arrives_too() {
    let server = Server::of("forward+ssh", "ann:s3cret");
    let carried = carry(1_100 << 20, &server.hop("ann:s3cret"));
    carried.unwrap_or_else(|error| panic!("{error:#}\n{}", server.fairlead.printed()));
}

#[test]
fn sixty_four_megabytes_go_both_ways_at_once() {
    let Some(sshd) = Sshd::start() else { return };
    let target = Target::start(Behaviour::Greet('G'));
    let (_fairlead, port) = through(&[&sshd.hop()], &target.address().to_string());
    let stream = dial(here(port)).expect("a client");
    assert_eq!(letter(&stream).ok(), Some('G'));
    echo_both_ways(&stream, 64 << 20);
}

/// A target that sends without end to whoever connects.
fn endless() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                while stream.write_all(&[7; 1 << 16]).is_ok() {}
            });
        }
    });
    port
}

#[test]
fn clients_that_stop_reading_hold_up_nobody_take_bounded_memory_and_may_go_on() {
    /// Windows of all, and room for everything else.
    const MEMORY: u64 = 64 + 64;
    const STALLED: usize = 100;
    let Some(sshd) = Sshd::start() else { return };
    let (flood, asked) = (endless(), Target::letter('A'));
    let [first, second] = [ports::free(), ports::free()];
    let listen =
        [format!("tcp://127.0.0.1:{first}/127.0.0.1:{flood}"), format!("tcp://127.0.0.1:{second}/{}", asked.address())];
    let hop = sshd.hop();
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &listen[0], "-L", &listen[1], "-F", &hop]);
    [first, second].into_iter().for_each(|port| fairlead.await_listening(port));
    assert_eq!(ask(here(second)).ok(), Some('A'));
    let held = dial(here(second)).expect("a client of the same session");
    let stalled: Vec<TcpStream> = (0..STALLED).map(|_| dial(here(first)).expect("a client that never reads")).collect();
    let begin = Instant::now();
    // As long as it takes for everything to be full.
    until(begin + Duration::from_secs(3), || {
        assert_eq!(ask(here(second)).ok(), Some('A'), "{}", fairlead.printed());
        assert!(fairlead.resident() < MEMORY << 20, "{} bytes", fairlead.resident());
    });
    (&held).write_all(b"?").expect("ask");
    assert_eq!(letter(&held).ok(), Some('A'), "{}", fairlead.printed());
    // More than was on its way, so that the server had to be asked for it.
    let mut rest = vec![0; 16 << 20];
    (&stalled[0]).read_exact(&mut rest).expect("what was waiting, and what comes then");
    assert!(rest.iter().all(|byte| *byte == 7));
}

/// As many clients at once, each of which sends and reads so many bytes of an echo.
fn echo_at_once(port: u16, clients: usize, size: usize) {
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(move || {
                let stream = dial(here(port)).expect("a client");
                assert_eq!(letter(&stream).ok(), Some('G'));
                echo_both_ways(&stream, size);
            });
        }
    });
}

#[test]
fn many_channels_send_both_ways_at_once_and_none_waits_for_another() {
    let Some(sshd) = Sshd::start() else { return };
    let target = Target::start(Behaviour::Greet('G'));
    let (_fairlead, port) = through(&[&sshd.hop()], &target.address().to_string());
    echo_at_once(port, 1, 256 << 20);
    echo_at_once(port, 32, 8 << 20);
}

#[test]
fn between_two_of_ours_many_channels_send_both_ways_at_once_too() {
    let target = Target::start(Behaviour::Greet('G'));
    let server = Server::of("forward+ssh", "ann:s3cret");
    let (_fairlead, port) = through(&[&server.hop("ann:s3cret")], &target.address().to_string());
    echo_at_once(port, 1, 256 << 20);
    echo_at_once(port, 32, 8 << 20);
}

#[test]
fn a_server_that_falls_silent_under_a_load_is_noticed_as_well() {
    let Some(sshd) = Sshd::start() else { return };
    let target = Target::start(Behaviour::Greet('G'));
    let (fairlead, port) = through(&[&format!("{}&ping=2", sshd.hop())], &target.address().to_string());
    let stream = dial(here(port)).expect("a client");
    assert_eq!(letter(&stream).ok(), Some('G'));
    std::thread::scope(|scope| {
        scope.spawn(|| while (&stream).write_all(&[7; 1 << 16]).is_ok() {});
        scope.spawn(|| while matches!((&stream).read(&mut [0; 1 << 16]), Ok(1..)) {});
        sshd.fall_silent();
        fairlead
            .await_object("the silent server, dead", |object| is_dead(object, &sshd.address(), "no longer answers"));
        // An error means that it has ended already.
        let _ = stream.shutdown(Shutdown::Both);
    });
}

#[test]
fn a_thousand_channels_are_open_at_once() {
    const CHANNELS: usize = 1_000;
    let Some(sshd) = Sshd::start() else { return };
    if !allow_descriptors(8_192) {
        return skip("a thousand channels take some four thousand descriptors");
    }
    let mut sshd = sshd;
    sshd.restart();
    let target = Target::start(Behaviour::Greet('G'));
    let (_fairlead, port) = through(&[&sshd.hop()], &target.address().to_string());
    let open = open_many(port, CHANNELS).expect("a thousand greetings");
    for (index, stream) in open.iter().enumerate() {
        assert!(is_echoed(stream, &format!("channel {index}")), "channel {index}");
    }
    drop(open);
    await_condition("all channels closed", SOON, || target.open() == 0);
}
