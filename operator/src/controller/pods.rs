//! What a pod is to the operator: where its proxy is dialled, what it mounts, and whether it counts. Pure.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::ResourceExt;

use crate::{names::CONTAINER, objects::ProxyPorts, proxies::ProxyPod};

/// A proxy's pod that is not on its way out.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PodFacts {
    pub(super) uid: String,
    pub(super) name: String,
    /// Where it is dialled; none before it has an address.
    pub(super) address: Option<SocketAddr>,
    pub(super) ready: bool,
    /// The ports that its proxy keeps for itself.
    pub(super) ports: ProxyPorts,
    /// What its proxy mounts, by the volumes' names.
    pub(super) volumes: BTreeSet<String>,
}

impl PodFacts {
    /// Reads a pod; none if it carries no proxy, has ended, or is being deleted.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let container = containers.find(|container| container.name == CONTAINER)?;
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() || ["Succeeded", "Failed"].contains(&phase) {
            return None;
        }
        let ip: Option<IpAddr> = status.and_then(|status| status.pod_ip.as_ref()).and_then(|ip| ip.parse().ok());
        // With annotations that say nothing sensible, its ports are where they usually are.
        let ports = ProxyPorts::of(|key| pod.annotations().get(key).map(String::as_str)).unwrap_or_default();
        Some(Self {
            uid: pod.uid().unwrap_or_default(),
            name: pod.name_any(),
            address: ip.map(|ip| SocketAddr::new(ip, ports.admin)),
            ready: status.is_some_and(is_ready),
            ports,
            volumes: container.volume_mounts.iter().flatten().map(|mount| mount.name.clone()).collect(),
        })
    }

    /// What `proxies` dials.
    pub(super) fn to_dial(&self) -> Option<ProxyPod> {
        Some(ProxyPod { uid: self.uid.clone(), name: self.name.clone(), address: self.address? })
    }
}

/// A sidecar's own word counts, not its pod's: whether the application is ready is none of our business.
fn is_ready(status: &PodStatus) -> bool {
    let sidecar = status.init_container_statuses.iter().flatten().find(|container| container.name == CONTAINER);
    let mut conditions = status.conditions.iter().flatten();
    match sidecar {
        Some(sidecar) => sidecar.ready,
        None => conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(change: impl FnOnce(&mut Value)) -> Option<PodFacts> {
        let mut pod = json!({
            "metadata": {"name": "a", "uid": "u"},
            "spec": {"containers": [{"name": "shop"}], "initContainers": [{"name": "fairlead"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        change(&mut pod);
        PodFacts::of(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_pod_with_the_container_is_dialled_at_its_address() {
        let facts = pod(|_| {}).unwrap();
        assert_eq!(facts.to_dial().unwrap().address, "10.0.0.7:19443".parse().unwrap());
        assert!(facts.ready);
        let moved = pod(|pod| pod["metadata"]["annotations"] = json!({"fairlead.dev/admin-port": "7"})).unwrap();
        assert_eq!((moved.address.unwrap().port(), moved.ports), (7, ProxyPorts { admin: 7, metrics: 19444 }));
        let waiting = pod(|pod| pod["status"] = json!({"phase": "Pending"})).unwrap();
        assert_eq!((waiting.to_dial(), waiting.ready), (None, false));
    }

    #[test]
    fn what_its_own_container_mounts_is_known() {
        let mounts = |name: &str| json!([{"name": name, "mountPath": "/x"}]);
        let facts = pod(|pod| {
            pod["spec"]["containers"][0]["volumeMounts"] = mounts("theirs");
            pod["spec"]["initContainers"][0]["volumeMounts"] = mounts("ours");
        });
        assert_eq!(facts.unwrap().volumes, ["ours".to_owned()].into());
    }

    #[test]
    fn a_sidecar_is_ready_whatever_its_application_is() {
        let container =
            |name: &str, ready| json!({"name": name, "ready": ready, "image": "", "imageID": "", "restartCount": 0});
        for (pod_is, sidecar_is) in [("False", true), ("True", false)] {
            let facts = pod(|pod| {
                pod["status"]["conditions"][0]["status"] = pod_is.into();
                pod["status"]["initContainerStatuses"] =
                    json!([container("other", !sidecar_is), container("fairlead", sidecar_is)]);
            });
            assert_eq!(facts.unwrap().ready, sidecar_is);
        }
    }

    #[test]
    fn a_pod_that_carries_none_or_ends_does_not_count() {
        assert_eq!(pod(|pod| pod["spec"]["initContainers"] = json!([])), None);
        assert_eq!(pod(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")), None);
        assert_eq!(pod(|pod| pod["status"]["phase"] = json!("Failed")), None);
    }
}
