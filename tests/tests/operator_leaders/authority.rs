//! The operator's certificates change while it works.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::{dial, is_echoed, letter},
    cluster::{CLUSTER_SOON, ControlPlane},
    deadline::{await_condition, await_some},
    operator::{NAMESPACE, Operator, install},
    ports,
    scene::{AT_ONCE, Scene, forward},
    targets::{Behaviour, Target},
};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

/// Short lives: an authority signs for half a minute, and is published two seconds ahead.
const TIMES: [&str; 4] = ["--ca-lifetime", "36s", "--ca-publish-ahead", "2s"];
/// Authorities that sign, one after the other, in the course of the test.
const AUTHORITIES: usize = 3;
/// All of them are past by then.
const LONG: Duration = Duration::from_secs(200);

/// The authority that signs, which is the first in the bundle.
fn authority(cluster: &ControlPlane) -> Option<String> {
    let secret: Secret = cluster.objects(NAMESPACE).find("fairlead-operator-ca")?;
    let bundle = String::from_utf8(secret.data?.get("ca.crt")?.0.clone()).ok()?;
    Some(bundle.split_once("-----END CERTIFICATE-----")?.0.to_owned())
}

#[test]
#[allow(clippy::print_stderr, reason = "how much was done in how much time explains a slow run")]
fn new_certificates_lose_no_change_and_no_connection() {
    let Some(cluster) = ControlPlane::start() else { return };
    install(&cluster);
    let mut operator = Operator::start_installed(&cluster, &TIMES);
    let scene = Scene::of(cluster.namespace(), AT_ONCE);
    let targets = [Target::start(Behaviour::Greet('A')), Target::start(Behaviour::Greet('B'))];
    let port = ports::free();
    let to = |target: &Target| forward("db", port, &[target], json!({"gateway": {"replicas": 2}}));
    scene.apply_ready(&[&to(&targets[0])]);
    let pods = await_some("two pods", CLUSTER_SOON, || Some(scene.kubelet().pods()).filter(|pods| pods.len() == 2));
    let greeting = |pod: usize| dial((pods[pod].1, port)).and_then(|stream| letter(&stream)).ok();
    let await_greetings = |what: &str, wanted: char| {
        await_condition(what, CLUSTER_SOON, || (0..2).all(|pod| greeting(pod) == Some(wanted)));
    };
    let change = |round: usize| {
        scene.apply::<PortForward>(&to(&targets[round % 2]));
        await_greetings(&format!("change {round} to arrive at both"), ['A', 'B'][round % 2]);
    };
    await_greetings("both to listen", 'A');
    let held = dial((pods[0].1, port)).expect("a connection");
    assert_eq!(letter(&held).ok(), Some('A'));

    let (begin, mut rounds, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    let mut signed = BTreeSet::new();
    await_condition("authorities that sign one after the other", LONG, || {
        rounds += 1;
        let asked = Instant::now();
        change(rounds);
        slowest = slowest.max(asked.elapsed());
        let known = signed.len();
        signed.extend(authority(&cluster));
        if signed.len() > known {
            // A proxy that starts is dialled with whatever signs now.
            scene.kubelet().with_pod(&pods[1].0, |pod| pod.restart());
        }
        signed.len() == AUTHORITIES
    });
    eprintln!("{rounds} changes under {AUTHORITIES} authorities in {:?}, the slowest {slowest:?}", begin.elapsed());
    // The next operator has to dial the proxy that knew the first authority alone when it started.
    operator.process().terminate();
    operator.process().await_exit(CLUSTER_SOON);
    let _next = Operator::start_installed(&cluster, &TIMES);
    change(rounds + 1);
    await_condition("the next operator to have reached both", CLUSTER_SOON, || {
        let object: Option<PortForward> = scene.find("db");
        object.and_then(|object| object.status?.proxies).is_some_and(|proxies| proxies.connected == 2)
    });
    assert!(is_echoed(&held, "still here"), "a connection made before");
}
