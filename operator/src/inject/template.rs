//! Where an object has its pod template, by its API group and kind: other groups have kinds of the same name.

use serde_json::Value;

use super::Refusal;

/// Group, kind, and the way to the pod template.
const KINDS: [(&str, &str, &[&str]); 6] = [
    ("", "Pod", &[]),
    ("apps", "Deployment", &["spec", "template"]),
    ("apps", "StatefulSet", &["spec", "template"]),
    ("apps", "DaemonSet", &["spec", "template"]),
    ("batch", "Job", &["spec", "template"]),
    ("batch", "CronJob", &["spec", "jobTemplate", "spec", "template"]),
];

/// What an item of a typed list is: its `apiVersion` and `kind`.
type Listed = (String, String);

/// The items of a list, and what they are where the list says it.
pub(super) fn items(object: &mut Value) -> Option<(&mut Vec<Value>, Option<Listed>)> {
    let kind = text(object, "kind").strip_suffix("List")?.to_owned();
    let listed = (!kind.is_empty()).then(|| (text(object, "apiVersion").to_owned(), kind));
    Some((object.get_mut("items")?.as_array_mut()?, listed))
}

/// The way to the pod template of an object; none for what makes no pods.
pub(super) fn path(object: &Value, listed: Option<&Listed>) -> Option<&'static [&'static str]> {
    let (api_version, kind) = what(object, listed);
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    KINDS.into_iter().find(|(of_group, of_kind, _)| *of_group == group && *of_kind == kind).map(|(_, _, path)| path)
}

/// The pod template of an object.
pub(super) fn at<'a>(object: &'a mut Value, path: &[&'static str]) -> Result<&'a mut Value, Refusal> {
    let mut at = object;
    for (depth, field) in path.iter().enumerate() {
        let found = kind_of(at.get(field).unwrap_or(&Value::Null));
        at = at.get_mut(field).filter(|value| value.is_object()).ok_or_else(|| Refusal::Shape {
            path: path[..=depth].join("."),
            found,
            wanted: "a mapping",
        })?;
    }
    Ok(at)
}

/// What an object is called in messages: `Deployment shop/web`.
pub(super) fn name(object: &Value, listed: Option<&Listed>) -> String {
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    let name = match (text(metadata, "name"), text(metadata, "generateName")) {
        ("", "") => "without a name",
        ("", prefix) => prefix,
        (name, _) => name,
    };
    let (_, kind) = what(object, listed);
    match namespace(object) {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}

/// The namespace an object says; empty where it says none.
pub(super) fn namespace(object: &Value) -> &str {
    object.get("metadata").map_or("", |metadata| text(metadata, "namespace"))
}

/// What a value is, for messages.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "missing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn what<'a>(object: &'a Value, listed: Option<&'a Listed>) -> (&'a str, &'a str) {
    match (text(object, "apiVersion"), text(object, "kind"), listed) {
        ("", "", Some((api_version, kind))) => (api_version, kind),
        (api_version, kind, _) => (api_version, kind),
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}
