//! The container `fairlead`, the same in gateways and in pods of the user's: what it may do, its ports, its probes.
//! It passes Pod Security's `restricted` whatever the pod around it says.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, Probe, ResourceRequirements, SeccompProfile,
    SecurityContext, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use fairlead_config::duration;

use super::Reference;
use crate::{
    names::{
        ADMIN_PORT, ADMIN_PORT_ANNOTATION, CA_KEY, CONFIG_DIR, CONFIG_KEY, CONTAINER, METRICS_PORT,
        METRICS_PORT_ANNOTATION,
    },
    settings::Settings,
};

/// The volume that holds a proxy's ConfigMap.
pub const CONFIG_VOLUME: &str = "fairlead-config";
/// Name of the port of a proxy's administration; told apart from what an application calls its own.
pub const ADMIN_PORT_NAME: &str = "proxy-admin";
/// Name of the port of a proxy's probes and metrics.
pub const METRICS_PORT_NAME: &str = "proxy-metrics";
/// The user and group that a proxy runs as.
pub(super) const USER: i64 = 65532;

/// The ports a proxy keeps for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyPorts {
    /// Administration: TLS, a client certificate required.
    pub admin: u16,
    /// Probes and metrics.
    pub metrics: u16,
}

/// Why a pod's annotations name no ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortsError {
    #[error("{annotation}: \"{value}\" is no port; write a number from 1 to 65535, in quotes")]
    NoPort { annotation: &'static str, value: String },
    #[error("{ADMIN_PORT_ANNOTATION} and {METRICS_PORT_ANNOTATION} are both {0}; write two ports")]
    Same(u16),
}

impl Default for ProxyPorts {
    fn default() -> Self {
        Self { admin: ADMIN_PORT, metrics: METRICS_PORT }
    }
}

impl ProxyPorts {
    /// The annotations of a pod that move the ports.
    pub const ANNOTATIONS: [&'static str; 2] = [ADMIN_PORT_ANNOTATION, METRICS_PORT_ANNOTATION];

    /// Reads the ports off a pod's annotations.
    pub fn of<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Result<Self, PortsError> {
        let port = |key: &'static str, usual: u16| match annotation(key) {
            None => Ok(usual),
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 => Ok(port),
                Ok(_) | Err(_) => Err(PortsError::NoPort { annotation: key, value: text.to_owned() }),
            },
        };
        let ports = Self {
            admin: port(ADMIN_PORT_ANNOTATION, ADMIN_PORT)?,
            metrics: port(METRICS_PORT_ANNOTATION, METRICS_PORT)?,
        };
        if ports.admin == ports.metrics { Err(PortsError::Same(ports.admin)) } else { Ok(ports) }
    }
}

/// What the containers after it in a pod wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// That the process runs.
    ForLife,
    /// That it has a configuration.
    ForConfiguration,
}

/// What is mounted besides the configuration.
pub(crate) type Volumes<'a> = &'a std::collections::BTreeSet<Reference>;

/// Makes the container, as it is in every pod.
pub(crate) fn container(
    settings: &Settings,
    resources: &ResourceRequirements,
    ports: ProxyPorts,
    waiting: Waiting,
    references: Volumes<'_>,
) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: settings.image_pull_policy.clone(),
        args: Some(args(settings, ports)),
        ports: Some(vec![port(ADMIN_PORT_NAME, ports.admin), port(METRICS_PORT_NAME, ports.metrics)]),
        resources: (*resources != ResourceRequirements::default()).then(|| resources.clone()),
        security_context: Some(security_context()),
        startup_probe: Some(startup_probe(waiting)),
        liveness_probe: Some(probe("/livez", 10, 3)),
        readiness_probe: Some(probe("/readyz", 5, 2)),
        volume_mounts: Some(mounts(references)),
        ..Container::default()
    }
}

fn args(settings: &Settings, ports: ProxyPorts) -> Vec<String> {
    let flags = [
        ("--config", format!("{CONFIG_DIR}/{CONFIG_KEY}")),
        ("--admin-addr", format!(":{}", ports.admin)),
        ("--admin-ca", format!("{CONFIG_DIR}/{CA_KEY}")),
        ("--metrics-addr", format!(":{}", ports.metrics)),
        ("--drain-timeout", duration::format(settings.drain_timeout)),
    ];
    let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    std::iter::once("proxy".to_owned()).chain(flags).collect()
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// Said on the container and not left to the pod, which is the user's where it is a sidecar.
fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        seccomp_profile: Some(seccomp_profile()),
        ..SecurityContext::default()
    }
}

pub(super) fn seccomp_profile() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

fn startup_probe(waiting: Waiting) -> Probe {
    match waiting {
        Waiting::ForLife => probe("/livez", 1, 30),
        // An hour: a new start would not bring the PortForward sooner, and the back-off would make its coming later.
        Waiting::ForConfiguration => probe("/readyz", 1, 3600),
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(METRICS_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

fn mounts(references: Volumes<'_>) -> Vec<VolumeMount> {
    let config = VolumeMount {
        name: CONFIG_VOLUME.to_owned(),
        mount_path: CONFIG_DIR.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    std::iter::once(config).chain(references.iter().map(Reference::mount)).collect()
}
