//! Statuses of an object as it goes through time; a `Scene` is the object with what its proxies say.
#![allow(clippy::unwrap_used)]

mod nodes;
mod programmed;

use fairlead_config::{ForwardKey, ForwardReport, ForwardState, NodeReport, Report};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use serde_json::json;

use super::*;
use crate::{
    NodeState,
    render::{AcceptedReason, Place, render},
};

const TWO: &str = "tcp://:5432/db1:5432,db2:5432";

/// One object with what its proxies say, as it goes through time.
struct Scene {
    object: PortForward,
    verdict: Verdict,
    desired: u32,
    ready: u32,
    unreachable: Option<String>,
    reports: Vec<Report>,
    second: i64,
}

impl Scene {
    fn new(spec: serde_json::Value) -> Self {
        let metadata = json!({"name": "db", "namespace": "shop", "uid": "u", "generation": 3});
        let document =
            json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": metadata, "spec": spec});
        let object: PortForward = serde_json::from_value(document).unwrap();
        let verdict = render(std::slice::from_ref(&object), Place::Gateway).verdicts.remove(0).1;
        Self { object, verdict, desired: 1, ready: 1, unreachable: None, reports: Vec::new(), second: 0 }
    }

    fn two_targets() -> Self {
        Self::new(json!({"url": TWO}))
    }

    fn desired(mut self, desired: u32) -> Self {
        (self.desired, self.ready) = (desired, desired);
        self
    }

    /// What one proxy says, by default that it listens and has dialled nothing.
    fn proxy(mut self, change: impl FnOnce(&mut ForwardReport)) -> Self {
        let digest = match &self.verdict {
            Verdict::Accepted { digest, .. } => digest.clone(),
            Verdict::Suspended { .. } | Verdict::Refused { .. } => String::new(),
        };
        let key = ForwardKey { namespace: "shop".to_owned(), name: "db".to_owned(), uid: "u".to_owned() };
        let mut forward = ForwardReport {
            key,
            digest,
            state: ForwardState::Listening,
            listening: None,
            bound: None,
            reason: None,
            message: None,
            nodes: ["db1:5432", "db2:5432"].map(|address| undialled(address, None)).into(),
        };
        change(&mut forward);
        self.reports.push(Report { version: 1, revision: 1, forwards: vec![forward] });
        self
    }

    fn listening(self) -> Self {
        self.proxy(|_| {})
    }

    fn failing(self, state: ForwardState, reason: &str, message: &str) -> Self {
        self.proxy(|forward| {
            forward.state = state;
            forward.reason = Some(reason.to_owned());
            forward.message = Some(message.to_owned());
        })
    }

    /// A proxy that has dialled both targets, with their failures; 0 is alive.
    fn dialled(self, fails: [u32; 2]) -> Self {
        self.proxy(|forward| {
            for (node, fails) in forward.nodes.iter_mut().zip(fails) {
                node.state =
                    if fails == 0 { fairlead_config::NodeState::Alive } else { fairlead_config::NodeState::Dead };
                node.fails = fails;
                node.last_error = (fails > 0).then(|| "connection refused".to_owned());
            }
        })
    }

    fn status(&self) -> PortForwardStatus {
        let reports: Vec<&Report> = self.reports.iter().collect();
        let observed = Observed {
            desired: self.desired,
            ready: self.ready,
            reports: &reports,
            missing: None,
            unreachable: self.unreachable.as_deref(),
        };
        status(&self.object, &self.verdict, &observed, Timestamp::from_second(self.second).unwrap())
    }

    /// Time goes on: the status is written, the proxies are to say something new.
    fn later(mut self) -> Self {
        self.object.status = Some(self.status());
        self.second += 100;
        self.reports.clear();
        self
    }
}

fn undialled(address: &str, hop: Option<u32>) -> NodeReport {
    let role = if hop.is_some() { fairlead_config::NodeRole::Hop } else { fairlead_config::NodeRole::Target };
    let state = fairlead_config::NodeState::Unknown;
    NodeReport { address: address.to_owned(), role, hop, state, fails: 0, last_error: None, since: 0 }
}

fn condition<'a>(status: &'a PortForwardStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap()
}

/// `Status/Reason` of one condition.
fn said(status: &PortForwardStatus, type_: &str) -> String {
    let condition = condition(status, type_);
    format!("{}/{}", condition.status, condition.reason)
}

fn states(status: &PortForwardStatus) -> Vec<(&str, NodeState)> {
    status.nodes.iter().map(|node| (node.address.as_str(), node.state)).collect()
}

#[test]
fn all_six_conditions_are_there_from_the_first_moment() {
    let status = Scene::two_targets().status();
    let types: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["Accepted", "Programmed", "NodesAvailable", "Ready", "Reconciling", "Stalled"]);
    assert_eq!(status.observed_generation, Some(3));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
    assert!(status.conditions.iter().all(|condition| !condition.message.is_empty()));
    assert_eq!(status.node_summary.as_deref(), Some("?/2"));
    assert_eq!(status.effective.unwrap().listen.as_deref(), Some(":5432"));
}

#[test]
fn a_refused_object_is_stalled_with_its_reason() {
    let mut scene = Scene::new(json!({"url": "tcp://:5432/db1"})).listening();
    for reason in [AcceptedReason::InvalidURL, AcceptedReason::PortConflict, AcceptedReason::UnsupportedValue] {
        scene.verdict = Verdict::Refused { reason, message: "because".to_owned() };
        let status = scene.status();
        for type_ in ["Accepted", "Ready"] {
            assert_eq!(said(&status, type_), format!("False/{reason}"));
            assert_eq!(condition(&status, type_).message, "because");
        }
        assert_eq!(said(&status, "Stalled"), format!("True/{reason}"));
        assert_eq!(said(&status, "Reconciling"), "False/Settled");
        assert_eq!(said(&status, "Programmed"), "False/Pending");
        assert_eq!(said(&status, "NodesAvailable"), "Unknown/NotObserved");
        assert_eq!((status.effective, status.node_summary), (None, None));
    }
}

#[test]
fn warnings_stand_in_the_message_of_accepted() {
    let status = Scene::new(json!({"url": "tcp://:1/a:1?retry=3"})).status();
    let message = &condition(&status, "Accepted").message;
    assert!(message.starts_with("the spec is valid; option \"retry\" has no effect"), "{message}");
}

#[test]
fn a_transition_time_changes_only_with_the_condition() {
    let time = |status: &PortForwardStatus, type_: &str| condition(status, type_).last_transition_time.0.as_second();
    let scene = Scene::two_targets().dialled([0, 0]).later().dialled([0, 1]);
    let status = scene.status();
    assert_eq!(said(&status, "NodesAvailable"), "True/SomeDead");
    assert!(status.conditions.iter().all(|condition| condition.last_transition_time.0.as_second() == 0));
    let status = scene.later().dialled([1, 1]).status();
    assert_eq!((said(&status, "NodesAvailable").as_str(), time(&status, "NodesAvailable")), ("False/AllDead", 200));
    assert_eq!((said(&status, "Ready").as_str(), time(&status, "Ready")), ("True/Ready", 0));
}

#[test]
fn the_same_facts_give_the_same_status_later() {
    let first = Scene::two_targets().dialled([0, 2]).later();
    let before = first.object.status.clone().unwrap();
    assert_eq!(first.dialled([0, 7]).status(), before);
}

#[test]
fn times_and_the_order_of_conditions_make_no_difference() {
    let (early, mut late) = (Scene::two_targets().dialled([0, 1]), Scene::two_targets().dialled([0, 1]));
    late.second = 900;
    let (early, mut late) = (early.status(), late.status());
    late.conditions.reverse();
    assert_ne!(early, late);
    assert!(same(&early, &late));
    late.conditions[0].message.push('!');
    assert!(!same(&early, &late));
    assert!(!same(&early, &Scene::two_targets().dialled([0, 0]).status()));
}
