//! What users see of a PortForward while its spec, its proxies and its nodes change: a status that is true, soon, and
//! written no more often than it has to be. The operator, the API server and the proxies are the real ones.

mod changes;
mod datagrams;
mod gone;
mod judged;
mod kubectl;
mod nodes;
mod quiet;
mod remote;
mod rollout;

use std::time::Duration;

use fairlead_api::PortForward;
use fairlead_tests::operator::{condition, nodes};

/// The one in the middle.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Whether a condition says this of the present generation.
fn says_now(object: &PortForward, type_: &str, status: &str) -> bool {
    condition(object, type_).is_some_and(|c| c.status == status && c.observed_generation == object.metadata.generation)
}

/// The state of the node with this address, as the status spells it.
fn state_of(object: &PortForward, address: &str) -> String {
    let node = nodes(object).iter().find(|node| node.address == address);
    node.map(|node| format!("{:?}", node.state)).unwrap_or_default()
}
