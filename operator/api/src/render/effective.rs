//! What is in force, for people to read: what was said, and the defaults of the plan where nothing was.

use fairlead_config::{Forward, HostPort, defaults, duration};

use super::{NodeName, server::is_server};
use crate::{Effective, NodeRole};

/// Shows a forward's settings.
pub(super) fn effective(forward: &Forward) -> Effective {
    let (scheme, listen) = (Some(forward.scheme.clone()), Some(forward.listen.to_string()));
    if is_server(forward) && forward.targets.is_empty() {
        // It chooses no target.
        return Effective { scheme, listen, ..Effective::default() };
    }
    Effective {
        scheme,
        listen,
        strategy: Some(forward.strategy.unwrap_or_default().to_string()),
        max_fails: Some(forward.max_fails.unwrap_or(defaults::MAX_FAILS)),
        fail_timeout: Some(duration::format(forward.fail_timeout.unwrap_or(defaults::FAIL_TIMEOUT))),
        ttl: (!is_server(forward)).then(|| duration::format(forward.ttl.unwrap_or(defaults::TTL))),
    }
}

/// Names the nodes a forward dials, hops first.
pub(super) fn nodes(forward: &Forward) -> Vec<NodeName> {
    let node = |role, hop, address: &HostPort| NodeName { role, hop, address: address.to_string() };
    let hops = forward.chain.iter().zip(1..);
    let hops = hops.flat_map(|(hop, number)| hop.nodes.iter().map(move |n| node(NodeRole::Hop, Some(number), n)));
    hops.chain(forward.targets.iter().map(|target| node(NodeRole::Target, None, target))).collect()
}
