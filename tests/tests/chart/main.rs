//! The Helm chart and the manifests made from it: what it renders, what it refuses, what it lets the operator do, and
//! that an API server takes it.

mod generated;
mod objects;
mod release;
mod rights;
mod values;

use serde_json::{Value, json};

/// Everything that can be switched on.
fn everything() -> Value {
    json!({
        "networkPolicy": {"enabled": true},
        "metrics": {
            "serviceMonitor": {"enabled": true},
            "podMonitors": {"enabled": true},
            "prometheusRule": {"enabled": true},
            "dashboard": {"enabled": true},
        },
    })
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The only object of a kind.
fn only<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| kind(object) == wanted);
    match (found.next(), found.next()) {
        (Some(object), None) => object,
        (first, _) => panic!("{} {wanted}", if first.is_none() { "no" } else { "more than one" }),
    }
}
