//! What there is in a namespace, in words that tests compare.

use std::net::Ipv4Addr;

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    cluster::{CLUSTER_SOON, Kind, Objects},
    deadline::await_condition,
    operator::condition,
    scene::Scene,
};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ConfigMap, Pod, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

/// What the operator labels.
pub(crate) const OURS: &str = "app.kubernetes.io/managed-by=fairlead";

/// Kind and name of every object the operator has made in the namespace, pods not counted, in order.
pub(crate) fn made(namespace: &Objects) -> Vec<String> {
    let mut made = [
        named::<ConfigMap>(namespace, OURS),
        named::<Deployment>(namespace, OURS),
        named::<NetworkPolicy>(namespace, OURS),
        named::<PodDisruptionBudget>(namespace, OURS),
        named::<Service>(namespace, OURS),
    ]
    .concat();
    made.sort();
    made
}

/// The same, with everything that came of it.
pub(crate) fn all(namespace: &Objects) -> Vec<String> {
    let came = [named::<ReplicaSet>(namespace, ""), named::<Pod>(namespace, "")].concat();
    made(namespace).into_iter().chain(came).collect()
}

/// Waits until the operator has made just this.
pub(crate) fn await_made(scene: &Scene<'_>, wanted: &[&str]) {
    let mut seen = Vec::new();
    let what = format!("nothing but {wanted:?}");
    await_condition(&what, CLUSTER_SOON, || {
        let now = made(scene);
        if now != seen {
            seen = now;
        }
        seen == wanted
    });
}

/// Waits until nothing is left of any PortForward.
pub(crate) fn await_nothing(namespace: &Objects) {
    await_condition("nothing to be left", CLUSTER_SOON, || all(namespace).is_empty());
}

/// Where the Service leads: the name of the proxy, and its ready pods, as kube-proxy would have them.
pub(crate) fn behind(scene: &Scene<'_>, name: &str) -> Option<(String, Vec<Ipv4Addr>)> {
    let service: Service = scene.find(name)?;
    let proxy = service.spec?.selector?.remove("fairlead.dev/proxy")?;
    let pods = scene.list::<Pod>(&format!("fairlead.dev/proxy={proxy}"));
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let ready = pods.iter().filter(|pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none());
    let ips = ready.filter_map(|pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok());
    Some((proxy, ips.collect()))
}

/// Comes to the Service as a client does; true if nobody serves it.
pub(crate) fn refuses(scene: &Scene<'_>, name: &str, port: u16) -> bool {
    let ready = || behind(scene, name).map(|(_, pods)| pods).unwrap_or_default();
    let Some(pod) = ready().first().copied() else { return true };
    // A pod that is told to end serves on, in a real cluster, until nobody is sent there any more.
    ask((pod, port)).is_err() && ready().contains(&pod)
}

/// An object as it is, down to its resource version.
pub(crate) fn whole<K: Kind + Serialize>(namespace: &Objects, name: &str) -> Value {
    let object = namespace.find::<K>(name).unwrap_or_else(|| panic!("no {name}"));
    serde_json::to_value(object).expect("JSON")
}

/// The message of a condition.
pub(crate) fn message(object: &PortForward, type_: &str) -> String {
    condition(object, type_).map(|condition| condition.message.clone()).unwrap_or_default()
}

fn named<K: Kind>(namespace: &Objects, labels: &str) -> Vec<String> {
    let named = |object: &K| format!("{} {}", K::kind(&()), object.name_any());
    namespace.list::<K>(labels).iter().map(named).collect()
}
