//! What people may write into values, what is refused and how that is said, and what the operator is told of it.

use std::{collections::BTreeSet, fs, process::Command};

use fairlead_config::yaml;
use fairlead_tests::{binary::operator, chart::Helm, golden};
use serde_json::{Value, json};

use super::{everything, name, only};

/// Every value with its default and what its schema says of it, in the order of their names.
pub(crate) fn all() -> Vec<(String, Value, String)> {
    let schema: Value = serde_json::from_str(&golden::read("charts/fairlead/values.schema.json")).expect("a schema");
    let defaults = yaml::from_str(&golden::read("charts/fairlead/values.yaml")).expect("the values");
    let mut found = Vec::new();
    collect(&schema, &defaults, "", &mut found);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn collect(schema: &Value, defaults: &Value, path: &str, found: &mut Vec<(String, Value, String)>) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let description = inner["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{path} needs a sentence that describes it");
        if path == "global" {
            continue;
        }
        let default = defaults.get(key).unwrap_or_else(|| panic!("values.yaml lacks {path}"));
        if inner.get("properties").is_some() {
            collect(inner, default, &path, found);
        } else {
            found.push((path, default.clone(), description.to_owned()));
        }
    }
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    let (written, known): (BTreeSet<String>, BTreeSet<String>) = (keys(defaults), keys(&schema["properties"]));
    let unknown: Vec<_> = written.difference(&known).collect();
    assert!(unknown.is_empty(), "the schema lacks {unknown:?} under {path:?}");
    assert_eq!(schema["additionalProperties"], false, "{path:?} takes any key");
}

#[test]
fn every_value_has_a_default_and_a_description() {
    assert!(all().len() > 40);
}

#[test]
fn helm_lint_has_no_complaint() {
    let Some(helm) = Helm::find_or_skip() else { return };
    for values in [json!({}), everything(), json!({"watchNamespaces": ["shop"]})] {
        helm.lint(&values).unwrap_or_else(|said| panic!("{values}: {said}"));
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_name() {
    let Some(helm) = Helm::find_or_skip() else { return };
    for (values, said) in [
        (json!({"replica": 3}), "additional properties 'replica' not allowed"),
        (json!({"replicas": "3"}), "at '/replicas': got string, want integer"),
        (json!({"replicas": 11}), "at '/replicas': maximum: got 11, want 10"),
        (json!({"image": {"tag": "a b"}}), "at '/image/tag': 'a b' does not match pattern"),
        (json!({"image": {"digest": "sha256:12"}}), "at '/image/digest'"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "at '/image/pullPolicy': value must be one of 'Always'"),
        (json!({"imagePullSecrets": ["registry"]}), "at '/imagePullSecrets/0': got string, want object"),
        (json!({"watchNamespaces": "shop"}), "at '/watchNamespaces': got string, want array"),
        (json!({"watchNamespaces": ["Shop"]}), "at '/watchNamespaces/0': 'Shop' does not match pattern"),
        (json!({"watchNamespaces": ["shop", "shop"]}), "at '/watchNamespaces': items at 0 and 1 are equal"),
        (json!({"drainTimeout": "30 seconds"}), "at '/drainTimeout': '30 seconds' does not match pattern"),
        (json!({"drainTimeout": 30}), "at '/drainTimeout': got number, want string"),
        (json!({"crds": {"keep": "yes"}}), "at '/crds/keep': got string, want boolean"),
        (json!({"resources": {"limit": {"memory": "1Gi"}}}), "at '/resources': additional properties 'limit'"),
        (json!({"resources": {"limits": {"memory": "1 GB"}}}), "at '/resources/limits/memory'"),
        (json!({"tolerations": [{"effect": "NoRun"}]}), "at '/tolerations/0/effect'"),
        (json!({"affinity": {"podAffinty": {}}}), "additional properties 'podAffinty' not allowed"),
        (json!({"metrics": {"port": 70000}}), "at '/metrics/port': maximum: got 70,000, want 65,535"),
        (json!({"gateway": {"replica": 2}}), "at '/gateway': additional properties 'replica' not allowed"),
        (json!({"gateway": {"replicas": 101}}), "at '/gateway/replicas': maximum"),
        (json!({"gateway": {"labels": {"fairlead.dev/proxy": "x"}}}), "invalid propertyName 'fairlead.dev/proxy'"),
        (json!({"gateway": {"topologySpread": [{"maxSkew": 1}]}}), "missing properties 'topologyKey'"),
        (json!({"sidecar": {"image": "x"}}), "at '/sidecar': additional properties 'image' not allowed"),
    ] {
        let refused = helm.template(&values).err().unwrap_or_default();
        assert!(refused.contains(said), "{values}\n  wants {said}\n  said  {refused}");
    }
}

#[test]
fn a_parent_chart_may_hand_down_its_globals() {
    let Some(helm) = Helm::find_or_skip() else { return };
    helm.template(&json!({"global": {"imageRegistry": "registry.example.net"}})).expect("globals are legal");
}

#[test]
fn the_operator_is_told_what_the_values_say_of_its_proxies() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}});
    let gateway = json!({
        "replicas": 3,
        "networkPolicy": true,
        "resources": {"limits": {"cpu": "4", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
        "nodeSelector": {"pool": "edge"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": affinity,
        "topologySpread": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "priorityClassName": "high",
        "labels": {"team": "network"},
        "annotations": {"fairlead.dev/admin-port": "20443"},
    });
    let limits = json!({"cpu": "1", "memory": "128Mi"});
    let sidecar = json!({"resources": {"limits": limits, "requests": {"cpu": "50m", "memory": "16Mi"}}});
    let objects = helm.objects(&json!({
        "proxyImage": "registry.example.net/fairlead:1",
        "image": {"pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "drainTimeout": "1m30s",
        "gateway": gateway,
        "sidecar": {"resources": {"requests": {"cpu": "50m"}}},
    }));
    assert_eq!(
        settings(&objects),
        json!({
            "image": "registry.example.net/fairlead:1",
            "imagePullPolicy": "Always",
            "imagePullSecrets": ["registry"],
            "drainTimeout": "1m30s",
            "gateway": gateway,
            "sidecar": sidecar,
        })
    );
}

#[test]
fn the_operator_reads_the_settings_that_it_is_given() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let full = json!({
        "proxyImage": "registry.example.net/fairlead:1",
        "imagePullSecrets": [{"name": "registry"}],
        "gateway": {
            "tolerations": [{"key": "edge", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
            "topologySpread": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
            "resources": {"limits": {"memory": "1Gi"}},
            "annotations": {"fairlead.dev/admin-port": "20443"},
        },
        "sidecar": {"resources": {"requests": {"cpu": "50m"}}},
    });
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": {"fairlead.dev/sidecar": "shop"}},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    for (values, image) in [(json!({}), "ghcr.io/fairlead/fairlead:0.1.0"), (full, "registry.example.net/fairlead:1")] {
        let dir = tempfile::tempdir().expect("a directory");
        let (settings_file, pod_file) = (dir.path().join("settings.yaml"), dir.path().join("pod.yaml"));
        fs::write(&settings_file, settings_text(&helm.objects(&values))).expect("write the settings");
        fs::write(&pod_file, pod.to_string()).expect("write a pod");
        let inject =
            Command::new(operator()).arg("inject").arg("--settings").args([&settings_file, &pod_file]).output();
        let inject = inject.expect("run the operator");
        let said = String::from_utf8_lossy(&inject.stderr);
        assert!(inject.status.success(), "{values}: {said}");
        let pod: Value = yaml::from_str(&String::from_utf8_lossy(&inject.stdout)).expect("YAML");
        assert_eq!(pod["spec"]["initContainers"][0]["image"], image, "{values}");
    }
}

#[test]
fn the_operator_knows_the_flags_that_it_is_given() {
    let Some(helm) = Helm::find_or_skip() else { return };
    for values in [json!({}), json!({"watchNamespaces": ["shop", "bank"], "logFormat": "json"})] {
        let objects = helm.objects(&values);
        let container = &only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        // Flags are read in their order, and help is given only where all before it are right.
        let help = Command::new(operator()).args(arguments).arg("--help").output().expect("run the operator");
        assert!(help.status.success(), "{values}: {}", String::from_utf8_lossy(&help.stderr));
    }
}

#[test]
fn the_image_is_named_by_version_tag_or_digest() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let digest = format!("sha256:{}", "0".repeat(64));
    for (image, wanted) in [
        (json!({}), "ghcr.io/fairlead/fairlead:0.1.0".to_owned()),
        (json!({"tag": "edge"}), "ghcr.io/fairlead/fairlead:edge".to_owned()),
        (json!({"tag": "edge", "digest": digest}), format!("ghcr.io/fairlead/fairlead@{digest}")),
    ] {
        let objects = helm.objects(&json!({"image": image}));
        let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0]["image"], wanted);
        assert_eq!(settings(&objects)["image"], wanted);
    }
}

#[test]
fn other_settings_make_other_pods() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let template = |values: Value| only(&helm.objects(&values), "Deployment")["spec"]["template"].clone();
    assert_ne!(template(json!({})), template(json!({"drainTimeout": "31s"})));
    assert_eq!(template(json!({})), template(json!({"metrics": {"dashboard": {"enabled": true}}})));
}

#[test]
fn names_follow_the_release_and_can_be_said() {
    let Some(helm) = Helm::find_or_skip() else { return };
    for (values, wanted) in [
        (json!({}), "fairlead-operator"),
        (json!({"nameOverride": "lines"}), "fairlead-lines-operator"),
        (json!({"fullnameOverride": "edge"}), "edge-operator"),
    ] {
        let objects = helm.objects(&values);
        assert_eq!(name(only(&objects, "Deployment")), wanted);
        assert_eq!(name(only(&objects, "Secret")), format!("{wanted}-ca"));
        let arguments = &only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"];
        assert!(arguments.to_string().contains(&format!("--ca-secret={wanted}-ca")), "{arguments}");
    }
}

fn settings(objects: &[Value]) -> Value {
    yaml::from_str(&settings_text(objects)).expect("YAML")
}

fn settings_text(objects: &[Value]) -> String {
    let mut texts = objects.iter().filter_map(|object| object["data"]["settings.yaml"].as_str());
    texts.next().expect("the settings").to_owned()
}
