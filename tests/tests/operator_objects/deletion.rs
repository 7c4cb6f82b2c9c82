//! What goes, goes wholly and in any order; what comes back under the same name begins anew.

use fairlead_api::{NodeState, PortForward};
use fairlead_tests::{
    cluster::{CLUSTER_SOON, Kind},
    deadline::await_condition,
    operator::{await_condition_of, says},
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Service},
};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::what::{await_made, await_nothing, made};

const OWN: [&str; 3] = ["ConfigMap db-forward", "Deployment db-forward", "Service db"];

/// `db` in a gateway of its own.
fn db(target: &Target) -> Option<(Scene<'static>, Value)> {
    let scene = Scene::open(NEVER)?;
    let db = forward("db", ports::free(), &[target], json!({}));
    scene.apply_ready(&[&db]);
    Some((scene, db))
}

fn kubectl(scene: &Scene<'_>, arguments: &[&str]) {
    let finished = scene.cluster().kubectl(&[arguments, &["--namespace", scene.name()]].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}

#[test]
fn nothing_is_left_in_whatever_order_things_go() {
    let target = Target::letter('A');
    let Some((scene, db)) = db(&target) else { return };
    type Order = [fn(&Scene<'_>)];
    fn delete<K: Kind>(name: &'static str) -> impl Fn(&Scene<'_>) {
        move |scene| scene.delete::<K>(name)
    }
    let forward: fn(&Scene<'_>) = |scene| delete::<PortForward>("db")(scene);
    let deployment: fn(&Scene<'_>) = |scene| delete::<Deployment>("db-forward")(scene);
    let config_map: fn(&Scene<'_>) = |scene| delete::<ConfigMap>("db-forward")(scene);
    let service: fn(&Scene<'_>) = |scene| delete::<Service>("db")(scene);
    let orders: [&Order; 4] = [
        &[forward],
        &[forward, service, config_map, deployment],
        &[deployment, config_map, forward],
        &[service, config_map, deployment, forward],
    ];
    for order in orders {
        scene.apply_ready(&[&db]);
        order.iter().for_each(|delete| delete(&scene));
        await_nothing(&scene);
    }
    scene.await_idle();
    assert_eq!(made(&scene), Vec::<String>::new());
}

#[test]
fn a_foreground_deletion_ends() {
    let target = Target::letter('A');
    let Some((scene, _)) = db(&target) else { return };
    kubectl(&scene, &["delete", "portforward", "db", "--cascade=foreground", "--timeout=60s"]);
    await_nothing(&scene);
}

#[test]
fn what_a_user_keeps_stays_at_work_and_belongs_to_the_next_one_of_that_name() {
    let target = Target::letter('A');
    let Some((scene, db)) = db(&target) else { return };
    let port = db["spec"]["listen"]["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
    let (pod, address) = scene.await_pod("db-forward", port);
    kubectl(&scene, &["delete", "portforward", "db", "--cascade=orphan", "--timeout=60s"]);
    scene.await_idle();
    assert_eq!(made(&scene), OWN);
    let orphan: Service = scene.find("db").expect("the Service");
    assert_eq!(orphan.owner_references(), []);
    scene.await_letter(address, 'A');

    scene.apply_ready(&[&db]);
    let adopted: Service = scene.find("db").expect("the Service");
    assert_eq!((adopted.uid(), adopted.owner_references().len()), (orphan.uid(), 1));
    assert_eq!(scene.await_pod("db-forward", port).0, pod, "the same pod");
    scene.await_letter(address, 'A');
    scene.delete::<PortForward>("db");
    await_nothing(&scene);
}

#[test]
fn a_namespace_goes_with_all_it_holds() {
    let target = Target::letter('A');
    let Some((scene, _)) = db(&target) else { return };
    scene.apply_ready(&[
        &forward("a", ports::free(), &[&target], json!({"gateway": {"name": "edge"}})),
        &forward("b", ports::free(), &[&target], json!({"gateway": {"name": "edge"}})),
    ]);
    scene.apply::<PortForward>(&forward("c", ports::free(), &[&target], json!({"sidecar": {"name": "shop"}})));
    await_condition_of(&scene, "c", "Ready", ("True", "NoPods"));
    let name = scene.name().to_owned();
    let namespaces: Api<Namespace> = Api::all(scene.client());
    kubectl(&scene, &["delete", "namespace", &name, "--wait=false"]);
    await_condition("the namespace to be gone", CLUSTER_SOON, || {
        fairlead_tests::cluster::block_on(namespaces.get_opt(&name)).expect("ask for the namespace").is_none()
    });
}

#[test]
fn a_forward_of_the_same_name_inherits_no_liveness() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (mut a, b) = (Target::letter('A'), Target::letter('B'));
    let (port, other) = (ports::free(), ports::free());
    for (deployment, more) in [("db-forward", json!({})), ("edge-gateway", json!({"gateway": {"name": "edge"}}))] {
        a.restart();
        let db = forward("db", port, &[&a, &b], more.clone());
        // Somebody stays, so that the shared gateway's pods do.
        scene.apply_ready(&[&db, &forward("beside", other, &[&b], json!({"gateway": {"name": "edge"}}))]);
        a.kill();
        scene.await_letter(scene.await_pod(deployment, port).1, 'B');
        scene.await_object("db", "a dead node", |object: &PortForward| {
            let status = object.status.clone().unwrap_or_default();
            status.node_summary.as_deref() == Some("1/2")
        });
        let before = scene.find::<PortForward>("db").and_then(|db| db.uid());
        scene.delete::<PortForward>("db");
        let [again] = scene.apply_ready(&[&db]).try_into().expect("one");
        assert_ne!(again.uid(), before);
        scene.await_idle();
        let again: PortForward = scene.find("db").expect("the PortForward");
        let status = again.status.clone().unwrap_or_default();
        assert!(status.nodes.iter().all(|node| node.state == NodeState::Unknown), "{:?}", status.nodes);
        assert_eq!(
            (says(&again, "NodesAvailable"), status.node_summary.as_deref()),
            (("Unknown", "NotObserved"), Some("?/2"))
        );
        assert!(status.nodes.iter().all(|node| node.last_error.is_none()));
        scene.await_letter(scene.await_pod(deployment, port).1, 'B');
        scene.await_object("db", "a dead node", |object: &PortForward| {
            object.status.as_ref().and_then(|status| status.node_summary.as_deref()) == Some("1/2")
        });
        scene.delete::<PortForward>("db");
    }
    scene.delete::<PortForward>("beside");
    await_made(&scene, &[]);
}
