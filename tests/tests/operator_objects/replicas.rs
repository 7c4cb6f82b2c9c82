//! How many pods a gateway has, and what comes and goes with a second one.

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    operator::says,
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use k8s_openapi::{api::policy::v1::PodDisruptionBudget, apimachinery::pkg::util::intstr::IntOrString};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::what::await_made;

fn await_proxies(scene: &Scene<'_>, count: u32) {
    scene.await_object("db", &format!("{count} proxies"), |object: &PortForward| {
        assert_eq!(says(object, "Ready"), ("True", "Ready"), "a change of scale is nothing to its users");
        let proxies = object.status.as_ref().and_then(|status| status.proxies.clone());
        proxies.is_some_and(|proxies| (proxies.desired, proxies.connected, proxies.programmed) == (count, count, count))
    });
}

#[test]
fn a_second_pod_brings_a_disruption_budget_which_goes_with_it() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    let with = |more: Value| forward("db", port, &[&target], more);
    let one = ["ConfigMap db-forward", "Deployment db-forward", "Service db"];
    let two = ["ConfigMap db-forward", "Deployment db-forward", "PodDisruptionBudget db-forward", "Service db"];
    scene.apply_ready(&[&with(json!({}))]);
    await_made(&scene, &one);
    scene.apply_ready(&[&with(json!({"gateway": {"replicas": 2}}))]);
    await_made(&scene, &two);
    await_proxies(&scene, 2);
    assert!(scene.kubelet().pods().iter().all(|(_, ip)| ask((*ip, port)).ok() == Some('A')));
    let budget: PodDisruptionBudget = scene.find("db-forward").expect("the budget");
    assert_eq!(budget.labels().get("app.kubernetes.io/part-of").map(String::as_str), Some("fairlead"));
    assert_eq!(budget.owner_references()[0].name, "db");
    assert_eq!(budget.spec.expect("a spec").max_unavailable, Some(IntOrString::Int(1)));
    scene.apply_ready(&[&with(json!({"gateway": {"replicas": 1}}))]);
    await_made(&scene, &one);
    await_proxies(&scene, 1);
}
