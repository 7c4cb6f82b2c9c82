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
    next_id: u64,
}

#[derive(Debug)]
struct Node {
    id: NodeId,
    address: HostPort,
    fails: u32,
    failed_at: Option<Instant>,
    succeeded_at: Option<Instant>,
    /// A connection is trying this dead node whose time is over.
    probing: bool,
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
    /// This dial tries a dead node whose time is over; others wait for its outcome.
    pub(crate) probe: bool,
    /// When to dial another node if this one is still silent.
    pub(crate) hedge_after: Option<Duration>,
}

/// How a dial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
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

impl Selector {
    pub(crate) fn new(rules: Rules, addresses: &[HostPort]) -> Self {
        let mut selector = Self { rules, nodes: Vec::new(), round: 0, next_id: 0 };
        selector.reconfigure(rules, addresses);
        selector
    }

    /// Takes a new list and new rules. A node that stays keeps its id and liveness (the k-th mention of an address
    /// stays the k-th). Returns, for each place of the new list, the place in the old one.
    pub(crate) fn reconfigure(&mut self, rules: Rules, addresses: &[HostPort]) -> Vec<Option<usize>> {
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
                node.state = judged(node.fails, rules.max_fails);
            }
        }
        origins
    }

    /// The node to dial next for the client of this ticket; none when it has tried all that could help.
    pub(crate) fn select(&mut self, ticket: &mut Ticket, why: Why, now: Instant, dice: u64) -> Option<Choice> {
        let untried: Vec<usize> =
            (0..self.nodes.len()).filter(|&i| !ticket.tried.contains(&self.nodes[i].id)).collect();
        let eligible: Vec<usize> = untried.iter().copied().filter(|&i| self.is_eligible(i, now)).collect();
        let index = if eligible.is_empty() {
            self.last_resort(&untried, why)?
        } else {
            self.by_strategy(&eligible, ticket, dice)
        };
        let probe =
            self.is_dead(index) && self.nodes.len() > 1 && self.is_due(index, now) && !self.nodes[index].probing;
        let node = &mut self.nodes[index];
        node.probing |= probe;
        ticket.tried.push(node.id);
        let hedge_after = hedge_after(self.rules.hedge_delay, node.usual_dial, probe);
        Some(Choice { id: node.id, index, probe, hedge_after })
    }

    /// Takes the outcome of a dial that began at `started`; true when the node's state changed by it.
    pub(crate) fn record(&mut self, choice: &Choice, started: Instant, outcome: Outcome, now: Instant) -> bool {
        let max_fails = self.rules.max_fails;
        let Some(node) = self.nodes.iter_mut().find(|node| node.id == choice.id) else { return false };
        node.probing &= !choice.probe;
        match outcome {
            Outcome::Answered => node.answered(now.saturating_duration_since(started), now),
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

    /// A dial of every node, in the order of the list, for whoever doesn't come on a client's behalf.
    pub(crate) fn choices(&self) -> impl Iterator<Item = Choice> + '_ {
        let choice = |(index, node): (usize, &Node)| Choice { id: node.id, index, probe: false, hedge_after: None };
        self.nodes.iter().enumerate().map(choice)
    }

    fn fresh(&mut self, address: &HostPort) -> Node {
        self.next_id += 1;
        Node {
            id: NodeId(self.next_id),
            address: address.clone(),
            fails: 0,
            failed_at: None,
            succeeded_at: None,
            probing: false,
            usual_dial: None,
            last_error: None,
            state: NodeState::Unknown,
            state_since: None,
        }
    }

    fn is_dead(&self, index: usize) -> bool {
        judged(self.nodes[index].fails, self.rules.max_fails) == NodeState::Dead
    }

    fn is_due(&self, index: usize, now: Instant) -> bool {
        self.nodes[index].failed_at.is_none_or(|at| now.saturating_duration_since(at) >= self.rules.fail_timeout)
    }

    fn is_eligible(&self, index: usize, now: Instant) -> bool {
        self.nodes.len() == 1 || !self.is_dead(index) || (self.is_due(index, now) && !self.nodes[index].probing)
    }

    fn by_strategy(&mut self, eligible: &[usize], ticket: &Ticket, dice: u64) -> usize {
        match (self.rules.strategy, ticket.tried.last()) {
            (Strategy::Fifo, _) => eligible[0],
            (Strategy::Random, _) => eligible[roll(dice, eligible.len())],
            (Strategy::Round, None) => {
                let start = self.round % eligible.len();
                self.round = self.round.wrapping_add(1);
                eligible[start]
            }
            (Strategy::Round, Some(last)) => {
                let after = self.nodes.iter().position(|node| node.id == *last).unwrap_or_default();
                eligible.iter().copied().find(|&index| index > after).unwrap_or(eligible[0])
            }
        }
    }

    /// With no eligible node left: the one whose time is over soonest, rather than refusing the client.
    /// While another node is still being dialled that is worth it only when all of them are dead.
    fn last_resort(&self, untried: &[usize], why: Why) -> Option<usize> {
        let worth_it = why == Why::Nothing || (0..self.nodes.len()).all(|index| self.is_dead(index));
        untried.iter().copied().filter(|_| worth_it).min_by_key(|&index| self.nodes[index].failed_at)
    }
}

impl Node {
    fn answered(&mut self, took: Duration, now: Instant) {
        self.fails = 0;
        self.failed_at = None;
        self.last_error = None;
        self.probing = false;
        self.succeeded_at = Some(now);
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
