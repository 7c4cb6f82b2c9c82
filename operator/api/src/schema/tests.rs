#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn forward(spec: Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "db"}, "spec": spec})
}

fn tcp(more: Value) -> Value {
    let mut spec = json!({"scheme": "tcp", "listen": {"port": 5432}, "targets": [{"host": "db1", "port": 5432}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    forward(spec)
}

fn told(document: &Value) -> Vec<String> {
    check(document).iter().map(ToString::to_string).collect()
}

#[test]
fn a_wrong_value_is_named_with_what_to_write_instead() {
    let second = |target: Value| json!({"targets": [{"host": "a", "port": 1}, target]});
    for (more, want) in [
        (json!({"maxFail": 1}), "spec.maxFail: unknown field; did you mean maxFails?"),
        (json!({"max_fails": 1}), "spec.max_fails: unknown field; did you mean maxFails?"),
        (json!({"listen": {"port": 1, "x": 1}}), "spec.listen.x: unknown field; known here: address, port"),
        (second(json!({"host": "b", "port": 70000})), "spec.targets[1].port: 70000 is above 65535; write 1 to 65535"),
        (second(json!({"host": "b", "port": 0})), "spec.targets[1].port: 0 is below 1; write 1 to 65535"),
        (second(json!({"host": "b", "port": -5})), "spec.targets[1].port: -5 is below 1; write 1 to 65535"),
        (
            second(json!({"host": "b", "port": "80"})),
            "spec.targets[1].port: \"80\" is a string; write the number without quotes: 80",
        ),
        (second(json!({"host": "b", "port": 80.5})), "spec.targets[1].port: 80.5 is not a whole number"),
        (second(json!({"host": "b", "port": [80]})), "spec.targets[1].port: is a list; write 1 to 65535"),
        (second(json!("b:80")), "spec.targets[1]: is a string; write a map with host, port, service"),
        (second(Value::Null), "spec.targets[1]: is empty; write a map with host, port, service"),
        (json!({"targets": {"host": "a"}}), "spec.targets: is a map; write a list"),
        (json!({"strategy": "first"}), "spec.strategy: \"first\" is unknown here; write round, random or fifo"),
        (json!({"maxFails": 1001}), "spec.maxFails: 1001 is above 1000; write 0 to 1000"),
        (
            json!({"failTimeout": 10}),
            "spec.failTimeout: 10 has no unit; write 10s for seconds or 10ms for milliseconds",
        ),
        (
            json!({"failTimeout": "10"}),
            "spec.failTimeout: \"10\" has no unit; write 10s for seconds or 10ms for milliseconds",
        ),
        (
            json!({"failTimeout": "-1s"}),
            "spec.failTimeout: \"-1s\" is negative; write a duration such as 30s, 1m30s or 500ms",
        ),
        (
            json!({"ttl": "soon"}),
            "spec.ttl: \"soon\" is no duration; write numbers with the units h, m, s or ms, such as 30s, 1m30s or 500ms",
        ),
        (json!({"suspend": "true"}), "spec.suspend: \"true\" is a string; write it without quotes: true"),
        (json!({"suspend": 1}), "spec.suspend: is a number; write true or false"),
        (
            json!({"healthCheck": {}}),
            "spec.healthCheck.interval: required; write a duration such as 30s, 1m30s or 500ms",
        ),
        (json!({"sidecar": {}}), "spec.sidecar.name: required; write a string"),
        (json!({"sidecar": {"name": ""}}), "spec.sidecar.name: empty; write a value or leave the field out"),
        (json!({"sidecar": {"name": 7}}), "spec.sidecar.name: 7 is a number; write it in quotes: \"7\""),
        (
            json!({"scheme": "tcp://"}),
            "spec.scheme: a url does not belong here; write url instead of scheme, or a scheme such as tcp or socks5+tls",
        ),
        (json!({"scheme": "TCP"}), "spec.scheme: \"TCP\" is no scheme; write one such as tcp, rudp or socks5+tls"),
        (
            json!({"chain": [{"scheme": "http", "nodes": []}]}),
            "spec.chain[0].nodes: 0 items are too few; write at least 1, or leave the field out",
        ),
        (
            json!({"targets": vec![json!({"host": "a", "port": 1}); 65]}),
            "spec.targets: 65 items are too many; write at most 64",
        ),
    ] {
        assert_eq!(told(&tcp(more.clone())), [want], "{more}");
    }
}

#[test]
fn the_document_itself_is_checked() {
    let with = |field: &str, value: Value| {
        let mut document = tcp(json!({}));
        document[field] = value;
        document
    };
    for (document, want) in [
        (json!("tcp"), "is a string; write a PortForward: apiVersion, kind, metadata, spec"),
        (
            with("apiVersion", json!("fairlead.dev/v1")),
            "apiVersion: \"fairlead.dev/v1\" is unknown here; write fairlead.dev/v1alpha1",
        ),
        (with("kind", json!("Portforward")), "kind: \"Portforward\" is unknown here; write PortForward"),
        (with("sepc", json!({})), "sepc: unknown field; did you mean spec?"),
        (with("spec", Value::Null), "spec: required; write a map"),
        (with("spec", json!([])), "spec: is a list; write a map"),
        (with("metadata", Value::Null), "metadata: required; write metadata: {name: NAME}"),
        (with("metadata", json!({})), "metadata.name: required; write a name of lower case letters, digits and '-'"),
        (
            with("metadata", json!({"name": 7})),
            "metadata.name: is a number; write a string, in quotes where it looks like a number",
        ),
        (with("metadata", json!({"name": "db", "label": {}})), "metadata.label: unknown field; did you mean labels?"),
        (
            with("metadata", json!({"name": "db", "labels": {"a": 1}})),
            "metadata.labels: is a map; write a map of strings, quoting numbers, true and false",
        ),
        (
            with("metadata", json!({"name": "db", "namespace": "a.b"})),
            "metadata.namespace: write at most 63 lower case letters, digits and '-', no '-' first or last",
        ),
    ] {
        assert_eq!(told(&document), [want], "{document}");
    }
}

#[test]
fn what_a_cluster_adds_passes() {
    let mut document = tcp(json!({"strategy": null, "chain": null}));
    document["metadata"] = json!({"name": "db", "namespace": "shop", "uid": "u", "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": {"a": "b"}, "annotations": {"c": "d"}, "resourceVersion": "7", "finalizers": ["x"]});
    document["status"] = json!({"anything": true});
    assert_eq!(told(&document), [""; 0]);
}

#[test]
fn all_problems_are_told_at_once_and_many_are_counted() {
    let several = tcp(
        json!({"maxFail": 1, "failTimeout": "x", "listen": {"port": 70000}, "gateway": {}, "sidecar": {"name": "shop"}}),
    );
    assert_eq!(told(&several).len(), 4, "{:?}", told(&several));
    let mut many = serde_json::Map::new();
    for number in 0..500 {
        many.insert(format!("unknown{number}"), json!(1));
    }
    let problems = told(&tcp(Value::Object(many)));
    assert_eq!((problems.len(), problems[100].as_str()), (101, "400 more problems"));
}

#[test]
fn no_message_holds_what_may_be_a_secret() {
    const SECRET: &str = "hunter2:hunter2@hunter2";
    for document in [
        tcp(json!({"url": format!("socks5://{SECRET}")})),
        tcp(json!({"scheme": format!("socks5://{SECRET}")})),
        tcp(
            json!({"scheme": SECRET, "strategy": SECRET, "failTimeout": SECRET, "listen": SECRET, "suspend": SECRET, "password": SECRET}),
        ),
        tcp(
            json!({"chain": [{"url": "http://a:1", "credentials": SECRET}, {"url": "http://a:1", "credentials": {"password": SECRET}}]}),
        ),
        tcp(json!({"targets": [{"host": SECRET, "port": SECRET}]})),
    ] {
        let all = told(&document).join("\n");
        assert!(!all.is_empty() && !all.contains("hunter2"), "{all}");
    }
}

#[test]
fn huge_and_odd_values_are_refused_without_panic() {
    let deep = (0..100).fold(json!(1), |inner, _| json!({"spec": inner, "targets": [inner]})["targets"].clone());
    for value in [
        json!(null),
        json!(1e300),
        json!(-1),
        json!(u64::MAX),
        json!([[[]]]),
        json!("x".repeat(100_000)),
        json!({"": {"": null}}),
        deep,
    ] {
        for field in [
            "url", "scheme", "listen", "targets", "maxFails", "chain", "server", "tls", "gateway", "sidecar", "suspend",
        ] {
            let mut document = tcp(json!({}));
            document["spec"][field] = value.clone();
            let _ = told(&document);
        }
        let _ = told(&forward(value.clone()));
        let _ = told(&json!({"apiVersion": value, "kind": value, "metadata": value, "spec": {}}));
        let _ = told(&value);
    }
    assert_eq!(
        told(&forward(json!({"url": "x".repeat(100_000)}))),
        ["spec.url: 100000 characters are too many; write at most 8192"]
    );
}
