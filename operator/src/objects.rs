//! What a proxy is made of in a cluster: from its PortForwards and the settings to whole objects, ready for server-side
//! apply. Pure. Only what we mean is said, in the form in which an API server stores it, so that drift can be seen; no
//! Secret's value is known here, names and paths only. A changed configuration changes a ConfigMap and no Deployment.

mod container;
mod deployment;
mod metadata;
mod network_policy;
mod references;
mod service;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use fairlead_api::{Effective, PortForward, render::Verdict};
use fairlead_config::{HostPort, Scheme, Transport};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::ConfigMap,
    networking::v1::NetworkPolicy,
    policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{
    names::{CA_KEY, CONFIG_KEY, ProxyId},
    settings::Settings,
};

pub use container::{ADMIN_PORT_NAME, CONFIG_VOLUME, METRICS_PORT_NAME, PortsError, ProxyPorts};
pub(crate) use container::{Waiting, container};
pub use deployment::replicas;
pub use metadata::add_owners;
pub(crate) use references::references_of;
pub use references::{CONFIG_MAPS_DIR, Reference, SECRETS_DIR, mounted, references};
pub use service::service;

/// One PortForward of a proxy, accepted or suspended.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    pub object: &'a PortForward,
    pub verdict: &'a Verdict,
}

/// Everything that decides what a proxy is made of.
#[derive(Debug, Clone, Copy)]
pub struct Gateway<'a> {
    pub id: &'a ProxyId,
    /// Its PortForwards, refused ones left out.
    pub members: &'a [Member<'a>],
    /// What its pods mount besides the configuration.
    pub references: &'a BTreeSet<Reference>,
    /// The configuration document.
    pub config: &'a str,
    /// The certificates (PEM) of which the operator shows one.
    pub ca: &'a str,
    pub settings: &'a Settings,
}

/// What a gateway is made of, but for the Services of its PortForwards.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayObjects {
    pub config_map: ConfigMap,
    pub deployment: Deployment,
    /// None with fewer than two pods: it would only hinder the draining of a machine.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// None unless the settings ask for it.
    pub network_policy: Option<NetworkPolicy>,
}

/// Makes everything of a gateway but the Services of its PortForwards.
pub fn gateway(gateway: &Gateway<'_>) -> GatewayObjects {
    GatewayObjects {
        config_map: config_map(gateway),
        deployment: deployment::deployment(gateway),
        disruption_budget: (replicas(gateway) > 1).then(|| disruption_budget(gateway)),
        network_policy: gateway.settings.gateway.network_policy.then(|| network_policy::network_policy(gateway)),
    }
}

/// Makes the ConfigMap that the sidecars of one name mount.
pub fn sidecar_config_map(gateway: &Gateway<'_>) -> ConfigMap {
    config_map(gateway)
}

fn config_map(gateway: &Gateway<'_>) -> ConfigMap {
    let data = [(CONFIG_KEY, gateway.config), (CA_KEY, gateway.ca)];
    ConfigMap {
        metadata: metadata::of_proxy(gateway),
        data: Some(data.map(|(key, text)| (key.to_owned(), text.to_owned())).into()),
        ..ConfigMap::default()
    }
}

fn disruption_budget(gateway: &Gateway<'_>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata::of_proxy(gateway),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(metadata::selector(gateway.id)),
            // A pod that serves nobody must not keep a machine from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

/// Where a forward listens for clients in its proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Listener {
    protocol: &'static str,
    port: u16,
}

impl Member<'_> {
    /// Its listener; none for what is listened for at the far end.
    fn listener(&self) -> Option<Listener> {
        let effective = self.effective()?;
        let scheme: Scheme = effective.scheme.as_deref()?.parse().ok()?;
        let listen = HostPort::parse_allowing_port_zero(effective.listen.as_deref()?).ok()?;
        if scheme.is_remote() || listen.port == 0 {
            return None;
        }
        let over_udp = matches!(scheme.transport(), Transport::Kcp | Transport::Quic);
        let protocol = if scheme.is_datagram() || over_udp { "UDP" } else { "TCP" };
        Some(Listener { protocol, port: listen.port })
    }

    fn effective(&self) -> Option<&Effective> {
        match self.verdict {
            Verdict::Accepted { effective, .. } | Verdict::Suspended { effective, .. } => Some(effective),
            Verdict::Refused { .. } => None,
        }
    }
}

/// A map of texts, of what is written as literals.
fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
