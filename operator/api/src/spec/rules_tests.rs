//! One accepted and one refused PortForward for every rule of the CRD, with the message, without an API server.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::schema::check;

/// What a spec, or its name, changes in a plain one, and the problem that comes of it; `""` for none.
type Row = (&'static str, Value, &'static str);

fn problems(change: &Value) -> Vec<String> {
    let mut document = json!({
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": "db"},
        "spec": {"scheme": "tcp", "listen": {"port": 5432}, "targets": [{"host": "db1", "port": 5432}]},
    });
    merge(&mut document, change);
    check(&document).iter().map(ToString::to_string).collect()
}

/// JSON merge patch (RFC 7396).
fn merge(into: &mut Value, patch: &Value) {
    let (Some(target), Some(changes)) = (into.as_object_mut(), patch.as_object()) else {
        *into = patch.clone();
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            target.remove(key);
        } else {
            merge(
                target.entry(key).or_insert_with(|| if change.is_object() { json!({}) } else { Value::Null }),
                change,
            );
        }
    }
}

fn url(url: &str, more: Value) -> Value {
    let mut change = json!({"spec": {"scheme": null, "listen": null, "targets": null, "url": url}});
    for (key, value) in more.as_object().into_iter().flatten() {
        change["spec"][key] = value.clone();
    }
    change
}

fn hop(hop: Value) -> Value {
    json!({"spec": {"chain": [hop]}})
}

fn target(target: Value) -> Value {
    json!({"spec": {"targets": [target]}})
}

fn server(server: Value) -> Value {
    json!({"spec": {"scheme": "socks5", "targets": null, "server": server}})
}

const NAME: &str = "write at most 50 lower case letters, digits and '-', a letter first and no '-' last";
const URL: &str = "tcp://:5432/db1:5432";

fn check_rows(rows: Vec<Row>) {
    for (what, change, want) in rows {
        let want: Vec<&str> = if want.is_empty() { vec![] } else { vec![want] };
        assert_eq!(problems(&change), want, "{what}: {change}");
    }
}

#[test]
fn names_are_short_labels() {
    let refused = |field: &str| -> &'static str { format!("{field}: {NAME}").leak() };
    check_rows(vec![
        ("a name", json!({"metadata": {"name": "orders-db-2"}}), ""),
        ("50 characters", json!({"metadata": {"name": "a".repeat(50)}}), ""),
        ("51 characters", json!({"metadata": {"name": "a".repeat(51)}}), refused("metadata.name")),
        ("a digit first", json!({"metadata": {"name": "2db"}}), refused("metadata.name")),
        ("a dot", json!({"metadata": {"name": "orders.db"}}), refused("metadata.name")),
        ("a gateway", json!({"spec": {"gateway": {"name": "edge"}}}), ""),
        ("a gateway's slash", json!({"spec": {"gateway": {"name": "ns/edge"}}}), refused("spec.gateway.name")),
        ("a sidecar", json!({"spec": {"sidecar": {"name": "shop"}}}), ""),
        ("a sidecar's capital", json!({"spec": {"sidecar": {"name": "Shop"}}}), refused("spec.sidecar.name")),
    ]);
}

#[test]
fn exactly_one_of_url_and_scheme() {
    const EITHER: &str = "spec: write exactly one of url and scheme";
    check_rows(vec![
        ("a url", url(URL, json!({})), ""),
        ("a scheme", json!({}), ""),
        ("neither", json!({"spec": {"scheme": null, "listen": null, "targets": null}}), EITHER),
    ]);
    let both = problems(&url(URL, json!({"scheme": "tcp"})));
    assert!(both.contains(&EITHER.to_owned()), "{both:?}");
}

#[test]
fn a_url_excludes_what_it_says_itself() {
    let excluded = [
        ("listen", json!({"port": 5432})),
        ("targets", json!([{"host": "db1", "port": 5432}])),
        ("strategy", json!("fifo")),
        ("maxFails", json!(2)),
        ("failTimeout", json!("10s")),
        ("ttl", json!("60s")),
        ("dialTimeout", json!("5s")),
        ("hedgeDelay", json!("0s")),
        ("idleTimeout", json!("1m")),
        ("maxConnections", json!(10)),
    ];
    for (field, value) in excluded {
        let want =
            format!("spec.{field}: leave it out, the url says it; or write scheme and fields instead of the url");
        assert_eq!(problems(&url(URL, json!({field: value.clone()}))), [want]);
        assert_eq!(problems(&json!({"spec": {field: value}})), [""; 0], "{field} beside a scheme");
    }
    let beside = json!({"healthCheck": {"interval": "5s"}, "suspend": true, "gateway": {"replicas": 2},
        "tls": {"certificate": {"secretRef": {"name": "shop-tls"}}}, "chain": [{"url": "socks5://bastion:1080?mbind=true"}]});
    assert_eq!(problems(&url(URL, beside)), [""; 0]);
}

#[test]
fn what_belongs_together_is_written_together() {
    const FAR: &str =
        "spec.chain: rtcp and rudp listen at the far end of a chain; name its hops, or write tcp or udp to listen here";
    const TARGETS: &str = "spec.targets: say where the traffic ends; write targets: [{host: db.example, port: 5432}]";
    let chain = || json!([{"scheme": "socks5", "nodes": [{"host": "bastion", "port": 1080}]}]);
    check_rows(vec![
        ("no listen", json!({"spec": {"listen": null}}), "spec.listen: needed with scheme; write listen: {port: 5432}"),
        (
            "port 0",
            json!({"spec": {"listen": {"port": 0}}}),
            "spec.listen.port: write 1 to 65535; 0 (the far end chooses) is for rtcp and rudp only",
        ),
        ("port 0 far away", json!({"spec": {"scheme": "rtcp", "listen": {"port": 0}, "chain": chain()}}), ""),
        ("rudp", json!({"spec": {"scheme": "rudp", "chain": chain()}}), ""),
        ("rudp without a chain", json!({"spec": {"scheme": "rudp"}}), FAR),
        ("rtcp url without a chain", url("rtcp://:2222/db1:22", json!({})), FAR),
        ("rtcp url", url("rtcp://:2222/db1:22", json!({"chain": chain()})), ""),
        ("no targets", json!({"spec": {"targets": null}}), TARGETS),
        ("targets left empty", json!({"spec": {"targets": []}}), TARGETS),
        (
            "the hop knows the target",
            json!({"spec": {"targets": null, "chain": [{"url": "forward+kcp://far:8388"}]}}),
            "",
        ),
        ("a server", json!({"spec": {"scheme": "socks5+tls", "targets": null}}), ""),
        (
            "gateway and sidecar",
            json!({"spec": {"gateway": {}, "sidecar": {"name": "shop"}}}),
            "spec.sidecar: write at most one of gateway and sidecar",
        ),
        ("own replicas", json!({"spec": {"gateway": {"replicas": 2}}}), ""),
        (
            "shared replicas",
            json!({"spec": {"gateway": {"name": "edge", "replicas": 2}}}),
            "spec.gateway.replicas: leave it out with gateway.name; a shared gateway takes its number from the installation",
        ),
    ]);
}

#[test]
fn a_target_is_a_host_with_a_port_or_a_service() {
    const ONE: &str = "spec.targets[0]: write exactly one of host (with port) and service";
    const PORT: &str = "spec.targets[0].port: write it with host and only there; a service has a port of its own: {service: {name: db, port: 5432}}";
    const SERVICE: &str = "spec.targets[0].service.name: write the name of a Service in this namespace: lower case letters, digits and '-', without a domain";
    check_rows(vec![
        ("a service", target(json!({"service": {"name": "db2", "port": 5432}})), ""),
        ("both", target(json!({"host": "db1", "port": 1, "service": {"name": "db2", "port": 5432}})), ONE),
        ("neither", target(json!({})), ONE),
        ("no port", target(json!({"host": "db1"})), PORT),
        ("two ports", target(json!({"port": 1, "service": {"name": "db2", "port": 5432}})), PORT),
        ("a service's domain", target(json!({"service": {"name": "db2.shop.svc", "port": 5432}})), SERVICE),
    ]);
}

#[test]
fn a_host_is_a_plain_name_or_address() {
    const HOST: &str = "spec.targets[0].host: write a host name or an IP address, without brackets and without a port, which goes into port";
    let host = |host: &str| target(json!({"host": host, "port": 1}));
    for good in ["db1", "db1.internal.", "DB_1", "10.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"] {
        assert_eq!(problems(&host(good)), [""; 0], "{good}");
    }
    for bad in ["db1:5432", "[::1]", "db 1", "-db", "db/1", "tcp://db1", "a,b", "user@db"] {
        assert_eq!(problems(&host(bad)), [HOST], "{bad}");
    }
    const LISTEN: &str = "spec.listen.address: write an IP address or a host name, without brackets and without a port, or leave it out for the default";
    const SERVER: &str =
        "spec.chain[0].tls.serverName: write the host name or IP address in the hop's certificate, without a port";
    let named = |name: &str| hop(json!({"url": "http+tls://proxy:443", "tls": {"serverName": name}}));
    check_rows(vec![
        ("listen everywhere", json!({"spec": {"listen": {"address": ""}}}), ""),
        ("listen here", json!({"spec": {"listen": {"address": "127.0.0.1"}}}), ""),
        ("listen with a port", json!({"spec": {"listen": {"address": "127.0.0.1:80"}}}), LISTEN),
        ("a certificate's name", named("a.example"), ""),
        ("a certificate's url", named("https://a.example"), SERVER),
        (
            "a hop's bracket",
            hop(json!({"scheme": "http", "nodes": [{"host": "[::1]", "port": 1}]})),
            HOST.replace("targets[0]", "chain[0].nodes[0]").leak(),
        ),
    ]);
}

#[test]
fn a_hop_is_a_url_or_a_scheme_with_nodes() {
    const EITHER: &str = "spec.chain[0]: write exactly one of url and scheme for each hop";
    check_rows(vec![
        (
            "a url",
            hop(
                json!({"url": "socks5://bastion:1080", "credentials": {"secretRef": {"name": "bastion"}}, "ssh": {}, "tls": {}}),
            ),
            "",
        ),
        ("neither", hop(json!({})), EITHER),
        (
            "no nodes",
            hop(json!({"scheme": "http"})),
            "spec.chain[0].nodes: needed with scheme; write nodes: [{host: proxy.example, port: 1080}]",
        ),
        (
            "a group",
            hop(
                json!({"scheme": "http", "nodes": [{"host": "a", "port": 1}, {"host": "b", "port": 2}], "strategy": "fifo"}),
            ),
            "",
        ),
    ]);
    let both = problems(&hop(json!({"url": "http://a:1", "scheme": "http"})));
    assert!(both.contains(&EITHER.to_owned()), "{both:?}");
    let excluded = [
        ("nodes", json!([{"host": "a", "port": 1}])),
        ("strategy", json!("fifo")),
        ("maxFails", json!(2)),
        ("failTimeout", json!("10s")),
        ("socks5", json!({"mbind": true})),
    ];
    for (field, value) in excluded {
        let want = format!(
            "spec.chain[0].{field}: leave it out, the hop's url says it; or write scheme and nodes instead of the url"
        );
        assert_eq!(problems(&hop(json!({"url": "socks5://bastion:1080", field: value}))), [want]);
    }
}

#[test]
fn no_url_holds_a_password() {
    const REFUSED: &str = "url: a password does not belong here; put it into a Secret and name it in credentials";
    for good in [
        URL,
        "ss://chacha20@:8338",
        "socks5://user@bastion:1080",
        "tcp://[::1]:22/[::2]:22",
        "tcp://:5432/a:1,b:2?x=a@b",
        "auto://:80?authority=x",
    ] {
        assert_eq!(problems(&url(good, json!({}))), [""; 0], "{good}");
        assert_eq!(problems(&hop(json!({"url": good}))), [""; 0], "{good}");
    }
    for bad in [
        "socks5://user:hunter2@bastion:1080",
        "user:hunter2@bastion:1080",
        "socks5://:hunter2@bastion:1080",
        "ss://chacha20:hunter2@:8338",
        "socks5://user:hun/ter2@bastion:1080",
        "http://bastion:80?auth=dXNlcjpodW50ZXIy",
        "http://bastion:80?a=b&auth=dXNlcjpodW50ZXIy",
    ] {
        assert_eq!(problems(&url(bad, json!({}))), [format!("spec.{REFUSED}")], "{bad}");
        assert_eq!(problems(&hop(json!({"url": bad}))), [format!("spec.chain[0].{REFUSED}")], "{bad}");
    }
}

#[test]
fn references_are_names_in_the_same_namespace() {
    let secret = |name: &str| hop(json!({"url": "http://a:1", "credentials": {"secretRef": {"name": name}}}));
    let map = |name: &str, key: &str| {
        hop(json!({"url": "ssh://a:1", "ssh": {"knownHosts": {"configMapRef": {"name": name, "key": key}}}}))
    };
    const FORM: &str = "write an object's name: lower case letters, digits, '-' and '.', no slash and no '..'";
    const KEY: &str = "spec.chain[0].ssh.knownHosts.configMapRef.key: write a key of the ConfigMap: letters, digits, '-', '_' and '.', no slash and no leading '..'";
    check_rows(vec![
        ("a dotted name", secret("bastion.v2"), ""),
        ("a known_hosts file", map("known-hosts", "known_hosts"), ""),
        ("a path for a key", map("hosts", "a/b"), KEY),
        ("a parent for a key", map("hosts", ".."), KEY),
    ]);
    for bad in ["../bastion", "a..b", "a/b", "Bastion", ".a", "a_b"] {
        assert_eq!(problems(&secret(bad)), [format!("spec.chain[0].credentials.secretRef.name: {FORM}")], "{bad}");
        assert_eq!(
            problems(&map(bad, "k")),
            [format!("spec.chain[0].ssh.knownHosts.configMapRef.name: {FORM}")],
            "{bad}"
        );
    }
}

#[test]
fn server_settings_need_a_server_and_have_a_form() {
    const ONLY: &str =
        "spec.server: only for a server scheme such as socks5, http, ss or forward+ssh; leave it out for a forward";
    const NETWORKS: &str =
        "spec.server.allowTargets: write networks in CIDR notation, such as 10.0.0.0/8, 10.1.2.3/32 or fd00::/8";
    const FORM: &str =
        "spec.server.allowBind: write ports from 1 to 65535 or ranges of them, such as \"8080\" or \"1024-65535\"";
    const ORDER: &str =
        "spec.server.allowBind: write ports from 1 to 65535, the lower end of a range first, such as \"1024-65535\"";
    check_rows(vec![
        (
            "networks",
            server(
                json!({"allowTargets": ["10.0.0.0/8", "fd00::/8"], "allowBind": ["8080", "1024-65535"], "anonymous": true}),
            ),
            "",
        ),
        ("an address", server(json!({"allowTargets": ["10.0.0.1"]})), NETWORKS),
        ("a word", server(json!({"allowBind": ["http"]})), FORM),
        ("too high", server(json!({"allowBind": ["70000"]})), ORDER),
        ("backwards", server(json!({"allowBind": ["2000-1000"]})), ORDER),
        ("zero", server(json!({"allowBind": ["0-1000"]})), ORDER),
        ("a forward", json!({"spec": {"server": {"anonymous": true}}}), ONLY),
        ("a forward's url", url(URL, json!({"server": {}})), ONLY),
        ("a server's url", url("socks5+tls://:1080", json!({"server": {"anonymous": true}})), ""),
        ("a tunnel", json!({"spec": {"scheme": "kcp", "server": {}}}), ONLY),
    ]);
}

/// Every rule's message stands in this file, so that no rule goes without a row.
#[test]
fn every_rule_has_a_row() {
    fn messages(schema: &Value, found: &mut BTreeSet<String>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            found.insert(rule["message"].as_str().unwrap().to_owned());
        }
        for inner in
            schema["properties"].as_object().into_iter().flatten().map(|(_, inner)| inner).chain(schema.get("items"))
        {
            messages(inner, found);
        }
    }
    let crd = serde_json::to_value(crate::crd()).unwrap();
    let mut found = BTreeSet::new();
    messages(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
    let rows = include_str!("rules_tests.rs").replace("\\\"", "\"");
    for message in &found {
        let told = message.split_once(": ").map_or(message.as_str(), |(_, told)| told);
        assert!(rows.contains(told), "no row for: {message}");
    }
    assert!(found.len() > 30, "{}", found.len());
}
