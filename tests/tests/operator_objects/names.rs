//! Names that are somebody else's: what has them stays as it is, the PortForward says so, and gets them once they are
//! free.

use fairlead_api::PortForward;
use fairlead_tests::{
    cluster::Kind,
    operator::says,
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
    policy::v1::PodDisruptionBudget,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::what::{await_made, message, whole};

fn service(name: &str) -> Value {
    // The label alone makes it nobody's but its user's.
    let labels = json!({"app.kubernetes.io/managed-by": "fairlead"});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels},
        "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]}})
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"config.yaml": "mine"}})
}

fn deployment(name: &str) -> Value {
    let labels = json!({"app": "shop"});
    let template =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "shop", "image": "shop:1"}]}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}})
}

fn budget(name: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "shop"}}}})
}

/// A user's object is in the way of `db`, stays as it is, and is taken away.
fn a_name_in_the_way<K: Kind + Serialize>(object: &Value, more: Value) {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    let name = object["metadata"]["name"].as_str().expect("a name");
    scene.apply::<K>(object);
    scene.apply::<PortForward>(&forward("db", port, &[&target], more));
    let refused = scene.await_refused("db", "NameTaken");
    let said = message(&refused, "Accepted");
    let kind = K::kind(&());
    assert!(said.contains(&format!("{kind} {}/{name}", scene.name())), "{said}");
    assert_eq!(says(&refused, "Ready"), ("False", "NameTaken"));
    scene.await_idle();
    let before = whole::<K>(&scene, name);
    assert_eq!(before["metadata"]["ownerReferences"], Value::Null);

    // Trying again and again is no writing to it either.
    scene.merge::<PortForward>("db", &json!({"metadata": {"annotations": {"touched": "yes"}}}));
    scene.await_idle();
    assert_eq!(whole::<K>(&scene, name), before);
    scene.delete::<K>(name);
    scene.await_ready("db");
    let (_, address) = scene.await_pod("db-forward", port);
    scene.await_letter(address, 'A');
}

#[test]
fn a_service_of_the_users_stays_theirs() {
    a_name_in_the_way::<Service>(&service("db"), json!({}));
}

#[test]
fn a_config_map_of_the_users_stays_theirs() {
    a_name_in_the_way::<ConfigMap>(&config_map("db-forward"), json!({}));
}

#[test]
fn a_deployment_of_the_users_stays_theirs() {
    a_name_in_the_way::<Deployment>(&deployment("db-forward"), json!({}));
}

#[test]
fn a_disruption_budget_of_the_users_stays_theirs() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    scene.apply::<PodDisruptionBudget>(&budget("db-forward"));
    let before = whole::<PodDisruptionBudget>(&scene, "db-forward");
    scene.apply::<PortForward>(&forward("db", port, &[&target], json!({"gateway": {"replicas": 2}})));
    scene.await_refused("db", "NameTaken");
    // What doesn't need the name needn't wait until it is free.
    scene.apply_ready(&[&forward("db", port, &[&target], json!({}))]);
    assert_eq!(whole::<PodDisruptionBudget>(&scene, "db-forward")["spec"], before["spec"]);
}

#[test]
fn a_port_forward_that_is_renamed_leaves_nothing_under_the_name_it_did_not_get() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    scene.apply::<Service>(&service("db"));
    scene.apply::<PortForward>(&forward("db", port, &[&target], json!({})));
    scene.await_refused("db", "NameTaken");
    let before = whole::<Service>(&scene, "db");
    scene.delete::<PortForward>("db");
    scene.apply_ready(&[&forward("orders", port, &[&target], json!({}))]);
    let wanted = ["ConfigMap orders-forward", "Deployment orders-forward", "Service db", "Service orders"];
    await_made(&scene, &wanted);
    assert_eq!(whole::<Service>(&scene, "db"), before);
}

#[test]
fn a_member_of_a_shared_gateway_whose_name_is_taken_leaves_the_others_alone() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let (port, other) = (ports::free(), ports::free());
    let edge = json!({"gateway": {"name": "edge"}});
    scene.apply_ready(&[&forward("web", port, &[&a], edge.clone())]);
    let (_, address) = scene.await_pod("edge-gateway", port);
    scene.apply::<Service>(&service("db"));
    scene.apply::<PortForward>(&forward("db", other, &[&a], edge.clone()));
    scene.await_refused("db", "NameTaken");
    scene.apply_ready(&[&forward("web", port, &[&b], edge)]);
    scene.await_letter(address, 'B');
    scene.delete::<Service>("db");
    scene.await_ready("db");
    scene.await_letter((address.ip(), other).into(), 'A');
}
