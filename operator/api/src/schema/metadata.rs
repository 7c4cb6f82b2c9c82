//! Checks `metadata`, which is no part of the CRD's schema: known fields, their types, and the names.

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;
use serde_json::{Map, Value};

use super::{
    describe,
    walk::{Findings, unknown},
};

/// The fields of Kubernetes' ObjectMeta.
const KNOWN: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

static NAMESPACE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$").ok());

/// Checks everything but the form of `metadata.name`, which is a rule of the CRD.
pub(super) fn check(metadata: Option<&Value>, findings: &mut Findings) {
    let Some(metadata) = metadata else {
        return findings.add("metadata", "required; write metadata: {name: NAME}");
    };
    let Value::Object(fields) = metadata else {
        return findings.add("metadata", format!("{}; write metadata: {{name: NAME}}", describe::kind_of(metadata)));
    };
    check_names(fields, findings);
    for (field, value) in fields {
        if !KNOWN.contains(&field.as_str()) {
            findings.add(format!("metadata.{}", describe::clipped(field)), unknown(field, KNOWN.into_iter()));
        } else if field != "name" && field != "namespace" && !fits(field, value) {
            findings.add(format!("metadata.{field}"), format!("{}; {}", describe::kind_of(value), form(field)));
        }
    }
}

fn check_names(fields: &Map<String, Value>, findings: &mut Findings) {
    match fields.get("name") {
        None => findings.add("metadata.name", "required; write a name of lower case letters, digits and '-'"),
        Some(Value::String(_)) => {}
        Some(other) => findings.add(
            "metadata.name",
            format!("{}; write a string, in quotes where it looks like a number", describe::kind_of(other)),
        ),
    }
    match fields.get("namespace") {
        None => {}
        Some(Value::String(name)) if NAMESPACE.as_ref().is_none_or(|pattern| pattern.is_match(name)) => {}
        Some(_) => findings
            .add("metadata.namespace", "write at most 63 lower case letters, digits and '-', no '-' first or last"),
    }
}

fn fits(field: &str, value: &Value) -> bool {
    let alone: Map<String, Value> = [(field.to_owned(), value.clone())].into_iter().collect();
    serde_json::from_value::<ObjectMeta>(Value::Object(alone)).is_ok()
}

fn form(field: &str) -> &'static str {
    match field {
        "annotations" | "labels" => "write a map of strings, quoting numbers, true and false",
        "finalizers" => "write a list of strings",
        "managedFields" | "ownerReferences" => "leave it out, the API server keeps it",
        _ => "write it as Kubernetes does, or leave it out",
    }
}
