//! Beside the real GOST v2, where `GOST_BIN` names it: the same command line goes to both, and both do the same.

use std::process::{Child, Command, Stdio};

use fairlead_tests::{
    binary::Fairlead,
    clients::ask_times,
    deadline::{SOON, await_condition},
    ports,
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
