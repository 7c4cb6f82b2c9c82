//! One test for each thing that the objects promise; the Deployment has a file of its own.
#![allow(clippy::unwrap_used)]

mod deployment;

use std::collections::BTreeSet;

use fairlead_api::render::{AcceptedReason, Verdict};
use serde_json::{Value, json};

use super::{fixtures::*, *};

fn service_of(scheme: &str, listen: &str, place: &str) -> Option<Value> {
    let object = forward("db", &format!("url: tcp://:1/a:1\n{place}"));
    let (verdict, id) = (accepted(scheme, listen), ProxyId::of(&object));
    service(&Member { object: &object, verdict: &verdict }, &id).map(|service| serde_json::to_value(service).unwrap())
}

#[test]
fn everything_is_labelled_and_owned_by_every_member_and_controlled_by_none() {
    let shared = "gateway: {name: edge}";
    let objects = [database(shared), (forward("a", &format!("url: tcp://:1/a:1\n{shared}")), suspended("tcp", ":1"))];
    let made = made(&objects, &settings("gateway: {replicas: 2, networkPolicy: true}"));
    let owner = |name: &str, mark: &str| {
        json!({
            "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "name": name, "blockOwnerDeletion": false,
            "uid": format!("00000000-0000-4000-8000-00000000{mark}"),
        })
    };
    let (budget, policy) = (made.disruption_budget.unwrap(), made.network_policy.unwrap());
    for metadata in [made.config_map.metadata, made.deployment.metadata, budget.metadata, policy.metadata] {
        assert_eq!((metadata.name.as_deref(), metadata.namespace.as_deref()), (Some("edge-gateway"), Some("shop")));
        let labels = metadata.labels.unwrap();
        for (label, value) in [
            ("name", "fairlead"),
            ("instance", "edge-gateway"),
            ("component", "gateway"),
            ("part-of", "fairlead"),
            ("managed-by", "fairlead"),
        ] {
            assert_eq!(labels[&format!("app.kubernetes.io/{label}")], value);
        }
        let owners = serde_json::to_value(metadata.owner_references).unwrap();
        assert_eq!(owners, json!([owner("a", "0097"), owner("db", "0198")]));
    }
}

#[test]
fn a_disruption_budget_comes_with_the_second_pod() {
    for (replicas, wanted) in [(0, false), (1, false), (2, true), (3, true)] {
        let made = made(&[database(&format!("gateway: {{replicas: {replicas}}}"))], &settings(""));
        assert_eq!(made.disruption_budget.is_some(), wanted, "{replicas}");
    }
    let made = made(&[database("gateway: {replicas: 2}")], &settings(""));
    let spec = made.disruption_budget.unwrap().spec.unwrap();
    assert_eq!(spec.max_unavailable, Some(IntOrString::Int(1)));
}

#[test]
fn references_are_mounted_by_name_and_may_be_missing() {
    let objects = [(forward("db", NAMING), accepted("tcp", ":1"))];
    let named = with_gateway(&objects, &settings(""), |gateway| references(gateway.members));
    let secrets = ["bastion", "client.tls", "hostkey", "key", "logins", "shop-tls"];
    let config_maps = ["known-hosts", "roots"].map(|name| Reference::ConfigMap(name.to_owned()));
    let wanted: BTreeSet<_> =
        secrets.map(|name| Reference::Secret(name.to_owned())).into_iter().chain(config_maps).collect();
    assert_eq!(named, wanted);
    let pod = &serde_json::to_value(made(&objects, &settings("")).deployment).unwrap()["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 9);
    for reference in named {
        let mount = mounts.iter().find(|mount| mount["mountPath"] == reference.path()).unwrap();
        assert_eq!((&mount["readOnly"], &mount["name"]), (&json!(true), &json!(reference.volume_name())));
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let source = volume.get("secret").or(volume.get("configMap")).unwrap();
        assert_eq!(source["optional"], true);
    }
}

#[test]
fn volume_names_are_labels_whatever_the_name_and_tell_kinds_apart() {
    let long = "a.".repeat(126) + "a";
    let names = [Reference::Secret(long.clone()), Reference::ConfigMap(long), Reference::Secret("a".to_owned())];
    let names: BTreeSet<String> = names.iter().map(Reference::volume_name).collect();
    assert_eq!(names.len(), 3);
    for name in names {
        assert!(name.len() <= 63 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name}");
    }
    // Part of running pods: another hash would roll them all.
    assert_eq!(Reference::Secret("a".to_owned()).volume_name(), "secret-af63dc4c8601ec8c");
}

#[test]
fn the_service_has_the_port_of_the_listener_and_the_protocol_of_the_scheme() {
    for (scheme, listen, protocol, port) in [
        ("tcp", ":5432", "TCP", 5432),
        ("udp", "[::]:53", "UDP", 53),
        ("socks5+tls", ":1080", "TCP", 1080),
        ("http+quic", "0.0.0.0:443", "UDP", 443),
        ("kcp", ":8443", "UDP", 8443),
        ("forward+ssh", "ssh.example:22", "TCP", 22),
        ("ssu", ":8338", "UDP", 8338),
    ] {
        let service = service_of(scheme, listen, "").unwrap();
        let wanted = json!([{"name": protocol.to_lowercase(), "port": port, "protocol": protocol, "targetPort": port}]);
        assert_eq!(service["spec"]["ports"], wanted, "{scheme}");
        assert_eq!(service["metadata"]["name"], "db");
        assert_eq!(service["spec"]["ipFamilyPolicy"], "PreferDualStack");
        assert_eq!(service["spec"]["selector"], json!({"fairlead.dev/proxy": "db-forward"}));
    }
    assert_eq!(
        service_of("tcp", ":1", "gateway: {name: edge}").unwrap()["spec"]["selector"]["fairlead.dev/proxy"],
        "edge-gateway"
    );
}

#[test]
fn there_is_no_service_without_a_listener_of_its_own() {
    for (scheme, listen, place) in [
        ("tcp", "127.0.0.1:5432", "sidecar: {name: shop}"),
        ("rtcp", ":2222", ""),
        ("rudp", ":0", ""),
        ("rtcp", ":2222", "gateway: {name: edge}"),
    ] {
        assert_eq!(service_of(scheme, listen, place), None, "{scheme} {place}");
    }
    let object = forward("db", "url: tcp://:1/a:1");
    let refused = Verdict::Refused { reason: AcceptedReason::InvalidSpec, message: String::new() };
    assert_eq!(service(&Member { object: &object, verdict: &refused }, &ProxyId::of(&object)), None);
}

#[test]
fn a_suspended_forward_keeps_its_service_and_its_mounts() {
    let object = forward("db", NAMING);
    let id = ProxyId::of(&object);
    let of = |verdict: &Verdict| {
        let member = Member { object: &object, verdict };
        (service(&member, &id), references(&[member]))
    };
    let (paused, mounts) = of(&suspended("tcp", ":5432"));
    assert!(paused.is_some() && !mounts.is_empty());
    assert_eq!((paused, mounts), of(&accepted("tcp", ":5432")));
}

#[test]
fn the_network_policy_lets_in_clients_scrapers_and_the_operator_each_where_they_belong() {
    assert_eq!(made(&[database("")], &settings("")).network_policy, None);
    let rules = |settings: &Settings, listen: &str| {
        let policy = made(&[(database("").0, accepted("tcp", listen))], settings).network_policy.unwrap();
        let spec = serde_json::to_value(policy.spec).unwrap();
        assert_eq!(spec["policyTypes"], json!(["Ingress"]));
        spec["ingress"].clone()
    };
    let mut settings = settings("gateway: {networkPolicy: true}");
    let ports = |port: Value| json!([{"port": port, "protocol": "TCP"}]);
    let clients = json!({"ports": ports(json!(5432))});
    let scrapers = json!({"from": [{"namespaceSelector": {}}], "ports": ports(json!("proxy-metrics"))});
    let operator = |from: Value| json!({"from": [from], "ports": ports(json!("proxy-admin"))});
    let anybody = operator(json!({"namespaceSelector": {}}));
    assert_eq!(rules(&settings, ":5432"), json!([clients, scrapers, anybody]));
    settings.operator_namespace = Some("fairlead-system".to_owned());
    let operator = operator(json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "fairlead-system"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
    }));
    assert_eq!(rules(&settings, ":5432"), json!([clients, scrapers, operator]));
    assert_eq!(rules(&settings, ""), json!([scrapers, operator]), "a rule without ports would open every port");
}

#[test]
fn names_and_labels_fit_however_long_the_portforwards_name_is() {
    let longest = "a".repeat(50);
    for place in [String::new(), format!("gateway: {{name: {longest}}}"), format!("sidecar: {{name: {longest}}}")] {
        let object = forward(&longest, &format!("url: tcp://:1/a:1\n{place}"));
        let made = made(&[(object, accepted("tcp", ":1"))], &settings(""));
        let metadata = made.deployment.metadata;
        let labels = metadata.labels.unwrap();
        assert!(metadata.name.unwrap().len() <= 63 && labels.values().all(|value| value.len() <= 63), "{labels:?}");
    }
}
