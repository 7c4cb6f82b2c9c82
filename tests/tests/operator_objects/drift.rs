//! What users change or delete of the operator's objects is put right within seconds, without a fight: once it is right
//! nobody writes any more.

use fairlead_api::PortForward;
use fairlead_tests::{
    cluster::{CLUSTER_SOON, Kind},
    deadline::await_condition,
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

/// What one repair may take, where an object has to be made anew; what the status tells of it is not counted.
const WRITES: usize = 8;

/// What the operator says of an object, without what a repair may change: the document's revision, and the addresses of
/// a Service that is made anew.
fn wanted<K: Kind + Serialize>(scene: &Scene<'_>, name: &str) -> Option<Value> {
    let mut object = serde_json::to_value(scene.find::<K>(name)?).expect("JSON");
    for given in ["clusterIP", "clusterIPs"] {
        object["spec"].as_object_mut().and_then(|spec| spec.remove(given));
    }
    let labels = object["metadata"]["labels"].clone();
    let mut data = object["data"].clone();
    if let Some(document) = data["config.yaml"].as_str() {
        let lines = document.lines().filter(|line| !line.starts_with("revision: "));
        data["config.yaml"] = lines.collect::<Vec<_>>().join("\n").into();
    }
    let owners = object["metadata"]["ownerReferences"].as_array().map(Vec::len);
    Some(json!({"spec": object["spec"], "data": data, "labels": labels, "owners": owners}))
}

/// Changes an object as a user would, by a merge patch, or deletes it, and waits until it is as before.
fn is_repaired<K: Kind + Serialize>(scene: &Scene<'_>, name: &str, changes: &[Value]) {
    for change in changes.iter().chain([&Value::Null]) {
        let written = scene.await_idle();
        let before = wanted::<K>(scene, name).expect("the object");
        if change.is_null() {
            scene.delete::<K>(name);
        } else {
            drop(scene.merge::<K>(name, change));
        }
        let what = format!("{} {name} to be repaired after {change}", K::kind(&()));
        let mut now = None;
        await_condition(&what, CLUSTER_SOON, || {
            now = wanted::<K>(scene, name);
            now.as_ref() == Some(&before)
        });
        scene.await_idle();
        let mut writes = scene.writes().split_off(written);
        writes.retain(|write| write.subresource.is_none() && write.resource != "events");
        let writes: Vec<_> = writes.iter().map(|w| format!("{} {} {}", w.verb, w.path, w.code)).collect();
        assert!((1..=WRITES).contains(&writes.len()), "{what}: {writes:#?}");
        assert_eq!(wanted::<K>(scene, name), Some(before), "{what}, for good");
    }
}

/// A gateway of two pods for `db`, whose clients are answered at any time.
fn gateway() -> Option<(Scene<'static>, Target)> {
    let scene = Scene::open(NEVER)?;
    let target = Target::letter('A');
    scene.apply_ready(&[&forward("db", ports::free(), &[&target], json!({"gateway": {"replicas": 2}}))]);
    scene.await_object("db", "two proxies", |object: &PortForward| {
        let proxies = object.status.as_ref().and_then(|status| status.proxies.clone());
        proxies.is_some_and(|proxies| proxies.programmed == 2)
    });
    Some((scene, target))
}

#[test]
fn a_service_is_repaired() {
    let Some((scene, _target)) = gateway() else { return };
    is_repaired::<Service>(
        &scene,
        "db",
        &[
            json!({"spec": {"ports": [{"name": "tcp", "port": 1, "targetPort": 1}]}}),
            json!({"spec": {"ports": [{"name": "more", "port": 1}, {"name": "tcp", "port": 2}]}}),
            json!({"spec": {"selector": {"app": "shop"}}}),
            json!({"spec": {"selector": {"fairlead.dev/proxy": null, "app": "shop"}}}),
            json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}),
            json!({"metadata": {"labels": {"app.kubernetes.io/name": "mine"}}}),
            json!({"metadata": {"ownerReferences": null}}),
        ],
    );
    scene.await_ready("db");
}

#[test]
fn a_config_map_is_repaired() {
    let Some((scene, _target)) = gateway() else { return };
    let empty = |revision: u64| format!("version: 1\nrevision: {revision}\nforwards: []\n");
    is_repaired::<ConfigMap>(
        &scene,
        "db-forward",
        &[
            json!({"data": {"config.yaml": "nonsense"}}),
            json!({"data": {"config.yaml": null}}),
            json!({"data": {"config.yaml": empty(1)}}),
            json!({"data": {"config.yaml": empty(4_000_000_000_000)}}),
            json!({"data": {"config.yaml": empty(u64::MAX)}}),
            json!({"data": {"ca.crt": ""}}),
            json!({"data": null}),
        ],
    );
    scene.await_ready("db");
}

#[test]
fn a_deployment_is_repaired() {
    let Some((scene, _target)) = gateway() else { return };
    let before: Deployment = scene.find("db-forward").expect("the Deployment");
    let container = serde_json::to_value(&before.spec.expect("a spec").template.spec.expect("a pod").containers[0]);
    let mut other = container.expect("JSON");
    other["image"] = "other:1".into();
    let pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    is_repaired::<Deployment>(
        &scene,
        "db-forward",
        &[
            json!({"spec": {"replicas": 0}}),
            pod(json!({"containers": [other]})),
            pod(json!({"containers": [other, {"name": "more", "image": "more:1"}]})),
            pod(json!({"nodeSelector": {"disk": "ssd"}})),
            pod(json!({"automountServiceAccountToken": true, "terminationGracePeriodSeconds": 20})),
            json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 1}}}}),
        ],
    );
    scene.await_ready("db");
}

#[test]
fn a_disruption_budget_is_repaired() {
    let Some((scene, _target)) = gateway() else { return };
    let changes =
        [json!({"spec": {"maxUnavailable": 2}}), json!({"spec": {"maxUnavailable": null, "minAvailable": 1}})];
    is_repaired::<PodDisruptionBudget>(&scene, "db-forward", &changes);
}

#[test]
fn what_users_add_beside_is_theirs() {
    let Some((scene, _target)) = gateway() else { return };
    let written = scene.await_idle();
    scene.merge::<Service>("db", &json!({"metadata": {"annotations": {"team": "shop"}, "labels": {"team": "shop"}}}));
    scene.merge::<ConfigMap>("db-forward", &json!({"data": {"notes": "mine"}}));
    scene.merge::<Deployment>("db-forward", &json!({"spec": {"progressDeadlineSeconds": 60}}));
    assert_eq!(scene.await_idle(), written);
    let service: Service = scene.find("db").expect("the Service");
    assert!(service.metadata.labels.expect("labels").contains_key("team"));
}
