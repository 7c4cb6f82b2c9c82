//! Secrets and ConfigMaps read from manifests, which stand in for a cluster's. A Secret's values are in no message
//! and no `Debug`. Keys become file names, so no slash passes.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::ByteString;
use serde_json::{Map, Value};

use super::DEFAULT_NAMESPACE;
use crate::schema::Problem;

/// A Secret of a manifest; `stringData` wins over `data`, as in a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    pub namespace: String,
    pub name: String,
    pub data: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, data: _ } = self;
        f.debug_struct("Secret").field("namespace", namespace).field("name", name).field("data", &"***").finish()
    }
}

/// A ConfigMap of a manifest, `data` and `binaryData` together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMap {
    pub namespace: String,
    pub name: String,
    pub data: BTreeMap<String, Vec<u8>>,
}

impl Secret {
    pub(super) fn from_object(object: &Value) -> Result<Self, Vec<Problem>> {
        let (namespace, name, data) = read(object, ["type", "immutable"], "stringData", "data")?;
        Ok(Self { namespace, name, data })
    }
}

impl ConfigMap {
    pub(super) fn from_object(object: &Value) -> Result<Self, Vec<Problem>> {
        let (namespace, name, data) = read(object, ["immutable", "immutable"], "data", "binaryData")?;
        Ok(Self { namespace, name, data })
    }
}

type Parts = (String, String, BTreeMap<String, Vec<u8>>);

fn read(document: &Value, ignored: [&str; 2], text_field: &str, base64_field: &str) -> Result<Parts, Vec<Problem>> {
    let mut problems = Vec::new();
    let known = ["apiVersion", "kind", "metadata", text_field, base64_field];
    for field in document.as_object().into_iter().flat_map(Map::keys) {
        if !known.contains(&field.as_str()) && !ignored.contains(&field.as_str()) {
            problems.push(Problem::new(
                crate::schema::clipped(field),
                format!("unknown field; write {text_field} or {base64_field}"),
            ));
        }
    }
    let metadata =
        |field: &str| document.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).map(str::to_owned);
    let name = metadata("name").unwrap_or_default();
    if name.is_empty() {
        problems.push(Problem::new("metadata.name", "required; write the name that PortForwards refer to"));
    }
    let mut data = entries(document, base64_field, &from_base64, &mut problems);
    data.extend(entries(document, text_field, &|text| Some(text.as_bytes().to_vec()), &mut problems));
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok((metadata("namespace").unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()), name, data))
}

fn entries(
    document: &Value,
    field: &str,
    decode: &dyn Fn(&str) -> Option<Vec<u8>>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Vec<u8>> {
    let map = match document.get(field) {
        None | Some(Value::Null) => return BTreeMap::new(),
        Some(Value::Object(map)) => map,
        Some(_) => {
            problems.push(Problem::new(field, "is no map; write keys with their values"));
            return BTreeMap::new();
        }
    };
    let mut data = BTreeMap::new();
    for (key, value) in map {
        let at = || format!("{field}.{}", crate::schema::clipped(key));
        match (is_key(key), value.as_str().map(decode)) {
            (false, _) => problems.push(Problem::new(at(), "is no key; write letters, digits, '-', '_' and '.'")),
            (true, Some(Some(bytes))) => {
                data.insert(key.clone(), bytes);
            }
            (true, Some(None)) => problems
                .push(Problem::new(at(), "is not in base64; encode it, or write plain text under the field for text")),
            (true, None) => problems.push(Problem::new(at(), "is no string; write it in quotes")),
        }
    }
    data
}

/// As in a cluster: no path, and no name that a mounted volume uses itself.
fn is_key(key: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !key.is_empty() && key.len() <= 253 && key.chars().all(plain) && key != "." && !key.starts_with("..")
}

/// Line breaks may stand anywhere, since long values are folded.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let unfolded: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    serde_json::from_value::<ByteString>(Value::String(unfolded)).ok().map(|bytes| bytes.0)
}
