//! What things are called: labels, annotations, ports, paths, and which proxy a PortForward runs in. Pure; whatever
//! operator, chart and proxies must agree on is said once, here.

use fairlead_api::{PortForward, render::Place};

/// The field manager of every write.
pub const FIELD_MANAGER: &str = "fairlead-operator";
/// Label and value of every object the operator makes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "fairlead");
/// Label of a gateway's objects and pods; its value is the proxy's [`ProxyId::object_name`].
pub const PROXY_LABEL: &str = "fairlead.dev/proxy";
/// Label of pods that carry a sidecar; its value is `spec.sidecar.name`.
pub const SIDECAR_LABEL: &str = "fairlead.dev/sidecar";
/// The container that forwards, in gateways and sidecars.
pub const CONTAINER: &str = "fairlead";

/// Port of a proxy's administration: TLS, a client certificate required.
pub const ADMIN_PORT: u16 = 19443;
/// Port of a proxy's probes and metrics.
pub const METRICS_PORT: u16 = 19444;
/// Annotation of a pod that moves its administration to another port.
pub const ADMIN_PORT_ANNOTATION: &str = "fairlead.dev/admin-port";
/// Annotation of a pod that moves its probes and metrics to another port.
pub const METRICS_PORT_ANNOTATION: &str = "fairlead.dev/metrics-port";

/// Key of a proxy's ConfigMap that holds its configuration.
pub const CONFIG_KEY: &str = "config.yaml";
/// Key of a proxy's ConfigMap that holds the certificates (PEM) its operator may show.
pub const CA_KEY: &str = "ca.crt";
/// Where a proxy's ConfigMap is mounted.
pub const CONFIG_DIR: &str = "/etc/fairlead/config";

/// A named set of identical `fairlead` containers of one namespace with one configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyId {
    pub namespace: String,
    pub kind: ProxyKind,
}

/// What kind of proxy it is, with the name people gave it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyKind {
    /// The gateway of one PortForward, which names it.
    Own(String),
    /// A gateway that PortForwards share: `spec.gateway.name`.
    Shared(String),
    /// A container in pods of the user's: `spec.sidecar.name`.
    Sidecar(String),
}

impl ProxyId {
    /// Tells in which proxy a PortForward runs.
    pub fn of(object: &PortForward) -> Self {
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let name = object.metadata.name.clone().unwrap_or_default();
        let shared = object.spec.gateway.as_ref().and_then(|gateway| gateway.name.clone());
        let kind = match (&object.spec.sidecar, shared) {
            (Some(sidecar), _) => ProxyKind::Sidecar(sidecar.name.clone()),
            (None, Some(shared)) => ProxyKind::Shared(shared),
            (None, None) => ProxyKind::Own(name),
        };
        Self { namespace, kind }
    }

    /// The name of its objects (a Service is named after its PortForward instead).
    pub fn object_name(&self) -> String {
        match &self.kind {
            ProxyKind::Own(name) => format!("{name}-forward"),
            ProxyKind::Shared(name) => format!("{name}-gateway"),
            ProxyKind::Sidecar(name) => format!("{name}-sidecar"),
        }
    }

    /// Tells which proxy an object belongs to, by the proxy's [`ProxyId::object_name`].
    pub fn of_object(namespace: &str, object_name: &str) -> Option<Self> {
        let (name, suffix) = object_name.rsplit_once('-')?;
        let name = name.to_owned();
        let kind = match suffix {
            "forward" => ProxyKind::Own(name),
            "gateway" => ProxyKind::Shared(name),
            "sidecar" => ProxyKind::Sidecar(name),
            _ => return None,
        };
        Some(Self { namespace: namespace.to_owned(), kind })
    }

    /// Where its forwards run.
    pub fn place(&self) -> Place {
        match self.kind {
            ProxyKind::Own(_) | ProxyKind::Shared(_) => Place::Gateway,
            ProxyKind::Sidecar(_) => Place::Sidecar,
        }
    }

    /// The label that tells its pods from others of the namespace.
    pub fn pod_label(&self) -> (&'static str, String) {
        match &self.kind {
            ProxyKind::Own(_) | ProxyKind::Shared(_) => (PROXY_LABEL, self.object_name()),
            ProxyKind::Sidecar(name) => (SIDECAR_LABEL, name.clone()),
        }
    }
}

impl std::fmt::Display for ProxyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.object_name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_the_name_of_its_objects() {
        for (kind, name) in [
            (ProxyKind::Own("db".to_owned()), "db-forward"),
            (ProxyKind::Shared("edge-forward".to_owned()), "edge-forward-gateway"),
            (ProxyKind::Sidecar("shop".to_owned()), "shop-sidecar"),
        ] {
            let id = ProxyId { namespace: "n".to_owned(), kind };
            assert_eq!(id.object_name(), name);
            assert_eq!(ProxyId::of_object("n", name), Some(id));
        }
        assert_eq!(ProxyId::of_object("n", "kube-root-ca.crt"), None);
    }
}
