//! What an installation says about every proxy: `settings.yaml`, from the chart to `objects` and `inject`.
//! Strict: an unknown field or a value that an API server would refuse or write differently is an error here, or is put
//! into the form in which it is stored, so that drift can be told from spelling.

mod quantity;
mod typed;

use std::{collections::BTreeMap, path::Path, time::Duration};

use fairlead_config::{defaults, duration, yaml};
use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};
use serde::Deserialize;

use crate::objects::{PortsError, ProxyPorts};

/// The largest settings file in bytes.
const TEXT_LIMIT: u64 = 1 << 20;
/// The most pods of a shared gateway.
const REPLICAS_LIMIT: u32 = 100;

/// What an installation says about every proxy.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The image of gateways and sidecars.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; left out: what Kubernetes makes of the image's tag.
    #[serde(default, deserialize_with = "typed::word")]
    pub image_pull_policy: Option<String>,
    /// Secrets to pull the image with, by name; they must exist in the namespaces of the gateways.
    #[serde(default, deserialize_with = "typed::list")]
    pub image_pull_secrets: Vec<String>,
    /// How long connections of a forward or pod that ends may go on.
    #[serde(default = "drain_timeout", with = "duration::plain")]
    pub drain_timeout: Duration,
    #[serde(default)]
    pub gateway: GatewaySettings,
    #[serde(default)]
    pub sidecar: SidecarSettings,
    /// Where the operator's pods are, as far as that is known; no part of the file.
    #[serde(skip)]
    pub operator_namespace: Option<String>,
}

/// What an installation says about gateways.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewaySettings {
    /// Pods of a shared gateway; a PortForward's own says it itself.
    pub replicas: u32,
    #[serde(deserialize_with = "quantity::resources")]
    pub resources: ResourceRequirements,
    /// Besides `kubernetes.io/os: linux`.
    #[serde(deserialize_with = "typed::lossless")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "typed::lossless")]
    pub tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "typed::lossless")]
    pub affinity: Option<Affinity>,
    /// A constraint without `labelSelector` is about the pods of one gateway.
    #[serde(deserialize_with = "typed::lossless")]
    pub topology_spread: Vec<TopologySpreadConstraint>,
    #[serde(deserialize_with = "typed::word")]
    pub priority_class_name: Option<String>,
    /// Of the Deployment and its pods.
    #[serde(deserialize_with = "typed::lossless")]
    pub labels: BTreeMap<String, String>,
    /// Of the Deployment and its pods.
    #[serde(deserialize_with = "typed::lossless")]
    pub annotations: BTreeMap<String, String>,
    /// Whether each gateway gets a NetworkPolicy that lets its clients and its operator in.
    pub network_policy: bool,
}

/// What an installation says about sidecars.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SidecarSettings {
    #[serde(deserialize_with = "quantity::resources")]
    pub resources: ResourceRequirements,
}

/// Why a text is no settings; each message names the field and says what to write.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("settings {path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("settings {path}: {bytes} bytes are too many; write at most {TEXT_LIMIT}")]
    TooLarge { path: String, bytes: u64 },
    #[error("settings: {0}")]
    Malformed(#[from] yaml::YamlError),
    #[error("settings: image is empty; write one, as in ghcr.io/fairlead/fairlead:0.1.0")]
    NoImage,
    #[error("settings: imagePullPolicy \"{0}\" is unknown; write Always, IfNotPresent or Never")]
    PullPolicy(String),
    #[error("settings: gateway.replicas is {0}; write 0 to {REPLICAS_LIMIT}")]
    Replicas(u32),
    #[error("settings: gateway.{field}: \"{key}\" is Fairlead's own; choose another key")]
    ReservedKey { field: &'static str, key: String },
    #[error("settings: gateway.annotations: {0}")]
    Ports(#[from] PortsError),
}

impl Settings {
    /// Settings that say nothing but the image.
    pub fn of_image(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            drain_timeout: drain_timeout(),
            gateway: GatewaySettings::default(),
            sidecar: SidecarSettings::default(),
            operator_namespace: None,
        }
    }

    /// Reads a settings file.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let unreadable = |source| SettingsError::Unreadable { path: path.display().to_string(), source };
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > TEXT_LIMIT {
            return Err(SettingsError::TooLarge { path: path.display().to_string(), bytes });
        }
        Self::parse(&std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// Reads settings.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let settings: Self = yaml::from_str(text)?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        if self.image.trim().is_empty() {
            return Err(SettingsError::NoImage);
        }
        if let Some(policy) = &self.image_pull_policy
            && !["Always", "IfNotPresent", "Never"].contains(&policy.as_str())
        {
            return Err(SettingsError::PullPolicy(policy.clone()));
        }
        if self.gateway.replicas > REPLICAS_LIMIT {
            return Err(SettingsError::Replicas(self.gateway.replicas));
        }
        self.gateway.check_keys()
    }
}

impl GatewaySettings {
    fn check_keys(&self) -> Result<(), SettingsError> {
        let is_ours = |key: &&String| key.starts_with("fairlead.dev/") || key.starts_with("app.kubernetes.io/");
        if let Some(key) = self.labels.keys().find(is_ours) {
            return Err(SettingsError::ReservedKey { field: "labels", key: key.clone() });
        }
        let may_be_said = |key: &str| ProxyPorts::ANNOTATIONS.contains(&key);
        if let Some(key) = self.annotations.keys().filter(is_ours).find(|key| !may_be_said(key)) {
            return Err(SettingsError::ReservedKey { field: "annotations", key: key.clone() });
        }
        ProxyPorts::of(|key| self.annotations.get(key).map(String::as_str))?;
        Ok(())
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            replicas: 1,
            resources: quantity::requirements(
                [("cpu", "20m"), ("memory", "32Mi")],
                [("cpu", "2"), ("memory", "512Mi")],
            ),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: None,
            topology_spread: vec![TopologySpreadConstraint {
                max_skew: 1,
                topology_key: "kubernetes.io/hostname".to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                ..TopologySpreadConstraint::default()
            }],
            priority_class_name: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            network_policy: false,
        }
    }
}

impl Default for SidecarSettings {
    fn default() -> Self {
        let resources =
            quantity::requirements([("cpu", "10m"), ("memory", "16Mi")], [("cpu", "1"), ("memory", "128Mi")]);
        Self { resources }
    }
}

fn drain_timeout() -> Duration {
    defaults::DRAIN_TIMEOUT
}

#[cfg(test)]
mod tests;
