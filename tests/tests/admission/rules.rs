//! Every CEL rule: one PortForward it takes and one it refuses, judged by the API server, by the offline check and by
//! `fairlead check`, which must say the same of the same field. The CRD says which rules there are.

use std::{collections::BTreeSet, fs};

use fairlead_tests::{
    binary::finish,
    cluster::{ControlPlane, TempNamespace},
};
use serde_json::{Value, json};

use crate::documents::{Complaint, changed, offline_says, schema, server_says};

/// A rule of the CRD.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    /// The schema it stands at, as `spec.targets[]`.
    at: String,
    message: String,
    /// The field it complains about, as `spec.targets[0].port`; empty for the object as a whole.
    field: String,
}

/// Where a rule stands, words that only its message has there, and what changes a plain PortForward into one that the
/// rule takes and one that it refuses.
struct Row(&'static str, &'static str, Value, Value);

fn rules(at: &str, schema: &Value, found: &mut BTreeSet<Rule>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str().expect("a message").to_owned();
        let field = format!("{}{}", at.replace("[]", "[0]"), rule["fieldPath"].as_str().unwrap_or_default());
        found.insert(Rule { at: at.to_owned(), message, field });
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        rules(&at, inner, found);
    }
    if let Some(items) = schema.get("items") {
        rules(&format!("{at}[]"), items, found);
    }
}

fn spec(fields: Value) -> Value {
    json!({"spec": fields})
}

/// A url stands for the plain PortForward's scheme, listen and targets.
fn url(url: &str, mut fields: Value) -> Value {
    for field in ["scheme", "listen", "targets"] {
        if fields.get(field).is_none() {
            fields[field] = Value::Null;
        }
    }
    fields["url"] = url.into();
    spec(fields)
}

fn hop(hop: Value) -> Value {
    spec(json!({"chain": [hop]}))
}

fn target(target: Value) -> Value {
    spec(json!({"targets": [target]}))
}

fn server(server: Value) -> Value {
    spec(json!({"scheme": "socks5", "targets": null, "server": server}))
}

fn named(name: &str) -> Value {
    json!({"secretRef": {"name": name}})
}

/// A reference to a Secret or ConfigMap: its path below the spec, and the change that writes a name there.
fn reference(at: &'static str, change: impl Fn(&str) -> Value) -> Row {
    Row(at, "an object's name", change("logins.v2"), change("../logins"))
}

fn key(at: &'static str, change: impl Fn(&str) -> Value) -> Row {
    Row(at, "a key of the ConfigMap", change("a_file.txt"), change("..data"))
}

const URL: &str = "tcp://:5432/db1:5432";
const HOP_URL: &str = "socks5://bastion:1080";

fn rows() -> Vec<Row> {
    let mut all = vec![
        Row("", "metadata.name", json!({"metadata": {"name": "a-2"}}), json!({"metadata": {"name": "2-a"}})),
        Row(
            "spec",
            "exactly one of url and scheme",
            url(URL, json!({})),
            spec(json!({"scheme": null, "listen": null})),
        ),
        Row("spec", "listen: needed with scheme", spec(json!({})), spec(json!({"listen": null}))),
    ];
    all.extend(together());
    all.extend(excluded_by_the_url());
    all.extend(addresses());
    all.extend(hops());
    all.extend(servers());
    all.extend(references());
    all
}

fn together() -> Vec<Row> {
    let chain = || json!([{"url": HOP_URL}]);
    vec![
        Row(
            "spec",
            "listen.port: write 1 to 65535",
            spec(json!({"scheme": "rtcp", "listen": {"port": 0}, "chain": chain()})),
            spec(json!({"listen": {"port": 0}})),
        ),
        Row(
            "spec",
            "chain: rtcp",
            spec(json!({"scheme": "rudp", "chain": chain()})),
            url("rtcp://:22/db1:22", json!({})),
        ),
        Row("spec", "targets: say", spec(json!({"targets": null, "chain": chain()})), spec(json!({"targets": []}))),
        Row("spec", "server: only", server(json!({"anonymous": true})), spec(json!({"server": {}}))),
        Row(
            "spec",
            "gateway and sidecar",
            spec(json!({"gateway": {}})),
            spec(json!({"gateway": {}, "sidecar": {"name": "shop"}})),
        ),
        Row(
            "spec",
            "url: a password",
            url("socks5://me@:1080", json!({})),
            url("socks5://me:hunter2@:1080", json!({})),
        ),
        Row(
            "spec.gateway",
            "gateway.replicas",
            spec(json!({"gateway": {"replicas": 2}})),
            spec(json!({"gateway": {"name": "edge", "replicas": 2}})),
        ),
        Row(
            "spec.gateway.name",
            "gateway.name",
            spec(json!({"gateway": {"name": "edge"}})),
            spec(json!({"gateway": {"name": "other/edge"}})),
        ),
        Row(
            "spec.sidecar.name",
            "sidecar.name",
            spec(json!({"sidecar": {"name": "shop"}})),
            spec(json!({"sidecar": {"name": "Shop"}})),
        ),
    ]
}

fn excluded_by_the_url() -> Vec<Row> {
    let of_spec = [
        ("listen: leave", "listen", json!({"port": 5432})),
        ("targets: leave", "targets", json!([{"host": "db1", "port": 5432}])),
        ("strategy: ", "strategy", json!("fifo")),
        ("maxFails: ", "maxFails", json!(2)),
        ("failTimeout: ", "failTimeout", json!("10s")),
        ("ttl: ", "ttl", json!("60s")),
        ("dialTimeout: ", "dialTimeout", json!("5s")),
        ("hedgeDelay: ", "hedgeDelay", json!("0s")),
        ("idleTimeout: ", "idleTimeout", json!("1m")),
        ("maxConnections: ", "maxConnections", json!(10)),
    ];
    let of_hop = [
        ("nodes: leave", "nodes", json!([{"host": "a", "port": 1}])),
        ("strategy: ", "strategy", json!("fifo")),
        ("maxFails: ", "maxFails", json!(2)),
        ("failTimeout: ", "failTimeout", json!("10s")),
        ("dialTimeout: ", "dialTimeout", json!("5s")),
        ("socks5: ", "socks5", json!({"mbind": true})),
    ];
    let of_spec = of_spec
        .into_iter()
        .map(|(words, field, value)| Row("spec", words, spec(json!({field: value})), url(URL, json!({field: value}))));
    let of_hop = of_hop.into_iter().map(|(words, field, value)| {
        let mut by_scheme = json!({"scheme": "socks5", "nodes": [{"host": "a", "port": 1}]});
        by_scheme[field] = value.clone();
        Row("spec.chain[]", words, hop(by_scheme), hop(json!({"url": HOP_URL, field: value})))
    });
    of_spec.chain(of_hop).collect()
}

fn addresses() -> Vec<Row> {
    let service = |name: &str| target(json!({"service": {"name": name, "port": 5432}}));
    let host = |host: &str| target(json!({"host": host, "port": 5432}));
    let listen = |address: &str| spec(json!({"listen": {"address": address, "port": 5432}}));
    let node = |host: &str| hop(json!({"scheme": "http", "nodes": [{"host": host, "port": 80}]}));
    vec![
        Row("spec.targets[]", "host (with port) and service", service("db2"), target(json!({}))),
        Row("spec.targets[]", "port: write it with host", host("db1"), target(json!({"host": "db1"}))),
        Row("spec.targets[].service.name", "service.name", service("db2"), service("db2.shop.svc")),
        Row("spec.targets[].host", "host: ", host("fe80::1%eth0"), host("db1:5432")),
        Row("spec.listen.address", "listen.address", listen(""), listen("[::1]")),
        Row("spec.chain[].nodes[].host", "host: ", node("10.0.0.1"), node("http://proxy")),
    ]
}

fn hops() -> Vec<Row> {
    let tls = |name: &str| hop(json!({"url": "http+tls://proxy:443", "tls": {"serverName": name}}));
    vec![
        Row("spec.chain[]", "url and scheme for each hop", hop(json!({"url": HOP_URL})), hop(json!({}))),
        Row(
            "spec.chain[]",
            "nodes: needed",
            hop(json!({"scheme": "http", "nodes": [{"host": "a", "port": 1}]})),
            hop(json!({"scheme": "http"})),
        ),
        Row(
            "spec.chain[]",
            "url: a password",
            hop(json!({"url": "ss://chacha20@proxy:8338"})),
            hop(json!({"url": "http://proxy:80?auth=aHVudGVyMg"})),
        ),
        Row("spec.chain[].tls.serverName", "tls.serverName", tls("a.example"), tls("https://a.example")),
    ]
}

fn servers() -> Vec<Row> {
    let networks = |network: &str| server(json!({"allowTargets": [network]}));
    let ports = |ports: &str| server(json!({"allowBind": [ports]}));
    vec![
        Row("spec.server.allowTargets", "server.allowTargets", networks("fd00::/8"), networks("10.0.0.1")),
        Row("spec.server.allowBind", "ranges of them", ports("8080"), ports("http")),
        Row("spec.server.allowBind", "the lower end", ports("1024-65535"), ports("2000-1000")),
    ]
}

fn references() -> Vec<Row> {
    let ssh = |map: Value| hop(json!({"url": "ssh://far:22", "ssh": {"knownHosts": {"configMapRef": map}}}));
    let ca = |map: Value| hop(json!({"url": "http+tls://far:443", "tls": {"ca": {"configMapRef": map}}}));
    let shown = |name: &str| hop(json!({"url": "http+mtls://far:443", "tls": {"certificate": named(name)}}));
    vec![
        reference("spec.tls.certificate.secretRef.name", |name| spec(json!({"tls": {"certificate": named(name)}}))),
        reference("spec.server.users.secretRef.name", |name| server(json!({"users": named(name)}))),
        reference("spec.server.hostKey.secretRef.name", |name| server(json!({"hostKey": named(name)}))),
        reference("spec.chain[].credentials.secretRef.name", |name| {
            hop(json!({"url": HOP_URL, "credentials": named(name)}))
        }),
        reference("spec.chain[].tls.certificate.secretRef.name", shown),
        reference("spec.chain[].tls.ca.configMapRef.name", |name| ca(json!({"name": name}))),
        key("spec.chain[].tls.ca.configMapRef.key", |key| ca(json!({"name": "ca", "key": key}))),
        reference("spec.chain[].ssh.knownHosts.configMapRef.name", |name| ssh(json!({"name": name}))),
        key("spec.chain[].ssh.knownHosts.configMapRef.key", |key| ssh(json!({"name": "hosts", "key": key}))),
    ]
}

/// Each rule of the CRD with the one row that is its own.
fn cases() -> Vec<(Rule, Row)> {
    let mut found = BTreeSet::new();
    rules("", &schema(), &mut found);
    let mut rows = rows();
    let cases = found.into_iter().map(|rule| {
        let is_own = |row: &Row| row.0 == rule.at && rule.message.contains(row.1);
        let own = rows.iter().position(is_own).unwrap_or_else(|| panic!("no row for {rule:?}"));
        (rule, rows.remove(own))
    });
    let cases: Vec<_> = cases.collect();
    assert!(rows.is_empty(), "rows without a rule: {:?}", rows.iter().map(|row| (row.0, row.1)).collect::<Vec<_>>());
    cases
}

/// The offline messages leave out the field that the message itself names, where it stands before it anyway.
fn offline_field(rule: &Rule) -> &str {
    if rule.at.is_empty() { "metadata.name" } else { &rule.field }
}

fn without_field(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(_, told)| told)
}

fn judge(namespace: &TempNamespace, rule: &Rule, row: &Row) {
    let taken = changed(&row.2);
    assert_eq!(server_says(namespace, &taken), [], "{rule:?}: {taken}");
    assert_eq!(offline_says(&taken), [], "{rule:?}: {taken}");
    let refused = changed(&row.3);
    let server = server_says(namespace, &refused);
    let [Complaint { field, message }] = server.as_slice() else { panic!("{rule:?}: {refused}: {server:?}") };
    assert!(message.contains(&rule.message), "{rule:?}: {refused}: {message}");
    // API servers take no field path into metadata.
    assert_eq!(field, &rule.field, "{rule:?}: {refused}");
    let offline = offline_says(&refused);
    let [Complaint { field, message }] = offline.as_slice() else { panic!("{rule:?}: {refused}: {offline:?}") };
    assert!([rule.message.as_str(), without_field(&rule.message)].contains(&message.as_str()), "{rule:?}: {message}");
    assert_eq!(field, offline_field(rule), "{rule:?}: {refused}");
}

#[test]
fn each_rule_takes_one_object_and_refuses_another_with_its_message() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let cases = cases();
    cases.iter().for_each(|(rule, row)| judge(&namespace, rule, row));
    assert!(cases.len() > 40, "{}", cases.len());
}

#[test]
fn the_command_says_what_the_api_server_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let cases = cases();
    for (index, (_, row)) in cases.iter().enumerate() {
        let file = directory.path().join(format!("{index:03}.json"));
        fs::write(file, changed(&row.3).to_string()).expect("write a manifest");
    }
    let checked = finish(&["check", directory.path().to_str().expect("UTF-8")]);
    assert_ne!(checked.code, 0);
    for (index, (rule, _)) in cases.iter().enumerate() {
        let file = format!("{index:03}.json");
        let told: Vec<&str> = checked.stderr.lines().filter(|line| line.contains(&file)).collect();
        let want = format!("{}: ", offline_field(rule));
        let is_told = |line: &&str| line.contains(&want) && line.contains(without_field(&rule.message));
        assert!(told.iter().any(is_told), "{rule:?}: {told:?}\n{}", checked.stderr);
    }
}
