//! What the chart renders: the same at every call, labelled, safe by default, and nothing that wasn't asked for.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use fairlead_tests::{
    chart::{Helm, chart},
    golden,
};
use serde_json::{Value, json};

use super::{everything, kind, name, only};

#[test]
fn the_same_values_make_the_same_bytes() {
    let Some(helm) = Helm::find_or_skip() else { return };
    for values in [json!({}), everything(), json!({"watchNamespaces": ["shop", "bank"]})] {
        assert_eq!(helm.template(&values), helm.template(&values), "{values}");
    }
    for file in fs::read_dir(format!("{}/templates", chart())).expect("the templates") {
        let file = file.expect("a template").path();
        let text = fs::read_to_string(&file).expect("read a template");
        for function in
            ["lookup ", "rand", "now ", "uuidv4", "genSelfSignedCert", "genCA", "genSignedCert", "genPrivateKey"]
        {
            let called = text.lines().any(|line| line.contains("{{") && line.contains(function));
            assert!(!called, "{}: {function} answers something else each time", file.display());
        }
    }
}

#[test]
fn every_object_and_pod_carries_the_labels_that_tools_look_for() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let mut values = everything();
    values["commonLabels"] = json!({"team": "network", "app.kubernetes.io/name": "not-mine"});
    values["commonAnnotations"] = json!({"owner": "network"});
    for object in helm.objects(&values) {
        let whole = format!("{} {}", kind(&object), name(&object));
        let pod = object.pointer("/spec/template/metadata");
        for metadata in std::iter::once(&object["metadata"]).chain(pod) {
            let labels = &metadata["labels"];
            for key in ["name", "instance", "version", "component", "part-of", "managed-by"] {
                assert!(labels[format!("app.kubernetes.io/{key}")].is_string(), "{whole} lacks {key}: {labels}");
            }
            assert_eq!(labels["app.kubernetes.io/name"], "fairlead", "{whole}: selectors rely on it");
            assert_eq!(labels["team"], "network", "{whole}");
            assert_eq!(metadata["annotations"]["owner"], "network", "{whole}");
        }
    }
}

#[test]
fn only_what_was_asked_for_is_rendered() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let kinds =
        |values: &Value| -> BTreeSet<String> { helm.objects(values).iter().map(|o| kind(o).to_owned()).collect() };
    let usual = kinds(&json!({}));
    let optional = ["NetworkPolicy", "PodMonitor", "PrometheusRule", "ServiceMonitor"];
    assert!(optional.iter().all(|kind| !usual.contains(*kind)), "{usual:?}");
    let all = kinds(&everything());
    assert_eq!(all.difference(&usual).map(String::as_str).collect::<Vec<_>>(), optional);
    for (values, absent) in [
        (json!({"crds": {"enabled": false}}), "CustomResourceDefinition"),
        (json!({"serviceAccount": {"create": false}}), "ServiceAccount"),
        (json!({"podDisruptionBudget": {"enabled": false}}), "PodDisruptionBudget"),
        (json!({"replicas": 1}), "PodDisruptionBudget"),
        (json!({"metrics": {"service": {"enabled": false}}}), "Service"),
    ] {
        let without = kinds(&values);
        assert_eq!(usual.difference(&without).map(String::as_str).collect::<Vec<_>>(), [absent], "{values}");
    }
    let without = kinds(&json!({"rbac": {"create": false}}));
    assert!(!without.iter().any(|kind| kind.contains("Role")), "{without:?}");
}

#[test]
fn the_crd_is_kept_unless_said_otherwise() {
    let Some(helm) = Helm::find_or_skip() else { return };
    for (keep, wanted) in [(true, json!("keep")), (false, Value::Null)] {
        let objects = helm.objects(&json!({"crds": {"keep": keep}}));
        let annotations = &only(&objects, "CustomResourceDefinition")["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], wanted);
    }
}

#[test]
fn the_secret_has_no_data_of_the_charts() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let objects = helm.objects(&json!({}));
    let keys: BTreeSet<&String> = only(&objects, "Secret").as_object().expect("an object").keys().collect();
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["apiVersion", "kind", "metadata", "type"]);
}

#[test]
fn selectors_choose_the_operators_pods() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let objects = helm.objects(&everything());
    let labels = &only(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"];
    for (wanted, path) in [
        ("Deployment", "/spec/selector/matchLabels"),
        ("Deployment", "/spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ("Service", "/spec/selector"),
    ] {
        let selector = only(&objects, wanted).pointer(path).and_then(Value::as_object);
        let selector = selector.unwrap_or_else(|| panic!("{wanted} has no {path}"));
        assert!(!selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value), "{wanted} {path}");
        assert_eq!(selector["app.kubernetes.io/component"], "operator", "no gateway is meant: {wanted} {path}");
    }
}

/// Every metric that a text names, as its source does.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c: char| !is_word(c)).filter(|word| word.starts_with("fairlead_"));
    let ending = |word: &str| {
        ["_total", "_bucket", "_sum", "_count", "_info"]
            .iter()
            .find_map(|e| word.strip_suffix(e))
            .unwrap_or(word)
            .to_owned()
    };
    words.map(ending).collect()
}

/// The text of every source file in a directory and below.
fn sources_in(directory: &Path) -> String {
    let files = fs::read_dir(directory).expect("a directory").map(|file| file.expect("a file").path());
    let text = |file: PathBuf| match file.extension() {
        _ if file.is_dir() => sources_in(&file),
        Some(ending) if ending == "rs" => fs::read_to_string(&file).expect("a source file"),
        Some(_) | None => String::new(),
    };
    files.map(text).collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_exist() {
    let sources = ["sidecar/src", "operator/src"].map(|crate_| sources_in(&golden::file(crate_))).concat();
    for file in ["dashboard.json", "alerts.yaml"] {
        let used = metrics_in(&golden::read(&format!("charts/fairlead/files/{file}")));
        assert!(used.len() > 3, "{file}: {used:?}");
        for metric in used {
            // The operator's registry puts its prefix before every name.
            let short = metric.strip_prefix("fairlead_operator_").unwrap_or(&metric);
            let named = |name: &str| sources.contains(&format!("\"{name}\""));
            assert!(named(&metric) || named(short), "{file}: nobody has a metric {metric}");
        }
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let dashboard: Value = serde_json::from_str(&golden::read("charts/fairlead/files/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(panel["title"].is_string() && panel["description"].is_string(), "{panel}");
        let targets = panel["targets"].as_array().expect("queries");
        assert!(targets.iter().all(|target| target["expr"].is_string()), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
    }
    let Some(helm) = Helm::find_or_skip() else { return };
    let objects = helm.objects(&everything());
    let shipped = objects.iter().find_map(|object| object["data"]["fairlead.json"].as_str()).expect("the ConfigMap");
    assert_eq!(serde_json::from_str::<Value>(shipped).expect("JSON"), dashboard);
}
