//! The objects the operator makes, whatever their kind: from typed values to one write each. Decides what must be
//! written; `writer` does it. Invariant: what is not ours is never written.

use fairlead_config::digest;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, core::ApiResource};
use serde::Serialize;
use serde_json::Value;

use super::drift::{Differences, differences};
use crate::names::MANAGED_BY;

/// Annotation of every child: a digest of what it was made as, so that a field that is no longer wanted shows as well.
const RENDERED_ANNOTATION: &str = "fairlead.dev/rendered";

/// The kinds of objects the operator makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ChildKind {
    Service,
    ConfigMap,
    Deployment,
    PodDisruptionBudget,
    NetworkPolicy,
}

impl ChildKind {
    /// The resource's name in requests.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::ConfigMap => "configmaps",
            Self::Deployment => "deployments",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
            Self::NetworkPolicy => "networkpolicies",
        }
    }

    /// Whether nobody notices when one is made anew.
    pub(super) fn is_cheap(self) -> bool {
        match self {
            Self::PodDisruptionBudget | Self::NetworkPolicy => true,
            Self::Service | Self::ConfigMap | Self::Deployment => false,
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
        }
    }
}

/// Which child of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ChildName {
    pub(super) kind: ChildKind,
    pub(super) name: String,
}

/// A child as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) child: ChildName,
    pub(super) body: Value,
}

impl Wanted {
    /// Turns a typed object into what is sent: with its kind and API version.
    pub(super) fn new<K>(kind: ChildKind, object: &K) -> Result<Self, serde_json::Error>
    where
        K: Serialize + Resource<DynamicType = ()>,
    {
        let mut body = serde_json::to_value(object)?;
        body["apiVersion"] = K::api_version(&()).into();
        body["kind"] = K::kind(&()).into();
        body["metadata"]["annotations"][RENDERED_ANNOTATION] = digest(&body.to_string()).into();
        Ok(Self { child: ChildName { kind, name: object.meta().name.clone().unwrap_or_default() }, body })
    }

    /// The mark of what is wanted.
    fn rendered(&self) -> &Value {
        &self.body["metadata"]["annotations"][RENDERED_ANNOTATION]
    }
}

/// One thing to do about a child.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    /// It isn't there, as far as we know; whoever has the name keeps it.
    Create(Wanted),
    /// It is ours, and not as it should be.
    Apply(Wanted),
    /// It is ours, and nobody wants it any more. The uid keeps a successor of that name safe.
    Delete { child: ChildName, uid: String },
}

impl Write {
    pub(super) fn child(&self) -> &ChildName {
        match self {
            Self::Create(wanted) | Self::Apply(wanted) => &wanted.child,
            Self::Delete { child, .. } => child,
        }
    }
}

/// How the server answered the last write of a child: what it spelled in its own way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// The mark of what was written.
    rendered: Value,
    spelled: Differences,
}

impl Answer {
    pub(super) fn new(wanted: &Wanted, answered: &Value) -> Self {
        Self { rendered: wanted.rendered().clone(), spelled: differences(&wanted.body, answered) }
    }

    /// Whether there is anything to remember.
    pub(super) fn is_of_note(&self) -> bool {
        !self.spelled.is_empty()
    }
}

/// Decides what to do about a child that should be as `wanted`.
pub(super) fn settle(wanted: Wanted, present: Option<&Value>, answer: Option<&Answer>) -> Option<Write> {
    let Some(present) = present else {
        return Some(Write::Create(wanted));
    };
    let found = differences(&wanted.body, present);
    let as_answered = answer.is_some_and(|answer| answer.rendered == *wanted.rendered() && answer.spelled == found);
    (!found.is_empty() && !as_answered).then_some(Write::Apply(wanted))
}

/// Whether an object was made by the operator: for a PortForward, or for one whose user deleted it and kept the rest.
/// The label alone could be anybody's.
pub(super) fn is_ours(meta: &ObjectMeta) -> bool {
    let labelled = meta.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0)).is_some_and(|v| v == MANAGED_BY.1);
    let rendered = meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(RENDERED_ANNOTATION));
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let is_owned = owners.iter().any(|owner| owner.kind == "PortForward");
    is_owned && (labelled || rendered) || owners.is_empty() && rendered
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wanted(cpu: &str) -> Wanted {
        let child = ChildName { kind: ChildKind::Deployment, name: "db-forward".to_owned() };
        Wanted { child, body: present(cpu, cpu) }
    }

    fn present(mark: &str, cpu: &str) -> Value {
        json!({"metadata": {"annotations": {RENDERED_ANNOTATION: mark}}, "spec": {"cpu": cpu}, "status": {}})
    }

    #[test]
    fn a_child_is_created_repaired_or_left_alone() {
        assert!(matches!(settle(wanted("1"), None, None), Some(Write::Create(_))));
        assert_eq!(settle(wanted("1"), Some(&present("1", "1")), None), None);
        assert!(matches!(settle(wanted("1"), Some(&present("1", "2")), None), Some(Write::Apply(_))));
    }

    #[test]
    fn what_the_server_spells_otherwise_is_written_once() {
        let spelled = present("1000m", "1");
        let answer = Answer::new(&wanted("1000m"), &spelled);
        assert_eq!(settle(wanted("1000m"), Some(&spelled), Some(&answer)), None);
        assert!(settle(wanted("1000m"), Some(&present("1000m", "3")), Some(&answer)).is_some());
        assert!(settle(wanted("2000m"), Some(&spelled), Some(&answer)).is_some());
    }

    #[test]
    fn a_field_that_is_no_longer_wanted_is_taken_back() {
        let with = |data: &[(&str, &str)]| {
            let data = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Wanted::new(ChildKind::ConfigMap, &ConfigMap { data: Some(data), ..ConfigMap::default() }).unwrap()
        };
        let present = with(&[("a", "1"), ("b", "2")]).body;
        assert_eq!(settle(with(&[("a", "1"), ("b", "2")]), Some(&present), None), None);
        assert!(matches!(settle(with(&[("a", "1")]), Some(&present), None), Some(Write::Apply(_))));
    }

    #[test]
    fn only_what_a_port_forward_owns_or_left_is_ours() {
        let meta = |value: Value| serde_json::from_value::<ObjectMeta>(value).unwrap();
        let labels = json!({"app.kubernetes.io/managed-by": "fairlead"});
        let owner =
            |kind: &str| json!([{"apiVersion": "fairlead.dev/v1alpha1", "kind": kind, "name": "db", "uid": "u"}]);
        assert!(is_ours(&meta(json!({"labels": labels, "ownerReferences": owner("PortForward")}))));
        assert!(!is_ours(&meta(json!({"labels": labels}))));
        assert!(!is_ours(&meta(json!({"labels": labels, "ownerReferences": owner("Deployment")}))));
        assert!(!is_ours(&meta(json!({"ownerReferences": owner("PortForward")}))));
        let rendered = json!({"fairlead.dev/rendered": "d"});
        assert!(is_ours(&meta(json!({"annotations": rendered}))));
        assert!(is_ours(&meta(json!({"annotations": rendered, "ownerReferences": owner("PortForward")}))));
        assert!(!is_ours(&meta(
            json!({"annotations": rendered, "labels": labels, "ownerReferences": owner("Deployment")})
        )));
    }
}
