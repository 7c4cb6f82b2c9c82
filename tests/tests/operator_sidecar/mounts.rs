//! A pod that was made before its forward named a Secret: what is to be done about it is said, and a new one runs it.

use fairlead_api::PortForward;
use fairlead_tests::{
    operator::{condition, says},
    ports,
    scene::{AT_ONCE, Scene},
    targets::Target,
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde_json::json;

use crate::application::{application, application_beside, in_shop};

#[test]
fn a_forward_whose_pod_does_not_mount_its_secret_asks_for_a_new_pod() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let target = Target::letter('A');
    let data = json!({"username": "ann", "password": "secret"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bastion"}, "stringData": data});
    scene.create::<Secret>(secret).expect("a Secret");
    let mut forward = in_shop("db", ports::free(), &target);
    forward["spec"]["chain"] =
        json!([{"url": "socks5://127.0.0.1:1080", "credentials": {"secretRef": {"name": "bastion"}}}]);
    scene.apply::<PortForward>(&forward);
    scene.create::<Pod>(application("old")).expect("a Pod");
    let stalled = scene.await_object("db", "PodRestartRequired", |object: &PortForward| {
        says(object, "Programmed") == ("False", "PodRestartRequired")
    });
    let message = &condition(&stalled, "Ready").expect("Ready").message;
    assert!(message.contains("pod old doesn't mount Secret \"bastion\""), "{message}");
    assert_eq!(says(&stalled, "Stalled"), ("True", "PodRestartRequired"));

    scene.delete::<Pod>("old");
    scene.create::<Pod>(application_beside("new", &forward)).expect("a Pod");
    scene.await_ready("db");

    // Named anew, it stops nothing that runs.
    forward["spec"]["chain"][0]["credentials"] = json!({"secretRef": {"name": "other"}});
    scene.apply::<PortForward>(&forward);
    let goes_on = scene.await_object("db", "PodRestartRequired", |object: &PortForward| {
        says(object, "Programmed") == ("False", "PodRestartRequired")
    });
    let message = &condition(&goes_on, "Ready").expect("Ready").message;
    assert!(message.starts_with("pod new doesn't mount Secret \"other\": make the pod anew"), "{message}");
    assert!(message.ends_with("; until then it goes on as it was"), "{message}");
}
