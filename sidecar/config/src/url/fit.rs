//! Whether the parts of a node URL go together: role, scheme, targets, credentials, options.
//! Each rule here is one that GOST answers by silently doing something else.

use super::Role;
use super::error::UrlError;
use super::option::UrlOption;
use super::query::Query;
use super::split::RawUrl;
use crate::scheme::{Protocol, Scheme, Support, Transport};

/// Options that mean nothing without another one.
const COMPANIONS: [(UrlOption, UrlOption); 3] = [
    (UrlOption::HealthTimeout, UrlOption::HealthCheck),
    (UrlOption::Cert, UrlOption::Key),
    (UrlOption::Key, UrlOption::Cert),
];

/// Adds what doesn't go together to `problems`. Nothing is said of a scheme that is unknown or out of scope.
pub(super) fn check(raw: &RawUrl<'_>, query: &Query, role: Role, scheme: Option<Scheme>, problems: &mut Vec<UrlError>) {
    let Some(scheme) = scheme.filter(|scheme| scheme.support() != Support::OutOfScope) else { return };
    let has_targets = !raw.path.is_empty() || !query.listed.is_empty();
    let faults = match role {
        Role::Listen => listener_faults(scheme, has_targets, raw.userinfo.is_some()),
        Role::Hop => hop_faults(scheme, !raw.path.is_empty()),
    };
    problems.extend(faults.into_iter().flatten().map(|problem| UrlError::Unfit { scheme, problem }));
    query.check(scheme, role, has_targets, problems);
    for (option, other) in COMPANIONS {
        if query.has(option) && !query.has(other) {
            problems.push(UrlError::Incomplete { name: option.name(), other: other.name() });
        }
    }
}

fn listener_faults(scheme: Scheme, has_targets: bool, has_users: bool) -> [Option<&'static str>; 3] {
    let is_hop_only = scheme.protocol() == Protocol::Forward && scheme.transport() != Transport::Ssh;
    let hop_only =
        is_hop_only.then_some("is for hops (-F): to listen, write the transport alone, as in tls://:443/10.0.0.1:80");
    // TCP goes without targets behind a hop that forwards, which this URL can't know.
    let lacks_targets = !has_targets && scheme.needs_targets(Some(Scheme::FORWARD));
    let targets = if has_targets && !scheme.takes_targets() && !is_hop_only {
        Some("takes no targets, its clients name them: leave out what stands behind the '/' and in ip=")
    } else if lacks_targets {
        Some("needs a target: write it behind the '/', as in udp://:5353/10.0.0.1:53")
    } else {
        None
    };
    let knows_users = scheme.is_server(has_targets) && scheme.protocol() != Protocol::Sni;
    let users =
        (has_users && !knows_users).then_some("asks nobody for a password when it listens: leave user:pass@ out");
    [hop_only, targets, users]
}

fn hop_faults(scheme: Scheme, has_path: bool) -> [Option<&'static str>; 3] {
    let forwards =
        scheme.is_forward().then_some("is for listeners (-L): as a hop write socks5, http or forward+tls, for example");
    let path = has_path.then_some("takes no targets as a hop: leave out what stands behind the '/'");
    [forwards, path, None]
}
