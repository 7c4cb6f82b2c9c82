//! What kstatus and Argo CD's health check make of PortForwards as the operator really wrote them, in every situation
//! that can be made here.

use fairlead_api::PortForward;
use fairlead_tests::{
    cluster::{Objects, PROXY_ARGUMENTS, proxy_pod},
    operator::{await_condition_of, condition},
    ports,
    scene::{AT_ONCE, Scene, forward, operated},
    targets::Target,
    verdicts::{argo_cd, kstatus},
};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// A PortForward with what becomes of it: a condition, its status and its reason, and the verdicts of both judges.
type Row = (Value, (&'static str, &'static str, &'static str), [&'static str; 2]);

const WELL: [&str; 2] = ["Current", "Healthy"];
const AT_WORK: [&str; 2] = ["InProgress", "Progressing"];
const FAILED: [&str; 2] = ["Failed", "Degraded"];

fn with_url(name: &str, url: &str) -> Value {
    json!({
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": name}, "spec": {"url": url},
    })
}

/// Where pods run.
fn with_pods(target: &Target, dead: &Target) -> Vec<Row> {
    let (port, edge) = (ports::free(), || json!({"gateway": {"name": "edge"}}));
    let of = |name, target, more| forward(name, ports::free(), &[target], more);
    let watched = json!({"healthCheck": {"interval": "200ms"}, "failTimeout": "1s"});
    let login = json!([{"url": "socks5://127.0.0.1:1080", "credentials": {"secretRef": {"name": "none"}}}]);
    vec![
        (of("alive", target, watched.clone()), ("NodesAvailable", "True", "AllAlive"), WELL),
        (of("undialled", target, json!({})), ("Ready", "True", "Ready"), WELL),
        (of("dead", dead, watched), ("NodesAvailable", "False", "AllDead"), WELL),
        (of("asleep", target, json!({"suspend": true})), ("Ready", "True", "Suspended"), WELL),
        (of("podless", target, json!({"sidecar": {"name": "podless"}})), ("Ready", "True", "NoPods"), WELL),
        (forward("first", port, &[target], edge()), ("Ready", "True", "Ready"), WELL),
        (forward("later", port, &[target], edge()), ("Accepted", "False", "PortConflict"), FAILED),
        (with_url("wrong", "tcp://:5432"), ("Accepted", "False", "InvalidURL"), FAILED),
        (with_url("unknown", "warp://:5432/db:5432"), ("Accepted", "False", "UnsupportedValue"), FAILED),
        (of("locked", target, json!({"chain": login})), ("Programmed", "False", "CredentialsMissing"), FAILED),
        (
            of("unmounted", target, json!({"chain": login, "sidecar": {"name": "shop"}})),
            ("Programmed", "False", "PodRestartRequired"),
            FAILED,
        ),
    ]
}

/// Applies the objects, waits for what they become, and asks the judges.
fn judge(objects: &Objects, rows: &[Row]) {
    for (object, _, _) in rows {
        objects.apply::<PortForward>(object);
    }
    let written = |(object, (type_, status, reason), _): &Row| {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let written = await_condition_of(objects, name, type_, (status, reason));
        assert_eq!(written.status.as_ref().map(|status| status.conditions.len()), Some(6), "{name}");
        assert!(condition(&written, "Ready").is_some());
        serde_json::to_value(written).expect("JSON")
    };
    let written: Vec<Value> = rows.iter().map(written).collect();
    for (judge, judgements) in [kstatus(&written), argo_cd(&written)].into_iter().enumerate() {
        for ((object, _, wanted), judgement) in rows.iter().zip(judgements.into_iter().flatten()) {
            assert_eq!(judgement.verdict, wanted[judge], "{}: {}", object["metadata"]["name"], judgement.message);
        }
    }
}

#[test]
fn what_the_operator_writes_is_judged_as_documented() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let (target, mut dead) = (Target::letter('A'), Target::letter('B'));
    dead.kill();
    let labels = json!({"fairlead.dev/sidecar": "shop"});
    scene.create::<Pod>(proxy_pod("shop", &labels, "shop-sidecar", &PROXY_ARGUMENTS)).expect("a Pod");
    judge(&scene, &with_pods(&target, &dead));

    // Without a kubelet no pod ever runs.
    let Some(cluster) = operated() else { return };
    let nowhere = cluster.namespace();
    let pending = forward("pending", ports::free(), &[&target], json!({}));
    judge(&nowhere, &[(pending, ("Programmed", "False", "NoProxies"), AT_WORK)]);
}
