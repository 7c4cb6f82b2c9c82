//! Forwards that lack a Secret or a ConfigMap because their pod was made before they named it: from a proxy's report,
//! which can't know that, to one that says what has to happen. Pure.

use std::{borrow::Cow, collections::BTreeSet};

use fairlead_api::{PortForward, render::key_of};
use fairlead_config::{ForwardState, Report};

use super::pods::PodFacts;
use crate::objects::{Reference, references_of};

/// What a proxy says of a file that isn't there.
const MISSING: &str = "CredentialsMissing";

/// A ready pod that has reported.
#[derive(Debug, Clone)]
pub(super) struct Reporter<R> {
    pub(super) pod: PodFacts,
    pub(super) report: R,
}

/// Reads a report for one PortForward: where its pod doesn't mount what is missing, that is why. Pods of the user's have
/// to be made anew by the user; those of a gateway are about to be.
pub(super) fn explained<'a>(object: &PortForward, pod: &PodFacts, report: &'a Report) -> Cow<'a, Report> {
    let named: BTreeSet<Reference> = references_of(object).collect();
    let unmounted = named.into_iter().find(|reference| !pod.volumes.contains(&reference.volume_name()));
    let key = key_of(object);
    let lacking = report.forwards.iter().position(|f| f.key == key && f.reason.as_deref() == Some(MISSING));
    let (Some(unmounted), Some(lacking)) = (unmounted, lacking) else { return Cow::Borrowed(report) };
    let mut report = report.clone();
    let forward = &mut report.forwards[lacking];
    let meanwhile = if forward.state == ForwardState::Listening { "; until then it goes on as it was" } else { "" };
    let (reason, what_follows) = match object.spec.sidecar {
        Some(_) => ("PodRestartRequired", "make the pod anew, with the present sidecar"),
        None => ("Pending", "it is being replaced by one that does"),
    };
    forward.reason = Some(reason.to_owned());
    let unmounted = unmounted.said();
    forward.message = Some(format!("pod {} doesn't mount {unmounted}: {what_follows}{meanwhile}", pod.name));
    Cow::Owned(report)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(place: &str) -> PortForward {
        serde_json::from_value(json!({
            "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward",
            "metadata": {"name": "db", "namespace": "shop", "uid": "u"},
            "spec": {
                "url": "tcp://:1/x:1", place: {"name": "edge"},
                "chain": [{"url": "socks5://b:1080", "credentials": {"secretRef": {"name": "bastion"}}}],
            },
        }))
        .unwrap()
    }

    fn reported(reason: &str) -> Report {
        let key = json!({"namespace": "shop", "name": "db", "uid": "u"});
        serde_json::from_value(json!({
            "version": 1, "revision": 1,
            "forwards": [{"key": key, "digest": "d", "state": "Failed", "reason": reason, "message": "m", "nodes": []}],
        }))
        .unwrap()
    }

    fn explained_as(place: &str, volumes: &[Reference], reason: &str) -> (String, String) {
        let volumes = volumes.iter().map(Reference::volume_name).collect();
        let pod = PodFacts { name: "web-0".to_owned(), volumes, ..PodFacts::default() };
        let report = reported(reason);
        let forward = explained(&object(place), &pod, &report).forwards[0].clone();
        (forward.reason.unwrap(), forward.message.unwrap())
    }

    #[test]
    fn a_pod_that_serves_on_until_it_is_replaced_says_so() {
        let mut report = reported(MISSING);
        report.forwards[0].state = ForwardState::Listening;
        let pod = PodFacts { name: "web-0".to_owned(), ..PodFacts::default() };
        let message = explained(&object("gateway"), &pod, &report).forwards[0].message.clone().unwrap();
        assert!(
            message.ends_with("it is being replaced by one that does; until then it goes on as it was"),
            "{message}"
        );
    }

    #[test]
    fn what_a_pod_does_not_mount_is_the_reason() {
        let mounted = [Reference::Secret("bastion".to_owned())];
        let kept = |reason: &str| (reason.to_owned(), "m".to_owned());
        assert_eq!(explained_as("sidecar", &mounted, MISSING), kept(MISSING));
        assert_eq!(explained_as("sidecar", &[], "ListenFailed"), kept("ListenFailed"));
        for (place, reason) in [("sidecar", "PodRestartRequired"), ("gateway", "Pending")] {
            let (said, message) = explained_as(place, &[Reference::ConfigMap("bastion".to_owned())], MISSING);
            assert_eq!(said, reason);
            assert!(message.starts_with("pod web-0 doesn't mount Secret \"bastion\": "), "{message}");
        }
    }
}
