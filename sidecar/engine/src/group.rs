//! A group of nodes as the running proxy holds it: the selector behind a lock, and each node's counters.
//! Gives out dials to make (`Dialing`) and takes their outcomes back; every dial is accounted for, also a dropped one.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use fairlead_config::{HostPort, NodeReport, NodeRole, NodeState};

use crate::{
    changes::Changes,
    dial::{DialCause, DialError},
    selector::{Choice, Outcome, Rules, Selector, Ticket, Why},
    stats::NodeCounters,
};

/// Nodes with one strategy and one idea of who is alive.
#[derive(Debug)]
pub(crate) struct Group {
    /// Who asks, for the log: `forward "shop/db"`.
    name: String,
    /// The hop that the nodes are members of, from 1; none for targets.
    hop: Option<u32>,
    members: Mutex<Members>,
    changes: Changes,
}

#[derive(Debug)]
struct Members {
    selector: Selector,
    /// In the selector's order.
    nodes: Vec<Arc<Node>>,
}

/// One node's address and counters; outlives its place in the list while connections use it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) address: Arc<HostPort>,
    pub(crate) counters: NodeCounters,
    /// Dials that lost their race and run on only to be judged.
    pub(crate) judging: AtomicU32,
}

/// A dial that was given out. Dropped without an outcome, it is recorded as unjudged.
#[derive(Debug)]
pub(crate) struct Dialing {
    group: Arc<Group>,
    choice: Choice,
    pub(crate) node: Arc<Node>,
    started: Instant,
    open: bool,
    /// Has one of the node's places for lost dials.
    runs_on: bool,
    /// When the node answered, where what it answered is still to be judged.
    answered_at: Option<Instant>,
}

/// A node that keeps serving one client, and whose fate is told again and again.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    group: Arc<Group>,
    choice: Choice,
    pub(crate) node: Arc<Node>,
}

impl Group {
    pub(crate) fn new(name: String, rules: Rules, addresses: &[HostPort], changes: Changes) -> Self {
        let nodes = addresses.iter().map(Node::new).collect();
        let members = Mutex::new(Members { selector: Selector::new(rules, addresses), nodes });
        Self { name, hop: None, members, changes }
    }

    /// The nodes of a hop, which is counted from 1.
    pub(crate) fn of_hop(number: u32, name: String, rules: Rules, addresses: &[HostPort], changes: Changes) -> Self {
        Self { hop: Some(number), ..Self::new(name, rules, addresses, changes) }
    }

    /// Takes a new list and new rules; nodes in both lists keep their liveness and counters.
    pub(crate) fn reconfigure(&self, rules: Rules, addresses: &[HostPort]) {
        let mut members = self.members();
        let origins = members.selector.reconfigure(rules, addresses, Instant::now());
        let old = std::mem::take(&mut members.nodes);
        let kept = |origin: Option<usize>| origin.and_then(|index| old.get(index)).cloned();
        members.nodes =
            origins.into_iter().zip(addresses).map(|(o, a)| kept(o).unwrap_or_else(|| Node::new(a))).collect();
    }

    /// The next dial for the client of `ticket`, with the time after which to hedge it.
    pub(crate) fn select(
        self: &Arc<Self>,
        ticket: &mut Ticket,
        why: Why,
    ) -> Option<(Dialing, Option<std::time::Duration>)> {
        let (now, dice) = (Instant::now(), rand::random());
        let mut members = self.members();
        let choice = members.selector.select(ticket, why, now, dice)?;
        Some((self.dialing(choice, &members.nodes[choice.index], now), choice.hedge_after))
    }

    /// A dial of the node at a place of the list, for a health check: judged as any other.
    pub(crate) fn dial_at(self: &Arc<Self>, index: usize) -> Option<Dialing> {
        let members = self.members();
        let choice = members.selector.choice(index)?;
        Some(self.dialing(choice, members.nodes.get(index)?, Instant::now()))
    }

    /// Every node with its state, in the order of the list.
    pub(crate) fn report(&self) -> Vec<NodeReport> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let in_unix_ms = |at: Instant| {
            let then = wall - now.saturating_duration_since(at);
            then.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        };
        let members = self.members();
        let report = members.selector.nodes().map(|node| NodeReport {
            address: node.address.to_string(),
            role: if self.hop.is_some() { NodeRole::Hop } else { NodeRole::Target },
            hop: self.hop,
            state: node.state,
            fails: node.fails,
            last_error: node.last_error.map(str::to_owned),
            since: node.since.map_or(0, in_unix_ms),
        });
        report.collect()
    }

    /// The nodes with their counters, in the order of the list.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.members().nodes.clone()
    }

    fn dialing(self: &Arc<Self>, choice: Choice, node: &Arc<Node>, started: Instant) -> Dialing {
        Dialing {
            group: Arc::clone(self),
            choice,
            node: Arc::clone(node),
            started,
            open: true,
            runs_on: false,
            answered_at: None,
        }
    }

    fn record(&self, choice: &Choice, started: Instant, outcome: Outcome, at: Instant) {
        let mut members = self.members();
        let changed = members.selector.record(choice, started, outcome, at);
        if !changed {
            return;
        }
        let state = members
            .selector
            .nodes()
            .find(|node| node.id == choice.id)
            .map(|node| (node.address.clone(), node.state, node.last_error.unwrap_or_default().to_owned()));
        drop(members);
        if let Some((address, state, error)) = state {
            self.tell(&address, state, &error);
        }
        self.changes.notify();
    }

    fn tell(&self, address: &HostPort, state: NodeState, error: &str) {
        let hop = self.hop;
        match state {
            NodeState::Dead => tracing::warn!(forward = %self.name, hop, node = %address, error, "node is dead"),
            NodeState::Alive => tracing::info!(forward = %self.name, hop, node = %address, "node is alive"),
            NodeState::Unknown => {}
        }
    }

    /// A poisoned lock is used on: each method leaves the members whole at every step.
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    fn new(address: &HostPort) -> Arc<Self> {
        Arc::new(Self {
            address: Arc::new(address.clone()),
            counters: NodeCounters::default(),
            judging: AtomicU32::new(0),
        })
    }
}

impl Dialing {
    /// Whether this was the first node chosen for the client of `ticket`.
    pub(crate) fn is_first_of(&self, ticket: &Ticket) -> bool {
        ticket.began_with(self.choice.id)
    }

    /// Whether the node was dead when it was chosen.
    pub(crate) fn is_of_a_dead_node(&self) -> bool {
        self.choice.dead
    }

    /// The node, for what is learnt of it after this dial.
    pub(crate) fn chosen(&self) -> Chosen {
        let choice = Choice { probe: None, ..self.choice };
        Chosen { group: Arc::clone(&self.group), choice, node: Arc::clone(&self.node) }
    }

    /// The node answered just now; what it said may still be judged.
    pub(crate) fn note_answer(&mut self) {
        self.answered_at = Some(Instant::now());
    }

    /// The node answered.
    pub(crate) fn answered(mut self) {
        let at = self.answered_at.unwrap_or_else(Instant::now);
        self.node.counters.answered(at.saturating_duration_since(self.started));
        self.close(Outcome::Answered);
    }

    /// The node answered after the client had been given to another.
    pub(crate) fn answered_late(mut self) {
        self.close(Outcome::AnsweredLate);
    }

    /// The dial failed; a shortage of our own doesn't count against the node.
    pub(crate) fn failed(mut self, error: &DialError) {
        self.node.counters.failed(&error.cause);
        let outcome =
            if error.cause.is_the_nodes() { Outcome::Failed(error.cause.to_string()) } else { Outcome::Unjudged };
        self.close(outcome);
    }

    /// Takes one of the node's `limit` places for dials that run on to be judged; false when all are taken.
    /// A trial always runs on: others wait for its outcome.
    pub(crate) fn run_on(&mut self, limit: u32) -> bool {
        let within = |running| (running < limit || self.choice.probe.is_some()).then_some(running + 1);
        self.runs_on = self.node.judging.fetch_update(Relaxed, Relaxed, within).is_ok();
        self.runs_on
    }

    fn close(&mut self, outcome: Outcome) {
        self.open = false;
        let at = self.answered_at.filter(|_| outcome == Outcome::Answered).unwrap_or_else(Instant::now);
        self.group.record(&self.choice, self.started, outcome, at);
    }
}

impl Chosen {
    /// Whether both nodes were chosen of one group.
    pub(crate) fn is_of_the_group_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.group, &other.group) && self.choice.id == other.choice.id
    }

    /// What serves it has failed just now, without a dial.
    pub(crate) fn failed(&self, hop: u32, cause: DialCause) {
        let error = DialError { hop: Some(hop), ..DialError::new((*self.node.address).clone(), cause) };
        self.dialing(Instant::now()).failed(&error);
    }

    /// What began with a datagram sent at `started`, to be judged as a dial is.
    pub(crate) fn dialing(&self, started: Instant) -> Dialing {
        self.group.dialing(self.choice, &self.node, started)
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        if self.open {
            self.close(Outcome::Unjudged);
        }
        if self.runs_on {
            self.node.judging.fetch_sub(1, Relaxed);
        }
    }
}
