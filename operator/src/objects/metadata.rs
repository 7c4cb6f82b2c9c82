//! Names, labels and owners of what the operator makes. Every PortForward of a proxy owns its objects, so that they go
//! when the last one goes, without a finalizer. A selector holds what never changes; no label holds a version, or an
//! operator's upgrade would write every object.

use std::collections::BTreeMap;

use fairlead_api::PortForward;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;

use super::{Gateway, Member};
use crate::names::{MANAGED_BY, PROXY_LABEL, ProxyId, ProxyKind};

/// Metadata of an object that belongs to a whole proxy.
pub(super) fn of_proxy(gateway: &Gateway<'_>) -> ObjectMeta {
    let name = gateway.id.object_name();
    ObjectMeta {
        labels: Some(labels(gateway.id, &name)),
        name: Some(name),
        namespace: Some(gateway.id.namespace.clone()),
        owner_references: Some(owners(gateway.members)),
        ..ObjectMeta::default()
    }
}

/// Metadata of an object that belongs to one PortForward and has its name.
pub(super) fn of_member(member: &Member<'_>, id: &ProxyId) -> ObjectMeta {
    let name = member.object.metadata.name.clone().unwrap_or_default();
    ObjectMeta {
        labels: Some(labels(id, &name)),
        name: Some(name),
        namespace: Some(id.namespace.clone()),
        owner_references: Some(owners(std::slice::from_ref(member))),
        ..ObjectMeta::default()
    }
}

/// The labels of an object of a proxy; `instance` is what people call it.
pub(super) fn labels(id: &ProxyId, instance: &str) -> BTreeMap<String, String> {
    let component = match id.kind {
        ProxyKind::Own(_) | ProxyKind::Shared(_) => "gateway",
        ProxyKind::Sidecar(_) => "sidecar",
    };
    super::texts([
        ("app.kubernetes.io/name", "fairlead"),
        ("app.kubernetes.io/instance", instance),
        ("app.kubernetes.io/component", component),
        ("app.kubernetes.io/part-of", "fairlead"),
        MANAGED_BY,
        (PROXY_LABEL, &id.object_name()),
    ])
}

/// Selects the pods of a proxy.
pub(super) fn selector(id: &ProxyId) -> LabelSelector {
    LabelSelector { match_labels: Some(pod_labels(id)), match_expressions: None }
}

/// What tells the pods of a proxy from others.
pub(super) fn pod_labels(id: &ProxyId) -> BTreeMap<String, String> {
    let (key, value) = id.pod_label();
    super::texts([(key, &value)])
}

/// Names further owners: PortForwards that are refused, and that may run there when another one goes.
pub fn add_owners(metadata: &mut ObjectMeta, objects: &[PortForward]) {
    let owners = metadata.owner_references.get_or_insert_default();
    let others: Vec<OwnerReference> = objects.iter().map(owner).filter(|owner| !owners.contains(owner)).collect();
    owners.extend(others);
    sort(owners);
}

/// Every member, in the order of names; none of them controls, since only one could.
fn owners(members: &[Member<'_>]) -> Vec<OwnerReference> {
    let mut owners: Vec<OwnerReference> = members.iter().map(|member| owner(member.object)).collect();
    sort(&mut owners);
    owners
}

fn sort(owners: &mut [OwnerReference]) {
    owners.sort_by(|a, b| (&a.name, &a.uid).cmp(&(&b.name, &b.uid)));
}

fn owner(object: &PortForward) -> OwnerReference {
    OwnerReference {
        api_version: PortForward::api_version(&()).into_owned(),
        kind: PortForward::kind(&()).into_owned(),
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        controller: None,
        block_owner_deletion: Some(false),
    }
}
