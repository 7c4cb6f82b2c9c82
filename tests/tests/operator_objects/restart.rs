//! An operator that has forgotten everything, and a document that nobody has any more: what it writes next still is
//! newer than what the proxies run.

use fairlead_api::PortForward;
use fairlead_config::ReadConfig;
use fairlead_tests::{
    clients::ask,
    cluster::ControlPlane,
    deadline::SOON,
    operator::Operator,
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

fn revision(scene: &Scene<'_>) -> u64 {
    let map: ConfigMap = scene.await_object("db-forward", "a document", |_| true);
    ReadConfig::parse(&map.data.expect("data")["config.yaml"]).expect("a document").revision
}

#[test]
fn a_lost_config_map_and_a_new_operator_still_reach_the_running_proxies() {
    let Some(cluster) = ControlPlane::start() else { return };
    let mut operator = Operator::start(&cluster);
    let scene = Scene::of(cluster.namespace(), NEVER);
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let port = ports::free();
    scene.apply_ready(&[&forward("db", port, &[&a], json!({}))]);
    let (pod, address) = scene.await_pod("db-forward", port);
    let mut before = revision(&scene);

    // The second time, what ran is newer than the new operator's clock says it can be.
    for (ahead, target, letter) in [(0, &b, 'B'), (3_600_000, &a, 'A')] {
        if ahead > 0 {
            let text = format!("version: 1\nrevision: {}\nforwards: []\n", before + ahead);
            scene.merge::<ConfigMap>("db-forward", &json!({"data": {"config.yaml": text}}));
            scene.await_object("db-forward", "its repair", |_: &ConfigMap| revision(&scene) > before + ahead);
            scene.await_idle();
            before = revision(&scene);
        }
        operator.process().terminate();
        operator.process().await_exit(SOON);
        scene.delete::<ConfigMap>("db-forward");
        assert!(ask(address).is_ok(), "they go on without an operator");
        operator = Operator::start_installed(&cluster, &[]);
        scene.apply::<PortForward>(&forward("db", port, &[target], json!({})));
        scene.await_letter(address, letter);
        scene.await_ready("db");
        scene.await_object("db-forward", "a newer revision", |_: &ConfigMap| revision(&scene) > before);
        assert_eq!(scene.await_pod("db-forward", port).0, pod, "the same pod");
    }
}
