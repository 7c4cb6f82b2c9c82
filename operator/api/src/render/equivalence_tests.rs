//! Whatever can be said as a URL can be said in fields, and means the same: the option table is walked row by row.
#![allow(clippy::unwrap_used)]

use fairlead_config::{
    Forward,
    url::{OPTIONS, Use},
};
use serde_json::{Value, json};

use super::{Place, render};
use crate::PortForward;

/// An option of a plain forward, a value, and the same in fields.
const SAMPLES: &[(&str, &str, &str)] = &[
    ("ip", "b:2,c:3", r#"{"targets": [{"host": "a", "port": 1}, {"host": "b", "port": 2}, {"host": "c", "port": 3}]}"#),
    ("strategy", "fifo", r#"{"strategy": "fifo"}"#),
    ("max_fails", "3", r#"{"maxFails": 3}"#),
    ("max_fails", "-1", r#"{"maxFails": 0}"#),
    ("fail_timeout", "90", r#"{"failTimeout": "1m30s"}"#),
    ("ttl", "5m", r#"{"ttl": "300s"}"#),
    ("timeout", "2s", r#"{"dialTimeout": "2s"}"#),
    ("hedge_delay", "0s", r#"{"hedgeDelay": "0s"}"#),
    ("hedge_delay", "500ms", r#"{"hedgeDelay": "500ms"}"#),
    ("idle_timeout", "1h", r#"{"idleTimeout": "1h"}"#),
    ("max_connections", "7", r#"{"maxConnections": 7}"#),
    ("health_check", "5s", r#"{"healthCheck": {"interval": "5s"}}"#),
    ("health_timeout", "2s&health_check=9s", r#"{"healthCheck": {"interval": "9s", "timeout": "2s"}}"#),
];

fn forward(spec: &Value, place: Place) -> Forward {
    let document =
        json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": "a"}, "spec": spec});
    let object: PortForward = serde_json::from_value(document).unwrap();
    let rendering = render(&[object], place);
    assert_eq!(rendering.forwards.len(), 1, "{spec}: {:?}", rendering.verdicts);
    rendering.forwards[0].clone()
}

fn fields(more: &str) -> Value {
    let mut spec = json!({"scheme": "tcp", "listen": {"port": 80}, "targets": [{"host": "a", "port": 1}]});
    for (key, value) in serde_json::from_str::<Value>(more).unwrap().as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

#[test]
fn both_spellings_of_every_option_give_the_same_forward() {
    for (name, value, same) in SAMPLES {
        for place in [Place::Gateway, Place::Sidecar, Place::CommandLine, Place::Laptop] {
            let url = format!("tcp://:80/a:1?{name}={value}");
            assert_eq!(forward(&json!({"url": url}), place), forward(&fields(same), place), "{url}");
        }
        assert_ne!(
            forward(&fields(same), Place::Gateway),
            forward(&fields("{}"), Place::Gateway),
            "{name} says nothing"
        );
    }
}

#[test]
fn both_spellings_of_addresses_give_the_same_forward() {
    for (url, more) in [
        ("tcp://:80/a:1", "{}"),
        ("tcp+tcp://:80/a:1", "{}"),
        ("tcp://127.0.0.1:80/a:1", r#"{"listen": {"address": "127.0.0.1", "port": 80}}"#),
        ("tcp://[::1]:80/a:1", r#"{"listen": {"address": "::1", "port": 80}}"#),
        (
            "tcp://:80/[::1]:22,10.0.0.1:22",
            r#"{"targets": [{"host": "::1", "port": 22}, {"host": "10.0.0.1", "port": 22}]}"#,
        ),
        ("tcp://:80/a:1,a:1", r#"{"targets": [{"host": "a", "port": 1}, {"host": "a", "port": 1}]}"#),
        ("tcp://:80/:22", r#"{"targets": [{"host": "localhost", "port": 22}]}"#),
    ] {
        assert_eq!(forward(&json!({"url": url}), Place::Laptop), forward(&fields(more), Place::Laptop), "{url}");
    }
}

#[test]
fn every_option_of_a_plain_forward_has_a_sample() {
    let belongs_to_others = |field: &str| field.starts_with("server.") || field.starts_with("tls.");
    for row in OPTIONS {
        let Use::Field(field) = row.listen else { continue };
        let has_sample = SAMPLES.iter().any(|(name, ..)| *name == row.name);
        assert_eq!(has_sample, !belongs_to_others(field), "{} ({field})", row.name);
    }
}

#[test]
fn every_field_that_an_option_names_exists() {
    let crd = serde_json::to_value(crate::crd()).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let hop = &spec["properties"]["chain"]["items"];
    for row in OPTIONS {
        for (schema, usage) in [(spec, row.listen), (hop, row.hop)] {
            let Use::Field(path) = usage else { continue };
            let found = path.split('.').fold(schema, |schema, name| &schema["properties"][name]);
            assert!(found.is_object(), "{}: there is no field {path}", row.name);
        }
    }
}
