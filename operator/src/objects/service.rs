//! The Service of a PortForward, named after it: how clients in the cluster reach its listener, in whatever gateway it
//! runs. It outlives a suspension, so that its address stays.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Listener, Member, metadata};
use crate::names::{ProxyId, ProxyKind};

/// Makes the Service; none for a sidecar, whose clients are in its own pod, and for a listener at the far end.
pub fn service(member: &Member<'_>, id: &ProxyId) -> Option<Service> {
    match id.kind {
        ProxyKind::Sidecar(_) => return None,
        ProxyKind::Own(_) | ProxyKind::Shared(_) => {}
    }
    let listener = member.listener()?;
    Some(Service {
        metadata: metadata::of_member(member, id),
        spec: Some(ServiceSpec {
            ip_family_policy: Some("PreferDualStack".to_owned()),
            ports: Some(vec![port(listener)]),
            selector: Some(metadata::pod_labels(id)),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}

/// Named by the protocol alone: a mesh takes names such as `http` for what it must look into.
fn port(listener: Listener) -> ServicePort {
    ServicePort {
        name: Some(listener.protocol.to_ascii_lowercase()),
        protocol: Some(listener.protocol.to_owned()),
        port: i32::from(listener.port),
        target_port: Some(IntOrString::Int(i32::from(listener.port))),
        ..ServicePort::default()
    }
}
