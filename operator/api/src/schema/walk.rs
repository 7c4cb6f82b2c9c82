//! Walks a value along a structural schema and collects what doesn't fit, from `schema::check`.
//! Descends only where the schema does, and no further into a list than its limit: the work is bounded by the CRD.

use fairlead_config::nearest;
use regex::Regex;
use serde_json::{Map, Value};

use super::{Problem, describe};

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    /// A list or text is beyond its limit; rules are not evaluated then, as their cost is bounded by those limits.
    pub(super) too_big: bool,
}

impl Findings {
    pub(super) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(field, message));
    }
}

/// Checks a whole object; its `apiVersion`, `kind` and `metadata` are checked elsewhere.
pub(super) fn check(schema: &Value, object: &Map<String, Value>, findings: &mut Findings) {
    const ELSEWHERE: [&str; 3] = ["apiVersion", "kind", "metadata"];
    check_required(schema, object, "", findings);
    for (name, value) in object.iter().filter(|(name, _)| !ELSEWHERE.contains(&name.as_str())) {
        check_property(schema, name, value, "", findings);
    }
}

fn check_value(schema: &Value, value: &Value, path: &str, findings: &mut Findings) {
    if schema.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true) {
        if !(value.is_string() || value.is_i64()) {
            findings.add(path, format!("{}; write a whole number or a string", describe::kind_of(value)));
        }
        return;
    }
    match (schema.get("type").and_then(Value::as_str), value) {
        (Some("object"), Value::Object(object)) => check_object(schema, object, path, findings),
        (Some("array"), Value::Array(items)) => check_list(schema, items, path, findings),
        (Some("string"), Value::String(text)) => check_text(schema, text, path, findings),
        (Some("integer"), Value::Number(number)) if number.is_i64() || number.is_u64() => {
            check_range(schema, value, path, findings);
        }
        (Some("number"), Value::Number(_)) => check_range(schema, value, path, findings),
        (Some("boolean"), Value::Bool(_)) | (None, _) => {}
        (Some(_), _) => findings.add(path, describe::wrong_type(schema, value)),
    }
}

fn check_object(schema: &Value, object: &Map<String, Value>, path: &str, findings: &mut Findings) {
    check_required(schema, object, path, findings);
    for (name, value) in object {
        check_property(schema, name, value, path, findings);
    }
}

fn check_required(schema: &Value, object: &Map<String, Value>, path: &str, findings: &mut Findings) {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| !object.contains_key(*name)) {
        let example = schema.pointer(&format!("/properties/{name}")).map_or_else(String::new, describe::what_to_write);
        findings.add(join(path, name), format!("required{example}"));
    }
}

fn check_property(schema: &Value, name: &str, value: &Value, path: &str, findings: &mut Findings) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let known = properties.and_then(|properties| properties.get(name));
    if let Some(inner) = known.or_else(|| schema.get("additionalProperties").filter(|inner| inner.is_object())) {
        check_value(inner, value, &join(path, name), findings);
    } else if schema.get("x-kubernetes-preserve-unknown-fields").is_none() {
        let names = properties.into_iter().flat_map(Map::keys).map(String::as_str);
        findings.add(join(path, &describe::clipped(name)), unknown(name, names));
    }
}

/// The message for a field that doesn't exist, with the nearest ones that do.
pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()).as_slice() {
        [] => {
            let all = known.collect::<Vec<_>>().join(", ");
            format!("unknown field; known here: {all}")
        }
        near => format!("unknown field; did you mean {}?", near.join(" or ")),
    }
}

fn check_list(schema: &Value, items: &[Value], path: &str, findings: &mut Findings) {
    let limit = size(schema, "maxItems").unwrap_or(usize::MAX);
    if items.len() > limit {
        findings.too_big = true;
        findings.add(path, format!("{} items are too many; write at most {limit}", items.len()));
    }
    if let Some(least) = size(schema, "minItems").filter(|least| items.len() < *least) {
        findings
            .add(path, format!("{} items are too few; write at least {least}, or leave the field out", items.len()));
    }
    let Some(inner) = schema.get("items") else { return };
    for (index, item) in items.iter().take(limit).enumerate() {
        check_value(inner, item, &format!("{path}[{index}]"), findings);
    }
}

fn check_text(schema: &Value, text: &str, path: &str, findings: &mut Findings) {
    let length = text.chars().count();
    if let Some(limit) = size(schema, "maxLength").filter(|limit| length > *limit) {
        findings.too_big = true;
        findings.add(path, format!("{length} characters are too many; write at most {limit}"));
        return;
    }
    if size(schema, "minLength").is_some_and(|least| length < least) {
        findings.add(path, "empty; write a value or leave the field out");
        return;
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array)
        && !words.iter().any(|word| word == text)
    {
        findings.add(path, describe::not_one_of(text, words));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
    {
        findings.add(path, describe::pattern_mismatch(pattern, text));
    }
}

fn check_range(schema: &Value, number: &Value, path: &str, findings: &mut Findings) {
    let Some(value) = number.as_f64() else { return };
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    let (least, most) = (bound("minimum"), bound("maximum"));
    if most.is_some_and(|most| value > most) || least.is_some_and(|least| value < least) {
        findings.add(path, describe::out_of_range(number, least, most));
    }
}

fn size(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
