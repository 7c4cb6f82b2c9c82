//! From one operator to the next: never two writers, and not for long none.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use fairlead_api::PortForward;
use fairlead_tests::{
    cluster::{ControlPlane, Request},
    deadline::SOON,
    operator::{USER, install},
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Busy, await_holder, holder, stand_by, start};

/// Each write is by the operator that held the lease when it came; answers how many operators wrote.
fn assert_one_writer_at_a_time(cluster: &ControlPlane) -> usize {
    let mut requests: Vec<Request> = cluster.requests_of(USER);
    requests.retain(Request::is_write);
    requests.sort_by(|a, b| a.received.cmp(&b.received));
    let (mut holder, mut writers) = (None, BTreeSet::new());
    for request in requests {
        if request.resource != "leases" {
            assert_eq!(request.credential, holder, "written by one that did not hold the lease: {request:?}");
            writers.insert(request.credential);
        } else if request.code < 300 {
            holder = request.credential;
        }
    }
    writers.len()
}

/// One forward that is changed now and then, to see whether changes arrive.
struct Probe<'a> {
    scene: &'a Scene<'a>,
    targets: [Target; 2],
    port: u16,
}

impl<'a> Probe<'a> {
    fn ready(scene: &'a Scene<'a>) -> Self {
        let probe = Self { scene, targets: [Target::letter('A'), Target::letter('B')], port: ports::free() };
        scene.apply_ready(&[&probe.manifest('A')]);
        probe
    }

    fn manifest(&self, letter: char) -> Value {
        let target = &self.targets[usize::from(letter == 'B')];
        forward("probe", self.port, &[target], json!({}))
    }

    fn change_to(&self, letter: char) {
        self.scene.apply::<PortForward>(&self.manifest(letter));
    }

    fn await_letter(&self, letter: char) {
        let (_, address) = self.scene.await_pod("probe-forward", self.port);
        self.scene.await_letter(address, letter);
    }
}

fn timed(wait: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    wait();
    begin.elapsed()
}

#[test]
#[allow(clippy::print_stderr, reason = "the times are what the test is about")]
fn another_operator_takes_over_from_one_that_is_killed_and_from_one_that_is_told_to_end() {
    let Some(cluster) = ControlPlane::start() else { return };
    install(&cluster);
    let scene = Scene::of(cluster.namespace(), NEVER);
    let mut first = start(&cluster, "first");
    await_holder(&cluster, "first");
    let mut second = stand_by(&cluster, "second");
    let probe = Probe::ready(&scene);
    let busy = Busy::begin(&scene);

    first.process().signal(Signal::KILL);
    let killed = timed(|| await_holder(&cluster, "second"));
    probe.change_to('B');
    probe.await_letter('B');

    let _third = stand_by(&cluster, "third");
    second.process().terminate();
    let ended = timed(|| await_holder(&cluster, "third"));
    probe.change_to('A');
    probe.await_letter('A');
    assert_eq!(second.process().await_exit(SOON), 0);
    drop(busy);
    eprintln!("the next operator led {killed:?} after SIGKILL, and {ended:?} after SIGTERM");
    assert_eq!(assert_one_writer_at_a_time(&cluster), 3);
}

#[test]
#[allow(clippy::print_stderr, reason = "the time is what the test is about")]
fn a_leader_that_stood_still_past_its_lease_writes_nothing_late() {
    let Some(cluster) = ControlPlane::start() else { return };
    install(&cluster);
    let scene = Scene::of(cluster.namespace(), NEVER);
    let mut leader = (start(&cluster, "first"), "first");
    await_holder(&cluster, "first");
    let mut other = (stand_by(&cluster, "second"), "second");
    let probe = Probe::ready(&scene);
    let busy = Busy::begin(&scene);
    for letter in ['B', 'A'] {
        // On a machine that is busy a lease may be lost without anybody's doing.
        if holder(&cluster).as_deref() == Some(other.1) {
            std::mem::swap(&mut leader, &mut other);
        }
        // It stops in the middle of its work, with a change before it that it doesn't know yet.
        leader.0.process().signal(Signal::STOP);
        probe.change_to(letter);
        let taken = timed(|| await_holder(&cluster, other.1));
        eprintln!("{} led {taken:?} after {} was stopped", other.1, leader.1);
        probe.await_letter(letter);
        let mark = leader.0.process().log_mark();
        leader.0.process().signal(Signal::CONT);
        leader.0.process().await_log_after(mark, "no longer leading");
        assert!(leader.0.process().is_running());
        std::mem::swap(&mut leader, &mut other);
    }
    drop(busy);
    assert_eq!(assert_one_writer_at_a_time(&cluster), 2);
}
