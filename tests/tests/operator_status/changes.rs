//! A changed spec: how soon it reaches the proxies, and when the status says that it has.

use std::time::{Duration, Instant};

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    cluster::{CLUSTER_SOON, ProxyPod},
    deadline::{await_condition, until},
    operator::{History, Seen, await_condition_of},
    ports,
    scene::{NEVER, Scene, forward, operated},
    targets::Target,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use rustix::process::Signal;
use serde_json::json;

use super::{median, says_now};

/// Changes whose times are measured.
const CHANGES: usize = 15;
/// How long a proxy stands still while the status may not say that it runs what it can't have.
const STILL: Duration = Duration::from_secs(5);

#[test]
#[allow(clippy::print_stderr, reason = "the time is what the test is about")]
fn a_changed_target_list_reaches_a_connected_proxy_at_once_and_leaves_the_deployment_alone() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let targets = [Target::letter('A'), Target::letter('B')];
    let port = ports::free();
    let to = |target: &Target| forward("db", port, &[target], json!({}));
    scene.apply_ready(&[&to(&targets[0])]);
    let (_, address) = scene.await_pod("db-forward", port);
    scene.await_letter(address, 'A');
    let before: Deployment = scene.find("db-forward").expect("the Deployment");

    let mut times = Vec::new();
    for (target, letter) in targets.iter().zip(['A', 'B']).cycle().skip(1).take(CHANGES) {
        let begin = Instant::now();
        scene.apply::<PortForward>(&to(target));
        scene.await_letter(address, letter);
        times.push(begin.elapsed());
    }
    let slowest = times.iter().max().copied().unwrap_or_default();
    eprintln!(
        "from `kubectl apply` to a client on the new target: median {:?}, slowest {slowest:?}, of {CHANGES}",
        median(times)
    );
    scene.await_ready("db");
    let after: Deployment = scene.find("db-forward").expect("the Deployment");
    assert_eq!(before.metadata.generation, after.metadata.generation);
}

#[test]
fn programmed_waits_for_every_ready_proxy_to_run_the_generation() {
    let Some(cluster) = operated() else { return };
    let namespace = cluster.namespace();
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let port = ports::free();
    let replicas = json!({"gateway": {"replicas": 2}});
    namespace.apply::<PortForward>(&forward("db", port, &[&a], replicas.clone()));
    let label = "fairlead.dev/proxy=db-forward";
    await_condition("two pods", CLUSTER_SOON, || namespace.list::<Pod>(label).len() == 2);
    // Without a kubelet their readiness is the test's to say, and it says that both are ready all the time.
    let run = |pod: Pod| ProxyPod::run(&namespace, &pod, NEVER);
    let mut pods: Vec<_> = namespace.list::<Pod>(label).into_iter().map(run).collect();
    pods.iter_mut().for_each(|pod| pod.await_ready(&namespace));
    await_condition_of(&namespace, "db", "Ready", ("True", "Ready"));
    let history = History::of(&namespace, "db");
    history.await_seen(0, "the first generation programmed", |object| says_now(object, "Programmed", "True"));

    pods[1].process().signal(Signal::STOP);
    let mark = history.mark();
    let generation = namespace.apply::<PortForward>(&forward("db", port, &[&b], replicas)).metadata.generation;
    let changed = |object: &PortForward| object.metadata.generation == generation;
    await_condition("the proxy that runs to have the change", CLUSTER_SOON, || {
        ask(pods[0].address(port)).ok() == Some('B')
    });
    history.await_seen(mark, "the status of the new generation", |object| {
        changed(object) && says_now(object, "Programmed", "False")
    });
    until(Instant::now() + STILL, || assert_not_programmed(&history.since(mark), generation));
    pods[1].process().signal(Signal::CONT);
    history.await_seen(mark, "both to run it", |object| changed(object) && says_now(object, "Programmed", "True"));
    assert_eq!(pods.iter().map(|pod| ask(pod.address(port)).unwrap_or('-')).collect::<String>(), "BB");
}

fn assert_not_programmed(seen: &[Seen], generation: Option<i64>) {
    let early = seen
        .iter()
        .find(|seen| seen.object.metadata.generation == generation && says_now(&seen.object, "Programmed", "True"));
    assert!(early.is_none(), "one of two proxies stands still: {}", early.map(Seen::line).unwrap_or_default());
}

#[test]
fn programmed_is_never_ahead_of_the_proxies_while_reports_come_all_the_time() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let port = ports::free();
    let to = |target: &Target| forward("db", port, &[target], json!({"maxConnections": 1000}));
    scene.apply_ready(&[&to(&a)]);
    let (_, address) = scene.await_pod("db-forward", port);
    let history = History::of(&scene, "db");
    for (target, letter) in [(&b, 'B'), (&a, 'A')].into_iter().cycle().take(6) {
        let mark = history.mark();
        let generation = scene.apply::<PortForward>(&to(target)).metadata.generation;
        // The first client of a target makes a node's news, and with it a report, just as the change comes.
        let _ = ask(address);
        history.await_seen(mark, "the change to be programmed", |object| {
            object.metadata.generation == generation && says_now(object, "Programmed", "True")
        });
        assert_eq!(ask(address).ok(), Some(letter), "programmed, and clients of {generation:?} go elsewhere");
    }
}
