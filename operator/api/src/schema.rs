//! Strict offline checking of a PortForward as people write it, as `kubectl apply --validate=strict` would do it:
//! the CRD's own schema, then its CEL rules. All problems at once, each naming its field and what to write instead.
//! Values are shown only where they can't be a secret. No JSON value makes it panic.

mod describe;
mod metadata;
mod walk;

use std::{fmt, sync::OnceLock};

use kube::core::cel::{CompiledSchema, ErrorKind, ValidationError, compile_schema, validate_compiled};
use serde_json::{Map, Value};

pub(crate) use describe::clipped;
use walk::Findings;

/// The `apiVersion` of a PortForward.
pub const API_VERSION: &str = "fairlead.dev/v1alpha1";
/// The `kind` of a PortForward.
pub const KIND: &str = "PortForward";

/// Problems reported of one document; the rest is counted.
const PROBLEMS_LIMIT: usize = 100;

/// One thing that is wrong with a document, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, as `spec.targets[1].port`; empty for the document as a whole.
    pub field: String,
    pub message: String,
}

impl Problem {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Checks one document against the CRD; empty when the API server would take it. What stands in `status` is not
/// looked at, since the API server drops it.
pub fn check(document: &Value) -> Vec<Problem> {
    let Value::Object(written) = document else {
        return vec![Problem::new(
            "",
            format!("{}; write a PortForward: apiVersion, kind, metadata, spec", describe::kind_of(document)),
        )];
    };
    let Some(crd) = CrdSchema::cached() else {
        return vec![Problem::new("", "the built-in schema is unreadable")];
    };
    let object = as_stored(written);
    let mut findings = Findings::default();
    check_identity(&object, &mut findings);
    metadata::check(object.get("metadata"), &mut findings);
    walk::check(&crd.schema, &object, &mut findings);
    if !findings.too_big {
        let broken = validate_compiled(&crd.rules, &Value::Object(object), None).err().into_iter().flatten();
        let found: Vec<String> = findings.problems.iter().map(|problem| problem.field.clone()).collect();
        let broken = broken.filter_map(rule_problem).filter(|problem| !found.contains(&problem.field));
        findings.problems.extend(broken);
    }
    limited(findings.problems)
}

fn check_identity(object: &Map<String, Value>, findings: &mut Findings) {
    for (field, want) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match object.get(field) {
            Some(Value::String(said)) if said == want => {}
            Some(said) => findings.add(field, format!("{}; write {want}", describe::said(said))),
            None => findings.add(field, format!("required; write {want}")),
        }
    }
}

/// The document as an API server would store it: without `status`, and without fields that are null.
fn as_stored(written: &Map<String, Value>) -> Map<String, Value> {
    written
        .iter()
        .filter(|(key, value)| *key != "status" && !value.is_null())
        .map(|(k, v)| (k.clone(), without_nulls(v)))
        .collect()
}

pub(crate) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// A rule that could not be evaluated tripped over what the schema already found.
fn rule_problem(error: ValidationError) -> Option<Problem> {
    (error.kind == ErrorKind::ValidationFailure).then(|| {
        let (field, message) = placed(error.field_path.trim_start_matches('.'), &error.message);
        Problem::new(field, message)
    })
}

/// Messages name their field, since API servers tell some rules without one; here it is said once.
fn placed<'a>(field: &'a str, message: &'a str) -> (&'a str, &'a str) {
    match message.split_once(": ") {
        Some((named, rest)) if field.is_empty() => (named, rest),
        Some((named, rest))
            if field == named || field.strip_suffix(named).is_some_and(|before| before.ends_with('.')) =>
        {
            (field, rest)
        }
        _ => (field, message),
    }
}

fn limited(mut problems: Vec<Problem>) -> Vec<Problem> {
    if problems.len() > PROBLEMS_LIMIT {
        let more = problems.len() - PROBLEMS_LIMIT;
        problems.truncate(PROBLEMS_LIMIT);
        problems.push(Problem::new("", format!("{more} more problems")));
    }
    problems
}

/// The CRD's schema, made once.
struct CrdSchema {
    schema: Value,
    rules: CompiledSchema,
}

impl CrdSchema {
    fn cached() -> Option<&'static Self> {
        static CACHED: OnceLock<Option<CrdSchema>> = OnceLock::new();
        CACHED.get_or_init(Self::load).as_ref()
    }

    fn load() -> Option<Self> {
        let version = crate::crd().spec.versions.into_iter().next()?;
        let schema = serde_json::to_value(version.schema?.open_api_v3_schema?).ok()?;
        let rules = compile_schema(&schema);
        Some(Self { schema, rules })
    }
}

#[cfg(test)]
mod tests;
