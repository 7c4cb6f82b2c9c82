//! The six conditions of a PortForward, from what was found out to what is written: all of them, always.
//! Invariant: a transition time changes only with the condition's status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{PortForward, render::Verdict};

/// Characters that an API server takes as a condition's message.
const MESSAGE_LIMIT: usize = 32_768;

/// Status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What one condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) truth: Truth,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Finding {
    pub(super) fn new(truth: Truth, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { truth, reason: reason.into(), message: message.into() }
    }
}

/// The conditions that the other three follow from.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) accepted: Finding,
    pub(super) programmed: Finding,
    pub(super) nodes_available: Finding,
}

/// Writes conditions for one generation of one object.
pub(super) struct Conditions<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: Time,
}

/// Whether the spec is valid and won its listener.
pub(super) fn accepted(verdict: &Verdict) -> Finding {
    match verdict {
        Verdict::Accepted { warnings, .. } | Verdict::Suspended { warnings, .. } => {
            let all: Vec<_> = std::iter::once("the spec is valid").chain(warnings.iter().map(String::as_str)).collect();
            Finding::new(Truth::True, "Accepted", all.join("; "))
        }
        Verdict::Refused { reason, message } => Finding::new(Truth::False, reason.as_str(), message),
    }
}

impl<'a> Conditions<'a> {
    pub(super) fn of(object: &'a PortForward, now: Time) -> Self {
        let before = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        Self { before, generation: object.metadata.generation, now }
    }

    /// Makes all six.
    pub(super) fn all(&self, said: Said) -> Vec<Condition> {
        let (ready, reconciling, stalled) = (ready(&said), reconciling(&said), stalled(&said));
        let findings = [
            ("Accepted", said.accepted),
            ("Programmed", said.programmed),
            ("NodesAvailable", said.nodes_available),
            ("Ready", ready),
            ("Reconciling", reconciling),
            ("Stalled", stalled),
        ];
        findings.into_iter().map(|(type_, finding)| self.condition(type_, finding)).collect()
    }

    fn condition(&self, type_: &str, finding: Finding) -> Condition {
        let unchanged = self.before.iter().find(|c| c.type_ == type_ && c.status == finding.truth.as_str());
        Condition {
            last_transition_time: unchanged.map_or(&self.now, |c| &c.last_transition_time).clone(),
            message: finding.message.chars().take(MESSAGE_LIMIT).collect(),
            observed_generation: self.generation,
            reason: finding.reason,
            status: finding.truth.as_str().to_owned(),
            type_: type_.to_owned(),
        }
    }
}

/// Accepted and programmed; otherwise the reason of the first that is not.
fn ready(said: &Said) -> Finding {
    if let Some(missing) = [&said.accepted, &said.programmed].into_iter().find(|f| f.truth != Truth::True) {
        return missing.clone();
    }
    let reason = if said.programmed.reason == "Programmed" { "Ready" } else { &said.programmed.reason };
    Finding::new(Truth::True, reason, &said.programmed.message)
}

/// Under way without anybody's doing.
fn reconciling(said: &Said) -> Finding {
    let programmed = &said.programmed;
    if programmed.truth == Truth::True || only_the_user_can_mend(said).is_some() {
        return Finding::new(Truth::False, "Settled", "nothing is under way");
    }
    Finding::new(Truth::True, &programmed.reason, &programmed.message)
}

fn stalled(said: &Said) -> Finding {
    match only_the_user_can_mend(said) {
        Some(finding) => Finding { truth: Truth::True, ..finding.clone() },
        None => Finding::new(Truth::False, "NotStalled", "nothing waits for the user"),
    }
}

/// A refused spec, and what a proxy won't get over by trying again.
fn only_the_user_can_mend(said: &Said) -> Option<&Finding> {
    if said.accepted.truth == Truth::False {
        return Some(&said.accepted);
    }
    let waits_for_the_user = said.programmed.truth == Truth::False
        && ["CredentialsMissing", "PodRestartRequired", "ProxyTooOld"].contains(&said.programmed.reason.as_str());
    waits_for_the_user.then_some(&said.programmed)
}
