//! A release of the chart in a real API server: taken as it is, upgraded without losing the operator's certificates,
//! and gone without a trace.

use fairlead_api::PortForward;
use fairlead_tests::{
    chart::{Helm, RELEASE, chart},
    cluster::{CLUSTER_SOON, ControlPlane, block_on},
    deadline::{SOON, await_condition, await_some},
    operator::Operator,
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Pod, Secret, Service},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

const CA: &str = "fairlead-operator-ca";

#[test]
fn a_release_is_installed_upgraded_and_uninstalled() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let Some(cluster) = ControlPlane::start_without_crd() else { return };
    let namespace = cluster.namespace_with(json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    let admin = cluster.kubeconfig_admin();
    let run = |values, arguments: &[&str]| {
        helm.run(&admin, &values, &[arguments, &["--namespace", namespace.name()]].concat())
    };
    let mut values = json!({"crds": {"keep": false}, "networkPolicy": {"enabled": true}});

    let notes = run(values.clone(), &["install", "fairlead", &chart()]);
    assert!(notes.contains(&format!("kubectl -n {} rollout status", namespace.name())), "{notes}");
    let pods: Api<Pod> = namespace.api();
    await_condition("two pods, which Pod Security's restricted lets in", CLUSTER_SOON, || {
        block_on(pods.list(&ListParams::default())).expect("list pods").items.len() == 2
    });

    let secrets: Api<Secret> = namespace.api();
    let mut secret = block_on(secrets.get(CA)).expect("the Secret");
    assert_eq!(secret.data, None);
    secret.data = Some([("ca.crt".to_owned(), ByteString(b"written by the operator".to_vec()))].into());
    block_on(secrets.replace(CA, &PostParams::default(), &secret)).expect("write the Secret");
    values["drainTimeout"] = json!("45s");
    run(values.clone(), &["upgrade", "fairlead", &chart()]);
    assert_eq!(block_on(secrets.get(CA)).expect("the Secret").data, secret.data, "an upgrade leaves the data alone");
    let settings = namespace.api::<ConfigMap>();
    let settings = block_on(settings.get("fairlead-operator")).expect("the settings").data.unwrap_or_default();
    assert!(settings["settings.yaml"].contains("drainTimeout: 45s"), "{settings:?}");

    let narrow = json!({"watchNamespaces": ["shop"], "crds": {"enabled": false}});
    let notes = run(narrow, &["install", "other", &chart(), "--dry-run=server"]);
    assert!(notes.contains("these namespaces and no others: shop") && notes.contains("crd.yaml"), "{notes}");

    run(values, &["uninstall", "fairlead"]);
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client());
    await_condition("the CRD to be gone", CLUSTER_SOON, || {
        block_on(crds.get_opt("portforwards.fairlead.dev")).expect("ask for the CRD").is_none()
    });
    await_condition("the pods to be gone", CLUSTER_SOON, || {
        block_on(pods.list(&ListParams::default())).expect("list pods").items.is_empty()
    });
    let secret = await_some("an answer", CLUSTER_SOON, || block_on(secrets.get_opt(CA)).ok());
    assert_eq!(secret, None);
}

/// With forwards at work, all goes: the operator and its rights, the CRD, and with it whatever was made of PortForwards.
#[test]
fn an_uninstalled_release_takes_its_forwards_along_and_hangs_on_nothing() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let Some(cluster) = ControlPlane::start_without_crd() else { return };
    let admin = cluster.kubeconfig_admin();
    let values = json!({"crds": {"keep": false}});
    let (release, namespace) = RELEASE;
    helm.run(&admin, &values, &["install", release, &chart(), "--namespace", namespace, "--create-namespace"]);
    let mut operator = Operator::start_installed(&cluster, &[]);
    let mut scene = Scene::of(cluster.namespace(), NEVER);
    let target = Target::letter('A');
    let edge = || json!({"gateway": {"name": "edge"}});
    scene.apply_ready(&[
        &forward("own", ports::free(), &[&target], json!({})),
        &forward("left", ports::free(), &[&target], edge()),
        &forward("right", ports::free(), &[&target], edge()),
    ]);
    // The garbage collector looks for new kinds every half minute. Only one that has found ours lets go of an object
    // that is to outlive what it owns.
    block_on(scene.api::<PortForward>().delete("own", &DeleteParams::foreground())).expect("delete own");
    scene.await_gone::<PortForward>("own");
    scene.await_gone::<Deployment>("own-forward");
    scene.judge_rights();
    helm.run(&admin, &values, &["uninstall", release, "--namespace", namespace]);
    operator.process().terminate();
    operator.process().await_exit(SOON);
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client());
    await_condition("the CRD to be gone", CLUSTER_SOON, || {
        block_on(crds.get_opt("portforwards.fairlead.dev")).expect("ask for the CRD").is_none()
    });
    let left = || {
        let count = |objects: usize, what: &str| if objects > 0 { format!("{objects} {what}") } else { String::new() };
        [
            count(scene.list::<Deployment>("").len(), "Deployments"),
            count(scene.list::<ConfigMap>("app.kubernetes.io/managed-by=fairlead").len(), "ConfigMaps"),
            count(scene.list::<Service>("").len(), "Services"),
            count(scene.list::<Pod>("").len(), "Pods"),
        ]
        .concat()
    };
    await_condition("nothing to be left of the forwards", CLUSTER_SOON, || left().is_empty());
}
