//! How the API server keeps and shows PortForwards: columns, names, selectors, the status apart from the spec, and
//! lists that have one owner or one per item.

use fairlead_api::PortForward;
use fairlead_tests::cluster::{ControlPlane, TempNamespace, block_on};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::documents::{changed, plain};

/// As the operator writes it.
fn status() -> Value {
    let ready = json!({
        "type": "Ready", "status": "False", "reason": "PartiallyProgrammed", "message": "1 of 2 proxies run it",
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
    });
    json!({
        "observedGeneration": 1,
        "conditions": [ready],
        "addresses": [{"type": "Service", "host": "db.shop.svc", "port": 5432}],
        "proxies": {"desired": 2, "connected": 2, "programmed": 1, "standby": 0},
        "nodes": [{"address": "db1:5432", "role": "Target", "state": "Alive"}],
        "nodeSummary": "1/1",
        "effective": {"scheme": "tcp", "listen": ":5432", "strategy": "fifo", "maxFails": 1, "failTimeout": "30s"},
    })
}

/// The words of each line that `kubectl get` prints.
fn get(namespace: &TempNamespace, arguments: &[&str]) -> Vec<Vec<String>> {
    let whole = [&["get", "--namespace", namespace.name()], arguments].concat();
    let printed = namespace.cluster().kubectl(&whole);
    assert_eq!(printed.code, 0, "{printed:?}");
    // Columns stand at least three spaces apart; a message has single spaces in it.
    let words =
        |line: &str| line.split("   ").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    printed.stdout.lines().map(words).collect()
}

fn names(namespace: &TempNamespace, arguments: &[&str]) -> Vec<String> {
    let printed = get(namespace, &[arguments, &["--output", "name"]].concat());
    printed.into_iter().flatten().map(|name| name.trim_start_matches("portforward.fairlead.dev/").to_owned()).collect()
}

/// Applies a spec or status as a manager of its own; answers the HTTP status of a refusal.
fn apply_as(namespace: &TempNamespace, manager: &str, object: &Value, force: bool) -> Result<PortForward, u16> {
    let mut params = PatchParams::apply(manager);
    params.force = force;
    let (api, patch) = (namespace.api::<PortForward>(), Patch::Apply(object));
    let applied = match object.get("status") {
        Some(_) => block_on(api.patch_status("db", &params, &patch)),
        None => block_on(api.patch("db", &params, &patch)),
    };
    match applied {
        Ok(applied) => Ok(applied),
        Err(kube::Error::Api(status)) => Err(status.code),
        Err(error) => panic!("{manager}: {error}"),
    }
}

#[test]
fn columns_say_what_is_in_force_and_wide_ones_why() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    namespace.apply::<PortForward>(&plain());
    namespace.merge_status::<PortForward>("db", &status());
    let [head, row] = get(&namespace, &["pfw"]).try_into().expect("two lines");
    assert_eq!(head, ["NAME", "SCHEME", "LISTEN", "NODES", "READY", "AGE"]);
    assert_eq!(row[..5], ["db", "tcp", ":5432", "1/1", "False"]);
    assert!(row[5].ends_with('s'), "{row:?}");
    let [head, row] = get(&namespace, &["pfw", "--output", "wide"]).try_into().expect("two lines");
    assert_eq!(head[6..], ["REASON", "ADDRESS", "STRATEGY", "PROXIES", "MESSAGE"]);
    assert_eq!(row[6..], ["PartiallyProgrammed", "db.shop.svc", "fifo", "1", "1 of 2 proxies run it"]);
}

#[test]
fn forwards_are_found_by_short_name_category_and_where_they_run() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    for (name, more) in [
        ("own", json!({})),
        ("edge", json!({"gateway": {"name": "edge"}})),
        ("shop", json!({"sidecar": {"name": "shop"}})),
    ] {
        let mut document = changed(&json!({"spec": more}));
        document["metadata"]["name"] = name.into();
        namespace.apply::<PortForward>(&document);
    }
    for kind in ["pfw", "portforwards", "portforward", "fairlead", "portforwards.fairlead.dev"] {
        assert_eq!(names(&namespace, &[kind]), ["edge", "own", "shop"], "{kind}");
    }
    let selected = |selector: &str| names(&namespace, &["pfw", "--field-selector", selector]);
    assert_eq!(selected("spec.gateway.name=edge"), ["edge"]);
    assert_eq!(selected("spec.sidecar.name=shop"), ["shop"]);
    assert_eq!(selected("spec.gateway.name=,spec.sidecar.name="), ["own"]);
}

#[test]
fn the_status_is_written_apart_from_the_spec() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let mut document = plain();
    document["status"] = status();
    let created: PortForward = namespace.create(document).expect("a PortForward");
    assert_eq!((created.status.is_none(), created.metadata.generation), (true, Some(1)), "a user writes no status");
    let written: PortForward = namespace.merge_status("db", &status());
    assert_eq!(written.metadata.generation, Some(1), "a status is no new generation");
    let both = json!({"spec": {"maxFails": 7}, "status": {"nodeSummary": "0/1"}});
    let api = namespace.api::<PortForward>();
    let patched = block_on(api.patch_status("db", &PatchParams::default(), &Patch::Merge(&both))).expect("a status");
    assert_eq!(patched.spec.max_fails, None, "who writes the status can't write the spec");
    assert_eq!(patched.status.and_then(|status| status.node_summary).as_deref(), Some("0/1"));
    let patched = block_on(api.patch("db", &PatchParams::default(), &Patch::Merge(&both))).expect("a spec");
    assert_eq!((patched.spec.max_fails, patched.metadata.generation), (Some(7), Some(2)));
    let dead = json!({"nodes": [{"address": "db1:5432", "role": "Target", "state": "Gone"}]});
    let wrong = Patch::Merge(json!({"status": dead}));
    let refused = block_on(api.patch_status("db", &PatchParams::default(), &wrong)).expect_err("no such state");
    assert!(refused.to_string().contains("status.nodes[0].state: Unsupported value"), "{refused}");
}

#[test]
fn targets_have_one_owner_and_conditions_one_each() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let with_targets = |hosts: &[&str]| {
        let targets: Vec<Value> = hosts.iter().map(|host| json!({"host": host, "port": 5432})).collect();
        changed(&json!({"spec": {"targets": targets}}))
    };
    apply_as(&namespace, "one", &with_targets(&["db1", "db1"]), false).expect("the same target twice");
    assert_eq!(apply_as(&namespace, "two", &with_targets(&["db2"]), false).err(), Some(409), "a list is owned whole");
    let taken = apply_as(&namespace, "two", &with_targets(&["db2"]), true).expect("taken over");
    assert_eq!(taken.spec.targets.len(), 1, "and replaced whole: {:?}", taken.spec.targets);

    let condition = |kind: &str| {
        let condition = json!({
            "type": kind, "status": "True", "reason": "Fine", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z",
        });
        let mut object = json!({"metadata": {"name": "db"}, "status": {"conditions": [condition]}});
        object["apiVersion"] = "fairlead.dev/v1alpha1".into();
        object["kind"] = "PortForward".into();
        object
    };
    apply_as(&namespace, "one", &condition("Ready"), false).expect("a condition");
    let both = apply_as(&namespace, "two", &condition("example.com/Reviewed"), false).expect("another's condition");
    let kinds: Vec<String> = both.status.into_iter().flat_map(|s| s.conditions).map(|c| c.type_).collect();
    assert_eq!(kinds, ["Ready", "example.com/Reviewed"]);
}

#[test]
fn kubectl_refuses_a_misspelt_field_and_warns_of_nothing_else() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let apply = |document: &Value| {
        cluster.kubectl_with(&document.to_string(), &["apply", "--namespace", namespace.name(), "--filename", "-"])
    };
    let wrong = apply(&changed(&json!({"spec": {"maxFail": 1}})));
    assert!(wrong.code != 0 && wrong.stderr.contains("unknown field \"spec.maxFail\""), "{wrong:?}");
    let right = apply(&plain());
    assert_eq!((right.code, right.stderr.as_str()), (0, ""), "{right:?}");
    assert_eq!(namespace.find::<PortForward>("db").map(|db| db.name_any()).as_deref(), Some("db"));
}
