//! A configuration's `server` to its plan: who may use it and for what, with what holds where nothing was said.

use std::time::Duration;

use fairlead_config::{Forward, ListenTls, Scheme, Server, ServerUsers, defaults, is_loopback_address};

use super::{Recipe, ServerProtocol};
use crate::access::{Access, Targets};

/// Whom a server serves, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerPlan {
    /// None: everybody who can reach the listener.
    pub(crate) users: Option<ServerUsers>,
    pub(crate) access: Access,
    /// Clients come in channels of SSH sessions.
    pub(crate) is_over_ssh: bool,
    /// The file of an SSH server's private key.
    pub(crate) host_key: Option<String>,
    /// How long a client that sends datagrams to the server's address is remembered without any.
    pub(crate) ttl: Duration,
    /// None: a certificate that is made at the start.
    pub(crate) tls: Option<ListenTls>,
}

impl ServerPlan {
    pub(super) fn new(forward: &Forward) -> Self {
        let Server { users, allow_targets, allow_bind, anonymous: _, host_key } =
            forward.server.clone().unwrap_or_default();
        let targets = match (allow_targets.is_empty(), is_loopback_address(&forward.listen.host)) {
            (false, _) => Targets::Listed(allow_targets),
            (true, true) => Targets::AlsoHere,
            (true, false) => Targets::Elsewhere,
        };
        let ttl = forward.ttl.unwrap_or(defaults::TTL);
        let binds = if allow_bind.is_empty() { vec![defaults::ALLOW_BIND] } else { allow_bind };
        let access = Access { targets, binds };
        Self { users, access, is_over_ssh: is_over_ssh(forward), host_key, ttl, tls: forward.tls.clone() }
    }
}

fn is_over_ssh(forward: &Forward) -> bool {
    forward.scheme.parse().is_ok_and(Scheme::is_over_ssh)
}

/// What a forward says of a server that this recipe is not, or of one that can't be.
pub(super) fn problems(forward: &Forward, recipe: Recipe) -> Vec<String> {
    let server = forward.server.clone().unwrap_or_default();
    let is_open = server.users.is_none() && !server.anonymous && !is_loopback_address(&forward.listen.host);
    let asks = match recipe {
        // SSH asks, whatever is spoken then.
        Recipe::Server(ServerProtocol::Sni | ServerProtocol::Socks4) if is_over_ssh(forward) => None,
        Recipe::Server(ServerProtocol::Sni | ServerProtocol::Socks4) => Some(false),
        Recipe::Server(ServerProtocol::Ss | ServerProtocol::Ssu) => Some(true),
        Recipe::Server(_)
        | Recipe::LocalTcp
        | Recipe::LocalUdp { .. }
        | Recipe::RemoteTcp { .. }
        | Recipe::RemoteUdp { .. } => None,
    };
    let takes_targets = recipe == Recipe::Server(ServerProtocol::Relay);
    let lists = server.allow_targets.len().max(server.allow_bind.len());
    let checks = [
        (
            !recipe.is_server() && forward.server.is_some(),
            format!("server is for servers, and {:?} is none; leave it out", forward.scheme),
        ),
        (
            !recipe.is_server() && forward.tls.is_some(),
            format!("tls is for listeners that encrypt, and {:?} does not; leave it out", forward.scheme),
        ),
        (
            recipe.is_server() && !takes_targets && !forward.targets.is_empty(),
            "targets: the clients of a server name them; leave them out".to_owned(),
        ),
        (
            recipe.is_server() && is_open,
            "server: without users it is for everybody who can reach it; \
             name users, listen on 127.0.0.1, or write anonymous: true"
                .to_owned(),
        ),
        (
            asks == Some(false) && server.users.is_some(),
            format!("server.users: {:?} asks nobody who it is; leave them out", forward.scheme),
        ),
        (
            asks == Some(true) && server.users.is_none(),
            format!(
                "server.users: {} needs a login, whose name is the cipher and whose password is the key's",
                forward.scheme
            ),
        ),
        (
            lists > defaults::ALLOW_LIMIT,
            format!(
                "server.allowTargets, allowBind: {lists} entries are too many; write at most {}",
                defaults::ALLOW_LIMIT
            ),
        ),
    ];
    checks.into_iter().filter_map(|(wrong, message)| wrong.then_some(message)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fairlead_config::{Config, ForwardKey};
    use serde_json::{Value, json};

    use super::{super::Plan, *};

    fn plan(more: Value) -> Plan {
        let mut forward = json!({
            "key": ForwardKey::local("ns", "f"), "digest": "d", "scheme": "socks5",
            "listen": {"host": "127.0.0.1", "port": 1080},
        });
        forward.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Plan::new(Config::new(1, vec![serde_json::from_value(forward).unwrap()]).into())
    }

    fn access(more: Value) -> Access {
        let plan = plan(more);
        plan.forwards[&ForwardKey::local("ns", "f")].plan.server.as_ref().unwrap().access.clone()
    }

    #[test]
    fn what_was_left_out_depends_on_who_can_reach_the_server() {
        let here = access(json!({}));
        assert_eq!((here.targets, here.binds), (Targets::AlsoHere, vec!["1024-65535".parse().unwrap()]));
        for more in [
            json!({"listen": {"host": "", "port": 1}, "server": {"anonymous": true}}),
            json!({"listen": {"host": "10.0.0.1", "port": 1}, "server": {"users": {"directory": "/s"}}}),
        ] {
            assert_eq!(access(more).targets, Targets::Elsewhere);
        }
        let listed = access(json!({"server": {"allowTargets": ["10.0.0.0/8"], "allowBind": ["80"]}}));
        assert_eq!(listed.targets, Targets::Listed(vec!["10.0.0.0/8".parse().unwrap()]));
        assert!(listed.may_bind(80) && !listed.may_bind(1024));
    }

    #[test]
    fn a_server_that_anybody_could_use_or_that_is_none_is_refused() {
        for (more, part) in [
            (json!({"listen": {"host": "", "port": 1}}), "anonymous: true"),
            (json!({"listen": {"host": "0.0.0.0", "port": 1}, "server": {}}), "anonymous: true"),
            (json!({"targets": [{"host": "a", "port": 1}]}), "clients of a server name them"),
            (json!({"scheme": "tcp", "targets": [{"host": "a", "port": 1}], "server": {}}), "is none"),
        ] {
            let message = plan(more).refused()[0].message.clone();
            assert!(message.contains(part), "{message}");
        }
    }
}
