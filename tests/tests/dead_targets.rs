//! What becomes of clients, and of the status, when a target refuses or falls silent, and when it comes back.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use fairlead_tests::{
    binary::{Fairlead, Launch},
    clients::{Fared, Load, ask, ask_times},
    deadline::{SOON, await_condition, until},
    manifests::Manifest,
    objects::{has_condition, node, node_state},
    ports,
    targets::Target,
};

const FAIL_TIMEOUT: Duration = Duration::from_secs(3);

struct Scene {
    targets: Vec<Target>,
    fairlead: Fairlead,
    address: SocketAddr,
}

impl Scene {
    fn new(letters: &str, options: &str) -> Self {
        let targets: Vec<Target> = letters.chars().map(Target::letter).collect();
        let port = ports::free();
        let addresses: Vec<String> = targets.iter().map(|target| target.address().to_string()).collect();
        let url = format!("tcp://127.0.0.1:{port}/{}?{options}", addresses.join(","));
        let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &url]);
        fairlead.await_listening(port);
        Self { targets, fairlead, address: ([127, 0, 0, 1], port).into() }
    }

    fn name(&self, index: usize) -> String {
        self.targets[index].address().to_string()
    }

    fn await_state(&self, mark: usize, index: usize, state: &str) -> Instant {
        let name = self.name(index);
        let what = format!("node {name} {state}");
        self.fairlead.await_object_after(mark, &what, |object| node_state(object, &name) == Some(state)).came
    }

    /// A steady load while the first target stops answering in the way of `stop`.
    fn load_while(&mut self, stop: impl FnOnce(&mut Target)) -> Fared {
        let load = Load::start(self.address.port(), 200, Duration::from_secs(4));
        let first = &mut self.targets[0];
        await_condition("the first target to serve under load", SOON, || first.answered() > 30);
        stop(first);
        load.finish()
    }
}

#[test]
fn every_client_is_answered_while_a_target_is_killed_under_load() {
    for strategy in ["fifo", "round", "random"] {
        let mut scene = Scene::new("ABC", &format!("strategy={strategy}&fail_timeout=500ms"));
        let fared = scene.load_while(Target::refuse_new);
        assert_eq!((fared.clients, fared.unanswered), (800, 0), "{strategy}: {fared:?}");
    }
}

/// The 5 s of a dial's time-out must not show in any client's wait.
#[test]
fn every_client_is_answered_soon_while_a_target_is_blackholed_under_load() {
    for strategy in ["fifo", "round", "random"] {
        let mut scene = Scene::new("ABC", &format!("strategy={strategy}&fail_timeout=1s"));
        let fared = scene.load_while(|target| target.fall_silent());
        assert_eq!((fared.clients, fared.unanswered), (800, 0), "{strategy}: {fared:?}");
        assert!(fared.p99 < Duration::from_secs(1), "{strategy}: {fared:?}");
    }
}

#[test]
fn a_target_is_dead_left_out_tried_again_and_alive_after_its_first_success() {
    let mut scene = Scene::new("AB", "strategy=fifo&fail_timeout=3s");
    assert_eq!(ask(scene.address).ok(), Some('A'));
    scene.await_state(0, 0, "Alive");

    scene.targets[0].kill();
    let (mark, failed) = (scene.fairlead.mark(), Instant::now());
    assert_eq!(ask(scene.address).ok(), Some('B'), "the client whose dial failed is passed on");
    let dead = scene.await_state(mark, 0, "Dead");
    assert!(dead - failed < Duration::from_secs(1), "Dead {:?} after the first failed dial", dead - failed);

    scene.targets[0].restart();
    let (mark, accepted) = (scene.fairlead.mark(), scene.targets[0].accepted());
    until(failed + FAIL_TIMEOUT - Duration::from_millis(800), || {
        assert_eq!(ask(scene.address).ok(), Some('B'), "left out for fail_timeout");
    });
    assert_eq!(scene.targets[0].accepted(), accepted, "not even dialled before its time");

    await_condition("the first target to be chosen again", SOON, || ask(scene.address).ok() == Some('A'));
    scene.await_state(mark, 0, "Alive");
    assert_eq!(ask_times(scene.address, 5), "AAAAA");
}

#[test]
fn a_dead_target_that_fails_again_stays_dead_for_another_fail_timeout() {
    let mut scene = Scene::new("AB", "strategy=fifo&fail_timeout=1s");
    scene.targets[0].kill();
    let failed = Instant::now();
    until(failed + Duration::from_millis(2500), || {
        assert_eq!(ask(scene.address).ok(), Some('B'), "also the client whose dial tries the dead target");
    });
    let a = scene.name(0);
    let states: Vec<_> = scene.fairlead.objects().iter().filter_map(|o| node_state(o, &a).map(str::to_owned)).collect();
    assert_eq!(states.last().map(String::as_str), Some("Dead"), "{states:?}");
    assert!(!states.contains(&"Alive".to_owned()), "{states:?}");
}

#[test]
fn max_fails_counts_failures_in_a_row() {
    let mut scene = Scene::new("AB", "strategy=fifo&max_fails=3&fail_timeout=10m");
    let a = scene.name(0);
    scene.targets[0].kill();
    assert_eq!(ask_times(scene.address, 2), "BB");
    scene.targets[0].restart();
    assert_eq!(ask_times(scene.address, 1), "A", "two failures of three");
    scene.targets[0].kill();
    assert_eq!(ask_times(scene.address, 3), "BBB");
    scene.await_state(0, 0, "Dead");
    scene.targets[0].restart();
    assert_eq!(ask_times(scene.address, 3), "BBB", "a third failure in a row");
    let last = scene.fairlead.objects().pop().expect("an object");
    assert_eq!(node(&last, &a).map(|node| node["fails"].clone()), Some(3.into()));
}

#[test]
fn an_only_target_is_dead_in_the_status_and_dialled_all_the_same() {
    let mut scene = Scene::new("A", "fail_timeout=10m");
    scene.targets[0].kill();
    assert_eq!(ask_times(scene.address, 1), "-");
    scene.await_state(0, 0, "Dead");
    scene.fairlead.await_object("AllDead", |object| has_condition(object, "NodesAvailable", "False", "AllDead"));
    let mark = scene.fairlead.mark();
    scene.targets[0].restart();
    assert_eq!(ask_times(scene.address, 1), "A");
    scene.await_state(mark, 0, "Alive");
}

#[test]
fn with_all_targets_dead_a_client_is_served_as_soon_as_one_is_back() {
    let mut scene = Scene::new("AB", "strategy=fifo&fail_timeout=10m");
    scene.targets.iter_mut().for_each(Target::kill);
    assert_eq!(ask_times(scene.address, 2), "--");
    scene.await_state(0, 1, "Dead");
    scene.targets[1].restart();
    await_condition("a client to be served", SOON, || ask(scene.address).ok() == Some('B'));
}

#[test]
fn a_silent_target_is_judged_dead_though_its_clients_were_served_by_another() {
    let scene = Scene::new("AB", "strategy=fifo&timeout=1s&fail_timeout=10m");
    let a = scene.name(0);
    scene.targets[0].fall_silent();
    assert_eq!(ask_times(scene.address, 1), "B");
    let line = scene.fairlead.await_object_after(0, "A dead", |object| node_state(object, &a) == Some("Dead"));
    let error = node(&line.object(), &a).map(|node| node["lastError"].to_string()).unwrap_or_default();
    assert!(error.contains("no answer within 1s"), "{error}");
    let asked = Instant::now();
    assert_eq!(ask_times(scene.address, 10), "BBBBBBBBBB");
    assert!(asked.elapsed() < Duration::from_millis(1500), "dead, it delays nobody any more: {:?}", asked.elapsed());
}

#[test]
fn a_health_check_finds_a_target_dead_and_alive_without_any_client() {
    let mut target = Target::letter('A');
    let name = target.address().to_string();
    let manifest = Manifest::new("checked", ports::free()).to(target.address()).with("healthCheck: {interval: 200ms}");
    let fairlead = Launch::new(["run", "-o", "json", "-"]).input(&manifest.to_string()).start();
    fairlead.await_object("A alive", |object| node_state(object, &name) == Some("Alive"));
    target.kill();
    fairlead.await_object("A dead", |object| node_state(object, &name) == Some("Dead"));
    let mark = fairlead.mark();
    target.restart();
    fairlead.await_object_after(mark, "A alive again", |object| node_state(object, &name) == Some("Alive"));
    assert_eq!(target.answered(), 0, "nobody asked");
}

#[test]
fn hedge_delay_zero_never_dials_a_second_target_while_the_first_is_silent() {
    let scene = Scene::new("AB", "strategy=fifo&timeout=1s&hedge_delay=0s&max_fails=5");
    scene.targets[0].fall_silent();
    let asked = Instant::now();
    assert_eq!(ask(scene.address).ok(), Some('B'), "passed on after the dial's time-out");
    assert!(asked.elapsed() >= Duration::from_millis(950), "{:?}", asked.elapsed());
}
