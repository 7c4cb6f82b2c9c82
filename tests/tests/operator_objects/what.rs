//! What there is in a namespace, in words that tests compare.

use fairlead_api::PortForward;
use fairlead_tests::{
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
