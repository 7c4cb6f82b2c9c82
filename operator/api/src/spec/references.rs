//! References to Secrets and ConfigMaps, from the spec to volume mounts. Always in the PortForward's own namespace;
//! names become paths, so no slash and no `..` passes.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Something kept in a Secret.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// The Secret, in the PortForward's namespace.
    pub secret_ref: SecretName,
}

/// Names a Secret in the PortForward's namespace.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::subdomain("secretRef.name"))]
    pub name: String,
}

/// Something kept in a ConfigMap.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapSource {
    /// The ConfigMap and its key, in the PortForward's namespace.
    pub config_map_ref: ConfigMapKey,
}

/// Names a key of a ConfigMap in the PortForward's namespace.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// The ConfigMap's name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::subdomain("configMapRef.name"))]
    pub name: String,

    /// The key that holds the file. Default: `known_hosts` for known hosts, `ca.crt` for certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::data_key())]
    pub key: Option<String>,
}
