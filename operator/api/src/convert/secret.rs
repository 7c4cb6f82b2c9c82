//! Secret documents beside the PortForwards that name them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{SecretName, SecretSource};

/// A Secret as a manifest has it. There is no Debug: its data is shown in the document only.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecretDocument {
    api_version: &'static str,
    kind: &'static str,
    metadata: Name,
    string_data: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Name {
    name: String,
}

impl SecretDocument {
    pub(super) fn new(name: &str, data: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let metadata = Name { name: name.to_owned() };
        Self { api_version: "v1", kind: "Secret", metadata, string_data: data.into_iter().collect() }
    }
}

/// Names a Secret.
pub(super) fn source(name: &str) -> SecretSource {
    SecretSource { secret_ref: SecretName { name: name.to_owned() } }
}
