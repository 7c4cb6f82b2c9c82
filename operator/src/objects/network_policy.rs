//! The NetworkPolicy of a gateway, for namespaces in which nothing is let in by default: clients reach the listeners,
//! everybody the probes and metrics, and the cluster's pods the administration, which asks for the operator's certificate.
//! Nothing is said about the way out, which leads wherever the targets are.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString};

use super::{ADMIN_PORT_NAME, Gateway, Listener, METRICS_PORT_NAME, metadata};

pub(super) fn network_policy(gateway: &Gateway<'_>) -> NetworkPolicy {
    let listeners: BTreeSet<Listener> = gateway.members.iter().filter_map(super::Member::listener).collect();
    let number = |listener: Listener| port(IntOrString::Int(i32::from(listener.port)), listener.protocol);
    let name = |name: &str| port(IntOrString::String(name.to_owned()), "TCP");
    let everybody = listeners.into_iter().map(number).chain([name(METRICS_PORT_NAME)]);
    NetworkPolicy {
        metadata: metadata::of_proxy(gateway),
        spec: Some(NetworkPolicySpec {
            ingress: Some(vec![rule(None, everybody.collect()), rule(Some(any_pod()), vec![name(ADMIN_PORT_NAME)])]),
            pod_selector: Some(metadata::selector(gateway.id)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ..NetworkPolicySpec::default()
        }),
    }
}

fn rule(from: Option<NetworkPolicyPeer>, ports: Vec<NetworkPolicyPort>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: from.map(|peer| vec![peer]), ports: Some(ports) }
}

/// The operator's namespace is no business of the tenants'.
fn any_pod() -> NetworkPolicyPeer {
    NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }
}

fn port(port: IntOrString, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort { port: Some(port), protocol: Some(protocol.to_owned()), end_port: None }
}
