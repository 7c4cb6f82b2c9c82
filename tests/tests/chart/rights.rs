//! What the chart lets the operator and people do: as little as will do, and in namespaced mode nothing beyond.

use std::collections::BTreeMap;

use fairlead_tests::chart::Helm;
use serde_json::{Value, json};

use super::{kind, name};

/// What the chart grants the operator in all of the cluster, and in its own namespace: group/resource, then verbs.
const EVERYWHERE: [(&str, &str); 9] = [
    ("/configmaps", "create delete get list patch watch"),
    ("/pods", "list watch"),
    ("/services", "create delete get list patch watch"),
    ("apps/deployments", "create delete get list patch watch"),
    ("events.k8s.io/events", "create patch"),
    ("fairlead.dev/portforwards", "list watch"),
    ("fairlead.dev/portforwards/status", "patch"),
    ("networking.k8s.io/networkpolicies", "create delete get list patch watch"),
    ("policy/poddisruptionbudgets", "create delete get list patch watch"),
];
const AT_HOME: [(&str, &str); 3] = [
    ("/secrets fairlead-operator-ca", "get update"),
    ("coordination.k8s.io/leases", "create"),
    ("coordination.k8s.io/leases fairlead-operator", "get update"),
];

fn granted(role: &Value) -> BTreeMap<String, String> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut granted = BTreeMap::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let names: String = texts(&rule["resourceNames"]).iter().map(|name| format!(" {name}")).collect();
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                granted.insert(format!("{group}/{resource}{names}"), texts(&rule["verbs"]).join(" "));
            }
        }
    }
    granted
}

fn table(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(what, verbs)| ((*what).to_owned(), (*verbs).to_owned())).collect()
}

/// The roles that are bound to the operator, as (kind, namespace, name, what is granted).
fn operators(objects: &[Value]) -> Vec<(String, String, BTreeMap<String, String>)> {
    let bindings = objects.iter().filter(|object| kind(object).ends_with("RoleBinding"));
    let role_of = |binding: &Value| {
        assert_eq!(binding["subjects"].as_array().map(Vec::len), Some(1), "{binding}");
        assert_eq!(binding["subjects"][0]["name"], "fairlead-operator", "{binding}");
        assert_eq!(binding["subjects"][0]["namespace"], "fairlead-system", "{binding}");
        let namespace = &binding["metadata"]["namespace"];
        let role = objects.iter().find(|object| {
            kind(object) == binding["roleRef"]["kind"]
                && name(object) == binding["roleRef"]["name"]
                && object["metadata"]["namespace"] == *namespace
        });
        let role = role.unwrap_or_else(|| panic!("no role for {binding}"));
        (kind(role).to_owned(), namespace.as_str().unwrap_or("*").to_owned(), granted(role))
    };
    bindings.map(role_of).collect()
}

#[test]
fn the_operator_may_do_what_it_needs_and_nothing_else() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let home = ("Role".to_owned(), "fairlead-system".to_owned(), table(&AT_HOME));
    let role = |kind: &str, namespace: &str| (kind.to_owned(), namespace.to_owned(), table(&EVERYWHERE));
    for (namespaces, wanted) in [
        (json!([]), vec![role("ClusterRole", "*"), home.clone()]),
        (json!(["shop", "bank"]), vec![role("Role", "shop"), role("Role", "bank"), home]),
    ] {
        let objects = helm.objects(&json!({"watchNamespaces": namespaces}));
        let sorted = |mut roles: Vec<_>| {
            roles.sort();
            roles
        };
        assert_eq!(sorted(operators(&objects)), sorted(wanted), "{namespaces}");
    }
}

#[test]
fn nothing_is_granted_wholesale() {
    let Some(helm) = Helm::find_or_skip() else { return };
    for values in [json!({}), json!({"watchNamespaces": ["shop"]})] {
        for role in helm.objects(&values).iter().filter(|object| kind(object).ends_with("Role")) {
            for (what, verbs) in granted(role) {
                assert!(!what.contains('*') && !verbs.contains('*'), "{what}: {verbs}");
                assert!(
                    !["exec", "attach", "portforward", "proxy"]
                        .iter()
                        .any(|word| what.ends_with(&format!("pods/{word}"))),
                    "{what}"
                );
                let secret = what.starts_with("/secrets");
                assert!(!secret || (what.contains(' ') && verbs == "get update"), "{what}: {verbs}");
                let escalates = ["escalate", "bind", "impersonate"].iter().any(|verb| verbs.contains(verb));
                assert!(!escalates, "{what}: {verbs}");
            }
        }
    }
}

#[test]
fn in_namespaced_mode_nothing_is_of_the_cluster() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let mut values = super::everything();
    values["watchNamespaces"] = json!(["shop"]);
    values["crds"] = json!({"enabled": false});
    for object in helm.objects(&values) {
        assert!(object["metadata"]["namespace"].is_string(), "{} {} is of the cluster", kind(&object), name(&object));
    }
    let operator = helm.objects(&values).into_iter().find(|object| kind(object) == "Deployment").expect("the operator");
    let arguments = &operator["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(arguments.to_string().contains("--watch-namespaces=shop"), "{arguments}");
}

#[test]
fn people_get_rights_on_portforwards_with_the_roles_they_have() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let objects = helm.objects(&json!({}));
    let aggregated = |to: &str| -> Vec<BTreeMap<String, String>> {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{to}");
        objects.iter().filter(|object| object["metadata"]["labels"][&label] == "true").map(granted).collect()
    };
    let seeing = table(&[
        ("fairlead.dev/portforwards", "get list watch"),
        ("fairlead.dev/portforwards/status", "get list watch"),
    ]);
    let changing = table(&[("fairlead.dev/portforwards", "create delete deletecollection patch update")]);
    assert_eq!(aggregated("view"), std::slice::from_ref(&seeing));
    for role in ["edit", "admin"] {
        let mut rights = aggregated(role);
        rights.sort();
        let mut wanted = vec![seeing.clone(), changing.clone()];
        wanted.sort();
        assert_eq!(rights, wanted, "{role}");
    }
    let without = helm.objects(&json!({"rbac": {"aggregate": false}}));
    assert_eq!(without.iter().filter(|object| kind(object) == "ClusterRole").count(), 1);
}
