//! What is done for a client, by the scheme of its forward.

use std::{mem, time::Duration};

use fairlead_config::{Forward, Scheme, defaults};

/// One of the files in `forward`, with what only it goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipe {
    LocalTcp,
    /// An association ends when no datagram has passed for the ttl.
    LocalUdp {
        ttl: Duration,
    },
    /// Clients say where they want to go.
    Server(ServerProtocol),
    RemoteTcp {
        way: FarListener,
    },
    RemoteUdp {
        ttl: Duration,
    },
}

/// How the last hop is asked to listen for streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FarListener {
    /// SOCKS5's BIND: a connection for each client.
    Bind,
    /// SOCKS5's MBIND: clients share one connection.
    Mbind,
    /// SSH's tcpip-forward: clients are channels of a session.
    Ssh,
}

/// What a server speaks with its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerProtocol {
    /// HTTP, SOCKS4 or SOCKS5, by the client's first byte.
    Auto,
    Http,
    Relay,
    /// Whatever names its target in a TLS hello or an HTTP request.
    Sni,
    Socks4,
    Socks5,
    Ss,
    /// Shadowsocks for datagrams.
    Ssu,
    /// Port forwarding.
    Ssh,
}

impl ServerProtocol {
    /// Over SSH it is the same protocol.
    fn of(word: &str) -> Option<Self> {
        let find = |word| SERVERS.into_iter().find(|(known, _)| *known == word).map(|(_, protocol)| protocol);
        let carried = || word.strip_suffix("+ssh").and_then(find).filter(|protocol| protocol.is_carried_by_ssh());
        find(word).or_else(carried)
    }

    fn is_carried_by_ssh(self) -> bool {
        match self {
            Self::Auto | Self::Http | Self::Relay | Self::Sni | Self::Socks4 | Self::Socks5 | Self::Ss => true,
            Self::Ssu | Self::Ssh => false,
        }
    }

    /// Whether clients send datagrams to its very address, and connect to none.
    pub(crate) fn is_datagram(self) -> bool {
        match self {
            Self::Ssu => true,
            Self::Auto | Self::Http | Self::Relay | Self::Sni | Self::Socks4 | Self::Socks5 | Self::Ss | Self::Ssh => {
                false
            }
        }
    }

    /// Whether clients may send datagrams.
    pub(crate) fn carries_datagrams(self) -> bool {
        match self {
            Self::Auto | Self::Relay | Self::Socks5 | Self::Ssu => true,
            Self::Http | Self::Sni | Self::Socks4 | Self::Ss | Self::Ssh => false,
        }
    }
}

/// What each word means of a server.
const SERVERS: [(&str, ServerProtocol); 10] = [
    ("auto", ServerProtocol::Auto),
    ("http", ServerProtocol::Http),
    ("relay", ServerProtocol::Relay),
    ("sni", ServerProtocol::Sni),
    ("socks4", ServerProtocol::Socks4),
    ("socks4a", ServerProtocol::Socks4),
    ("socks5", ServerProtocol::Socks5),
    ("ss", ServerProtocol::Ss),
    ("ssu", ServerProtocol::Ssu),
    ("forward+ssh", ServerProtocol::Ssh),
];

impl Recipe {
    /// None: this version has no recipe for the scheme.
    pub(super) fn of(forward: &Forward) -> Option<Self> {
        match forward.scheme.as_str() {
            "tcp" => Some(Self::LocalTcp),
            "udp" => Some(Self::LocalUdp { ttl: forward.ttl.unwrap_or(defaults::TTL) }),
            "rtcp" => Some(Self::RemoteTcp { way: FarListener::of(forward) }),
            "rudp" => Some(Self::RemoteUdp { ttl: forward.ttl.unwrap_or(defaults::TTL) }),
            word => ServerProtocol::of(word).map(Self::Server),
        }
    }

    pub(crate) fn is_server(self) -> bool {
        match self {
            Self::Server(_) => true,
            Self::LocalTcp | Self::LocalUdp { .. } | Self::RemoteTcp { .. } | Self::RemoteUdp { .. } => false,
        }
    }

    /// Whether a running forward of this recipe can take a plan of the other one.
    pub(super) fn goes_on_as(self, other: Self) -> bool {
        match (self, other) {
            (Self::RemoteTcp { way }, Self::RemoteTcp { way: other }) => way == other,
            (Self::Server(_), Self::Server(_)) => self.is_datagram() == other.is_datagram(),
            _ => mem::discriminant(&self) == mem::discriminant(&other),
        }
    }

    pub(crate) fn is_datagram(self) -> bool {
        match self {
            Self::Server(protocol) => protocol.is_datagram(),
            Self::LocalTcp | Self::RemoteTcp { .. } => false,
            Self::LocalUdp { .. } | Self::RemoteUdp { .. } => true,
        }
    }

    /// Whether the listener is at the far end of the chain.
    pub(crate) fn is_remote(self) -> bool {
        match self {
            Self::LocalTcp | Self::LocalUdp { .. } | Self::Server(_) => false,
            Self::RemoteTcp { .. } | Self::RemoteUdp { .. } => true,
        }
    }

    /// The default of `maxConnections`.
    pub(super) fn max_connections(self) -> u32 {
        if self.is_datagram() { defaults::ASSOCIATIONS } else { defaults::MAX_CONNECTIONS }
    }

    /// What the forward says that this recipe can't do.
    pub(super) fn problems(self, forward: &Forward) -> Vec<String> {
        let checks = [
            (forward.ttl.is_some_and(|ttl| ttl.is_zero()), "ttl is 0s; write a time such as 60s"),
            (
                self.is_datagram() && forward.health_check.is_some(),
                "healthCheck dials, and a node of a udp forward answers only datagrams; leave it out",
            ),
            (
                self.is_remote() && forward.chain.is_empty(),
                "chain is empty, and the listener is at its far end; name a hop socks5 or forward+ssh",
            ),
        ];
        checks.into_iter().filter(|(wrong, _)| *wrong).map(|(_, message)| message.to_owned()).collect()
    }
}

impl FarListener {
    fn of(forward: &Forward) -> Self {
        let Some(last) = forward.chain.last() else { return Self::Bind };
        if last.scheme.parse::<Scheme>().is_ok_and(Scheme::is_ssh_hop) {
            return Self::Ssh;
        }
        let is_mbind = last.socks5.as_ref().is_some_and(|socks5| socks5.mbind);
        if is_mbind { Self::Mbind } else { Self::Bind }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fairlead_config::{Config, ForwardKey};
    use serde_json::{Value, json};

    use super::{super::Plan, *};

    fn plan(more: Value) -> Plan {
        let mut forward = json!({
            "key": ForwardKey::local("ns", "f"), "digest": "d", "scheme": "udp",
            "listen": {"host": "", "port": 53}, "targets": [{"host": "a", "port": 53}],
        });
        forward.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Plan::new(Config::new(1, vec![serde_json::from_value(forward).unwrap()]).into())
    }

    #[test]
    fn a_udp_forward_has_limits_of_its_own() {
        let plan = plan(json!({}));
        let forward = &plan.forwards[&ForwardKey::local("ns", "f")].plan;
        assert_eq!(forward.recipe, Recipe::LocalUdp { ttl: Duration::from_secs(60) });
        assert_eq!(forward.max_connections, 65_536);
    }

    #[test]
    fn what_datagrams_can_not_do_is_refused_by_name() {
        for (more, part) in [
            (json!({"ttl": "0s"}), "ttl is 0s"),
            (json!({"healthCheck": {"interval": "1s"}}), "healthCheck"),
            (json!({"scheme": "tcp", "ttl": "0s"}), "ttl is 0s"),
        ] {
            let message = plan(more).refused()[0].message.clone();
            assert!(message.contains(part), "{message}");
        }
    }
}
