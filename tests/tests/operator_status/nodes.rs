//! Nodes that die, live again, flap, and were never dialled.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::{Duration, Instant},
};

use fairlead_tests::{
    clients::ask,
    cluster::CLUSTER_SOON,
    deadline::{await_condition, await_some, until},
    operator::{History, await_condition_of, nodes, says},
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use serde_json::json;

use super::state_of;

/// After this the operator may write four statuses of an object at once.
const BUDGET_FULL: Duration = Duration::from_secs(41);
const MINUTE: Duration = Duration::from_secs(60);
/// The `failTimeout` of the forwards.
const FAIL_TIMEOUT: Duration = Duration::from_secs(1);
/// Status writes of one object at once, and the time after which there may be one more.
const AT_ONCE: u64 = 4;
const ONE_MORE: Duration = Duration::from_secs(10);

/// Begins with a dial and ends when the status says what came of it, which it didn't before the mark.
fn time_to_state(history: &History, mark: usize, address: &str, state: &str, begin: Instant) -> Duration {
    let seen = history.await_seen(mark, &format!("{address} {state}"), |object| state_of(object, address) == state);
    seen.at.saturating_duration_since(begin)
}

/// The time of the first client who is answered with this letter.
fn first_answer(address: SocketAddr, letter: char) -> Instant {
    await_some("an answer", CLUSTER_SOON, || {
        let begin = Instant::now();
        (ask(address).ok() == Some(letter)).then_some(begin)
    })
}

#[test]
#[allow(clippy::print_stderr, reason = "the times and the count are what the test is about")]
fn a_dead_target_shows_at_once_and_a_flapping_one_causes_few_writes() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (mut a, b) = (Target::letter('A'), Target::letter('B'));
    let port = ports::free();
    scene.apply_ready(&[&forward("db", port, &[&a, &b], json!({}))]);
    let (_, address) = scene.await_pod("db-forward", port);
    let history = History::of(&scene, "db");
    let node = a.address().to_string();
    time_to_state(&history, 0, &node, "Alive", first_answer(address, 'A'));
    let mark = scene.await_idle();
    until(Instant::now() + BUDGET_FULL, || {});
    assert_eq!(scene.writes().len(), mark, "nothing happened, and something was written");

    let mark = history.mark();
    a.kill();
    let died = time_to_state(&history, mark, &node, "Dead", first_answer(address, 'B'));
    let mark = history.mark();
    a.restart();
    let revived = time_to_state(&history, mark, &node, "Alive", first_answer(address, 'A'));
    eprintln!("from the first failed dial to Dead: {died:?}; from the first success to Alive: {revived:?}");

    let (before, begin) = (status_writes(&scene), Instant::now());
    flap(&mut a, address);
    let written = (status_writes(&scene) - before) as u64;
    let lasted = begin.elapsed();
    eprintln!("a target that flapped for {lasted:.0?} caused {written} status writes");
    let limit = AT_ONCE + lasted.as_secs() / ONE_MORE.as_secs();
    assert!((1..=limit).contains(&written), "{written} writes in {lasted:?}");
    first_answer(address, 'A');
    await_condition("the status to be right in the end", CLUSTER_SOON, || {
        scene.find("db").is_some_and(|object| state_of(&object, &node) == "Alive")
    });
}

fn status_writes(scene: &Scene<'_>) -> usize {
    let writes = scene.writes();
    writes.iter().filter(|write| write.subresource.as_deref() == Some("status")).count()
}

/// Kills and restarts a target in turns, with a client every few milliseconds.
fn flap(target: &mut Target, address: SocketAddr) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                let _ = ask(address);
                until(Instant::now() + FAIL_TIMEOUT / 20, || {});
            }
        });
        let end = Instant::now() + MINUTE;
        while Instant::now() < end {
            target.kill();
            until(Instant::now() + FAIL_TIMEOUT, || {});
            target.restart();
            until(Instant::now() + FAIL_TIMEOUT, || {});
        }
        over.store(true, SeqCst);
    });
}

#[test]
#[allow(clippy::print_stderr, reason = "the time is what the test is about")]
fn a_target_that_nobody_dialled_is_unknown_and_a_health_check_soon_knows() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let forwards = [
        forward("asked", ports::free(), &[&a], json!({"healthCheck": {"interval": "2s", "timeout": "1s"}})),
        forward("unasked", ports::free(), &[&b], json!({})),
    ];
    let history = History::of(&scene, "asked");
    scene.apply_ready(&forwards.iter().collect::<Vec<_>>());
    let programmed = history.await_seen(0, "programmed", |object| says(object, "Programmed").0 == "True");
    let known = history
        .await_seen(0, "the checked target alive", |object| state_of(object, &a.address().to_string()) == "Alive");
    eprintln!(
        "a target checked every 2 s was known {:?} after Programmed",
        known.at.saturating_duration_since(programmed.at)
    );
    await_condition_of(&scene, "asked", "NodesAvailable", ("True", "AllAlive"));
    let unasked = await_condition_of(&scene, "unasked", "NodesAvailable", ("Unknown", "NotObserved"));
    assert_eq!(state_of(&unasked, &b.address().to_string()), "Unknown");
    assert_eq!(unasked.status.and_then(|status| status.node_summary).as_deref(), Some("?/1"));
    assert_eq!((a.accepted() > 0, b.accepted()), (true, 0));
}

#[test]
fn of_several_targets_only_those_that_were_dialled_have_a_state() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let port = ports::free();
    let history = History::of(&scene, "db");
    scene.apply_ready(&[&forward("db", port, &[&a, &b], json!({}))]);
    let (_, address) = scene.await_pod("db-forward", port);
    first_answer(address, 'A');
    let seen = history.await_seen(0, "A alive", |object| state_of(object, &a.address().to_string()) == "Alive");
    assert_eq!(seen.object.status.and_then(|status| status.node_summary).as_deref(), Some("1/2"));
    scene.await_idle();
    let never: BTreeSet<_> = history
        .seen()
        .iter()
        .flat_map(|seen| nodes(&seen.object).to_vec())
        .filter(|node| node.address == b.address().to_string())
        .map(|node| format!("{:?}", node.state))
        .collect();
    assert_eq!(never, BTreeSet::from(["Unknown".to_owned()]));
}
