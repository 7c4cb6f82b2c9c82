//! The Deployment of a gateway: from the settings, the number of pods and what they mount, and from nothing else. No
//! listener and no checksum of the configuration is in it, since proxies are told changes while they run: whatever
//! changes here rolls the pods.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
    core::v1::{
        ConfigMapVolumeSource, Container, Lifecycle, LifecycleHandler, LocalObjectReference, PodSecurityContext,
        PodSpec, PodTemplateSpec, SleepAction, Sysctl, TopologySpreadConstraint, Volume,
    },
};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString};

use super::{
    CONFIG_VOLUME, Gateway, ProxyPorts, Reference, Waiting,
    container::{self, USER},
    metadata,
};
use crate::names::ProxyKind;

/// How long a pod that is told to end goes on as if it wasn't, until nobody sends clients to it any more.
const PRE_STOP_SECONDS: i64 = 5;
/// What a pod's end may take besides the draining.
const GRACE_SECONDS: u64 = 15;
/// Old ReplicaSets to go back to.
const HISTORY: i32 = 2;

/// The number of pods of a gateway: what its PortForward says, 1 where it says nothing; for a shared one the settings'.
pub fn replicas(gateway: &Gateway<'_>) -> u32 {
    match &gateway.id.kind {
        ProxyKind::Own(_) => {
            let said = |member: &super::Member<'_>| member.object.spec.gateway.as_ref()?.replicas;
            gateway.members.iter().find_map(said).unwrap_or(1)
        }
        ProxyKind::Shared(_) => gateway.settings.gateway.replicas,
        ProxyKind::Sidecar(_) => 0,
    }
}

pub(super) fn deployment(gateway: &Gateway<'_>) -> Deployment {
    let settings = &gateway.settings.gateway;
    let mut metadata = metadata::of_proxy(gateway);
    metadata.labels = Some(labels(gateway));
    metadata.annotations = some(settings.annotations.clone());
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: i32::try_from(replicas(gateway)).ok(),
            revision_history_limit: Some(HISTORY),
            selector: metadata::selector(gateway.id),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: template(gateway),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn template(gateway: &Gateway<'_>) -> PodTemplateSpec {
    let settings = &gateway.settings.gateway;
    // Wrong ones never get out of a settings file.
    let ports = ProxyPorts::of(|key| settings.annotations.get(key).map(String::as_str)).unwrap_or_default();
    let mut annotations = settings.annotations.clone();
    annotations.extend(around_the_mesh(ports.admin));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels(gateway)),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod_spec(gateway, ports)),
    }
}

fn pod_spec(gateway: &Gateway<'_>, ports: ProxyPorts) -> PodSpec {
    let settings = gateway.settings;
    let grace = settings.drain_timeout.as_secs() + u64::from(settings.drain_timeout.subsec_nanos() > 0) + GRACE_SECONDS;
    let mut node_selector = settings.gateway.node_selector.clone();
    node_selector.entry("kubernetes.io/os".to_owned()).or_insert_with(|| "linux".to_owned());
    let pull_secret = |name: &String| LocalObjectReference { name: name.clone() };
    PodSpec {
        affinity: settings.gateway.affinity.clone(),
        automount_service_account_token: Some(false),
        containers: vec![container(gateway, ports)],
        enable_service_links: Some(false),
        image_pull_secrets: some(settings.image_pull_secrets.iter().map(pull_secret).collect::<Vec<_>>()),
        node_selector: Some(node_selector),
        priority_class_name: settings.gateway.priority_class_name.clone(),
        security_context: Some(security_context()),
        termination_grace_period_seconds: Some(i64::try_from(grace).unwrap_or(i64::MAX)),
        tolerations: some(settings.gateway.tolerations.clone()),
        topology_spread_constraints: some(spread(gateway)),
        volumes: Some(volumes(gateway)),
        ..PodSpec::default()
    }
}

fn container(gateway: &Gateway<'_>, ports: ProxyPorts) -> Container {
    let sleep =
        LifecycleHandler { sleep: Some(SleepAction { seconds: PRE_STOP_SECONDS }), ..LifecycleHandler::default() };
    let resources = &gateway.settings.gateway.resources;
    Container {
        lifecycle: Some(Lifecycle { pre_stop: Some(sleep), ..Lifecycle::default() }),
        ..container::container(gateway.settings, resources, ports, Waiting::ForLife, gateway.references)
    }
}

fn security_context() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        seccomp_profile: Some(container::seccomp_profile()),
        // A listener below 1024 without any right of root's.
        sysctls: Some(vec![Sysctl { name: "net.ipv4.ip_unprivileged_port_start".to_owned(), value: "0".to_owned() }]),
        ..PodSecurityContext::default()
    }
}

fn volumes(gateway: &Gateway<'_>) -> Vec<Volume> {
    let config = Volume {
        name: CONFIG_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: gateway.id.object_name(), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    };
    std::iter::once(config).chain(gateway.references.iter().map(Reference::volume)).collect()
}

fn spread(gateway: &Gateway<'_>) -> Vec<TopologySpreadConstraint> {
    let about_its_pods = |constraint: &TopologySpreadConstraint| TopologySpreadConstraint {
        label_selector: constraint.label_selector.clone().or_else(|| Some(metadata::selector(gateway.id))),
        ..constraint.clone()
    };
    gateway.settings.gateway.topology_spread.iter().map(about_its_pods).collect()
}

/// Ours win over those of the settings.
fn labels(gateway: &Gateway<'_>) -> BTreeMap<String, String> {
    let mut labels = gateway.settings.gateway.labels.clone();
    labels.extend(metadata::labels(gateway.id, &gateway.id.object_name()));
    labels
}

/// Lets the operator past a mesh's sidecar: it speaks TLS of its own.
fn around_the_mesh(port: u16) -> BTreeMap<String, String> {
    let port = port.to_string();
    super::texts([
        ("traffic.sidecar.istio.io/excludeInboundPorts", &port),
        ("config.linkerd.io/skip-inbound-ports", &port),
    ])
}

/// An empty list or map is not said: an API server wouldn't keep it.
fn some<T: IntoIterator + Default + PartialEq>(all: T) -> Option<T> {
    (all != T::default()).then_some(all)
}
