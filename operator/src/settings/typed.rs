//! Kubernetes' own types inside the settings, read without losing anything: the generated types skip what they don't know,
//! and a misspelt field must not be silence. What is null counts as left out, since templates write it.

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error};
use serde_json::Value;

/// For `deserialize_with`: a list, or null.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default())
}

/// For `deserialize_with`: a word, or null or nothing.
pub(super) fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|word| !word.is_empty()))
}

/// For `deserialize_with`: a value of which every field is known, or null.
pub(super) fn lossless<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Serialize + Default,
{
    from_value(Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Reads a value of which every field is known, or null.
pub(super) fn from_value<T: DeserializeOwned + Serialize + Default>(said: Value) -> Result<T, String> {
    if said.is_null() {
        return Ok(T::default());
    }
    let read: T = serde_json::from_value(said.clone()).map_err(|error| error.to_string())?;
    let kept = serde_json::to_value(&read).map_err(|error| error.to_string())?;
    match lost(&said, &kept) {
        Some(path) => Err(format!("unknown field \"{path}\"; leave it out or mend its spelling")),
        None => Ok(read),
    }
}

/// The path of a field that one value has and the other hasn't.
fn lost(said: &Value, kept: &Value) -> Option<String> {
    match (said, kept) {
        (Value::Object(said), kept) => said.iter().find_map(|(name, value)| match kept.get(name) {
            Some(kept) => lost(value, kept).map(|path| format!("{name}.{path}")),
            None => (!is_nothing(value)).then(|| name.clone()),
        }),
        (Value::Array(said), kept) => {
            let lost_in = |(index, value)| lost(value, kept.get(index)?).map(|path| format!("[{index}].{path}"));
            said.iter().enumerate().find_map(lost_in)
        }
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => None,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
