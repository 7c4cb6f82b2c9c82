//! Everything the operator does, under the rights that the chart gives it: they are enough, and none is superfluous.

mod roles;

use std::{collections::BTreeSet, io::Write};

use fairlead_api::PortForward;
use fairlead_tests::{
    cluster::{CLUSTER_SOON, ControlPlane, Objects},
    deadline::await_condition,
    operator::{Operator, USER, await_condition_of, forbidden, install},
    ports,
    scene::forward,
    targets::Target,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
    events::v1::Event,
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use serde_json::{Value, json};

use roles::{Right, granted};

/// Gateways get a NetworkPolicy each.
const SETTINGS: &str = "image: fairlead:test\ngateway: {networkPolicy: true}\n";

fn of(name: &str, more: Value) -> Value {
    let target = Target::letter('A');
    forward(name, ports::free(), &[&target], more)
}

fn await_accepted(objects: &Objects, name: &str) {
    objects.await_object::<PortForward>(name, "Accepted", |object| {
        fairlead_tests::operator::says(object, "Accepted").0 == "True"
            && object.status.as_ref().is_some_and(|status| status.observed_generation == object.metadata.generation)
    });
}

/// Objects come, change, and go although their PortForward stays.
fn make_change_and_take_back(objects: &Objects) {
    let own = of("own", json!({"gateway": {"replicas": 2}}));
    objects.apply::<PortForward>(&own);
    await_accepted(objects, "own");
    objects.await_object::<NetworkPolicy>("own-forward", "its being there", |_| true);
    objects.await_object::<PodDisruptionBudget>("own-forward", "its being there", |_| true);
    let mut sidecar = own;
    sidecar["spec"].as_object_mut().expect("a spec").remove("gateway");
    sidecar["spec"]["sidecar"] = json!({"name": "shop"});
    objects.apply::<PortForward>(&sidecar);
    objects.await_object::<ConfigMap>("shop-sidecar", "its being there", |_| true);
    objects.await_gone::<Deployment>("own-forward");
    objects.await_gone::<PodDisruptionBudget>("own-forward");
    objects.await_gone::<NetworkPolicy>("own-forward");
    objects.await_gone::<ConfigMap>("own-forward");
    objects.await_gone::<Service>("own");
    objects.delete::<PortForward>("own");
    objects.await_gone::<ConfigMap>("shop-sidecar");
}

/// What is told a second time in the same words counts in the Event that is there.
fn say_the_same_twice(objects: &Objects) {
    let good = of("told", json!({}));
    let mut bad = good.clone();
    bad["spec"] = json!({"url": "tcp://:5432/db:5432?strategy=best"});
    for _ in 0..2 {
        objects.apply::<PortForward>(&good);
        await_accepted(objects, "told");
        objects.apply::<PortForward>(&bad);
        await_condition_of(objects, "told", "Accepted", ("False", "InvalidURL"));
    }
    await_condition("an Event of several", CLUSTER_SOON, || {
        objects.list::<Event>("").iter().any(|event| event.series.is_some())
    });
}

/// Names that are somebody else's, one kind after the other.
fn want_names_that_are_taken(objects: &Objects) {
    let meta = |name: &str| json!({"name": name});
    let labels = json!({"app": "web"});
    let container = json!({"name": "web", "image": "web:1"});
    objects.apply::<Service>(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": meta("service"), "spec": {"ports": [{"port": 80}]},
    }));
    objects.apply::<ConfigMap>(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("config-forward")}));
    objects.apply::<Deployment>(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("deployment-forward"),
        "spec": {
            "replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }));
    objects.apply::<PodDisruptionBudget>(&json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta("budget-forward"),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
    }));
    objects.apply::<NetworkPolicy>(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta("policy-forward"),
        "spec": {"podSelector": {"matchLabels": labels}},
    }));
    for name in ["service", "config", "deployment", "budget", "policy"] {
        objects.apply::<PortForward>(&of(name, json!({"gateway": {"replicas": 2}})));
        await_condition_of(objects, name, "Accepted", ("False", "NameTaken"));
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "the rights are what the test is about")]
fn the_operator_uses_all_of_its_rights_and_no_others() {
    let Some(cluster) = ControlPlane::start() else { return };
    install(&cluster);
    let mut settings = tempfile::NamedTempFile::new().expect("a file");
    settings.write_all(SETTINGS.as_bytes()).expect("write the settings");
    let path = settings.path().display().to_string();
    let _operator = Operator::start_installed(&cluster, &["--settings", &path]);
    let namespace = cluster.namespace();
    make_change_and_take_back(&namespace);
    say_the_same_twice(&namespace);
    want_names_that_are_taken(&namespace);

    let granted = granted();
    let unused = || {
        let requests = cluster.requests_of(USER);
        granted
            .iter()
            .filter(|right| !requests.iter().any(|request| right.allows(request)))
            .collect::<BTreeSet<&Right>>()
    };
    // The lease is renewed only every few seconds.
    await_condition("the lease to be renewed", CLUSTER_SOON, || {
        cluster.requests_of(USER).iter().any(|request| (&*request.resource, &*request.verb) == ("leases", "update"))
    });
    let beyond: Vec<_> = cluster.requests_of(USER);
    let beyond: Vec<_> = beyond.iter().filter(|request| !granted.iter().any(|right| right.allows(request))).collect();
    assert!(beyond.is_empty(), "asked for without a right to it: {beyond:#?}");
    assert_eq!(forbidden(&cluster), Vec::<String>::new());
    assert!(unused().is_empty(), "never used: {:#?}", unused());
    eprintln!("{} rights, all of them used", granted.len());
}
