//! Secrets that PortForwards name: a shared gateway's pods are replaced once for several of them, without a flip of the
//! others, and what a pod does not mount yet is said to be the reason.

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    operator::{History, condition, says},
    ports,
    scene::{AT_ONCE, Scene, forward},
    targets::Target,
};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Secret},
    jiff::Timestamp,
};
use kube::ResourceExt;
use serde_json::{Value, json};

fn secret(scene: &Scene<'_>, name: &str) {
    let data = json!({"username": "ann", "password": "secret"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    scene.create::<Secret>(secret).expect("a Secret");
}

/// A forward through a hop that asks for a login.
fn with_login(name: &str, secret: &str, target: &Target, place: Value) -> Value {
    let mut more = place;
    more["chain"] = json!([{
        "url": "socks5://127.0.0.1:1080", "credentials": {"secretRef": {"name": secret}},
    }]);
    forward(name, ports::free(), &[target], more)
}

/// How often the pods were replaced, and once more.
fn revision(deployment: &Deployment) -> u32 {
    let revision = deployment.annotations().get("deployment.kubernetes.io/revision");
    revision.expect("a revision").parse().expect("a number")
}

pub(crate) fn secrets_of(deployment: &Deployment) -> Vec<&str> {
    let spec = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| volume.secret.as_ref()?.secret_name.as_deref()).collect()
}

#[test]
fn several_new_secrets_cost_a_shared_gateway_one_replacement_and_its_members_nothing() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    let edge = || json!({"gateway": {"name": "edge"}});
    scene.apply_ready(&[&forward("plain", port, &[&target], edge())]);
    let deployment = || scene.find::<Deployment>("edge-gateway").expect("the Deployment");
    let (before, mark) = (revision(&deployment()), scene.await_idle());
    let history = History::of(&scene, "plain");
    history.await_seen(0, "the first state", |_| true);
    ["one", "two"].iter().for_each(|name| secret(&scene, name));
    let waits = History::of(&scene, "one");
    let first = Timestamp::now();
    for name in ["one", "two"] {
        scene.apply::<PortForward>(&with_login(name, name, &target, edge()));
    }
    let waiting = waits.await_seen(0, "the pod to be the reason", |object| {
        condition(object, "Programmed").is_some_and(|c| c.message.contains("doesn't mount Secret \"one\""))
    });
    let waiting = waiting.object;
    assert_eq!((says(&waiting, "Programmed"), says(&waiting, "Stalled").0), (("False", "Pending"), "False"));
    ["one", "two"].iter().for_each(|name| drop(scene.await_ready(name)));
    let replaced = deployment();
    assert_eq!(secrets_of(&replaced).len(), 2);
    assert_eq!(revision(&replaced), before + 1, "one replacement for both");
    let writes = scene.writes().split_off(mark);
    let replaced = writes.iter().rfind(|write| write.resource == "deployments").expect("a write");
    let replaced: Timestamp = replaced.received.parse().expect("a time");
    let waited = replaced.duration_since(first);
    assert!(waited.as_secs() >= 9, "replaced after {waited:?}, not collected");
    let (_, address) = scene.await_pod("edge-gateway", port);
    assert_eq!(ask(address).ok(), Some('A'));
    let seen = history.seen();
    let flip = seen.iter().find(|seen| seen.says("Programmed") != "True");
    assert!(flip.is_none(), "the other member: {}", flip.expect("a flip").line());

    // What nobody names any more goes the same way.
    scene.delete::<PortForward>("two");
    let is_rid = |object: &Deployment| secrets_of(object).len() == 1 && revision(object) == before + 2;
    scene.await_object("edge-gateway", "one Secret, and one more replacement", is_rid);
    scene.await_ready("one");
}
