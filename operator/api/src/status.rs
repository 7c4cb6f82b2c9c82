//! A PortForward's status, from `render`'s verdict and the proxies' reports to the API server or the terminal: pure, with
//! the time passed in. Invariant: what didn't change keeps its transition time, so that the status of an idle object
//! stays the same. Addresses are added by whoever knows the Services.

mod conditions;
mod nodes;
mod proxies;

#[cfg(test)]
mod tests;

use fairlead_config::{ForwardReport, ForwardState, Report};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::{
    Address, AddressType, Node, PortForward, PortForwardStatus,
    render::{NodeName, Verdict, key_of},
    status_fields::{ADDRESS_HOST_LIMIT, ADDRESSES_LIMIT},
};
use conditions::{Conditions, Said};
use proxies::Tally;

/// What is known of the proxies that should run an object.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observed<'a> {
    /// Proxies that should run it.
    pub desired: u32,
    /// Those that are up and could be sent clients; a status is true when all of these run it.
    pub ready: u32,
    /// The latest report of each ready proxy that is connected.
    pub reports: &'a [&'a Report],
    /// Why there are fewer proxies than desired, where somebody says so (a quota, an admission webhook).
    pub missing: Option<&'a str>,
    /// Why a ready proxy can't be reached, one line.
    pub unreachable: Option<&'a str>,
}

impl<'a> Observed<'a> {
    /// One proxy that is always there: this process.
    pub fn here(report: &'a [&'a Report]) -> Self {
        Self { desired: 1, ready: 1, reports: report, missing: None, unreachable: None }
    }
}

/// Makes the status of an object, whose present status says what was so far.
pub fn status(object: &PortForward, verdict: &Verdict, observed: &Observed<'_>, now: Timestamp) -> PortForwardStatus {
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let reports = reports_of(object, verdict, observed);
    let tally = Tally::of(verdict, observed, &reports);
    let (names, effective) = match verdict {
        Verdict::Accepted { nodes, effective, .. } | Verdict::Suspended { nodes, effective, .. } => {
            (nodes.as_slice(), Some(effective.clone()))
        }
        Verdict::Refused { .. } => (<&[NodeName]>::default(), None),
    };
    let before = object.status.as_ref().map(|status| status.nodes.as_slice()).unwrap_or_default();
    let mut all = nodes::aggregate(names, &reports, before, &now);
    let said = Said {
        accepted: conditions::accepted(verdict),
        programmed: proxies::programmed(object, verdict, observed, &tally),
        nodes_available: nodes::available(verdict, &all),
    };
    let node_summary = nodes::summary(&all);
    nodes::shorten(&mut all);
    PortForwardStatus {
        observed_generation: object.metadata.generation,
        conditions: Conditions::of(object, now).all(said),
        addresses: Vec::new(),
        proxies: Some(tally.proxies(observed)),
        nodes: all,
        node_summary,
        effective,
    }
}

/// Where the far ends' clients reach an object, by the reports of the proxies, each with its pod.
pub fn remote_addresses<'a>(
    object: &PortForward,
    reports: impl IntoIterator<Item = (Option<&'a str>, &'a Report)>,
) -> Vec<Address> {
    let key = key_of(object);
    let held = reports.into_iter().filter_map(|(pod, report)| {
        let forward = report.forwards.iter().find(|forward| forward.key == key)?;
        let bound = forward.bound.as_ref().filter(|_| forward.state == ForwardState::Listening)?;
        let host = bound.host.chars().take(ADDRESS_HOST_LIMIT).collect();
        Some(Address { type_: AddressType::Remote, host, port: bound.port, pod: pod.map(str::to_owned) })
    });
    let mut addresses: Vec<Address> = held.collect();
    addresses.sort_by(|a, b| (&a.host, a.port, &a.pod).cmp(&(&b.host, b.port, &b.pod)));
    addresses.truncate(ADDRESSES_LIMIT);
    addresses
}

/// Tells whether two statuses say the same, whatever the order of conditions and addresses and the times in them.
pub fn same(a: &PortForwardStatus, b: &PortForwardStatus) -> bool {
    timeless(a) == timeless(b)
}

/// What each connected proxy says of the object. An object that isn't to run has no proxies.
fn reports_of<'a>(object: &PortForward, verdict: &Verdict, observed: &Observed<'a>) -> Vec<&'a ForwardReport> {
    let is_to_run = match verdict {
        Verdict::Accepted { .. } => true,
        Verdict::Suspended { .. } | Verdict::Refused { .. } => false,
    };
    let key = key_of(object);
    let of_object = |report: &&'a Report| report.forwards.iter().find(|forward| forward.key == key);
    observed.reports.iter().filter(|_| is_to_run).filter_map(of_object).collect()
}

fn timeless(status: &PortForwardStatus) -> PortForwardStatus {
    let mut status = status.clone();
    let epoch = Time(Timestamp::UNIX_EPOCH);
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status.conditions.iter_mut().for_each(|condition| condition.last_transition_time = epoch.clone());
    status.nodes.iter_mut().for_each(|node: &mut Node| node.last_transition_time = None);
    status.addresses.sort_by(|a, b| (&a.host, a.port, &a.pod).cmp(&(&b.host, b.port, &b.pod)));
    status
}
