//! The engine's two views of itself, both snapshots: the `Report` (what runs, who is alive) and the counters.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use fairlead_config::{
    ForwardKey, ForwardReport, ForwardState, HostPort, NodeReport, NodeRole, NodeState, REPORT_VERSION, Refused,
    RefusedReason, Report,
};

use crate::{
    accept::ServeControl,
    dial::DialCause,
    engine::{Running, State},
    forward::Forwarding,
    group::Node,
    plan::ForwardPlan,
    relay::ByteCounters,
    stats::{ClientCounters, DatagramCounters, Dropped, HistogramView},
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
    /// None: the forward carries streams.
    pub datagrams: Option<DatagramStats>,
    pub nodes: Vec<NodeStats>,
}

/// Counters of a forward's datagrams.
#[derive(Debug, Clone, Default)]
pub struct DatagramStats {
    /// Datagrams sent to nodes, and to clients.
    pub to_upstream: u64,
    pub to_client: u64,
    /// Dropped ones, in the order of [`DatagramStats::REASONS`].
    pub dropped: [u64; Dropped::REASONS.len()],
}

/// Datagrams of a forward and their bytes, to nodes and to clients.
pub(crate) struct Carried {
    pub(crate) datagrams: DatagramStats,
    pub(crate) bytes: [u64; 2],
}

impl ForwardStats {
    /// The counters of a forward that carries streams; `bytes` are those of each worker.
    pub(crate) fn of_streams(
        key: &ForwardKey,
        control: &ServeControl,
        clients: &ClientCounters,
        bytes: &[ByteCounters],
        nodes: impl Iterator<Item = NodeStats>,
    ) -> Self {
        Self {
            key: key.clone(),
            accepted: clients.accepted.load(Relaxed),
            open: control.live() as u64,
            unserved: clients.unserved.load(Relaxed),
            passed_on: clients.passed_on.load(Relaxed),
            hedged: clients.hedged.load(Relaxed),
            copy_errors: clients.copy_errors.load(Relaxed),
            bytes_to_upstream: bytes.iter().map(|bytes| bytes.to_upstream.load(Relaxed)).sum(),
            bytes_to_client: bytes.iter().map(|bytes| bytes.to_client.load(Relaxed)).sum(),
            datagrams: None,
            nodes: nodes.collect(),
        }
    }

    /// The same with the datagrams that were carried beside the streams, or in them.
    pub(crate) fn with_datagrams(self, workers: &[DatagramCounters]) -> Self {
        let Carried { datagrams, bytes: [to_upstream, to_client] } = Carried::of(workers);
        Self {
            bytes_to_upstream: self.bytes_to_upstream + to_upstream,
            bytes_to_client: self.bytes_to_client + to_client,
            datagrams: Some(datagrams),
            ..self
        }
    }
}

impl Carried {
    /// The sums of what each worker has carried.
    pub(crate) fn of(workers: &[DatagramCounters]) -> Self {
        let sum = |value: fn(&DatagramCounters) -> &AtomicU64| {
            workers.iter().map(|counters| value(counters).load(Relaxed)).sum::<u64>()
        };
        let dropped = workers
            .iter()
            .map(DatagramCounters::dropped)
            .fold([0; Dropped::REASONS.len()], |sums, more| std::array::from_fn(|index| sums[index] + more[index]));
        Self {
            datagrams: DatagramStats {
                to_upstream: sum(|counters| &counters.to_upstream),
                to_client: sum(|counters| &counters.to_client),
                dropped,
            },
            bytes: [sum(|counters| &counters.bytes_to_upstream), sum(|counters| &counters.bytes_to_client)],
        }
    }
}

impl DatagramStats {
    /// Why datagrams are dropped: the labels of the metric.
    pub const REASONS: [&'static str; Dropped::REASONS.len()] = Dropped::REASONS;
}

/// Counters of one node.
#[derive(Debug, Clone)]
pub struct NodeStats {
    /// The hop that the node is a member of, from 1; none for a target.
    pub hop: Option<u32>,
    pub address: HostPort,
    pub state: NodeState,
    /// Clients connected to this node so far.
    pub connections: u64,
    /// Failed dials, in the order of [`DialCause::REASONS`].
    pub failures: [u64; DialCause::REASONS.len()],
    /// Times of the dials that were answered.
    pub dial_times: HistogramView,
    /// What waits to be read in SSH sessions to the node, in bytes; none of other nodes.
    pub backlog: Option<u64>,
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
        (Ok(forward), _) if forward.lack().is_some() => ForwardReport {
            key,
            digest,
            bound: None,
            state: ForwardState::Failed,
            listening: None,
            reason: Some(RefusedReason::CredentialsMissing.as_str().to_owned()),
            message: forward.lack(),
            nodes: forward.nodes(),
        },
        (Ok(forward), _) if forward.standing().is_some_and(|standing| standing.held().is_none()) => {
            not_held(key, digest, forward, refused)
        }
        (Ok(forward), _) => ForwardReport {
            key,
            digest,
            bound: forward.standing().and_then(|standing| standing.held().cloned()),
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
            bound: None,
            state: ForwardState::Failed,
            listening: None,
            reason: Some("ListenFailed".to_owned()),
            message: Some(error.to_string()),
            nodes: undialled_nodes(&running.plan),
        },
    }
}

/// A forward that does not hold its port at the far end, or not yet.
fn not_held(key: ForwardKey, digest: String, forward: &Forwarding, refused: Option<&Refused>) -> ForwardReport {
    let unknown = || (ForwardState::Unknown, None, None);
    let (state, reason, message) = forward.standing().map_or_else(unknown, |standing| standing.said());
    let reason = refused.map(|refused| refused.reason.as_str()).or(reason).map(str::to_owned);
    let message = refused.map(|refused| refused.message.clone()).or(message);
    ForwardReport { key, digest, state, listening: None, bound: None, reason, message, nodes: forward.nodes() }
}

/// The counters of nodes, with their states in the same order; of the members of a hop, if one is named.
pub(crate) fn node_stats(hop: Option<u32>, nodes: &[Arc<Node>], states: &[NodeReport]) -> Vec<NodeStats> {
    let of_node = |(node, report): (&Arc<Node>, &NodeReport)| NodeStats {
        hop,
        address: (*node.address).clone(),
        state: report.state,
        connections: node.counters.connections.load(Relaxed),
        failures: node.counters.failures(),
        dial_times: node.counters.dial_times(),
        backlog: None,
    };
    nodes.iter().zip(states).map(of_node).collect()
}

fn of_refused(refused: &Refused) -> ForwardReport {
    ForwardReport {
        key: refused.key.clone(),
        digest: refused.digest.clone(),
        state: ForwardState::Refused,
        bound: None,
        listening: None,
        reason: Some(refused.reason.as_str().to_owned()),
        message: Some(refused.message.clone()),
        nodes: Vec::new(),
    }
}

fn undialled_nodes(plan: &ForwardPlan) -> Vec<NodeReport> {
    let hops = plan.chain.iter().zip(1..);
    let hops = hops.flat_map(|(hop, number)| hop.nodes.iter().map(move |node| undialled(Some(number), node)));
    hops.chain(plan.targets.iter().map(|target| undialled(None, target))).collect()
}

fn undialled(hop: Option<u32>, node: &HostPort) -> NodeReport {
    NodeReport {
        address: node.to_string(),
        role: if hop.is_some() { NodeRole::Hop } else { NodeRole::Target },
        hop,
        state: NodeState::Unknown,
        fails: 0,
        last_error: None,
        since: 0,
    }
}
