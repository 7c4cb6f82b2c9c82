//! The status of one PortForward in a cluster: `fairlead_api::status` with what only the operator knows. Pure.

use std::collections::BTreeMap;

use fairlead_api::{
    Address, AddressType, PortForward, PortForwardStatus,
    render::Verdict,
    status::{Observed, remote_addresses, status},
};
use fairlead_config::{HostPort, Report};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{mounts::explained, observation::Observation};

/// Whether the status should be left as it is until the proxies have reported, or have had time to: a new leader knows
/// less than the status says.
pub(super) fn waits(object: &PortForward, verdict: &Verdict, observation: &Observation) -> bool {
    let Some(status) = object.status.as_ref().filter(|_| !observation.complete) else { return false };
    let says = |type_: &str, reason: &str| status.conditions.iter().any(|c| c.type_ == type_ && c.reason == reason);
    let is_told = match verdict {
        Verdict::Accepted { .. } => !status.conditions.is_empty(),
        // It counts proxies, too.
        Verdict::Suspended { .. } => says("Programmed", "Suspended"),
        Verdict::Refused { reason, .. } => says("Accepted", reason.as_str()),
    };
    is_told && status.observed_generation == object.metadata.generation
}

/// Makes the status as it should be now.
pub(super) fn next(
    object: &PortForward,
    verdict: &Verdict,
    observation: &Observation,
    has_service: bool,
    now: Timestamp,
) -> PortForwardStatus {
    let reports: Vec<_> = observation.reports.iter().map(|said| explained(object, &said.pod, &said.report)).collect();
    let reports: Vec<&Report> = reports.iter().map(AsRef::as_ref).collect();
    let observed = Observed {
        desired: observation.desired,
        ready: observation.ready,
        reports: &reports,
        missing: observation.missing.as_deref(),
        unreachable: observation.unreachable.as_deref(),
    };
    let mut status = status(object, verdict, &observed, now);
    let pods = observation.reports.iter().map(|said| Some(said.pod.name.as_str()));
    status.addresses = remote_addresses(object, pods.zip(reports.iter().copied()));
    if has_service {
        status.addresses.extend(service_address(object, verdict));
    }
    status
}

/// Where clients in the cluster find it.
fn service_address(object: &PortForward, verdict: &Verdict) -> Option<Address> {
    let effective = match verdict {
        Verdict::Accepted { effective, .. } | Verdict::Suspended { effective, .. } => effective,
        Verdict::Refused { .. } => return None,
    };
    let listen: HostPort = effective.listen.as_deref()?.parse().ok()?;
    let host = format!("{}.{}.svc", object.name_any(), object.namespace().unwrap_or_default());
    Some(Address { type_: AddressType::Service, host, port: listen.port, pod: None })
}

/// How many objects have which status of which condition.
pub(super) fn counts(objects: impl Iterator<Item = PortForward>) -> BTreeMap<(&'static str, &'static str), usize> {
    let mut counts = BTreeMap::new();
    for condition in objects.filter_map(|object| object.status).flat_map(|status| status.conditions) {
        let known = |all: &[&'static str], text: &str| all.iter().find(|known| **known == text).copied();
        let type_ = known(&["Accepted", "Programmed", "NodesAvailable", "Ready"], &condition.type_);
        if let (Some(type_), Some(status)) = (type_, known(&["True", "False", "Unknown"], &condition.status)) {
            *counts.entry((type_, status)).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fairlead_api::render::{Place, render};
    use serde_json::json;

    use super::*;

    /// The object as it is written when a proxy has been heard, and its verdict.
    fn written(spec: serde_json::Value) -> (PortForward, Verdict) {
        let metadata = json!({"name": "db", "namespace": "shop", "uid": "u", "generation": 3});
        let document =
            json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": metadata, "spec": spec});
        let mut object: PortForward = serde_json::from_value(document).unwrap();
        let verdict = render(std::slice::from_ref(&object), Place::Gateway).verdicts.remove(0).1;
        let heard = Observation { desired: 1, ready: 1, complete: true, ..Observation::default() };
        object.status = Some(next(&object, &verdict, &heard, true, Timestamp::from_second(0).unwrap()));
        (object, verdict)
    }

    #[test]
    fn a_status_of_this_generation_waits_for_the_proxies_whatever_it_says() {
        for spec in [
            json!({"url": "tcp://:1/x:1"}),
            json!({"url": "tcp://:1/x:1", "suspend": true}),
            json!({"url": "tcp://:1/x:1?strategy=best"}),
        ] {
            let (mut object, verdict) = written(spec.clone());
            let complete = Observation { complete: true, ..Observation::default() };
            assert!(waits(&object, &verdict, &Observation::default()), "{spec}");
            assert!(!waits(&object, &verdict, &complete), "{spec}");
            object.metadata.generation = Some(4);
            assert!(!waits(&object, &verdict, &Observation::default()), "{spec}");
        }
    }

    #[test]
    fn another_verdict_on_the_same_generation_is_written_at_once() {
        let (object, _) = written(json!({"url": "tcp://:1/x:1"}));
        let (_, refused) = written(json!({"url": "tcp://:1/x:1?strategy=best"}));
        assert!(!waits(&object, &refused, &Observation::default()));
    }
}
