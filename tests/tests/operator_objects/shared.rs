//! Several PortForwards in one gateway: one that is refused disturbs no other, and what two want goes to the older one.

use std::time::SystemTime;

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    cluster::CLUSTER_SOON,
    deadline::await_condition,
    operator::{await_condition_of, says},
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, ResourceQuota, Service},
};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::what::{await_made, message};

fn edge() -> Value {
    json!({"gateway": {"name": "edge"}})
}

/// A URL that only its reader can find fault with.
fn misspelt(port: u16) -> String {
    format!("tcp://localhost:{port}/127.0.0.1:1?strategy=best")
}

fn by_url(name: &str, url: &str, more: Value) -> Value {
    let mut spec = more;
    spec["url"] = url.into();
    let meta = json!({"name": name});
    json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": meta, "spec": spec})
}

fn owners<K: Resource>(object: &K) -> Vec<String> {
    object.owner_references().iter().map(|owner| owner.name.clone()).collect()
}

/// Objects are dated to the second: what is made after this is younger.
fn await_a_younger_second(object: &PortForward) {
    let made = object.creation_timestamp().expect("a date").0.as_second();
    await_condition("the next second", CLUSTER_SOON, || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        now.as_secs() > u64::try_from(made).expect("a time after 1970")
    });
}

#[test]
fn a_refused_member_leaves_the_others_running_and_changing() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let (port, bad) = (ports::free(), ports::free());
    scene.apply_ready(&[&forward("web", port, &[&a], edge())]);
    let (_, address) = scene.await_pod("edge-gateway", port);
    let unbuilt = json!({"scheme": "gopher", "gateway": {"name": "edge"}});
    scene.apply::<PortForward>(&forward("unbuilt", bad, &[&a], unbuilt));
    scene.apply::<PortForward>(&by_url("unknown", &misspelt(bad), edge()));
    scene.await_refused("unbuilt", "UnsupportedValue");
    scene.await_refused("unknown", "InvalidURL");
    scene.await_letter(address, 'A');
    scene.apply_ready(&[&forward("web", port, &[&b], edge())]);
    scene.await_letter(address, 'B');
}

#[test]
fn the_older_one_keeps_the_port_and_the_younger_one_takes_over_when_it_goes() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let (port, other) = (ports::free(), ports::free());
    let [older] = scene.apply_ready(&[&forward("z-older", port, &[&a], edge())]).try_into().expect("one");
    let (_, address) = scene.await_pod("edge-gateway", port);
    await_a_younger_second(&older);
    scene.apply::<PortForward>(&forward("a-younger", port, &[&b], edge()));
    let refused = scene.await_refused("a-younger", "PortConflict");
    assert!(message(&refused, "Accepted").contains("z-older"), "{refused:?}");
    assert_eq!(scene.find::<Service>("a-younger"), None);
    scene.await_letter(address, 'A');
    scene.await_object("edge-gateway", "both owners", |object: &Deployment| owners(object) == ["a-younger", "z-older"]);

    scene.apply::<PortForward>(&forward("z-older", other, &[&a], edge()));
    scene.await_ready("a-younger");
    scene.await_letter(address, 'B');
    scene.await_ready("z-older");
    scene.await_letter((address.ip(), other).into(), 'A');

    // Back it can't have it: whoever comes later to a port waits, unless it is older.
    scene.apply::<PortForward>(&forward("z-older", port, &[&a], edge()));
    scene.await_refused("a-younger", "PortConflict");
    scene.await_letter(address, 'A');
    scene.delete::<PortForward>("z-older");
    scene.await_ready("a-younger");
    scene.await_letter(address, 'B');
    await_made(&scene, &["ConfigMap edge-gateway", "Deployment edge-gateway", "Service a-younger"]);
}

#[test]
fn an_edit_that_is_refused_keeps_what_ran_and_the_next_good_one_runs() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    for more in [json!({}), edge()] {
        let name = if more == edge() { "shared" } else { "own" };
        let deployment = if more == edge() { "edge-gateway" } else { "own-forward" };
        let port = ports::free();
        scene.apply_ready(&[&forward(name, port, &[&a], more.clone())]);
        let (_, address) = scene.await_pod(deployment, port);
        scene.apply::<PortForward>(&by_url(name, &misspelt(port), more.clone()));
        let refused = scene.await_refused(name, "InvalidURL");
        let said = message(&refused, "Accepted");
        assert!(said.contains("best") && said.contains("it goes on as it was accepted last"), "{said}");
        assert_eq!(says(&refused, "Ready"), ("False", "InvalidURL"));
        assert_eq!(ask(address).ok(), Some('A'), "{name}");
        assert!(scene.find::<Service>(name).is_some());
        scene.apply_ready(&[&forward(name, port, &[&b], more)]);
        scene.await_letter(address, 'B');
    }
}

#[test]
fn every_member_owns_the_gateway_and_all_of_it_is_labelled() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let a = Target::letter('A');
    let ports = [ports::free(), ports::free(), ports::free()];
    let forwards = ["a", "b", "c"].map(|name| name.to_owned());
    let forwards: Vec<Value> =
        forwards.iter().zip(ports).map(|(name, port)| forward(name, port, &[&a], edge())).collect();
    scene.apply_ready(&forwards.iter().collect::<Vec<_>>());
    await_condition_of(&scene, "c", "Programmed", ("True", "Programmed"));
    let deployment: Deployment = scene.find("edge-gateway").expect("the Deployment");
    let config_map: ConfigMap = scene.find("edge-gateway").expect("the ConfigMap");
    let service: Service = scene.find("b").expect("the Service");
    assert_eq!(owners(&deployment), ["a", "b", "c"]);
    assert_eq!(owners(&config_map), ["a", "b", "c"]);
    assert_eq!(owners(&service), ["b"]);
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref()).expect("a template");
    let labels =
        [deployment.labels(), config_map.labels(), service.labels(), template.labels.as_ref().expect("labels")];
    for (labels, instance) in labels.into_iter().zip(["edge-gateway", "edge-gateway", "b", "edge-gateway"]) {
        for (key, value) in [
            ("app.kubernetes.io/name", "fairlead"),
            ("app.kubernetes.io/instance", instance),
            ("app.kubernetes.io/component", "gateway"),
            ("app.kubernetes.io/part-of", "fairlead"),
            ("app.kubernetes.io/managed-by", "fairlead"),
            ("fairlead.dev/proxy", "edge-gateway"),
        ] {
            assert_eq!(labels.get(key).map(String::as_str), Some(value), "{key}");
        }
    }
    scene.delete::<PortForward>("b");
    scene.await_object("edge-gateway", "two owners", |object: &Deployment| owners(object) == ["a", "c"]);
    scene.await_object("edge-gateway", "two owners", |object: &ConfigMap| owners(object) == ["a", "c"]);
    scene.await_gone::<Service>("b");
}

#[test]
fn a_service_that_can_not_be_made_holds_up_no_other_member() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let (port, other) = (ports::free(), ports::free());
    scene.apply_ready(&[&forward("web", port, &[&a], edge())]);
    let (_, address) = scene.await_pod("edge-gateway", port);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"},
        "spec": {"hard": {"services": "1"}}});
    scene.apply::<ResourceQuota>(&quota);
    scene.await_object("few", "its sums", |quota: &ResourceQuota| {
        quota.status.as_ref().and_then(|status| status.used.as_ref()).is_some()
    });
    scene.apply::<PortForward>(&forward("db", other, &[&a], edge()));
    scene.await_object("db", "the quota to be the reason", |object: &PortForward| {
        says(object, "Ready") == ("False", "NoProxies") && message(object, "Ready").contains("exceeded quota: few")
    });
    scene.apply_ready(&[&forward("web", port, &[&b], edge())]);
    scene.await_letter(address, 'B');
    scene.delete::<ResourceQuota>("few");
    scene.await_ready("db");
    scene.await_letter((address.ip(), other).into(), 'A');
}
