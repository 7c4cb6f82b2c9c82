//! What a proxy's pods and their connections come to, for the status of its members. Pure: pods, connections and the
//! time in, what `status` needs out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fairlead_config::Report;
use k8s_openapi::api::apps::v1::Deployment;

use super::{mounts::Reporter, pods::PodFacts};
use crate::proxies::{Link, PodView};

/// How long what a silent proxy said last is believed, and how long a new leader believes the status.
pub(super) const BELIEVED_FOR: Duration = Duration::from_secs(45);

/// What is known of a proxy's pods at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Observation {
    pub(super) desired: u32,
    pub(super) ready: u32,
    pub(super) reports: Vec<Reporter<Arc<Report>>>,
    /// Why there are fewer pods than desired.
    pub(super) missing: Option<String>,
    /// Why a ready pod can't be reached, or given its configuration.
    pub(super) unreachable: Option<String>,
    /// Every ready pod has reported.
    pub(super) complete: bool,
    /// When what is believed now will be believed no longer.
    pub(super) until: Option<Instant>,
}

impl Observation {
    /// Whatever the proxies say, an object without its Service serves nobody.
    pub(super) fn without_service(&mut self, why: &str) {
        self.reports.clear();
        self.unreachable = None;
        self.missing = Some(why.to_owned());
        self.complete = true;
    }
}

/// Puts together what is known. `desired` is none where the pods are the user's.
pub(super) fn observe(
    pods: &[PodFacts],
    views: &[PodView],
    desired: Option<u32>,
    missing: Option<String>,
    now: Instant,
) -> Observation {
    let ready: Vec<_> = pods.iter().filter(|pod| pod.ready).collect();
    let mut seen = Observation {
        desired: desired.unwrap_or_else(|| count(pods.len())),
        ready: count(ready.len()),
        missing,
        complete: true,
        ..Observation::default()
    };
    for pod in ready {
        let reporter = |report: &Arc<Report>| Reporter { pod: pod.clone(), report: Arc::clone(report) };
        let view = views.iter().find(|view| view.uid == pod.uid);
        if let Some(error) = view.and_then(|view| view.push_error.as_ref()) {
            seen.unreachable.get_or_insert_with(|| format!("pod {} takes no configuration: {error}", pod.name));
        }
        match view.map(|view| &view.link) {
            Some(Link::Connected { report, .. }) => seen.reports.push(reporter(report)),
            Some(Link::Lost { error, since, report }) => {
                match report.as_ref().filter(|_| now < *since + BELIEVED_FOR) {
                    Some(report) => {
                        seen.reports.push(reporter(report));
                        let until = *since + BELIEVED_FOR;
                        seen.until = Some(seen.until.map_or(until, |other| other.min(until)));
                    }
                    None => seen.complete = false,
                }
                seen.unreachable.get_or_insert_with(|| unreachable(pod, error));
            }
            Some(Link::Dialling { .. }) | None => seen.complete = false,
        }
    }
    seen
}

/// Why a Deployment has not the pods it should have, in the API server's words.
pub(super) fn missing(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    failure.message.clone().map(|message| format!("no pod can be made: {message}"))
}

fn unreachable(pod: &PodFacts, error: &str) -> String {
    let address = pod.address.map(|address| address.to_string()).unwrap_or_default();
    format!(
        "pod {} can't be reached at {address}: {error}; NetworkPolicies must let the operator in there, and a service \
         mesh must leave that port alone",
        pod.name
    )
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pod(uid: &str, ready: bool) -> PodFacts {
        let address = Some("10.0.0.1:19443".parse().unwrap());
        PodFacts { uid: uid.to_owned(), name: uid.to_owned(), address, ready, ..PodFacts::default() }
    }

    fn view(uid: &str, link: Link) -> PodView {
        PodView { uid: uid.to_owned(), name: uid.to_owned(), link, push_error: None }
    }

    #[tokio::test]
    async fn only_ready_pods_count_and_a_lost_one_is_believed_for_a_while() {
        let now = Instant::now();
        let report = Arc::new(Report::default());
        let lost = |report| view("b", Link::Lost { error: "reset".to_owned(), since: now, report });
        let pods = [pod("a", true), pod("b", true), pod("c", false)];
        let connected = view("a", Link::Connected { report: Arc::clone(&report), since: now });
        let seen = observe(&pods, &[connected.clone(), lost(Some(Arc::clone(&report)))], Some(3), None, now);
        assert_eq!((seen.desired, seen.ready, seen.reports.len(), seen.complete), (3, 2, 2, true));
        assert_eq!(seen.until, Some(now + BELIEVED_FOR));
        let later = observe(&pods, &[connected.clone(), lost(Some(report))], Some(3), None, now + BELIEVED_FOR);
        assert_eq!((later.reports.len(), later.complete, later.until), (1, false, None));
        assert!(later.unreachable.unwrap().contains("reset"));
        let never = observe(&pods, &[connected, lost(None)], None, None, now);
        assert_eq!((never.desired, never.complete), (3, false));
    }
}
