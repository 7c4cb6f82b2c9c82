//! The engine's two views of itself, both snapshots: the `Report` (what runs, who is alive) and the counters.

use fairlead_config::{
    ForwardKey, ForwardReport, ForwardState, HostPort, NodeReport, NodeState, REPORT_VERSION, Refused, Report,
};

use crate::{
    dial::DialCause,
    engine::{Running, State},
    stats::HistogramView,
};

/// Counters of one forward.
#[derive(Debug, Clone)]
pub struct ForwardStats {
    pub key: ForwardKey,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Clients that no node answered.
    pub unserved: u64,
    /// Clients served by another node than the first one chosen for them.
    pub passed_on: u64,
    /// Second dials begun because a node was silent.
    pub hedged: u64,
    /// Connections whose copying ended by an error.
    pub copy_errors: u64,
    /// Bytes sent to nodes, and to clients.
    pub bytes_to_upstream: u64,
    pub bytes_to_client: u64,
    pub nodes: Vec<NodeStats>,
}

/// Counters of one node.
#[derive(Debug, Clone)]
pub struct NodeStats {
    pub address: HostPort,
    pub state: NodeState,
    /// Clients connected to this node so far.
    pub connections: u64,
    /// Failed dials, in the order of [`DialCause::REASONS`].
    pub failures: [u64; DialCause::REASONS.len()],
    /// Times of the dials that were answered.
    pub dial_times: HistogramView,
}

/// What runs and how its nodes fare.
pub(crate) fn report(state: &State) -> Report {
    let refusal = |key: &ForwardKey| state.plan.refused().iter().find(|refused| refused.key == *key);
    let running = state.forwards.iter().map(|(key, running)| of_running(key, running, refusal(key)));
    let refused = state.plan.refused().iter().filter(|refused| !state.forwards.contains_key(&refused.key));
    let refused = refused.map(of_refused);
    Report { version: REPORT_VERSION, revision: state.plan.revision, forwards: running.chain(refused).collect() }
}

/// The counters of every forward that listens.
pub(crate) fn stats(state: &State) -> Vec<ForwardStats> {
    let listening = state.forwards.iter().filter_map(|(key, running)| Some((key, running.listener.as_ref().ok()?)));
    listening.map(|(key, forward)| forward.stats(key)).collect()
}

/// A forward that runs, perhaps because its new version was refused.
fn of_running(key: &ForwardKey, running: &Running, refused: Option<&Refused>) -> ForwardReport {
    let (key, digest) = (key.clone(), running.digest.clone());
    match (&running.listener, refused) {
        (Ok(forward), _) => ForwardReport {
            key,
            digest,
            state: ForwardState::Listening,
            listening: Some(running.plan.listen.clone()),
            reason: refused.map(|refused| refused.reason.as_str().to_owned()),
            message: refused.map(|refused| refused.message.clone()).or_else(|| forward.trouble()),
            nodes: forward.nodes(),
        },
        (Err(_), Some(refused)) => of_refused(refused),
        (Err(error), None) => ForwardReport {
            key,
            digest,
            state: ForwardState::Failed,
            listening: None,
            reason: Some("ListenFailed".to_owned()),
            message: Some(error.to_string()),
            nodes: running.plan.targets.iter().map(undialled).collect(),
        },
    }
}

fn of_refused(refused: &Refused) -> ForwardReport {
    ForwardReport {
        key: refused.key.clone(),
        digest: refused.digest.clone(),
        state: ForwardState::Refused,
        listening: None,
        reason: Some(refused.reason.as_str().to_owned()),
        message: Some(refused.message.clone()),
        nodes: Vec::new(),
    }
}

fn undialled(target: &HostPort) -> NodeReport {
    NodeReport {
        address: target.to_string(),
        role: fairlead_config::NodeRole::Target,
        hop: None,
        state: NodeState::Unknown,
        fails: 0,
        last_error: None,
        since: 0,
    }
}
