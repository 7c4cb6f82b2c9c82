//! Manifests of the usual kinds with their sidecars, compared with `tests/golden`, which is applied to an API server
//! elsewhere, in a namespace with Pod Security's `restricted`.
#![allow(clippy::unwrap_used)]

use fairlead_config::yaml;
use serde_json::Value;

use super::inject;
use crate::objects::{fixtures, golden};

/// A pod template that passes `restricted` by itself.
const TEMPLATE: &str = "
metadata: {labels: {app: web}}
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  initContainers:
  - name: migrate
    image: registry.example/web:1
    args: [migrate, --database, 'localhost:5432']
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  containers:
  - name: web
    image: registry.example/web:1
    ports: [{name: http, containerPort: 8080}]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: scratch, mountPath: /tmp}]
  volumes: [{name: scratch, emptyDir: {}}]
";

fn template(never_restarted: bool) -> Value {
    let mut template = yaml::from_str::<Value>(TEMPLATE).unwrap();
    if never_restarted {
        template["spec"]["restartPolicy"] = Value::from("Never");
    }
    template
}

/// An object of the namespace `shop` with the template at `path`, whose last part is named there.
fn object(head: &str, path: &str, template: Value) -> Value {
    let mut object: Value = yaml::from_str(head).unwrap();
    object["metadata"]["namespace"] = Value::from("shop");
    match path.rsplit_once('/') {
        Some((parent, field)) => object.pointer_mut(parent).unwrap()[field] = template,
        None => {
            object["metadata"]["labels"] = template["metadata"]["labels"].clone();
            object["spec"] = template["spec"].clone();
        }
    }
    object
}

fn check(name: &str, documents: Vec<Value>) {
    let settings = fixtures::settings("");
    let once = inject(documents, Some("shop"), &settings).unwrap().documents;
    golden::compare(name, &once);
    assert_eq!(inject(once.clone(), None, &settings).unwrap().documents, once);
}

#[test]
fn golden_a_pod() {
    check("inject-pod.yaml", vec![object("{apiVersion: v1, kind: Pod, metadata: {name: web}}", "", template(false))]);
}

#[test]
fn golden_workloads() {
    let selector = "selector: {matchLabels: {app: web}}";
    let workload = |kind: &str, more: &str| {
        let head =
            format!("{{apiVersion: apps/v1, kind: {kind}, metadata: {{name: web}}, spec: {{{selector}{more}}}}}");
        object(&head, "/spec/template", template(false))
    };
    let workloads = vec![
        workload("Deployment", ", replicas: 2"),
        workload("StatefulSet", ", serviceName: web"),
        workload("DaemonSet", ""),
    ];
    check("inject-workloads.yaml", workloads);
}

#[test]
fn golden_jobs() {
    let job =
        object("{apiVersion: batch/v1, kind: Job, metadata: {name: once}, spec: {}}", "/spec/template", template(true));
    let cron = "{apiVersion: batch/v1, kind: CronJob, metadata: {name: nightly}, spec: {schedule: 0 3 * * *, jobTemplate: {spec: {}}}}";
    check("inject-jobs.yaml", vec![job, object(cron, "/spec/jobTemplate/spec/template", template(true))]);
}

#[test]
fn golden_a_pod_beside_its_portforward_that_names_secrets() {
    let forward = "
apiVersion: fairlead.dev/v1alpha1
kind: PortForward
metadata: {name: db, namespace: shop}
spec:
  url: tcp://:5432/db.internal:5432
  chain:
  - url: forward+ssh://bastion.example:22
    credentials: {secretRef: {name: bastion}}
    ssh: {knownHosts: {configMapRef: {name: known-hosts}}}
  sidecar: {name: shop}
";
    let pod = object("{apiVersion: v1, kind: Pod, metadata: {name: with-secrets}}", "", template(false));
    check("inject-references.yaml", vec![yaml::from_str(forward).unwrap(), pod]);
}
