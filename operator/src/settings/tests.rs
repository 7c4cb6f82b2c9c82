//! What a settings file may say, and what it hears when it says something else.
#![allow(clippy::unwrap_used)]

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::*;

const FULL: &str = "
image: registry.example/fairlead:1
imagePullPolicy: IfNotPresent
imagePullSecrets: [registry]
drainTimeout: 1m30s
gateway:
  replicas: 2
  resources: {requests: {cpu: 0.1, memory: 1024Mi}, limits: {cpu: 1}}
  nodeSelector: {pool: edge}
  tolerations: [{key: edge, operator: Exists, effect: NoSchedule}]
  affinity: {podAntiAffinity: {}}
  topologySpread: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
  priorityClassName: high
  labels: {team: net}
  annotations: {fairlead.dev/admin-port: '20443', note: x}
  networkPolicy: true
sidecar:
  resources: {}
";

fn problem(text: &str) -> String {
    Settings::parse(text).unwrap_err().to_string()
}

#[test]
fn everything_but_the_image_may_be_left_out() {
    let settings = Settings::parse("image: a").unwrap();
    assert_eq!(settings, Settings::of_image("a"));
    assert_eq!((settings.gateway.replicas, settings.drain_timeout), (1, Duration::from_secs(30)));
    assert!(settings.gateway.resources.limits.is_some() && settings.sidecar.resources.requests.is_some());
    assert!(problem("drainTimeout: 5s").contains("image"));
    assert!(problem("image: ' '").contains("write one"));
}

#[test]
fn everything_may_be_said() {
    let settings = Settings::parse(FULL).unwrap();
    assert_eq!(settings.drain_timeout, Duration::from_secs(90));
    assert_eq!(settings.image_pull_secrets, ["registry"]);
    assert_eq!((settings.gateway.replicas, settings.gateway.network_policy), (2, true));
    assert_eq!(settings.gateway.tolerations[0].key.as_deref(), Some("edge"));
    assert_eq!(settings.gateway.topology_spread[0].max_skew, 2);
    assert_eq!(settings.sidecar.resources, ResourceRequirements::default());
}

#[test]
fn amounts_are_kept_as_an_api_server_stores_them() {
    let requests = Settings::parse(FULL).unwrap().gateway.resources.requests.unwrap();
    assert_eq!(requests["cpu"], Quantity("100m".to_owned()));
    assert_eq!(requests["memory"], Quantity("1Gi".to_owned()));
}

#[test]
fn what_a_template_leaves_null_is_left_out() {
    let text = "image: a\nimagePullPolicy:\nimagePullSecrets:\ngateway: {nodeSelector: , tolerations: , affinity: , \
                priorityClassName: , labels: , annotations: }\n";
    assert_eq!(Settings::parse(text).unwrap(), Settings::of_image("a"));
    let text = "image: a\nimagePullPolicy: ''\ngateway: {priorityClassName: ''}\n";
    assert_eq!(Settings::parse(text).unwrap(), Settings::of_image("a"));
}

#[test]
fn what_is_wrong_is_named_with_what_to_write() {
    for (text, says) in [
        ("image: a\nimages: b", vec!["images"]),
        ("image: a\ngateway: {replica: 1}", vec!["replica", "replicas"]),
        ("image: a\ngateway: {replicas: 101}", vec!["gateway.replicas", "101", "write 0 to 100"]),
        ("image: a\ngateway: {affinity: {nodeAfinity: {a: 1}}}", vec!["nodeAfinity", "spelling"]),
        ("image: a\ngateway: {tolerations: [{keys: b}]}", vec!["[0].keys"]),
        ("image: a\ngateway: {resources: {limit: {cpu: 1}}}", vec!["limit"]),
        ("image: a\nsidecar: {resources: {limits: {memory: 1 GB}}}", vec!["limits.memory", "\"1 GB\"", "128Mi"]),
        ("image: a\nimagePullPolicy: Sometimes", vec!["\"Sometimes\"", "IfNotPresent"]),
        ("image: a\ndrainTimeout: soon", vec!["soon", "write 30s"]),
        ("image: a\ngateway: {labels: {fairlead.dev/proxy: x}}", vec!["gateway.labels", "fairlead.dev/proxy"]),
        ("image: a\ngateway: {annotations: {fairlead.dev/x: z}}", vec!["gateway.annotations", "fairlead.dev/x"]),
        ("image: a\ngateway: {annotations: {fairlead.dev/admin-port: z}}", vec!["fairlead.dev/admin-port", "\"z\""]),
        ("", vec!["settings"]),
    ] {
        let problem = problem(text);
        assert!(says.iter().all(|says| problem.contains(says)), "{text}: {problem}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Settings::load(Path::new("/nowhere/settings.yaml")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/settings.yaml"), "{error}");
}
