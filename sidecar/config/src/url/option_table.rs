//! The rows of the option table, in the order in which options are printed.

use super::Use::{Elsewhere, Field, NoEffect, NoField, Refused};
use super::{OptionRow, Scope, UrlOption as O, Use};
use crate::defaults::MAX_CONNECTIONS_LIMIT;
use crate::url::value::Kind;

const QUEUES: Use = NoEffect("Fairlead's queues have their own bounds");
const PASSED_ON: Use = NoEffect("a client is always passed on to the next live target");
const KEPT_ALIVE: Use = NoEffect("a lost node is noticed by keep-alive");
const HEDGED: Use = NoEffect("a node that answers late is overtaken by the next one instead");
const ASKED_AT_ONCE: Use = NoEffect("a relay hop is always asked at once");
const RESOLVER: Use = Refused("names are resolved by the system, so set its resolver and leave this out");
const NOT_APPLIED: Use =
    Refused("GOST applies it to no forward; leave it out, or write allow_targets and allow_bind on a server");
const NAME_TARGETS: Use = Refused("GOST applies it to no forward; write the addresses themselves as targets");
const LIST_NODES: Use = Refused("list the nodes instead, as in ip=10.0.0.1:1080,10.0.0.2:1080");

const fn row(option: O, name: &'static str, kind: Kind, scope: Scope, listen: Use, hop: Use) -> OptionRow {
    OptionRow { option, name, kind, scope, listen, hop }
}

/// All options, GOST's and Fairlead's own.
#[rustfmt::skip]
pub const OPTIONS: &[OptionRow] = &[
    row(O::Ip, "ip", Kind::Addresses, Scope::Any, Field("targets"), Field("nodes")),
    row(O::Strategy, "strategy", Kind::Strategy, Scope::Selection, Field("strategy"), Field("strategy")),
    row(O::MaxFails, "max_fails", Kind::MaxFails, Scope::Selection, Field("maxFails"), Field("maxFails")),
    row(O::FailTimeout, "fail_timeout", Kind::Duration, Scope::Selection, Field("failTimeout"), Field("failTimeout")),
    row(O::Ttl, "ttl", Kind::Duration, Scope::Any, Field("ttl"), NoField),
    row(O::Timeout, "timeout", Kind::Duration, Scope::Any, Field("dialTimeout"), Field("dialTimeout")),
    row(O::HedgeDelay, "hedge_delay", Kind::DurationOrZero, Scope::Selection, Field("hedgeDelay"), Elsewhere),
    row(O::IdleTimeout, "idle_timeout", Kind::DurationOrZero, Scope::Any, Field("idleTimeout"), Elsewhere),
    row(O::MaxConnections, "max_connections", Kind::Count { min: 1, max: MAX_CONNECTIONS_LIMIT }, Scope::Any, Field("maxConnections"), Elsewhere),
    row(O::HealthCheck, "health_check", Kind::Duration, Scope::Selection, Field("healthCheck.interval"), Elsewhere),
    row(O::HealthTimeout, "health_timeout", Kind::Duration, Scope::Selection, Field("healthCheck.timeout"), Elsewhere),
    row(O::Retry, "retry", Kind::COUNT, Scope::Any, PASSED_ON, KEPT_ALIVE),
    row(O::Backlog, "backlog", Kind::COUNT, Scope::Any, QUEUES, Elsewhere),
    row(O::Queue, "queue", Kind::COUNT, Scope::Any, QUEUES, Elsewhere),
    row(O::FastestCount, "fastest_count", Kind::COUNT, Scope::Any, Elsewhere, HEDGED),
    row(O::Auth, "auth", Kind::Auth, Scope::Login, Field("server.users"), Field("credentials")),
    row(O::Secrets, "secrets", Kind::Text, Scope::Login, Field("server.users"), Field("credentials")),
    row(O::Anonymous, "anonymous", Kind::Flag, Scope::Server, Field("server.anonymous"), Elsewhere),
    row(O::AllowTargets, "allow_targets", Kind::Networks, Scope::Server, Field("server.allowTargets"), Elsewhere),
    row(O::AllowBind, "allow_bind", Kind::PortRanges, Scope::Server, Field("server.allowBind"), Elsewhere),
    row(O::Secure, "secure", Kind::Flag, Scope::Verified, Elsewhere, Field("tls.insecureSkipVerify")),
    row(O::Ca, "ca", Kind::Text, Scope::Tls, NoField, Field("tls.ca")),
    row(O::Cert, "cert", Kind::Text, Scope::Tls, Field("tls.certificate"), Field("tls.certificate")),
    row(O::Key, "key", Kind::Text, Scope::Tls, Field("tls.certificate"), Field("tls.certificate")),
    row(O::Mbind, "mbind", Kind::Flag, Scope::Socks5, Elsewhere, Field("socks5.mbind")),
    row(O::Notls, "notls", Kind::Flag, Scope::Socks5, Elsewhere, Field("socks5.noTLS")),
    row(O::UdpAssociate, "udp_associate", Kind::Flag, Scope::Socks5, Elsewhere, Field("socks5.udpAssociate")),
    row(O::SshKey, "ssh_key", Kind::Text, Scope::Ssh, Field("server.hostKey"), Field("credentials")),
    row(O::SshKnownHosts, "ssh_known_hosts", Kind::Text, Scope::Ssh, Elsewhere, Field("ssh.knownHosts")),
    row(O::SshAuthorizedKeys, "ssh_authorized_keys", Kind::Text, Scope::Ssh, Field("server.users"), Elsewhere),
    row(O::Ping, "ping", Kind::DurationOrZero, Scope::Ssh, Elsewhere, Field("ssh.keepAlive")),
    row(O::Host, "host", Kind::Text, Scope::Host, Elsewhere, NoField),
    row(O::Path, "path", Kind::Text, Scope::Path, NoField, NoField),
    row(O::Compression, "compression", Kind::Flag, Scope::Ws, NoField, NoField),
    row(O::Rbuf, "rbuf", Kind::COUNT, Scope::Ws, NoField, NoField),
    row(O::Wbuf, "wbuf", Kind::COUNT, Scope::Ws, NoField, NoField),
    row(O::Agent, "agent", Kind::Text, Scope::Ws, Elsewhere, NoField),
    row(O::KcpConfig, "c", Kind::Text, Scope::Kcp, NoField, NoField),
    row(O::KcpTcp, "tcp", Kind::Flag, Scope::Kcp, NoField, NoField),
    row(O::Keepalive, "keepalive", Kind::Flag, Scope::Quic, NoField, NoField),
    row(O::Idle, "idle", Kind::Duration, Scope::Quic, NoField, NoField),
    row(O::Cipher, "cipher", Kind::Secret, Scope::Quic, NoField, NoField),
    row(O::Nodelay, "nodelay", Kind::Flag, Scope::Relay, Elsewhere, ASKED_AT_ONCE),
    row(O::IatMode, "iat-mode", Kind::COUNT, Scope::Obfs4, NoField, NoField),
    row(O::StateDir, "state-dir", Kind::Text, Scope::Obfs4, NoField, NoField),
    row(O::Dns, "dns", Kind::Text, Scope::Any, RESOLVER, Elsewhere),
    row(O::Peer, "peer", Kind::Text, Scope::Any, Elsewhere, LIST_NODES),
    row(O::Whitelist, "whitelist", Kind::Text, Scope::Any, NOT_APPLIED, NOT_APPLIED),
    row(O::Blacklist, "blacklist", Kind::Text, Scope::Any, NOT_APPLIED, NOT_APPLIED),
    row(O::Bypass, "bypass", Kind::Text, Scope::Any, NOT_APPLIED, NOT_APPLIED),
    row(O::Hosts, "hosts", Kind::Text, Scope::Any, NAME_TARGETS, NAME_TARGETS),
];
