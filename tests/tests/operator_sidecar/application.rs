//! Applications with a sidecar: programmed and counted as long as they are there.

use std::net::SocketAddr;

use fairlead_api::PortForward;
use fairlead_config::yaml;
use fairlead_tests::{
    binary::{Launch, operator},
    clients::ask,
    cluster::{CLUSTER_SOON, PROXY_ARGUMENTS, proxy_pod},
    deadline::{await_condition, await_some},
    operator::{await_condition_of, condition, says},
    ports,
    scene::{AT_ONCE, Scene, forward, operated},
    targets::Target,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::ResourceExt;
use serde_json::{Value, json};

/// A pod that Pod Security's `restricted` lets in.
const APPLICATION: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: shop
  labels: {fairlead.dev/sidecar: shop}
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: shop
    image: shop:1
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";

/// A namespace that lets only restricted pods in.
pub(crate) fn restricted() -> Option<Scene<'static>> {
    let labels =
        json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"});
    Some(Scene::of(operated()?.namespace_with(labels), AT_ONCE))
}

/// The application as `inject` makes it.
pub(crate) fn application(name: &str) -> Value {
    injected(name, APPLICATION)
}

/// The application as `inject` makes it when it sees a PortForward of its namespace too.
pub(crate) fn application_beside(name: &str, forward: &Value) -> Value {
    injected(name, &format!("{APPLICATION}---\n{forward}\n"))
}

fn injected(name: &str, documents: &str) -> Value {
    let injected = Launch::new(["inject", "-"]).program(operator()).input(documents).finish();
    assert_eq!(injected.code, 0, "{}", injected.stderr);
    let mut documents: Vec<Value> = yaml::documents(&injected.stdout).expect("documents");
    let mut pod = documents.swap_remove(0);
    pod["metadata"]["name"] = name.into();
    pod
}

pub(crate) fn in_shop(name: &str, port: u16, target: &Target) -> Value {
    forward(name, port, &[target], json!({"sidecar": {"name": "shop"}}))
}

/// Where a pod is, once it runs.
pub(crate) fn await_pod(scene: &Scene<'_>, name: &str, port: u16) -> SocketAddr {
    await_some(format!("pod {name} to run"), CLUSTER_SOON, || {
        let pods = scene.kubelet().pods();
        pods.into_iter().find(|(pod, _)| pod == name).map(|(_, ip)| (ip, port).into())
    })
}

/// Waits until so many pods are there, and all of them run the forward.
fn await_programmed(scene: &Scene<'_>, name: &str, count: u32) -> PortForward {
    scene.await_object(name, &format!("{count} proxies"), |object: &PortForward| {
        let proxies = object.status.as_ref().and_then(|status| status.proxies.clone()).unwrap_or_default();
        (proxies.desired, proxies.connected, proxies.programmed) == (count, count, count)
    })
}

#[test]
fn pods_of_the_users_are_programmed_and_counted_as_they_come_and_go() {
    let Some(scene) = restricted() else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let port = ports::free();
    scene.apply::<PortForward>(&in_shop("db", port, &a));
    let object = await_condition_of(&scene, "db", "Ready", ("True", "NoPods"));
    assert_eq!(says(&object, "Programmed"), ("True", "NoPods"));
    assert_eq!(scene.find::<Service>("db"), None);

    scene.create::<Pod>(application("shop-1")).expect("a Pod in a restricted namespace");
    await_programmed(&scene, "db", 1);
    scene.await_ready("db");
    assert_eq!(ask(await_pod(&scene, "shop-1", port)).ok(), Some('A'));
    scene.create::<Pod>(application("shop-2")).expect("a Pod");
    await_programmed(&scene, "db", 2);
    scene.apply_ready(&[&in_shop("db", port, &b)]);
    for pod in ["shop-1", "shop-2"] {
        scene.await_letter(await_pod(&scene, pod, port), 'B');
    }

    let leaves_ready_alone = |object: &PortForward| assert_eq!(says(object, "Ready").0, "True");
    for (pod, left) in [("shop-1", 1), ("shop-2", 0)] {
        scene.delete::<Pod>(pod);
        scene.await_object("db", &format!("{left} pods"), |object: &PortForward| {
            leaves_ready_alone(object);
            object.status.as_ref().and_then(|status| status.proxies.clone()).is_some_and(|p| p.desired == left)
        });
    }
    leaves_ready_alone(&await_condition_of(&scene, "db", "Programmed", ("True", "NoPods")));
}

#[test]
fn pods_that_outlive_their_last_forward_run_nothing_until_there_is_a_next_one() {
    let Some(scene) = restricted() else { return };
    let a = Target::letter('A');
    let (port, other) = (ports::free(), ports::free());
    scene.apply::<PortForward>(&in_shop("db", port, &a));
    scene.apply::<PortForward>(&in_shop("web", other, &a));
    scene.create::<Pod>(application("shop")).expect("a Pod");
    await_programmed(&scene, "db", 1);
    await_programmed(&scene, "web", 1);
    let owners = |map: &ConfigMap| map.owner_references().iter().map(|owner| owner.name.clone()).collect::<Vec<_>>();
    scene.await_object("shop-sidecar", "both owners", |map: &ConfigMap| owners(map) == ["db", "web"]);
    let at = |port| await_pod(&scene, "shop", port);
    assert_eq!((ask(at(port)).ok(), ask(at(other)).ok()), (Some('A'), Some('A')));

    scene.delete::<PortForward>("web");
    await_condition("web to be gone from the pod", CLUSTER_SOON, || ask(at(other)).is_err());
    assert_eq!(ask(at(port)).ok(), Some('A'));
    scene.delete::<PortForward>("db");
    await_condition("db to be gone from the pod", CLUSTER_SOON, || ask(at(port)).is_err());
    scene.await_gone::<ConfigMap>("shop-sidecar");
    scene.apply_ready(&[&in_shop("again", port, &a)]);
    assert_eq!(ask(at(port)).ok(), Some('A'));
}

#[test]
fn a_labelled_pod_without_the_container_is_no_proxy() {
    let Some(scene) = restricted() else { return };
    let a = Target::letter('A');
    scene.create::<Pod>(yaml::from_str(APPLICATION).expect("a Pod")).expect("a Pod");
    scene.apply::<PortForward>(&in_shop("db", ports::free(), &a));
    await_condition_of(&scene, "db", "Ready", ("True", "NoPods"));
}

#[test]
fn two_forwards_of_one_sidecar_can_not_have_the_same_port() {
    let Some(scene) = restricted() else { return };
    let a = Target::letter('A');
    let port = ports::free();
    scene.apply::<PortForward>(&in_shop("a-first", port, &a));
    await_condition_of(&scene, "a-first", "Ready", ("True", "NoPods"));
    scene.apply::<PortForward>(&in_shop("b-second", port, &a));
    scene.await_refused("b-second", "PortConflict");
    // Another sidecar is another pod.
    let elsewhere = forward("b-second", port, &[&a], json!({"sidecar": {"name": "office"}}));
    scene.apply::<PortForward>(&elsewhere);
    await_condition_of(&scene, "b-second", "Ready", ("True", "NoPods"));
}

/// As a sidecar is run, with its ConfigMap where [`proxy_pod`] mounts it.
pub(crate) fn by_hand(name: &str, labels: &Value, config_map: &str) -> Value {
    proxy_pod(name, labels, config_map, &PROXY_ARGUMENTS)
}

#[test]
fn a_pod_that_moves_the_proxys_ports_has_the_usual_ones_for_itself() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let target = Target::letter('A');
    scene.apply::<PortForward>(&in_shop("db", 19443, &target));
    let refused = scene.await_refused("db", "PortConflict");
    let message = condition(&refused, "Accepted").map(|condition| condition.message.clone()).unwrap_or_default();
    assert!(message.contains("port 19443 is the proxy's own"), "{message}");
    let moved = "annotations: {fairlead.dev/admin-port: '29443', fairlead.dev/metrics-port: '29444'}\n  labels:";
    scene.create::<Pod>(injected("moved", &APPLICATION.replace("labels:", moved))).expect("a Pod");
    scene.await_ready("db");
    scene.await_letter(await_pod(&scene, "moved", 19443), 'A');
}
