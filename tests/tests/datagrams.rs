//! Local UDP forwards by the real program: datagrams through it, its status, a changed manifest, its end.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fairlead_tests::{
    binary::Fairlead,
    datagrams::{Target, client, letter},
    deadline::{SOON, await_condition},
    manifests::{Manifest, replace},
    objects::{has_condition, is_named, is_true, node_state},
    ports, skip,
};

fn run(port: u16, targets: &[SocketAddr], options: &str) -> Fairlead {
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let url = format!("udp://127.0.0.1:{port}/{}?{options}", targets.join(","));
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &url]);
    fairlead.await_object("Programmed", |object| is_true(object, "Programmed"));
    fairlead
}

fn await_state(fairlead: &Fairlead, mark: usize, target: SocketAddr, state: &str) {
    let name = target.to_string();
    let wanted = |object: &serde_json::Value| node_state(object, &name) == Some(state);
    fairlead.await_object_after(mark, &format!("node {name} {state}"), wanted);
}

#[test]
fn datagrams_of_every_size_pass_unaltered() {
    let (target, port) = (Target::start('T'), ports::free());
    let _fairlead = run(port, &[target.address], "");
    let client = client(port);
    client.set_read_timeout(Some(SOON)).expect("a time-out");
    for size in [0usize, 1, 1472, 9000, 65_506] {
        let sent: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        client.send(&sent).expect("send");
        let mut received = vec![0; 65_536];
        let length = client.recv(&mut received).expect("an answer");
        assert_eq!(length, size + 1);
        assert!(received[0] == b'T' && received[1..length] == sent, "{size} bytes");
    }
}

#[test]
fn a_target_that_refuses_is_dead_until_it_is_back_and_its_clients_move_on() {
    let (mut a, b, port) = (Target::start('A'), Target::start('B'), ports::free());
    let fairlead = run(port, &[a.address, b.address], "strategy=fifo&fail_timeout=500ms");
    let moving = client(port);
    assert_eq!(letter(&moving), 'A');
    await_state(&fairlead, 0, a.address, "Alive");
    let (mark, address) = (fairlead.mark(), a.address);
    drop(a);
    assert_eq!(letter(&moving), 'B');
    await_state(&fairlead, mark, address, "Dead");
    let dead = fairlead
        .await_object_after(mark, "the reason", |object| has_condition(object, "NodesAvailable", "True", "SomeDead"));
    assert!(dead.text.contains("connection refused"), "{}", dead.text);
    let mark = fairlead.mark();
    a = Target::at(address, 'A');
    await_condition("new clients to be served by the first target", SOON, || letter(&client(port)) == 'A');
    await_state(&fairlead, mark, a.address, "Alive");
    assert_eq!(letter(&moving), 'B', "an association stays where it is");
}

#[test]
fn a_changed_target_list_moves_no_association_and_a_removed_forward_ends() {
    let [a, b] = ['A', 'B'].map(Target::start);
    let (port, dir) = (ports::free(), tempfile::tempdir().expect("a directory"));
    let file = dir.path().join("dns.yaml");
    let manifest = |target: &Target| {
        let text = Manifest::new("dns", port).to(target.address).with("ttl: 1h").to_string();
        text.replace("scheme: tcp", "scheme: udp")
    };
    replace(&file, manifest(&a));
    let fairlead = Fairlead::run(&["run", "-o", "json", dir.path().to_str().expect("UTF-8")]);
    fairlead.await_object("Programmed", |object| is_named(object, "dns") && is_true(object, "Programmed"));
    let stays = client(port);
    assert_eq!(letter(&stays), 'A');
    replace(&file, manifest(&b));
    await_condition("new clients to be served by the new target", SOON, || letter(&client(port)) == 'B');
    assert_eq!(letter(&stays), 'A');
    std::fs::remove_file(&file).expect("remove the manifest");
    await_condition("the port to be given back", SOON, || !ports::takes_datagrams(port));
}

#[test]
fn tcp_and_udp_may_have_the_same_port() {
    let (target, port) = (Target::start('U'), ports::free());
    let [tcp, udp] = ["tcp", "udp"].map(|scheme| format!("{scheme}://127.0.0.1:{port}/{}", target.address));
    let fairlead = Fairlead::run(&["run", "-L", &tcp, "-L", &udp]);
    fairlead.await_listening(port);
    assert_eq!(letter(&client(port)), 'U');
}

#[test]
fn its_end_waits_for_answers_and_not_for_the_ttl() {
    let (target, port) = (Target::start('T'), ports::free());
    let mut fairlead = run(port, &[target.address], "ttl=1h");
    assert_eq!(letter(&client(port)), 'T');
    let asked = Instant::now();
    fairlead.terminate();
    assert_eq!(fairlead.await_exit(SOON), 0, "{}", fairlead.printed());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

/// A program of somebody else as the target; dropping it kills it.
struct Socat(Child);

impl Drop for Socat {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn socat_is_reached_through_it() {
    let (target, port) = (ports::free(), ports::free());
    let mut socat = Command::new("socat");
    socat.args([&format!("UDP-RECVFROM:{target},bind=127.0.0.1,fork"), "EXEC:cat"]).stdin(Stdio::null());
    let Ok(child) = socat.spawn() else {
        return skip::skip("socat is not installed");
    };
    let _socat = Socat(child);
    await_condition("socat to listen", SOON, || ports::takes_datagrams(target));
    let fairlead = run(port, &[([127, 0, 0, 1], target).into()], "");
    for _ in 0..3 {
        assert_eq!(letter(&client(port)), '?', "{}", fairlead.printed());
    }
}
