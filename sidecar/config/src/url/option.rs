//! Every option a node URL may have: the one table of their names, kinds, meanings and PortForward fields.
//! What GOST parses and does not apply stands here too, so that it can be refused with what to write.

use super::Role;
use super::value::Kind;
use crate::scheme::{Protocol, Scheme, Transport};

#[path = "option_table.rs"]
mod table;

pub use table::OPTIONS;

/// An option's identity; its name in URLs stands in [`OPTIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UrlOption {
    Ip,
    Strategy,
    MaxFails,
    FailTimeout,
    Ttl,
    Timeout,
    HedgeDelay,
    IdleTimeout,
    MaxConnections,
    HealthCheck,
    HealthTimeout,
    Retry,
    Backlog,
    Queue,
    FastestCount,
    Auth,
    Secrets,
    Anonymous,
    AllowTargets,
    AllowBind,
    Secure,
    Ca,
    Cert,
    Key,
    Mbind,
    Notls,
    UdpAssociate,
    SshKey,
    SshKnownHosts,
    SshAuthorizedKeys,
    Ping,
    Host,
    Path,
    Compression,
    Rbuf,
    Wbuf,
    Agent,
    KcpConfig,
    KcpTcp,
    Keepalive,
    Idle,
    Cipher,
    Nodelay,
    IatMode,
    StateDir,
    Dns,
    Peer,
    Whitelist,
    Blacklist,
    Bypass,
    Hosts,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct OptionRow {
    pub option: UrlOption,
    /// As written in the query.
    pub name: &'static str,
    pub(super) kind: Kind,
    pub(super) scope: Scope,
    /// What it is on a listener (`-L`).
    pub listen: Use,
    /// What it is on a hop (`-F`).
    pub hop: Use,
}

/// What an option is to one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Accepted; says the same as this field of a PortForward's spec, or of one hop of its chain.
    Field(&'static str),
    /// Accepted; belongs to a scheme whose fields a PortForward does not have yet.
    NoField,
    /// Accepted and without effect, for this reason.
    NoEffect(&'static str),
    /// An error that gives this advice.
    Refused(&'static str),
    /// An option of the other role.
    Elsewhere,
}

/// Which schemes an option means anything with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Any,
    /// A node is chosen: hops, and listeners with targets.
    Selection,
    /// Hops and servers: whoever logs in or is logged in to.
    Login,
    Server,
    Tls,
    /// Whoever proves who it is: by a certificate, or by an SSH host key.
    Verified,
    Socks5,
    Ssh,
    /// The request names a host.
    Host,
    /// The request names a path.
    Path,
    Ws,
    Kcp,
    Quic,
    Relay,
    Obfs4,
}

impl OptionRow {
    /// Tells what the option is to `role`.
    pub fn usage(&self, role: Role) -> Use {
        match role {
            Role::Listen => self.listen,
            Role::Hop => self.hop,
        }
    }
}

impl UrlOption {
    /// Returns the option's name in URLs.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }

    pub(super) fn row(self) -> Option<&'static OptionRow> {
        OPTIONS.iter().find(|row| row.option == self)
    }
}

impl Scope {
    /// Tells whether an option of this scope means anything for a node; `has_targets` makes tunnels of some listeners.
    pub(super) fn covers(self, scheme: Scheme, role: Role, has_targets: bool) -> bool {
        let is_hop = role == Role::Hop;
        let is_server = !is_hop && scheme.is_server(has_targets);
        let (protocol, transport) = (scheme.protocol(), scheme.transport());
        let speaks_socks5 = matches!(protocol, Protocol::Socks5 | Protocol::Auto);
        let is_ssh = transport == Transport::Ssh;
        let has_tls = transport.is_tls() || transport == Transport::Obfs4 || (speaks_socks5 && !is_ssh);
        match self {
            Self::Any => true,
            Self::Selection => !is_server || protocol == Protocol::Relay,
            Self::Login => is_hop || (is_server && protocol != Protocol::Sni),
            Self::Server => is_server,
            Self::Tls => has_tls,
            Self::Verified => has_tls || is_ssh,
            Self::Socks5 => speaks_socks5,
            Self::Ssh => is_ssh,
            Self::Host => names_a_host(scheme),
            Self::Path => is_websocket(transport) || matches!(transport, Transport::H2 | Transport::H2c),
            Self::Ws => is_websocket(transport),
            Self::Kcp => transport == Transport::Kcp,
            Self::Quic => transport == Transport::Quic,
            Self::Relay => protocol == Protocol::Relay,
            Self::Obfs4 => transport == Transport::Obfs4,
        }
    }
}

fn is_websocket(transport: Transport) -> bool {
    matches!(transport, Transport::Ws | Transport::Wss | Transport::Mws | Transport::Mwss)
}

fn names_a_host(scheme: Scheme) -> bool {
    let by_protocol = matches!(scheme.protocol(), Protocol::Http | Protocol::Http2 | Protocol::Sni | Protocol::Auto);
    let by_transport =
        matches!(scheme.transport(), Transport::H2 | Transport::H2c | Transport::Ohttp | Transport::Otls);
    by_protocol || by_transport || is_websocket(scheme.transport())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_has_one_row_per_option_in_the_order_of_printing() {
        let names: BTreeSet<_> = OPTIONS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), OPTIONS.len(), "a name stands twice");
        assert!(OPTIONS.is_sorted_by(|a, b| a.option < b.option), "rows are out of order");
        assert_eq!(OPTIONS.len(), UrlOption::Hosts as usize + 1, "an option has no row");
        assert_eq!(UrlOption::MaxFails.name(), "max_fails");
    }

    #[test]
    fn every_option_is_for_somebody() {
        for row in OPTIONS {
            assert!(row.listen != Use::Elsewhere || row.hop != Use::Elsewhere, "{}", row.name);
        }
    }

    #[test]
    fn an_option_covers_the_schemes_it_means_something_with() {
        for (scope, scheme, role, has_targets, want) in [
            (Scope::Server, "tls", Role::Listen, false, true),
            (Scope::Server, "tls", Role::Listen, true, false),
            (Scope::Selection, "socks5", Role::Listen, false, false),
            (Scope::Selection, "socks5", Role::Hop, false, true),
            (Scope::Login, "tcp", Role::Listen, true, false),
            (Scope::Login, "sni", Role::Listen, false, false),
            (Scope::Tls, "tcp", Role::Listen, true, false),
            (Scope::Tls, "socks5", Role::Hop, false, true),
            (Scope::Tls, "forward+ssh", Role::Hop, false, false),
            (Scope::Verified, "forward+ssh", Role::Hop, false, true),
            (Scope::Tls, "socks5+ssh", Role::Hop, false, false),
            (Scope::Verified, "socks5+ssh", Role::Hop, false, true),
            (Scope::Socks5, "socks5+ssh", Role::Hop, false, true),
            (Scope::Ssh, "ssh", Role::Listen, false, true),
            (Scope::Kcp, "forward+kcp", Role::Hop, false, true),
            (Scope::Path, "http", Role::Hop, false, false),
        ] {
            let scheme = scheme.parse().unwrap();
            assert_eq!(scope.covers(scheme, role, has_targets), want, "{scope:?} {scheme}");
        }
    }
}
