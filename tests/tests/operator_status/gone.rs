//! Nobody is left to say how the nodes are: then nobody knows, whatever was true before.

use std::{net::SocketAddr, time::Duration};

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    cluster::{CLUSTER_SOON, ControlPlane, ProxyPod, TempNamespace},
    deadline::{await_condition, await_some},
    operator::{await_condition_of, nodes, says},
    ports,
    scene::{NEVER, forward, operated},
    targets::Target,
};
use k8s_openapi::api::core::v1::Pod;
use rustix::process::Signal;
use serde_json::json;

use super::state_of;

/// How long what a silent proxy said last is believed.
const SILENCE: Duration = Duration::from_secs(45);

/// A ready forward whose one pod the test runs, and a target that is known to be alive.
fn alive<'a>(cluster: &'a ControlPlane, name: &str, target: &Target) -> (TempNamespace<'a>, ProxyPod) {
    let namespace = cluster.namespace();
    let port = ports::free();
    namespace.apply::<PortForward>(&forward(name, port, &[target], json!({})));
    let label = format!("fairlead.dev/proxy={name}-forward");
    let pod = await_some("a pod", CLUSTER_SOON, || namespace.list::<Pod>(&label).pop());
    let mut pod = ProxyPod::run(&namespace, &pod, NEVER);
    pod.await_ready(&namespace);
    await_condition_of(&namespace, name, "Ready", ("True", "Ready"));
    let address: SocketAddr = pod.address(port);
    assert_eq!(ask(address).ok(), Some('A'));
    await_state(&namespace, name, target, "Alive");
    (namespace, pod)
}

fn await_state(namespace: &TempNamespace<'_>, name: &str, target: &Target, state: &str) {
    let address = target.address().to_string();
    await_condition(format!("{address} {state}"), CLUSTER_SOON + SILENCE, || {
        namespace.find(name).is_some_and(|object| state_of(&object, &address) == state)
    });
}

fn assert_unknown(namespace: &TempNamespace<'_>, name: &str, target: &Target) -> PortForward {
    await_state(namespace, name, target, "Unknown");
    let object: PortForward = namespace.find(name).expect("the PortForward");
    assert_eq!(says(&object, "NodesAvailable"), ("Unknown", "NotObserved"));
    assert!(nodes(&object).iter().all(|node| node.fails.is_none() && node.last_error.is_none()), "{object:?}");
    assert_eq!(object.status.as_ref().and_then(|status| status.node_summary.as_deref()), Some("?/1"));
    object
}

#[test]
fn with_all_proxies_gone_nothing_is_known_of_the_nodes() {
    let Some(cluster) = operated() else { return };
    let target = Target::letter('A');
    let (namespace, pod) = alive(cluster, "db", &target);
    // The one in its place is on no node.
    pod.delete(&namespace);
    let object = assert_unknown(&namespace, "db", &target);
    assert_eq!(says(&object, "Programmed"), ("False", "NoProxies"));
    assert_eq!(says(&object, "Ready"), ("False", "NoProxies"));
}

#[test]
fn a_proxy_that_died_or_stands_still_is_not_believed_for_ever() {
    let Some(cluster) = operated() else { return };
    let target = Target::letter('A');
    let (first, mut dead) = alive(cluster, "dead", &target);
    let (second, mut still) = alive(cluster, "still", &target);
    // Both pods are said to be ready all the same.
    dead.process().signal(Signal::KILL);
    still.process().signal(Signal::STOP);
    for (namespace, name) in [(&first, "dead"), (&second, "still")] {
        let object = assert_unknown(namespace, name, &target);
        assert_eq!(says(&object, "Programmed"), ("Unknown", "ProxyUnreachable"));
    }
}
