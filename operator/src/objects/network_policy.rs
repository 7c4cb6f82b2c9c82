//! The NetworkPolicy of a gateway, for namespaces in which nothing is let in by default: clients reach the listeners, the
//! cluster's pods the metrics, and the operator the administration, which asks for its certificate besides. Nothing is
//! said about the way out, which leads wherever the targets are.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString};

use super::{ADMIN_PORT_NAME, Gateway, Listener, METRICS_PORT_NAME, metadata};

pub(super) fn network_policy(gateway: &Gateway<'_>) -> NetworkPolicy {
    let listeners: BTreeSet<Listener> = gateway.members.iter().filter_map(super::Member::listener).collect();
    let clients = listeners.into_iter().map(|l| port(IntOrString::Int(i32::from(l.port)), l.protocol)).collect();
    let name = |name: &str| vec![port(IntOrString::String(name.to_owned()), "TCP")];
    let operator = operator(gateway.settings.operator_namespace.as_deref());
    let rules = [
        rule(None, clients),
        // Probes come from the pod's machine, which is always let in.
        rule(Some(in_namespaces(LabelSelector::default())), name(METRICS_PORT_NAME)),
        rule(Some(operator), name(ADMIN_PORT_NAME)),
    ];
    NetworkPolicy {
        metadata: metadata::of_proxy(gateway),
        spec: Some(NetworkPolicySpec {
            // A rule without ports would let everybody in everywhere.
            ingress: Some(
                rules.into_iter().filter(|rule| rule.ports.as_ref().is_some_and(|p| !p.is_empty())).collect(),
            ),
            pod_selector: Some(metadata::selector(gateway.id)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ..NetworkPolicySpec::default()
        }),
    }
}

fn rule(from: Option<NetworkPolicyPeer>, ports: Vec<NetworkPolicyPort>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: from.map(|peer| vec![peer]), ports: Some(ports) }
}

/// The operator's pods; any pod where nobody knows their namespace.
fn operator(namespace: Option<&str>) -> NetworkPolicyPeer {
    let labelled = |key: &str, value: &str| LabelSelector {
        match_labels: Some([(key.to_owned(), value.to_owned())].into()),
        match_expressions: None,
    };
    match namespace {
        Some(namespace) => NetworkPolicyPeer {
            pod_selector: Some(labelled("app.kubernetes.io/component", "operator")),
            ..in_namespaces(labelled("kubernetes.io/metadata.name", namespace))
        },
        None => in_namespaces(LabelSelector::default()),
    }
}

fn in_namespaces(selector: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer { namespace_selector: Some(selector), ..NetworkPolicyPeer::default() }
}

fn port(port: IntOrString, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort { port: Some(port), protocol: Some(protocol.to_owned()), end_port: None }
}
