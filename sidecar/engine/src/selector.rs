//! `Selector`: which node a client is sent to, and which nodes are dead. The only judge of liveness.
//!
//! Pure: `now` and the dice come from the caller (`group.rs`), and no clock, lock or socket is touched.
//! Counts as GOST does (dead at `max_fails` consecutive failures, left out for `fail_timeout`, an only node never),
//! and beyond it lets one connection at a time try a dead node whose time is over.

use std::time::{Duration, Instant};

use fairlead_config::{HostPort, NodeState, Strategy};

/// Names a node for as long as it stays in the list; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u64);

/// What a selector goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) strategy: Strategy,
    /// Consecutive failures that make a node dead; 0: never.
    pub(crate) max_fails: u32,
    /// How long a dead node is left out.
    pub(crate) fail_timeout: Duration,
    /// The least time a silent node is waited for; zero: a second node is never dialled meanwhile.
    pub(crate) hedge_delay: Duration,
}

/// Chooses among the nodes of one group.
#[derive(Debug)]
pub(crate) struct Selector {
    rules: Rules,
    nodes: Vec<Node>,
    /// Clients so far; picks the start for `round`.
    round: usize,
    /// The last number given to a node or a trial.
    serial: u64,
}

#[derive(Debug)]
struct Node {
    id: NodeId,
    address: HostPort,
    fails: u32,
    failed_at: Option<Instant>,
    succeeded_at: Option<Instant>,
    /// The trial of this dead node, whose time is over, that is under way.
    probing: Option<u64>,
    /// Moving average of successful dials.
    usual_dial: Option<Duration>,
    last_error: Option<String>,
    state: NodeState,
    state_since: Option<Instant>,
}

/// One client's way through the nodes: each is tried at most once.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    tried: Vec<NodeId>,
    /// Its place in the order of clients, once it has chosen by `round`.
    round: Option<usize>,
    started_over: bool,
}

/// Why a node is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nothing is being dialled for this client: any node is better than none.
    Nothing,
    /// Another node is being dialled and silent: only a node that may well answer helps.
    Silence,
}

/// The node to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) id: NodeId,
    /// Position in the list; holds until the next `reconfigure`.
    pub(crate) index: usize,
    /// The number of the trial, when this dial tries a dead node whose time is over; others wait for its outcome.
    pub(crate) probe: Option<u64>,
    /// The node is dead, and tried all the same.
    pub(crate) dead: bool,
    /// When to dial another node if this one is still silent.
    pub(crate) hedge_after: Option<Duration>,
}

/// How a dial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    /// Answered after another node had won the client: says nothing about how long a dial usually takes.
    AnsweredLate,
    Failed(String),
    /// Given up before it could be judged, or failed for a reason of our own.
    Unjudged,
}

/// One node as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeView<'a> {
    pub(crate) id: NodeId,
    pub(crate) address: &'a HostPort,
    pub(crate) state: NodeState,
    pub(crate) fails: u32,
    pub(crate) last_error: Option<&'a str>,
    pub(crate) since: Option<Instant>,
}

impl Ticket {
    /// Whether this node was the first one chosen for the client.
    pub(crate) fn began_with(&self, id: NodeId) -> bool {
        self.tried.first() == Some(&id)
    }

    /// Lets every node be tried once more, for the same client.
    pub(crate) fn start_over(&mut self) {
        self.tried.clear();
        self.started_over = true;
    }

    pub(crate) fn has_started_over(&self) -> bool {
        self.started_over
    }
}

impl Selector {
    pub(crate) fn new(rules: Rules, addresses: &[HostPort]) -> Self {
        let mut selector = Self { rules, nodes: Vec::new(), round: 0, serial: 0 };
        selector.nodes = addresses.iter().map(|address| selector.fresh(address)).collect();
        selector
    }

    /// Takes a new list and new rules. A node that stays keeps its id and liveness (the k-th mention of an address
    /// stays the k-th). Returns, for each place of the new list, the place in the old one.
    pub(crate) fn reconfigure(&mut self, rules: Rules, addresses: &[HostPort], now: Instant) -> Vec<Option<usize>> {
        self.rules = rules;
        let mut old: Vec<Option<Node>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        let mut origins = Vec::with_capacity(addresses.len());
        for address in addresses {
            let origin = old.iter().position(|node| node.as_ref().is_some_and(|node| node.address == *address));
            let kept = origin.and_then(|index| old[index].take());
            let node = kept.unwrap_or_else(|| self.fresh(address));
            self.nodes.push(node);
            origins.push(origin);
        }
        for node in &mut self.nodes {
            if node.state != NodeState::Unknown {
                node.settle(judged(node.fails, rules.max_fails), now);
            }
        }
        origins
    }

    /// The node to dial next for the client of this ticket; none when it has tried all that could help.
    pub(crate) fn select(&mut self, ticket: &mut Ticket, why: Why, now: Instant, dice: u64) -> Option<Choice> {
        let eligible =
            (0..self.nodes.len()).filter(|&index| self.is_untried(index, ticket) && self.is_eligible(index, now));
        let index = match eligible.clone().count() {
            0 => self.last_resort(ticket, why)?,
            count => {
                let place = self.place(count, eligible.clone(), ticket, dice);
                eligible.into_iter().nth(place)?
            }
        };
        if self.rules.strategy == Strategy::Round && ticket.round.is_none() {
            ticket.round = Some(self.round);
            self.round = self.round.wrapping_add(1);
        }
        let only = self.nodes.len() == 1;
        let trial = !only && self.is_dead(index) && self.is_due(index, now) && self.nodes[index].probing.is_none();
        let probe = trial.then(|| self.number());
        let dead = self.is_dead(index);
        let node = &mut self.nodes[index];
        node.probing = node.probing.or(probe);
        ticket.tried.push(node.id);
        let hedge_after = hedge_after(self.rules.hedge_delay, node.usual_dial, probe.is_some()).filter(|_| !only);
        Some(Choice { id: node.id, index, probe, dead, hedge_after })
    }

    /// Takes the outcome of a dial that began at `started`; true when the node's state changed by it.
    pub(crate) fn record(&mut self, choice: &Choice, started: Instant, outcome: Outcome, now: Instant) -> bool {
        let max_fails = self.rules.max_fails;
        let Some(node) = self.nodes.iter_mut().find(|node| node.id == choice.id) else { return false };
        if choice.probe.is_some() && node.probing == choice.probe {
            node.probing = None;
        }
        match outcome {
            Outcome::Answered => {
                node.learn(now.saturating_duration_since(started));
                node.answered(now);
            }
            Outcome::AnsweredLate => node.answered(now),
            Outcome::Failed(error) => node.failed(error, started, now),
            Outcome::Unjudged => return false,
        }
        node.settle(judged(node.fails, max_fails), now)
    }

    /// Every node, in the order of the list.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.nodes.iter().map(|node| NodeView {
            id: node.id,
            address: &node.address,
            state: node.state,
            fails: node.fails,
            last_error: node.last_error.as_deref().filter(|_| node.fails > 0),
            since: node.state_since,
        })
    }

    /// A dial of the node at a place of the list, for whoever doesn't come on a client's behalf.
    pub(crate) fn choice(&self, index: usize) -> Option<Choice> {
        let id = self.nodes.get(index)?.id;
        Some(Choice { id, index, probe: None, dead: self.is_dead(index), hedge_after: None })
    }

    fn fresh(&mut self, address: &HostPort) -> Node {
        Node {
            id: NodeId(self.number()),
            address: address.clone(),
            fails: 0,
            failed_at: None,
            succeeded_at: None,
            probing: None,
            usual_dial: None,
            last_error: None,
            state: NodeState::Unknown,
            state_since: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn is_untried(&self, index: usize, ticket: &Ticket) -> bool {
        !ticket.tried.contains(&self.nodes[index].id)
    }

    fn is_dead(&self, index: usize) -> bool {
        judged(self.nodes[index].fails, self.rules.max_fails) == NodeState::Dead
    }

    fn is_due(&self, index: usize, now: Instant) -> bool {
        self.nodes[index].failed_at.is_none_or(|at| now.saturating_duration_since(at) >= self.rules.fail_timeout)
    }

    fn is_eligible(&self, index: usize, now: Instant) -> bool {
        self.nodes.len() == 1
            || !self.is_dead(index)
            || (self.is_due(index, now) && self.nodes[index].probing.is_none())
    }

    /// Which of the `count` eligible nodes is taken.
    fn place(&self, count: usize, mut eligible: impl Iterator<Item = usize>, ticket: &Ticket, dice: u64) -> usize {
        match (self.rules.strategy, ticket.tried.last()) {
            (Strategy::Fifo, _) => 0,
            (Strategy::Random, _) => roll(dice, count),
            (Strategy::Round, None) => ticket.round.unwrap_or(self.round) % count,
            (Strategy::Round, Some(last)) => {
                let after = self.nodes.iter().position(|node| node.id == *last).unwrap_or_default();
                eligible.position(|index| index > after).unwrap_or_default()
            }
        }
    }

    /// With no eligible node left: the one whose time is over soonest, rather than refusing the client.
    /// While another node is still being dialled that is worth it only when all of them are dead.
    fn last_resort(&self, ticket: &Ticket, why: Why) -> Option<usize> {
        let worth_it = why == Why::Nothing || (0..self.nodes.len()).all(|index| self.is_dead(index));
        let untried = (0..self.nodes.len()).filter(|&index| worth_it && self.is_untried(index, ticket));
        untried.min_by_key(|&index| self.nodes[index].failed_at)
    }
}

impl Node {
    fn answered(&mut self, now: Instant) {
        self.fails = 0;
        self.failed_at = None;
        self.last_error = None;
        self.probing = None;
        self.succeeded_at = Some(now);
    }

    fn learn(&mut self, took: Duration) {
        self.usual_dial = Some(self.usual_dial.map_or(took, |usual| usual.mul_f64(0.75) + took.mul_f64(0.25)));
    }

    /// A dial that began before the last success says nothing about the node as it is now.
    fn failed(&mut self, error: String, started: Instant, now: Instant) {
        if self.succeeded_at.is_some_and(|at| started < at) {
            return;
        }
        self.fails = self.fails.saturating_add(1);
        self.failed_at = Some(now);
        self.last_error = Some(error);
    }

    fn settle(&mut self, state: NodeState, now: Instant) -> bool {
        let changed = self.state != state;
        if changed {
            self.state = state;
            self.state_since = Some(now);
        }
        changed
    }
}

fn judged(fails: u32, max_fails: u32) -> NodeState {
    if max_fails > 0 && fails >= max_fails { NodeState::Dead } else { NodeState::Alive }
}

/// A node on trial is hedged at once; others after the delay, or twice their usual dial time where that is longer.
fn hedge_after(delay: Duration, usual: Option<Duration>, probe: bool) -> Option<Duration> {
    if delay.is_zero() {
        return None;
    }
    Some(if probe { Duration::ZERO } else { delay.max(usual.unwrap_or_default() * 2) })
}

/// A uniform place among `len` from a uniform 64-bit number.
fn roll(dice: u64, len: usize) -> usize {
    ((u128::from(dice) * len as u128) >> 64) as usize
}

#[cfg(test)]
mod tests;
