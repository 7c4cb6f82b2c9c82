//! Where the API server lets no pods be made, the PortForward says so in the server's words, and goes on by itself when
//! it does.

use fairlead_api::PortForward;
use fairlead_tests::{
    cluster::Kind,
    operator::{await_condition_of, says},
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use serde_json::{Value, json};

use crate::what::message;

fn quota(hard: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": hard}})
}

/// While `rule` stands, no pod is made and `words` say why; when it is gone, all goes on.
fn no_pod_while<K: Kind>(rule: &Value, words: &[&str]) {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    scene.apply::<K>(rule);
    if rule["kind"] == "ResourceQuota" {
        scene.await_object("tight", "its sums", |quota: &ResourceQuota| {
            quota.status.as_ref().and_then(|status| status.used.as_ref()).is_some()
        });
    }
    scene.apply::<PortForward>(&forward("db", port, &[&target], json!({})));
    let what = format!("words {words:?}");
    let object = scene.await_object("db", &what, |object: &PortForward| {
        words.iter().all(|word| message(object, "Programmed").contains(word))
    });
    assert_eq!(says(&object, "Accepted"), ("True", "Accepted"));
    assert_eq!(says(&object, "Programmed"), ("False", "NoProxies"));
    assert_eq!(says(&object, "Ready"), ("False", "NoProxies"));
    assert_eq!(says(&object, "Stalled").0, "False");
    scene.delete::<K>("tight");
    await_condition_of(&scene, "db", "Ready", ("True", "Ready"));
    scene.await_letter(scene.await_pod("db-forward", port).1, 'A');
}

#[test]
fn a_quota_of_pods() {
    no_pod_while::<ResourceQuota>(
        &quota(json!({"pods": "0"})),
        &["no pod can be made", "exceeded quota: tight", "pods=1"],
    );
}

#[test]
fn a_quota_of_memory() {
    no_pod_while::<ResourceQuota>(
        &quota(json!({"requests.memory": "1Mi"})),
        &["exceeded quota: tight", "requests.memory"],
    );
}

#[test]
fn a_quota_of_deployments() {
    let hard = json!({"count/deployments.apps": "0"});
    no_pod_while::<ResourceQuota>(&quota(hard), &["Deployment db-forward can't be written", "exceeded quota: tight"]);
}

#[test]
fn a_refusal_at_admission() {
    let limits = json!({"limits": [{"type": "Container", "max": {"memory": "1Mi"}}]});
    let rule = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "tight"}, "spec": limits});
    no_pod_while::<LimitRange>(&rule, &["no pod can be made", "maximum memory usage per Container is 1Mi"]);
}
