//! Shapes shared by spec and status: patterns, limits, and the last touch that makes a generated schema what an
//! API server takes without a warning (no `nullable`, only number formats it knows).

use schemars::{JsonSchema, Schema, transform::transform_subschemas};
use serde_json::Value;

/// One or more numbers with units, as `fairlead_config::duration` reads and writes them.
pub(crate) const DURATION: &str = "^([0-9]{1,6}(h|m|s|ms)){1,4}$";
/// `protocol` or `protocol+transport`; which words exist is `render`'s to know, so that a new one changes no CRD.
pub(crate) const SCHEME: &str = r"^[a-z0-9]+(\+[a-z0-9]+)?$";
/// Characters of a URL; 64 targets with long names fit.
pub(crate) const URL_LIMIT: usize = 8192;

/// `fairlead_config::Strategy` as the schema shows it.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) enum StrategyWord {
    Round,
    Random,
    Fifo,
}

/// Takes out what API servers warn about or treat in surprising ways: `null` as a value, and foreign number formats.
pub(crate) fn structural(schema: &mut Schema) {
    drop_null(schema);
    if let Some(format) = schema.get("format").and_then(Value::as_str).and_then(known_format) {
        schema.insert("format".to_owned(), format.into());
    }
    transform_subschemas(&mut structural, schema);
}

/// An absent field is the only way to say nothing: `T | null` becomes `T`.
fn drop_null(schema: &mut Schema) {
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    if let Some([Value::Object(value), null]) = alternatives.map(Vec::as_slice)
        && null.get("type").and_then(Value::as_str) == Some("null")
    {
        let value = value.clone();
        schema.remove("anyOf");
        for (key, inner) in value {
            schema.ensure_object().entry(key).or_insert(inner);
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    let Some(Value::Array(types)) = schema.get_mut("type") else { return };
    types.retain(|name| name != "null");
    if let [only] = types.as_slice() {
        let only = only.clone();
        schema.insert("type".to_owned(), only);
    }
}

fn known_format(format: &str) -> Option<&'static str> {
    match format {
        "uint8" | "uint16" | "int8" | "int16" => Some("int32"),
        "uint" | "uint32" | "uint64" | "int" => Some("int64"),
        _ => None,
    }
}
