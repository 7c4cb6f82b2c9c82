//! The words of a problem: what was written, as far as it may be shown, and what to write instead.
//! A text is shown only when it looks like a plain word or number: no URL, no key, nothing long.

use serde_json::Value;

use crate::shape::{DURATION, SCHEME};

/// Says what kind of value it is, without the value.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "is empty",
        Value::Bool(_) => "is true or false",
        Value::Number(_) => "is a number",
        Value::String(_) => "is a string",
        Value::Array(_) => "is a list",
        Value::Object(_) => "is a map",
    }
}

/// Says what was written: the value where it may be shown, else its kind.
pub(super) fn said(value: &Value) -> String {
    match value {
        Value::String(text) => text_said(text),
        Value::Number(_) | Value::Bool(_) => format!("{value} is unknown here"),
        Value::Null | Value::Array(_) | Value::Object(_) => kind_of(value).to_owned(),
    }
}

fn text_said(text: &str) -> String {
    if may_be_shown(text) { format!("\"{text}\" is unknown here") } else { "the text is unknown here".to_owned() }
}

/// No `@` and no `:`: whatever a password may stand beside. Long texts may be keys.
fn may_be_shown(text: &str) -> bool {
    text.len() <= 40 && text.chars().all(|c| c.is_ascii_alphanumeric() || " ./+_-".contains(c))
}

/// A field's name as far as it may stand in a message: short, on one line.
pub(crate) fn clipped(name: &str) -> String {
    let mut shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    if name.chars().count() > 64 {
        shown.push('…');
    }
    shown
}

/// Says that the type is wrong, and shows how the value is written right where it is clear what was meant.
pub(super) fn wrong_type(schema: &Value, value: &Value) -> String {
    let want = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    match (want, value) {
        ("integer", Value::String(text)) if text.parse::<i64>().is_ok() => {
            format!("\"{text}\" is a string; write the number without quotes: {text}")
        }
        ("boolean", Value::String(text)) if text == "true" || text == "false" => {
            format!("\"{text}\" is a string; write it without quotes: {text}")
        }
        ("string", Value::Number(number)) if pattern_of(schema) == Some(DURATION) => {
            format!("{number} has no unit; write {number}s for seconds or {number}ms for milliseconds")
        }
        ("string", Value::Number(number)) => format!("{number} is a number; write it in quotes: \"{number}\""),
        ("integer", Value::Number(number)) => format!("{number} is not a whole number"),
        _ => format!("{}{}", kind_of(value), what_to_write(schema)),
    }
}

/// `; write …` for a field of this schema, empty where the schema doesn't say.
pub(super) fn what_to_write(schema: &Value) -> String {
    let kind = match schema.get("type").and_then(Value::as_str) {
        Some("object") => return format!("; write a map{}", fields(schema)),
        Some("array") => "a list",
        Some("string") if pattern_of(schema) == Some(DURATION) => "a duration such as 30s, 1m30s or 500ms",
        Some("string") => "a string",
        Some("integer") => return format!("; write {}", range(bound(schema, "minimum"), bound(schema, "maximum"))),
        Some("boolean") => "true or false",
        Some("number") => "a number",
        _ => return String::new(),
    };
    format!("; write {kind}")
}

fn fields(schema: &Value) -> String {
    let names: Vec<&str> = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    if names.is_empty() || names.len() > 6 { String::new() } else { format!(" with {}", names.join(", ")) }
}

/// Says which words there are.
pub(super) fn not_one_of(text: &str, words: &[Value]) -> String {
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let list = match words.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(""),
    };
    format!("{}; write {list}", text_said(text))
}

/// Says what a text of this pattern looks like.
pub(super) fn pattern_mismatch(pattern: &str, text: &str) -> String {
    let shown = if may_be_shown(text) { format!("\"{text}\"") } else { "the text".to_owned() };
    match pattern {
        DURATION if text.starts_with('-') => {
            format!("{shown} is negative; write a duration such as 30s, 1m30s or 500ms")
        }
        DURATION if text.parse::<u64>().is_ok() => {
            format!("{shown} has no unit; write {text}s for seconds or {text}ms for milliseconds")
        }
        DURATION => {
            format!("{shown} is no duration; write numbers with the units h, m, s or ms, such as 30s, 1m30s or 500ms")
        }
        SCHEME if text.contains("://") => {
            "a url does not belong here; write url instead of scheme, or a scheme such as tcp or socks5+tls".to_owned()
        }
        SCHEME => format!("{shown} is no scheme; write one such as tcp, rudp or socks5+tls"),
        other => format!("{shown} doesn't match {other}"),
    }
}

/// Says where the range ends.
pub(super) fn out_of_range(value: &Value, least: Option<f64>, most: Option<f64>) -> String {
    let number = value.as_f64().unwrap_or_default();
    let side = match most {
        Some(most) if number > most => format!("above {most}"),
        _ => format!("below {}", least.unwrap_or_default()),
    };
    format!("{value} is {side}; write {}", range(least, most))
}

fn range(least: Option<f64>, most: Option<f64>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("a whole number from {least}"),
        (None, Some(most)) => format!("a whole number up to {most}"),
        (None, None) => "a whole number".to_owned(),
    }
}

fn bound(schema: &Value, key: &str) -> Option<f64> {
    schema.get(key).and_then(Value::as_f64)
}

fn pattern_of(schema: &Value) -> Option<&str> {
    schema.get("pattern").and_then(Value::as_str)
}
