//! Proxies come and go in an orderly way: a rolling restart and more replicas, with clients all the time.

use std::time::{Duration, Instant};

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    cluster::{CLUSTER_SOON, ProxyPod},
    deadline::{await_condition, await_some, until},
    operator::{History, Seen, await_condition_of},
    ports,
    scene::{AT_ONCE, NEVER, Scene, forward, operated},
    targets::Target,
};
use k8s_openapi::api::core::v1::Pod;
use rustix::process::Signal;
use serde_json::json;

use super::says_now;

/// How long a pod takes to come up: by then it is dialled only now and then.
const LATE: Duration = Duration::from_secs(8);
/// How long a status has to be written that should not be.
const SETTLED: Duration = Duration::from_secs(3);

fn assert_steady(history: &History, mark: usize) {
    for seen in history.since(mark) {
        let steady = |type_| seen.says(type_) == "True";
        assert!(
            steady("Programmed") && steady("Ready"),
            "it flipped: {}\n{}",
            seen.line(),
            lines(&history.since(mark))
        );
    }
}

fn lines(seen: &[Seen]) -> String {
    seen.iter().map(|seen| seen.line() + "\n").collect()
}

#[test]
fn a_rolling_restart_and_more_replicas_flip_neither_programmed_nor_ready() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let target = Target::letter('A');
    let port = ports::free();
    let with = |replicas: u32| forward("db", port, &[&target], json!({"gateway": {"replicas": replicas}}));
    scene.apply_ready(&[&with(1)]);
    let history = History::of(&scene, "db");
    history.await_seen(0, "the present state", |object| says_now(object, "Ready", "True"));
    let restart = |pods: usize| {
        let before = scene.kubelet().pods();
        let asked = scene.cluster().kubectl(&["rollout", "restart", "deployment/db-forward", "-n", scene.name()]);
        assert_eq!(asked.code, 0, "{}", asked.stderr);
        await_condition("new pods in the place of the old ones", CLUSTER_SOON, || {
            let now = scene.kubelet().pods();
            now.len() == pods && now.iter().all(|pod| !before.contains(pod))
        });
        scene.await_idle();
        assert_steady(&history, 0);
    };
    restart(1);
    for replicas in [3, 2] {
        scene.apply::<PortForward>(&with(replicas));
        history.await_seen(0, "the pods in the status", |object| {
            let proxies = object.status.as_ref().and_then(|status| status.proxies.as_ref());
            proxies.is_some_and(|p| (p.desired, p.connected, p.programmed) == (replicas, replicas, replicas))
        });
        assert_steady(&history, 0);
    }
    restart(2);
}

#[test]
fn a_pod_that_takes_its_time_to_come_up_replaces_the_old_one_without_a_flip() {
    let Some(cluster) = operated() else { return };
    let namespace = cluster.namespace();
    let target = Target::letter('A');
    let port = ports::free();
    namespace.apply::<PortForward>(&forward("db", port, &[&target], json!({})));
    let label = "fairlead.dev/proxy=db-forward";
    let next = |before: &str| {
        await_some("a pod", CLUSTER_SOON, || {
            namespace.list::<Pod>(label).into_iter().find(|pod| pod.metadata.name.as_deref() != Some(before))
        })
    };
    let mut old = ProxyPod::run(&namespace, &next(""), NEVER);
    old.await_ready(&namespace);
    await_condition_of(&namespace, "db", "Ready", ("True", "Ready"));
    let history = History::of(&namespace, "db");
    history.await_seen(0, "the present state", |object| says_now(object, "Ready", "True"));

    let asked = cluster.kubectl(&["rollout", "restart", "deployment/db-forward", "-n", namespace.name()]);
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    // It has its address, and is dialled, long before anything listens there.
    let mut new = ProxyPod::run(&namespace, &next(old.name()), NEVER);
    new.process().signal(Signal::KILL);
    until(Instant::now() + LATE, || {});
    new.restart();
    new.await_ready(&namespace);
    namespace.await_gone::<Pod>(old.name());
    await_condition("clients to be served by the new one", CLUSTER_SOON, || ask(new.address(port)).ok() == Some('A'));
    until(Instant::now() + SETTLED, || assert_steady(&history, 0));
}
