//! The pods and the kubelet that stand in for a node: what they do to a proxy is what a node would do.

use std::time::Duration;

use fairlead_tests::{
    clients::ask,
    cluster::{CLUSTER_SOON, ControlPlane, Kubelet, Mounting, Objects, ProxyPod, proxy_pod},
    deadline::{SOON, await_condition},
    ports,
    targets::Target,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::ResourceExt;
use rustix::process::Signal;
use serde_json::{Value, json};

const ARGUMENTS: [&str; 5] = ["proxy", "--config", "/config/config.yaml", "--metrics-addr", ":19444"];
const AT_ONCE: Mounting = Mounting::After(Duration::ZERO);

/// A configuration with one forward from `localhost` to a target.
fn config(revision: u32, port: u16, target: &Target) -> Value {
    let target = target.address();
    let forward = json!({
        "key": {"namespace": "shop", "name": "db", "uid": "1"}, "digest": "d", "scheme": "tcp",
        "listen": {"host": "localhost", "port": port},
        "targets": [{"host": target.ip(), "port": target.port()}],
    });
    let config = json!({"version": 1, "revision": revision, "forwards": [forward]});
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "edge"},
        "data": {"config.yaml": config.to_string()},
    })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn deployment(replicas: u32) -> Value {
    let labels = json!({"app": "edge"});
    let pod = proxy_pod("edge", &labels, "edge", &ARGUMENTS);
    let template = json!({"metadata": {"labels": labels}, "spec": pod["spec"]});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "edge"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}},
    })
}

fn await_available(namespace: &Objects, replicas: i32) {
    namespace.await_object::<Deployment>("edge", "all pods available", |edge| {
        let generation = edge.metadata.generation;
        edge.status.as_ref().is_some_and(|status| {
            let numbers = [status.replicas, status.updated_replicas, status.available_replicas];
            status.observed_generation == generation && numbers.iter().all(|number| *number == Some(replicas))
        })
    });
}

#[test]
fn two_pods_run_the_same_configuration_at_addresses_of_their_own() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let (target, port) = (Target::letter('A'), ports::free());
    namespace.apply::<ConfigMap>(&config(1, port, &target));
    let labels = json!({"app": "edge"});
    let mut pods = ["edge-1", "edge-2"]
        .map(|name| ProxyPod::start(&namespace, proxy_pod(name, &labels, "edge", &ARGUMENTS), AT_ONCE));
    assert_ne!(pods[0].ip(), pods[1].ip());
    assert!(!namespace.list::<Pod>("app=edge").iter().any(is_ready), "nobody said so yet");
    pods.iter_mut().for_each(|pod| pod.await_ready(&namespace));
    for pod in &pods {
        let seen = namespace.find::<Pod>(pod.name()).expect("the Pod");
        let ip = seen.status.as_ref().and_then(|status| status.pod_ip.clone());
        assert_eq!((is_ready(&seen), ip), (true, Some(pod.ip().to_string())));
        assert_eq!(ask(pod.address(port)).ok(), Some('A'));
    }
    let [first, second] = pods;
    first.delete(&namespace);
    assert_eq!(namespace.list::<Pod>("app=edge").len(), 1);
    assert_eq!(ask(second.address(port)).ok(), Some('A'));
}

#[test]
fn a_changed_config_map_reaches_the_process_when_the_test_wants_it_to() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let targets = ['A', 'B'].map(Target::letter);
    let port = ports::free();
    let start = |name, mounting| ProxyPod::start(&namespace, proxy_pod(name, &json!({}), "edge", &ARGUMENTS), mounting);
    // Neither needs its ConfigMap to start.
    let (mut prompt, mut fixed) = (start("prompt", AT_ONCE), start("fixed", Mounting::AtStart));
    assert!(!prompt.passes_its_probe());
    namespace.apply::<ConfigMap>(&config(1, port, &targets[0]));
    prompt.await_ready(&namespace);
    fixed.await_ready(&namespace);
    namespace.apply::<ConfigMap>(&config(2, port, &targets[1]));
    await_condition("the second target", SOON, || ask(prompt.address(port)).ok() == Some('B'));
    assert_eq!(ask(fixed.address(port)).ok(), Some('A'));
    fixed.restart();
    fixed.await_ready(&namespace);
    assert_eq!(ask(fixed.address(port)).ok(), Some('A'), "a container's new start mounts nothing anew");
    namespace.delete::<ConfigMap>("edge");
    assert!(prompt.process().is_running());
    assert_eq!(ask(prompt.address(port)).ok(), Some('B'));
}

#[test]
fn a_deployment_rolls_as_its_processes_become_ready_and_end() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let (target, port) = (Target::letter('A'), ports::free());
    namespace.apply::<ConfigMap>(&config(1, port, &target));
    let kubelet = Kubelet::start(&namespace, AT_ONCE);
    namespace.apply::<Deployment>(&deployment(2));
    await_available(&namespace, 2);
    let before = kubelet.pods();
    assert_eq!(before.len(), 2);
    before.iter().for_each(|(_, ip)| assert_eq!(ask((*ip, port)).ok(), Some('A')));

    let restart = json!({"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}});
    namespace.merge::<Deployment>("edge", &restart);
    await_available(&namespace, 2);
    await_condition("the old pods to be gone", CLUSTER_SOON, || namespace.list::<Pod>("app=edge").len() == 2);
    await_condition("their processes too", CLUSTER_SOON, || kubelet.pods().len() == 2);
    assert!(kubelet.pods().iter().all(|pod| !before.contains(pod)));
    assert!(before.iter().all(|(_, ip)| ask((*ip, port)).is_err()));

    namespace.merge::<Deployment>("edge", &json!({"spec": {"replicas": 0}}));
    await_condition("no pods", CLUSTER_SOON, || namespace.list::<Pod>("").is_empty() && kubelet.pods().is_empty());
}

#[test]
fn a_process_that_ends_is_started_again_at_its_address() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let (target, port) = (Target::letter('A'), ports::free());
    namespace.apply::<ConfigMap>(&config(1, port, &target));
    let kubelet = Kubelet::start(&namespace, AT_ONCE);
    let pod: Pod = namespace.create(proxy_pod("edge", &json!({}), "edge", &ARGUMENTS)).expect("a Pod");
    let name = pod.name_any();
    namespace.await_object::<Pod>(&name, "readiness", is_ready);
    let [(_, ip)] = kubelet.pods().try_into().expect("one pod");
    kubelet.with_pod(&name, |pod| pod.process().signal(Signal::KILL)).expect("the pod");
    await_condition("service again", SOON, || ask((ip, port)).ok() == Some('A'));
    namespace.await_object::<Pod>(&name, "readiness", is_ready);
    assert_eq!(kubelet.pods(), [(name, ip)]);
}
