//! Whole sets of objects, compared with the files of `tests/golden`; `UPDATE_GOLDEN=1 cargo test -p fairlead-operator golden`
//! writes them anew. The same files are applied to an API server elsewhere.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use fairlead_config::yaml;
use serde::Serialize;
use serde_json::Value;

use super::{Member, fixtures, gateway, service, sidecar_config_map};
use crate::{names::ProxyId, settings::Settings};

/// Compares documents with a file, by content: the order of a mapping's keys means nothing.
pub(crate) fn compare(name: &str, documents: &[Value]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let texts: Vec<String> = documents.iter().map(|document| yaml::to_string(document).unwrap()).collect();
        std::fs::write(&path, texts.join("---\n")).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let wanted = yaml::documents(&text).unwrap();
    for (made, wanted) in documents.iter().zip(&wanted) {
        let (made_text, wanted_text) = (yaml::to_string(made).unwrap(), yaml::to_string(wanted).unwrap());
        assert!(made == wanted, "{name} (UPDATE_GOLDEN=1 writes it anew)\nmade:\n{made_text}\nwanted:\n{wanted_text}");
    }
    assert_eq!(documents.len(), wanted.len(), "{name}: documents (UPDATE_GOLDEN=1 writes it anew)");
}

fn value(object: impl Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

/// Everything of a gateway, Services included.
fn all(objects: &[(fairlead_api::PortForward, fairlead_api::render::Verdict)], settings: &Settings) -> Vec<Value> {
    let made = fixtures::with_gateway(objects, settings, gateway);
    let id = ProxyId::of(&objects[0].0);
    let services = objects.iter().filter_map(|(object, verdict)| service(&Member { object, verdict }, &id));
    let optional = made.disruption_budget.map(value).into_iter().chain(made.network_policy.map(value));
    [value(made.config_map), value(made.deployment)].into_iter().chain(optional).chain(services.map(value)).collect()
}

#[test]
fn golden_a_gateway_of_its_own_with_settings_that_say_nothing() {
    compare("gateway-own.yaml", &all(&[fixtures::database("")], &fixtures::settings("")));
}

#[test]
fn golden_a_gateway_of_its_own_that_mounts_and_has_two_pods() {
    let mounting = fixtures::database(&format!("gateway: {{replicas: 2}}\n{}", fixtures::NAMING));
    compare("gateway-mounts.yaml", &all(&[mounting], &fixtures::settings("")));
}

#[test]
fn golden_a_shared_gateway_with_settings_that_say_everything() {
    let member = |name: &str, url: &str| fixtures::forward(name, &format!("url: {url}\ngateway: {{name: edge}}"));
    let objects = [
        (member("web", "tcp://:80/a:80"), fixtures::accepted("tcp", ":80")),
        (member("dns", "udp://:53/a:53"), fixtures::accepted("udp", ":53")),
        (member("paused", "tcp://:81/a:81"), fixtures::suspended("tcp", ":81")),
        (member("expose", "rtcp://:2222/a:22"), fixtures::accepted("rtcp", ":2222")),
    ];
    let settings = fixtures::settings(
        "imagePullPolicy: Always
imagePullSecrets: [registry]
drainTimeout: 1m
gateway:
  replicas: 3
  resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 4, memory: 1Gi}}
  nodeSelector: {pool: edge}
  tolerations: [{key: edge, operator: Exists, effect: NoSchedule}]
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 1
        podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {team: net}}}
  topologySpread: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}]
  priorityClassName: system-cluster-critical
  labels: {team: net}
  annotations: {example.com/contact: net@example.com}
  networkPolicy: true
",
    );
    compare("gateway-shared.yaml", &all(&objects, &settings));
}

#[test]
fn golden_the_config_map_of_sidecars() {
    let objects = [
        (fixtures::forward("db", "url: tcp://:5432/a:1\nsidecar: {name: shop}"), fixtures::accepted("tcp", ":5432")),
        (fixtures::forward("mq", "url: tcp://:5672/a:1\nsidecar: {name: shop}"), fixtures::accepted("tcp", ":5672")),
    ];
    let made = fixtures::with_gateway(&objects, &fixtures::settings(""), sidecar_config_map);
    compare("sidecar.yaml", &[value(made)]);
}
