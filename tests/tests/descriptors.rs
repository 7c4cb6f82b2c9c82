//! Out of descriptors: no more clients are accepted than can be served, it is said, nothing spins, and it goes on when
//! there are some again.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use fairlead_tests::{
    binary::Launch,
    clients::{dial, letter},
    deadline::{SOON, await_condition, until},
    ports,
    targets::{Behaviour, Target},
};

const LIMIT: u64 = 100;

#[test]
fn out_of_descriptors_it_waits_says_so_and_goes_on_when_it_has_some_again() {
    let target = Target::start(Behaviour::Greet('H'));
    let port = ports::free();
    let url = format!("tcp://127.0.0.1:{port}/{}", target.address());
    let launch = Launch::new(["run", "--workers", "2", "-L", &url]);
    let mut fairlead = launch.descriptors(LIMIT).start();
    fairlead.await_listening(port);

    // The kernel completes every connection; the forwarder can take only some.
    let open: Vec<TcpStream> =
        (0..LIMIT).map(|_| dial(([127, 0, 0, 1], port)).expect("a place in the queue")).collect();
    let served = |stream: &&TcpStream| stream.peek(&mut [0]).is_ok();
    open.iter().for_each(|stream| stream.set_nonblocking(true).expect("a look without waiting"));
    await_condition("some clients to be served", SOON, || open.iter().filter(served).count() > 20);
    fairlead.await_log("descriptor");

    let before = fairlead.cpu();
    until(Instant::now() + Duration::from_secs(2), || assert!(fairlead.is_running()));
    let used = fairlead.cpu() - before;
    assert!(used < Duration::from_millis(500), "it spins: {used:?} of CPU in 2 s");
    let held = fairlead.descriptors();
    assert!(held <= LIMIT - 8, "{held} of {LIMIT} descriptors are taken: none are kept for dials, pipes and files");
    let waiting = open.iter().filter(|stream| !served(stream)).count();
    assert!(waiting > 20, "only {waiting} of {LIMIT} clients wait, with {LIMIT} descriptors");

    let (served_now, waiting): (Vec<TcpStream>, Vec<TcpStream>) = open.into_iter().partition(|stream| served(&stream));
    drop(served_now);
    for (index, stream) in waiting.into_iter().enumerate() {
        stream.set_nonblocking(false).expect("a look with waiting");
        let heard = letter(&stream);
        assert!(
            heard.as_ref().is_ok_and(|letter| *letter == 'H'),
            "client {index} of those who waited: {heard:?}\n{}",
            fairlead.printed()
        );
    }
    assert!(fairlead.is_running());
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    let target = Target::start(Behaviour::Hold('H'));
    let port = ports::free();
    let url = format!("tcp://127.0.0.1:{port}/{}", target.address());
    let fairlead = Launch::new(["run", "-L", &url]).soft_descriptors(64).start();
    fairlead.await_listening(port);
    let open: Vec<TcpStream> = (0..100).map(|_| dial(([127, 0, 0, 1], port)).expect("a connection")).collect();
    assert!(open.iter().all(|stream| letter(stream).is_ok()), "{}", fairlead.printed());
}
