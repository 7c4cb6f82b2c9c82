//! A pod keeps its image for weeks: what it doesn't know of a newer document concerns one forward alone.

use fairlead_api::PortForward;
use fairlead_config::yaml;
use fairlead_tests::{
    clients::ask,
    cluster::{CLUSTER_SOON, ControlPlane, Kubelet},
    deadline::await_condition,
    operator::{await_condition_of, condition, says},
    ports,
    scene::{AT_ONCE, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::{Value, json};

use crate::application::{await_pod, by_hand};

/// What no proxy knows yet.
const UNKNOWN: &str = "teleport";

/// Gives the forward `novel` of a document a field from the future.
fn from_the_future(document: &str) -> String {
    let mut document: Value = yaml::from_str(document).expect("a document");
    let forwards = document["forwards"].as_array_mut().expect("forwards");
    let novel = forwards.iter_mut().find(|forward| forward["key"]["name"] == "novel").expect("the forward novel");
    novel[UNKNOWN] = true.into();
    yaml::to_string(&document).expect("YAML")
}

fn config_map(name: &str, config: &str, ca: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"config.yaml": config, "ca.crt": ca}})
}

#[test]
fn a_forward_that_a_proxy_does_not_know_how_to_run_is_too_new_for_it_alone() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let target = Target::letter('A');
    let (port, other) = (ports::free(), ports::free());
    let shop = json!({"sidecar": {"name": "shop"}});
    for (name, port) in [("plain", port), ("novel", other)] {
        scene.apply::<PortForward>(&forward(name, port, &[&target], shop.clone()));
        await_condition_of(&scene, name, "Ready", ("True", "NoPods"));
    }
    let rendered = scene.await_object("shop-sidecar", "both forwards", |map: &ConfigMap| {
        let text = map.data.as_ref().and_then(|data| data.get("config.yaml"));
        text.is_some_and(|text| text.contains("name: plain") && text.contains("name: novel"))
    });
    let data = rendered.data.expect("data");
    scene.apply::<ConfigMap>(&config_map("future", &from_the_future(&data["config.yaml"]), &data["ca.crt"]));
    scene.create::<Pod>(by_hand("old", &json!({"fairlead.dev/sidecar": "shop"}), "future")).expect("a Pod");

    let novel = await_condition_of(&scene, "novel", "Programmed", ("False", "ProxyTooOld"));
    assert_eq!(says(&novel, "Ready"), ("False", "ProxyTooOld"));
    assert_eq!(says(&novel, "Stalled").0, "True", "only a restart of the pod mends it");
    let said = condition(&novel, "Programmed").expect("the condition");
    assert!(said.message.contains(UNKNOWN), "{}", said.message);
    scene.await_ready("plain");
    assert_eq!(ask(await_pod(&scene, "old", port)).ok(), Some('A'));
    assert!(ask(await_pod(&scene, "old", other)).is_err());
}

#[test]
fn beside_a_forward_from_the_future_the_others_change() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let kubelet = Kubelet::start(&namespace, AT_ONCE);
    let targets = ['A', 'B'].map(Target::letter);
    let (port, other) = (ports::free(), ports::free());
    let document = |revision: u32, target: &Target| {
        let forward = |name: &str, port| {
            json!({
                "key": {"namespace": "shop", "name": name, "uid": name}, "digest": "d", "scheme": "tcp",
                "listen": {"host": "localhost", "port": port},
                "targets": [{"host": target.address().ip(), "port": target.address().port()}],
            })
        };
        let forwards = [forward("novel", other), forward("plain", port)];
        from_the_future(&json!({"version": 1, "revision": revision, "forwards": forwards}).to_string())
    };
    namespace.apply::<ConfigMap>(&config_map("future", &document(1, &targets[0]), ""));
    namespace.create::<Pod>(by_hand("old", &json!({}), "future")).expect("a Pod");
    let letter = |port| {
        let pods = kubelet.pods();
        pods.first().and_then(|(_, ip)| ask((*ip, port)).ok())
    };
    await_condition("A", CLUSTER_SOON, || letter(port) == Some('A'));
    namespace.apply::<ConfigMap>(&config_map("future", &document(2, &targets[1]), ""));
    await_condition("B", CLUSTER_SOON, || letter(port) == Some('B'));
    assert_eq!(letter(other), None);
    let printed = kubelet.with_pod("old", |pod| pod.process().printed()).expect("the pod");
    assert!(printed.contains(UNKNOWN), "{printed}");
}
