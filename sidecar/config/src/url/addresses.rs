//! The addresses of a node URL: its own, the targets of the path and those of `ip=`.
//! Invariant: a target has a port; a hop's alternative node takes the hop's port where it has none.

use super::Role;
use super::error::{Part, UrlError};
use crate::address::{AddressError, HostPort};
use crate::defaults::{HOP_NODES_LIMIT, TARGETS_LIMIT};
use crate::scheme::Scheme;

/// Reads where the node listens or is dialled; port 0 passes where the far end chooses, or where the scheme isn't known.
pub(super) fn own(text: &str, role: Role, scheme: Option<Scheme>) -> Result<HostPort, UrlError> {
    let part = match role {
        Role::Listen => Part::ListenAddress,
        Role::Hop => Part::HopAddress,
    };
    // In an authority the '%' before an IPv6 zone is itself escaped.
    let text = if text.starts_with('[') { text.replacen("%25", "%", 1) } else { text.to_owned() };
    let zero_is_fine = role == Role::Listen && scheme.is_none_or(Scheme::may_bind_zero);
    let address = if zero_is_fine { HostPort::parse_allowing_port_zero(&text) } else { text.parse() };
    address.map_err(|source| UrlError::Address { part, source })
}

/// Reads the targets of the path, which is not percent-decoded.
pub(super) fn targets(path: &str, problems: &mut Vec<UrlError>) -> Vec<HostPort> {
    if path.is_empty() {
        return Vec::new();
    }
    let count = path.split(',').count();
    if count > TARGETS_LIMIT {
        problems.push(UrlError::TooMany { what: "targets", count, limit: TARGETS_LIMIT });
        return Vec::new();
    }
    let read = path.split(',').enumerate().map(|(index, text)| {
        text.parse().map_err(|source| UrlError::Address { part: Part::Target(index + 1), source })
    });
    collect(read, problems)
}

/// Reads the addresses of `ip=`.
pub(super) fn listed(
    addresses: &[String],
    role: Role,
    own: Option<&HostPort>,
    problems: &mut Vec<UrlError>,
) -> Vec<HostPort> {
    if addresses.iter().any(|address| is_file(address)) {
        problems.push(UrlError::ListFile);
        return Vec::new();
    }
    if addresses.len() > limit(role).1 {
        return too_many(addresses.len(), role, problems);
    }
    let read = addresses.iter().enumerate().map(|(index, text)| {
        let part = Part::ListedAddress(index + 1);
        one_listed(text, role, own).map_err(|source| UrlError::Address { part, source })
    });
    collect(read, problems)
}

/// Refuses more targets or nodes than a forward may have, path and `ip=` together.
pub(super) fn check_count(count: usize, role: Role, problems: &mut Vec<UrlError>) {
    if count > limit(role).1 {
        too_many(count, role, problems);
    }
}

fn one_listed(text: &str, role: Role, own: Option<&HostPort>) -> Result<HostPort, AddressError> {
    match role {
        Role::Listen => text.parse(),
        // With a bad address of its own the hop is refused anyway; any port does.
        Role::Hop => HostPort::parse_with_fallback_port(text, own.map_or(1, |own| own.port)),
    }
}

fn too_many(count: usize, role: Role, problems: &mut Vec<UrlError>) -> Vec<HostPort> {
    let (what, limit) = limit(role);
    problems.push(UrlError::TooMany { what, count, limit });
    Vec::new()
}

fn limit(role: Role) -> (&'static str, usize) {
    match role {
        Role::Listen => ("targets", TARGETS_LIMIT),
        Role::Hop => ("nodes", HOP_NODES_LIMIT),
    }
}

fn is_file(text: &str) -> bool {
    text.starts_with('.') || text.contains(['/', '\\'])
}

fn collect(read: impl Iterator<Item = Result<HostPort, UrlError>>, problems: &mut Vec<UrlError>) -> Vec<HostPort> {
    read.filter_map(|address| address.map_err(|problem| problems.push(problem)).ok()).collect()
}
