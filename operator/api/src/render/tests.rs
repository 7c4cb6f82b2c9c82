//! What becomes of objects: each reason with its message, conflicts, limits, places.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fairlead_config::{HostPort, ReadConfig};
use serde_json::{Value, json};

use super::*;
use crate::NodeRole;

fn object(name: &str, spec: Value) -> PortForward {
    let document =
        json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(document).unwrap()
}

fn tcp(name: &str, port: u16) -> PortForward {
    object(name, json!({"scheme": "tcp", "listen": {"port": port}, "targets": [{"host": "db1", "port": 5432}]}))
}

fn with(more: Value) -> PortForward {
    let mut spec = json!({"scheme": "tcp", "listen": {"port": 5432}, "targets": [{"host": "db1", "port": 5432}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    object("db", spec)
}

fn created(mut object: PortForward, second: i64) -> PortForward {
    let time = k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
    object.metadata.creation_timestamp = Some(time.into());
    object
}

fn refused(rendering: &Rendering, index: usize) -> (AcceptedReason, String) {
    match rendering.verdicts[index].1.clone() {
        Verdict::Refused { reason, message } => (reason, message),
        other @ (Verdict::Accepted { .. } | Verdict::Suspended { .. }) => panic!("not refused: {other:?}"),
    }
}

fn refusal(objects: &[PortForward], place: Place, index: usize) -> (AcceptedReason, String) {
    refused(&render(objects, place), index)
}

fn accepted(rendering: &Rendering) -> Vec<&str> {
    let names = rendering.verdicts.iter().filter(|(_, v)| matches!(v, Verdict::Accepted { .. }));
    names.map(|(key, _)| key.name.as_str()).collect()
}

#[test]
fn the_example_of_the_api_says_what_is_in_force() {
    let url = "tcp://:5432/db1.internal:5432,db2.internal:5432?strategy=fifo&max_fails=2&fail_timeout=10s";
    let mut orders = object("orders-db", json!({"url": url}));
    orders.metadata.namespace = Some("shop".to_owned());
    orders.metadata.uid = Some("u1".to_owned());
    let rendering = render(&[orders], Place::Gateway);
    let [(key, Verdict::Accepted { digest, effective, nodes, warnings })] = rendering.verdicts.as_slice() else {
        panic!("{:?}", rendering.verdicts)
    };
    assert_eq!((key.to_string().as_str(), key.uid.as_str()), ("shop/orders-db", "u1"));
    let shown = json!({"scheme": "tcp", "listen": ":5432", "strategy": "fifo", "maxFails": 2, "failTimeout": "10s", "ttl": "60s"});
    assert_eq!(json!(effective), shown);
    let targets: Vec<_> = nodes.iter().map(|node| (node.role, node.address.as_str())).collect();
    assert_eq!(targets, [(NodeRole::Target, "db1.internal:5432"), (NodeRole::Target, "db2.internal:5432")]);
    assert_eq!(warnings.len(), 0);
    let forward = &rendering.forwards[0];
    assert_eq!((&forward.digest, forward.fail_timeout, forward.ttl), (digest, Some(Duration::from_secs(10)), None));
}

#[test]
fn what_was_not_said_is_not_in_the_configuration() {
    let config = render(&[tcp("db", 5432)], Place::Gateway).config(7);
    let document = serde_json::to_value(&config).unwrap();
    let fields: Vec<_> = document["forwards"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["digest", "key", "listen", "scheme", "targets"]);
    let read = ReadConfig::parse(&config.to_yaml().unwrap()).unwrap();
    assert_eq!((read.revision, read.forwards), (7, config.forwards));
}

#[test]
fn an_empty_listening_address_means_what_the_place_says() {
    for (place, said, want) in [
        (Place::Gateway, json!({"port": 80}), ":80"),
        (Place::CommandLine, json!({"port": 80}), ":80"),
        (Place::Sidecar, json!({"port": 80}), "127.0.0.1:80"),
        (Place::Laptop, json!({"port": 80, "address": ""}), "127.0.0.1:80"),
        (Place::Laptop, json!({"port": 80, "address": "0.0.0.0"}), "0.0.0.0:80"),
        (Place::Sidecar, json!({"port": 80, "address": "::1"}), "[::1]:80"),
    ] {
        let rendering = render(&[with(json!({"listen": said}))], place);
        assert_eq!(rendering.forwards[0].listen.to_string(), want, "{place:?} {said}");
    }
}

#[test]
fn a_service_is_a_name_in_a_cluster_and_a_mistake_outside() {
    let mut object = with(json!({"targets": [{"host": "a", "port": 1}, {"service": {"name": "db2", "port": 5432}}]}));
    object.metadata.namespace = Some("shop".to_owned());
    for place in [Place::Gateway, Place::Sidecar] {
        let forward = &render(std::slice::from_ref(&object), place).forwards[0];
        assert_eq!(forward.targets[1], HostPort::new("db2.shop.svc", 5432));
    }
    for place in [Place::Laptop, Place::CommandLine] {
        let (reason, message) = refusal(std::slice::from_ref(&object), place, 0);
        let want = "spec.targets[1].service: a Service needs a cluster, and this runs outside of one; \
                    write an address it can be reached at, as in {host: db2.example, port: 5432}";
        assert_eq!((reason, message.as_str()), (AcceptedReason::InvalidSpec, want));
    }
}

#[test]
fn a_bad_object_is_refused_with_the_field_and_what_to_write() {
    use AcceptedReason::{InvalidSpec, InvalidURL, UnsupportedValue};
    let url = |url: &str| object("db", json!({"url": url}));
    for (object, reason, parts) in [
        (url("tcp://:5432/db1"), InvalidURL, vec!["spec.url: target 1: \"db1\" has no port: write db1:PORT"]),
        (
            url("tcp://:70000/db1:1?strategy=best&max_fail=2"),
            InvalidURL,
            vec!["70000", "spec.url: option \"strategy\"", "did you mean max_fails?"],
        ),
        (
            url("tcp://:5432"),
            InvalidURL,
            vec!["spec.url: scheme \"tcp\" needs a target", "tcp://:5432/db.example:5432"],
        ),
        (url("tcpp://:1/a:1"), UnsupportedValue, vec!["spec.url: scheme \"tcpp\" is unknown: did you mean tcp?"]),
        (url("tcpp://:1/a"), InvalidURL, vec!["did you mean tcp?", "target 1"]),
        (url("tls://:53/a:53"), UnsupportedValue, vec!["spec.url: scheme \"tls\" is not built yet"]),
        (url("udp://:53/a:53?health_check=1s"), InvalidURL, vec!["\"health_check\"", "answers only datagrams"]),
        (url("udp://:53/a:53?idle_timeout=1s"), InvalidURL, vec!["\"idle_timeout\"", "ttl instead"]),
        (
            with(json!({"scheme": "udp", "healthCheck": {"interval": "1s"}, "hedgeDelay": "1s"})),
            InvalidSpec,
            vec!["spec.healthCheck", "spec.hedgeDelay", "leave it out"],
        ),
        (url("redirect://:1"), UnsupportedValue, vec!["out of Fairlead's scope"]),
        (url("socks5://u:hunter2@:1080"), InvalidSpec, vec!["spec.url: a password does not belong here"]),
        (object("db", json!({})), InvalidSpec, vec!["write exactly one of url and scheme"]),
        (with(json!({"url": "tcp://:1/a:1"})), InvalidSpec, vec!["write exactly one of url and scheme"]),
        (object("db", json!({"url": "tcp://:1/a:1", "maxFails": 2})), InvalidSpec, vec!["spec.maxFails: leave it out"]),
        (with(json!({"listen": {"port": 0}})), InvalidSpec, vec!["spec.listen.port", "1 to 65535"]),
        (with(json!({"listen": {"port": 1, "address": "10.0.0"}})), InvalidSpec, vec!["spec.listen.address:"]),
        (with(json!({"targets": []})), InvalidSpec, vec!["spec.targets: say where the traffic ends"]),
        (with(json!({"targets": [{"host": "a"}]})), InvalidSpec, vec!["spec.targets[0].port"]),
        (with(json!({"targets": [{"host": "a..b", "port": 1}]})), InvalidSpec, vec!["spec.targets[0].host:", "a..b"]),
        (
            with(json!({"failTimeout": "soon", "ttl": "0s"})),
            InvalidSpec,
            vec!["spec.failTimeout:", "spec.ttl: 0s is no"],
        ),
        (with(json!({"healthCheck": {"interval": "0s"}})), InvalidSpec, vec!["spec.healthCheck.interval:"]),
        (with(json!({"maxFails": 1001})), InvalidSpec, vec!["spec.maxFails: 1001 is above 1000"]),
        (
            with(json!({"gateway": {}, "sidecar": {"name": "a"}})),
            InvalidSpec,
            vec!["at most one of gateway and sidecar"],
        ),
        (with(json!({"scheme": "tpc"})), UnsupportedValue, vec!["spec.scheme: scheme \"tpc\" is unknown", "tcp"]),
        (with(json!({"scheme": "kcp"})), UnsupportedValue, vec!["spec.scheme: scheme \"kcp\" is not built yet"]),
        (
            with(json!({"chain": [{"url": "sni://a:1080"}], "tls": {"certificate": {"secretRef": {"name": "a"}}}})),
            InvalidSpec,
            vec!["spec.chain[0].url: hop scheme \"sni\" is not built yet", "spec.tls: is for listeners that encrypt"],
        ),
        (with(json!({"chain": [{"url": "socks5://a"}]})), InvalidURL, vec!["spec.chain[0].url: hop address"]),
    ] {
        let (got, message) = refusal(std::slice::from_ref(&object), Place::Gateway, 0);
        assert_eq!(got, reason, "{message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        assert!(!message.contains("hunter2"));
    }
}

#[test]
fn what_a_plan_would_refuse_is_refused_before_in_both_spellings() {
    use AcceptedReason::{InvalidSpec, InvalidURL};
    let listen = |address: &str| with(json!({"listen": {"port": 80, "address": address}}));
    let check = |interval: &str| with(json!({"healthCheck": {"interval": interval}}));
    let url = |url: &str| object("db", json!({"url": url}));
    let name = "\"edge.example\" is a name; write an IP address of this host, localhost, or nothing";
    let short = "99ms is below 100ms; write a time such as 5s";
    for (object, reason, want) in [
        (listen("edge.example"), InvalidSpec, format!("spec.listen.address: {name}")),
        (url("tcp://edge.example:80/a:1"), InvalidURL, format!("spec.url: listening address: {name}")),
        (check("99ms"), InvalidSpec, format!("spec.healthCheck.interval: {short}")),
        (url("tcp://:80/a:1?health_check=99ms"), InvalidURL, format!("spec.url: option \"health_check\": {short}")),
    ] {
        for place in [Place::Gateway, Place::Sidecar, Place::CommandLine, Place::Laptop] {
            assert_eq!(refusal(std::slice::from_ref(&object), place, 0), (reason, want.clone()));
        }
    }
    for object in [listen("LocalHost"), listen("fe80::1%eth0"), listen(""), check("100ms")] {
        assert_eq!(accepted(&render(&[object], Place::Laptop)), ["db"]);
    }
}

#[test]
fn noise_is_refused_with_one_short_message() {
    for url in ["x".repeat(100_000), "tcp://:1/".to_owned() + &"\u{1b}[31m,".repeat(20_000), "%".repeat(8_000)] {
        let (_, message) = refusal(&[object("db", json!({"url": url}))], Place::Gateway, 0);
        assert!(message.len() < 400 && !message.contains('\u{1b}'), "{message:?}");
        assert_eq!(message.matches("spec.url").count(), 1, "{message:?}");
    }
}

#[test]
fn a_gateway_that_listens_on_loopback_only_is_warned_of() {
    for (place, address, warned) in
        [(Place::Gateway, "127.0.0.1", true), (Place::Gateway, "10.0.0.1", false), (Place::Sidecar, "::1", false)]
    {
        let rendering = render(&[with(json!({"listen": {"address": address, "port": 80}}))], place);
        let Verdict::Accepted { warnings, .. } = &rendering.verdicts[0].1 else { panic!("refused") };
        assert_eq!(warnings.iter().any(|warning| warning.contains("loopback")), warned, "{place:?} {address}");
    }
}

#[test]
fn each_problem_is_named_once() {
    let (_, message) = refusal(&[with(json!({"failTimeout": "soon"}))], Place::Gateway, 0);
    assert_eq!(message.matches("failTimeout").count(), 1, "{message}");
}

#[test]
fn options_without_effect_are_accepted_with_a_warning() {
    let rendering = render(&[object("db", json!({"url": "tcp://:1/a:1?retry=3"}))], Place::CommandLine);
    let Verdict::Accepted { warnings, .. } = &rendering.verdicts[0].1 else { panic!("refused") };
    assert!(warnings[0].contains("\"retry\" has no effect"), "{warnings:?}");
}

#[test]
fn a_suspended_object_is_checked_and_runs_nowhere() {
    let suspended = with(json!({"suspend": true}));
    let rendering = render(&[suspended, tcp("other", 5432)], Place::Gateway);
    assert!(
        matches!(&rendering.verdicts[0].1, Verdict::Suspended { effective, .. } if effective.listen.as_deref() == Some(":5432"))
    );
    assert_eq!(accepted(&rendering), ["other"], "a suspended object holds no listener");
    assert_eq!(rendering.forwards.len(), 1);
    let (reason, _) = refusal(&[with(json!({"suspend": true, "ttl": "0s"}))], Place::Gateway, 0);
    assert_eq!(reason, AcceptedReason::InvalidSpec);
}

#[test]
fn of_two_objects_on_one_port_the_older_wins() {
    let (old, young) = (created(tcp("z-old", 80), 1), created(tcp("a-young", 80), 2));
    for objects in [[old.clone(), young.clone()], [young, old]] {
        let rendering = render(&objects, Place::Gateway);
        assert_eq!(accepted(&rendering), ["z-old"]);
        let index = objects.iter().position(|o| o.metadata.name.as_deref() == Some("a-young")).unwrap();
        let (reason, message) = refusal(&objects, Place::Gateway, index);
        let want = ":80 is taken by default/z-old, which comes first; choose another listen port";
        assert_eq!((reason, message.as_str()), (AcceptedReason::PortConflict, want));
    }
    let undated = [tcp("b", 80), tcp("a", 80), created(tcp("c", 81), 9), tcp("aa", 81)];
    assert_eq!(accepted(&render(&undated, Place::Gateway)), ["a", "c"], "then by name, the undated last");
}

#[test]
fn different_addresses_share_a_port() {
    let on = |name: &str, address: &str| {
        let spec =
            json!({"scheme": "tcp", "listen": {"address": address, "port": 80}, "targets": [{"host": "a", "port": 1}]});
        object(name, spec)
    };
    let rendering = render(&[on("a", "127.0.0.1"), on("b", "127.0.0.2"), on("c", "0.0.0.0")], Place::Laptop);
    assert_eq!(accepted(&rendering), ["a", "b"]);
}

#[test]
fn the_proxys_own_ports_are_taken_in_a_cluster_only() {
    for (place, free) in
        [(Place::Gateway, false), (Place::Sidecar, false), (Place::Laptop, true), (Place::CommandLine, true)]
    {
        let objects = [tcp("a", 19443), tcp("b", 19444)];
        assert_eq!(accepted(&render(&objects, place)).is_empty(), !free, "{place:?}");
        if !free {
            let (reason, message) = refusal(&objects, place, 1);
            assert_eq!(reason, AcceptedReason::PortConflict);
            assert_eq!(message, "port 19444 is the proxy's own; choose another listen port");
        }
    }
}

#[test]
fn a_name_stands_for_one_object() {
    let objects = [tcp("a", 1), tcp("a", 2)];
    let (reason, message) = refusal(&objects, Place::Laptop, 1);
    assert_eq!(reason, AcceptedReason::NameTaken);
    assert!(message.contains("default/a"), "{message}");
}

#[test]
fn a_full_proxy_refuses_the_youngest() {
    let many: Vec<_> = (0_u16..501).map(|n| created(tcp(&format!("f{n}"), 1000 + n), i64::from(501 - n))).collect();
    let rendering = render(&many, Place::Gateway);
    let (reason, message) = refused(&rendering, 0);
    assert_eq!(reason, AcceptedReason::GatewayFull);
    assert!(message.contains("500 forwards"), "{message}");
    assert_eq!(rendering.forwards.len(), 500);
}

#[test]
fn a_configuration_stays_within_its_size() {
    let long = format!("{}.example", ["x"; 3].map(|x| x.repeat(60)).join("."));
    let targets = vec![format!("{long}:5432"); 40].join(",");
    let wide = |n: i64| created(object(&format!("f{n}"), json!({"url": format!("tcp://:{}/{targets}", 1000 + n)})), n);
    let many: Vec<_> = (0..120).map(wide).collect();
    let rendering = render(&many, Place::Gateway);
    let (reason, message) = refused(&rendering, 119);
    assert_eq!(reason, AcceptedReason::GatewayFull);
    assert!(message.contains("900 KiB"), "{message}");
    let size = rendering.config(u64::MAX).to_yaml().unwrap().len();
    assert!((800 * 1024..=900 * 1024).contains(&size), "{size}");
}

#[test]
fn the_digest_marks_the_content_and_nothing_else() {
    let digest = |object: PortForward| render(&[object], Place::Gateway).forwards[0].digest.clone();
    let plain = digest(tcp("db", 5432));
    assert_eq!(plain, digest(created(tcp("db", 5432), 7)));
    assert_eq!(plain, digest(object("db", json!({"url": "tcp://:5432/db1:5432"}))));
    assert_ne!(plain, digest(tcp("db", 5433)));
    assert_ne!(plain, digest(with(json!({"maxFails": 1}))));
    assert_eq!(plain, "9ac1c32eecf54429", "an operator's upgrade must not make every forward look unacknowledged");
}

#[test]
fn the_order_of_the_objects_changes_nothing() {
    let objects = [tcp("b", 1), tcp("a", 2)];
    let reversed = [objects[1].clone(), objects[0].clone()];
    assert_eq!(render(&objects, Place::Gateway).forwards, render(&reversed, Place::Gateway).forwards);
}
