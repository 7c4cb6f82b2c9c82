//! Which nodes are alive, from all proxies' experiences to `status.nodes` and the condition `NodesAvailable`.
//! Invariant: a node's entry changes only when its state or its error does; a proxy that never dialled it has no say.

use std::cmp::Reverse;

use fairlead_config::{ForwardReport, NodeReport};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::conditions::{Finding, Truth};
use crate::{
    LAST_ERROR_LIMIT, Node, NodeRole, NodeState, STATUS_NODES_LIMIT,
    render::{NodeName, Verdict},
};

/// Puts the proxies' experiences with each of the spec's nodes together, in the order of the spec.
pub(super) fn aggregate(names: &[NodeName], reports: &[&ForwardReport], before: &[Node], now: &Time) -> Vec<Node> {
    let entry = |(index, name): (usize, &NodeName)| {
        // The same target may stand twice: the nth of that name is the nth in every list.
        let nth = names[..index].iter().filter(|earlier| *earlier == name).count();
        let views: Vec<_> = reports.iter().filter_map(|r| r.nodes.iter().filter(|n| is(name, n)).nth(nth)).collect();
        let before =
            before.iter().filter(|n| (n.role, n.hop, &n.address) == (name.role, name.hop, &name.address)).nth(nth);
        node(name, &views, before, now)
    };
    names.iter().enumerate().map(entry).collect()
}

/// Whether there is somewhere to go in every group.
pub(super) fn available(verdict: &Verdict, nodes: &[Node]) -> Finding {
    match verdict {
        Verdict::Accepted { .. } => {}
        Verdict::Suspended { .. } => return not_observed("suspended: no proxy dials its nodes"),
        Verdict::Refused { .. } => return not_observed("not accepted: no proxy dials its nodes"),
    }
    if nodes.is_empty() {
        return Finding::new(Truth::True, "NoNodes", "its clients say where to go");
    }
    if let Some(message) = dead_group(nodes) {
        return Finding::new(Truth::False, "AllDead", message);
    }
    if nodes.iter().all(|node| node.state == NodeState::Unknown) {
        return not_observed("no proxy has dialled a node yet");
    }
    let dead: Vec<_> = nodes.iter().filter(|node| is_dead_for_some(node)).collect();
    if dead.is_empty() {
        return Finding::new(Truth::True, "AllAlive", "no node is dead");
    }
    Finding::new(Truth::True, "SomeDead", format!("dead: {}", named(&dead)))
}

/// `alive/all`, `?/all` while every node is unknown; nothing without nodes.
pub(super) fn summary(nodes: &[Node]) -> Option<String> {
    let all = nodes.len();
    let alive = nodes.iter().filter(|node| node.state == NodeState::Alive).count();
    match nodes.iter().all(|node| node.state == NodeState::Unknown) {
        _ if all == 0 => None,
        true => Some(format!("?/{all}")),
        false => Some(format!("{alive}/{all}")),
    }
}

/// Puts the dead first and drops what a status has no room for.
pub(super) fn shorten(nodes: &mut Vec<Node>) {
    nodes.sort_by_key(|node| Reverse(gravity(node.state)));
    nodes.truncate(STATUS_NODES_LIMIT);
}

fn is(name: &NodeName, report: &NodeReport) -> bool {
    let role = match report.role {
        fairlead_config::NodeRole::Target => NodeRole::Target,
        fairlead_config::NodeRole::Hop => NodeRole::Hop,
    };
    (role, report.hop, &report.address) == (name.role, name.hop, &name.address)
}

fn node(name: &NodeName, views: &[&NodeReport], before: Option<&Node>, now: &Time) -> Node {
    let state = state(views);
    let unchanged = before.filter(|node| node.state == state);
    let fails = match state {
        NodeState::Unknown => None,
        NodeState::Alive | NodeState::Dead | NodeState::Degraded => views.iter().map(|view| view.fails).max(),
    };
    Node {
        address: name.address.clone(),
        role: name.role,
        hop: name.hop,
        state,
        fails: unchanged.map_or(fails, |node| node.fails),
        last_error: last_error(state, views, before),
        last_transition_time: match unchanged {
            Some(node) => node.last_transition_time.clone(),
            None => Some(since(views, now)),
        },
    }
}

fn state(views: &[&NodeReport]) -> NodeState {
    let (mut alive, mut dead) = (false, false);
    for view in views {
        match view.state {
            fairlead_config::NodeState::Alive => alive = true,
            fairlead_config::NodeState::Dead => dead = true,
            fairlead_config::NodeState::Unknown => {}
        }
    }
    match (alive, dead) {
        (true, true) => NodeState::Degraded,
        (true, false) => NodeState::Alive,
        (false, true) => NodeState::Dead,
        (false, false) => NodeState::Unknown,
    }
}

/// The error of a proxy for which the node is dead; the one that is written already while any proxy still has it.
fn last_error(state: NodeState, views: &[&NodeReport], before: Option<&Node>) -> Option<String> {
    match state {
        NodeState::Dead | NodeState::Degraded => {}
        NodeState::Alive | NodeState::Unknown => return None,
    }
    let dead = views.iter().filter(|view| view.state == fairlead_config::NodeState::Dead);
    let errors: Vec<String> = dead.filter_map(|view| view.last_error.as_deref()).map(one_line).collect();
    let written = before.and_then(|node| node.last_error.clone()).filter(|error| errors.contains(error));
    written.or_else(|| errors.into_iter().min())
}

fn one_line(error: &str) -> String {
    let line = error.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(LAST_ERROR_LIMIT).collect()
}

/// When the last proxy came to its view, as it says itself; never after now.
fn since(views: &[&NodeReport], now: &Time) -> Time {
    let latest = views.iter().map(|view| view.since).max().filter(|since| *since > 0);
    let latest = latest.and_then(|since| Timestamp::from_second(i64::try_from(since / 1000).ok()?).ok());
    latest.map_or_else(|| now.clone(), |latest| Time(latest).min(now.clone()))
}

/// Says which group has nobody alive or untried, if one has.
fn dead_group(nodes: &[Node]) -> Option<String> {
    let mut groups: Vec<Option<u32>> = nodes.iter().map(|node| node.hop).collect();
    groups.dedup();
    groups.into_iter().find_map(|hop| {
        let members: Vec<_> = nodes.iter().filter(|node| node.hop == hop).collect();
        if members.iter().any(|node| node.state != NodeState::Dead) {
            return None;
        }
        let (one, many) = match hop {
            None => ("target".to_owned(), "targets".to_owned()),
            Some(hop) => (format!("node of hop {hop}"), format!("nodes of hop {hop}")),
        };
        let (count, names) = (members.len(), named(&members));
        Some(if count == 1 {
            format!("the only {one} is dead: {names}")
        } else {
            format!("all {count} {many} are dead: {names}")
        })
    })
}

/// Names up to three nodes with their errors.
fn named(nodes: &[&Node]) -> String {
    const NAMED: usize = 3;
    let one = |node: &&Node| match &node.last_error {
        Some(error) if error.contains(&node.address) => error.clone(),
        Some(error) => format!("{} ({error})", node.address),
        None => node.address.clone(),
    };
    let names: Vec<_> = nodes.iter().take(NAMED).map(one).collect();
    let rest = nodes.len().saturating_sub(NAMED);
    if rest == 0 { names.join(", ") } else { format!("{} and {rest} more", names.join(", ")) }
}

fn is_dead_for_some(node: &Node) -> bool {
    gravity(node.state) > 0
}

fn gravity(state: NodeState) -> u8 {
    match state {
        NodeState::Dead => 2,
        NodeState::Degraded => 1,
        NodeState::Alive | NodeState::Unknown => 0,
    }
}

fn not_observed(message: &str) -> Finding {
    Finding::new(Truth::Unknown, "NotObserved", message)
}
