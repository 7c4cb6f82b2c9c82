//! The golden files of `inject`, as an API server takes them where only restricted pods may run.

use std::{fs, path::Path};

use fairlead_config::yaml;
use fairlead_tests::cluster::{ControlPlane, TempNamespace};
use serde_json::{Value, json};

/// Where the pod's template is in each kind.
fn template(document: &Value) -> Option<&Value> {
    let path = match document["kind"].as_str()? {
        "Pod" => "",
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => return None,
    };
    document.pointer(path)
}

fn documents(file: &Path, namespace: &str) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("read a golden file");
    let mut documents: Vec<Value> = yaml::documents(&text).expect("YAML");
    documents.iter_mut().for_each(|document| document["metadata"]["namespace"] = namespace.into());
    documents
}

/// Applies an object; a warning is as bad as a refusal.
fn is_taken(namespace: &TempNamespace<'_>, document: &Value) {
    let applied = namespace.cluster().kubectl_with(&document.to_string(), &["apply", "--server-side", "-f", "-"]);
    let name = format!("{} {}", document["kind"], document["metadata"]["name"]);
    assert_eq!(applied.code, 0, "{name}: {}", applied.stderr);
    assert!(!applied.stderr.contains("PodSecurity"), "{name}: {}", applied.stderr);
}

#[test]
fn golden_files_are_taken_where_only_restricted_pods_may_run() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let labels =
        json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"});
    let namespace = cluster.namespace_with(labels);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/tests/golden");
    let (mut taken, mut pods) = (0, 0);
    for entry in fs::read_dir(directory).expect("the golden files") {
        for document in documents(&entry.expect("an entry").path(), namespace.name()) {
            is_taken(&namespace, &document);
            taken += 1;
            if let Some(template) = template(&document) {
                // Of what makes pods the server only warns; a pod it refuses.
                let meta = json!({"name": format!("pod-{pods}"), "namespace": namespace.name(),
                    "labels": template["metadata"]["labels"]});
                is_taken(
                    &namespace,
                    &json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta,
                    "spec": with_a_restart_policy(&template["spec"])}),
                );
                pods += 1;
            }
        }
    }
    assert!(taken > 8 && pods > 6, "{taken} documents with {pods} templates");
}

/// Jobs leave it to the server in no other way than pods do.
fn with_a_restart_policy(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if spec["restartPolicy"].is_null() {
        spec["restartPolicy"] = "Always".into();
    }
    spec
}
