//! One hop of a configuration to its plan: everything resolved, what can't be gone through refused by name.

use std::time::Duration;

use fairlead_config::{
    Forward, Hop, HopCredentials, HopSsh, HopTls, HostPort, Protocol, Scheme, Support, Transport, defaults,
};

use super::Recipe;
use crate::selector::Rules;

/// One hop, fully resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HopPlan {
    pub(crate) nodes: Vec<HostPort>,
    pub(crate) rules: Rules,
    pub(crate) dial_timeout: Duration,
    pub(crate) settings: HopSettings,
}

/// What is said to a hop; nodes are judged anew when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HopSettings {
    pub(crate) protocol: HopProtocol,
    /// The protocol is spoken in channels of SSH sessions.
    pub(crate) is_over_ssh: bool,
    pub(crate) credentials: Option<HopCredentials>,
    /// SOCKS5: encryption is not offered.
    pub(crate) no_tls: bool,
    /// SOCKS5: datagrams go by UDP ASSOCIATE.
    pub(crate) udp_associate: bool,
    pub(crate) tls: HopTls,
    pub(crate) ssh: HopSsh,
}

/// What is asked of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HopProtocol {
    Socks5,
    Socks4,
    Socks4a,
    Http,
    Relay,
    /// Shadowsocks.
    Ss,
    /// The stream is the connection.
    Forward,
    /// SSH port forwarding: a channel is the connection.
    Ssh,
}

/// What each word means of a hop.
const PROTOCOLS: [(Protocol, HopProtocol); 8] = [
    (Protocol::Socks5, HopProtocol::Socks5),
    (Protocol::Socks4, HopProtocol::Socks4),
    (Protocol::Socks4a, HopProtocol::Socks4a),
    (Protocol::Http, HopProtocol::Http),
    (Protocol::Auto, HopProtocol::Http),
    (Protocol::Relay, HopProtocol::Relay),
    (Protocol::Ss, HopProtocol::Ss),
    (Protocol::Forward, HopProtocol::Forward),
];

impl HopSettings {
    /// Whether the hop must prove who it is: SOCKS5 encrypts by itself, and so with certificates nobody knows.
    pub(crate) fn verifies(&self) -> bool {
        self.tls.verify.unwrap_or(self.tls.ca.is_some() || self.tls.server_name.is_some())
    }

    /// Whether the connection to the hop may be encrypted by TLS.
    pub(crate) fn encrypts(&self) -> bool {
        self.protocol == HopProtocol::Socks5 && !self.no_tls && !self.is_over_ssh
    }

    /// Whether one stream carries datagrams to and from anywhere: GOST's UDP over TCP (0xF3).
    pub(crate) fn carries_to_anywhere(&self) -> bool {
        self.protocol == HopProtocol::Socks5 && !self.udp_associate
    }

    /// Whether the hop's nodes are SSH servers.
    pub(crate) fn uses_ssh(&self) -> bool {
        self.protocol == HopProtocol::Ssh || self.is_over_ssh
    }
}

/// Resolves a forward's chain, with all that is wrong with it. The error is of a hop that this build doesn't know.
pub(super) fn chain(forward: &Forward) -> Result<(Vec<HopPlan>, Vec<String>), String> {
    let hops = &forward.chain;
    let hedge_delay = forward.hedge_delay.unwrap_or(defaults::HEDGE_DELAY);
    let (mut plans, mut problems) = (Vec::new(), Vec::new());
    for (hop, number) in hops.iter().zip(1..) {
        let (scheme, protocol) = protocol(&hop.scheme).map_err(|message| format!("chain: hop {number}: {message}"))?;
        let wrong = wrong(hop, protocol, scheme.is_over_ssh());
        problems.extend(wrong.into_iter().map(|problem| format!("chain: hop {number}: {problem}")));
        plans.push(plan(hop.clone(), protocol, scheme.is_over_ssh(), hedge_delay));
    }
    if hops.len() > defaults::CHAIN_LIMIT {
        problems.push(format!("chain: {} hops are too many; write at most {}", hops.len(), defaults::CHAIN_LIMIT));
    }
    let is_server = Recipe::of(forward).is_some_and(Recipe::is_server);
    let is_remote = Recipe::of(forward).is_some_and(Recipe::is_remote);
    if forward.scheme == "udp" {
        problems.extend(datagrams_problem(&plans).map(|problem| format!("chain: {problem}")));
    }
    if forward.scheme == "ssu" && plans.last().is_some_and(|hop| !hop.settings.carries_to_anywhere()) {
        problems.push(
            "chain: ssu sends datagrams to anywhere, and the last hop carries none of that kind; write socks5 for it, \
             without udpAssociate"
                .to_owned(),
        );
    }
    let last = plans.last().map(|hop| hop.settings.protocol);
    let is_datagram = Recipe::of(forward).is_some_and(Recipe::is_datagram);
    let can_listen = |last| last == HopProtocol::Socks5 || (last == HopProtocol::Ssh && !is_datagram);
    if is_remote && last.is_some_and(|last| !can_listen(last)) {
        let (scheme, hop) = (&forward.scheme, hops.last().map(|hop| hop.scheme.as_str()).unwrap_or_default());
        problems.push(format!("chain: {scheme} needs a last hop that can listen, and {hop:?} can't; write socks5"));
        return Ok((plans, problems));
    }
    match (last, forward.targets.is_empty()) {
        (Some(HopProtocol::Forward), _) if is_server => problems.push(
            "chain: the last hop is \"forward\", which goes where its far end says, and clients of a server say \
             themselves; write socks5 or http for the hop"
                .to_owned(),
        ),
        _ if is_server => {}
        (Some(HopProtocol::Forward), false) => problems.push(
            "chain: the last hop is \"forward\", which goes where its far end says; \
             leave the targets out, or write socks5 or http for the hop"
                .to_owned(),
        ),
        (Some(HopProtocol::Forward | HopProtocol::Relay), true) if forward.scheme == "tcp" => {}
        (_, false) | (None, true) => {}
        (Some(_), true) => problems.push("targets is empty; name at least one host:port".to_owned()),
    }
    Ok((plans, problems))
}

/// What keeps datagrams from going through these hops.
fn datagrams_problem(hops: &[HopPlan]) -> Option<String> {
    let last = &hops.last()?.settings;
    let goes_beside = match last.protocol {
        HopProtocol::Relay => None,
        HopProtocol::Socks5 => last.udp_associate.then_some("socks5 with udpAssociate"),
        HopProtocol::Ss => Some("ss"),
        HopProtocol::Socks4 | HopProtocol::Socks4a | HopProtocol::Http | HopProtocol::Forward | HopProtocol::Ssh => {
            return Some(
                "the last hop carries no datagrams; write socks5 (GOST's UDP over TCP, or udpAssociate for other \
                 servers), relay or ss for it"
                    .to_owned(),
            );
        }
    };
    let what = goes_beside.filter(|_| hops.len() > 1 || last.is_over_ssh)?;
    Some(format!(
        "{what} takes datagrams as such, which go through no other hop and not over SSH; leave those out, or write \
         socks5 or relay"
    ))
}

fn protocol(text: &str) -> Result<(Scheme, HopProtocol), String> {
    let scheme = text.parse::<Scheme>().ok().filter(|scheme| scheme.hop_support() == Support::Built);
    let known = |scheme: Scheme| match (scheme.protocol(), scheme.transport()) {
        (Protocol::Forward, Transport::Ssh) => Some(HopProtocol::Ssh),
        (protocol, _) => PROTOCOLS.into_iter().find(|(known, _)| *known == protocol).map(|(_, protocol)| protocol),
    };
    scheme
        .and_then(|scheme| Some((scheme, known(scheme)?)))
        .ok_or_else(|| format!("this proxy can't go through scheme {text:?}; restart it with a newer image"))
}

/// What a value is out of its range by.
fn wrong(hop: &Hop, protocol: HopProtocol, is_over_ssh: bool) -> Vec<String> {
    let may_encrypt = protocol == HopProtocol::Socks5 && !is_over_ssh;
    let uses_ssh = protocol == HopProtocol::Ssh || is_over_ssh;
    let no_tls = hop.socks5.as_ref().is_some_and(|socks5| socks5.no_tls);
    let tls = hop.tls.clone().unwrap_or_default();
    let verifies = tls.verify.unwrap_or(tls.ca.is_some() || tls.server_name.is_some());
    let checks = [
        (hop.nodes.is_empty(), "has no node; write at least one".to_owned()),
        (
            hop.nodes.len() > defaults::HOP_NODES_LIMIT,
            format!("{} nodes are too many; write at most {}", hop.nodes.len(), defaults::HOP_NODES_LIMIT),
        ),
        (hop.nodes.iter().any(|node| node.port == 0), "a node has port 0; write 1 to 65535".to_owned()),
        (
            hop.max_fails.is_some_and(|fails| fails > defaults::MAX_FAILS_LIMIT),
            format!("maxFails is above {}", defaults::MAX_FAILS_LIMIT),
        ),
        (
            hop.dial_timeout.is_some_and(|timeout| timeout.is_zero()),
            "dialTimeout is 0s; write a time such as 5s".to_owned(),
        ),
        (
            hop.tls.is_some() && !may_encrypt,
            format!("tls is for hops that encrypt by TLS, and {:?} does not; leave it out", hop.scheme),
        ),
        (verifies && no_tls, "socks5.noTLS and a verified certificate exclude each other; leave one out".to_owned()),
        (
            protocol == HopProtocol::Forward && hop.credentials.is_some(),
            "\"forward\" takes no credentials; leave them out".to_owned(),
        ),
        (
            protocol == HopProtocol::Ss && hop.credentials.is_none(),
            "\"ss\" needs credentials: the cipher as the user, and the password".to_owned(),
        ),
        (
            hop.ssh.is_some() && !uses_ssh,
            format!("ssh is for hops over SSH, and not for {:?}; leave it out", hop.scheme),
        ),
        (
            uses_ssh && hop.credentials.is_none(),
            "credentials are missing; name a user with a password or a key".to_owned(),
        ),
        (
            uses_ssh && !hop.ssh.as_ref().is_some_and(judges),
            "no host key is known; write ssh.knownHosts or ssh.hostKeys".to_owned(),
        ),
    ];
    checks.into_iter().filter_map(|(wrong, message)| wrong.then_some(message)).collect()
}

/// Whether there is anything to judge a server by.
fn judges(ssh: &HopSsh) -> bool {
    ssh.insecure_ignore_host_key || !ssh.host_keys.is_empty() || !ssh.known_hosts.is_empty()
}

fn plan(hop: Hop, protocol: HopProtocol, is_over_ssh: bool, hedge_delay: Duration) -> HopPlan {
    HopPlan {
        nodes: hop.nodes,
        rules: Rules {
            strategy: hop.strategy.unwrap_or_default(),
            max_fails: hop.max_fails.unwrap_or(defaults::MAX_FAILS),
            fail_timeout: hop.fail_timeout.unwrap_or(defaults::FAIL_TIMEOUT),
            hedge_delay,
        },
        dial_timeout: hop.dial_timeout.unwrap_or(defaults::DIAL_TIMEOUT),
        settings: HopSettings {
            protocol,
            is_over_ssh,
            credentials: hop.credentials,
            no_tls: hop.socks5.as_ref().is_some_and(|socks5| socks5.no_tls),
            udp_associate: hop.socks5.is_some_and(|socks5| socks5.udp_associate),
            tls: hop.tls.unwrap_or_default(),
            ssh: hop.ssh.unwrap_or_default(),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fairlead_config::yaml;

    use super::*;

    fn planned(hop: &str, has_targets: bool) -> (Vec<HopPlan>, String) {
        let targets = if has_targets { "[{host: a, port: 1}]" } else { "[]" };
        let text = format!(
            "{{key: {{namespace: a, name: b}}, digest: d, scheme: tcp, listen: {{port: 1}}, targets: {targets}, \
              chain: [{{{hop}, nodes: [{{host: a, port: 1080}}]}}]}}"
        );
        match chain(&yaml::from_str(&text).unwrap()) {
            Ok((plans, problems)) => (plans, problems.join("; ")),
            Err(problem) => (Vec::new(), problem),
        }
    }

    #[test]
    fn what_was_left_out_gets_its_default() {
        let hop = planned("scheme: socks5", true).0.remove(0);
        assert_eq!((hop.rules.max_fails, hop.rules.fail_timeout), (1, Duration::from_secs(30)));
        assert_eq!(hop.dial_timeout, Duration::from_secs(5));
        assert!(!hop.settings.verifies() && hop.settings.encrypts());
    }

    #[test]
    fn ssu_goes_through_a_last_hop_that_carries_datagrams_to_anywhere() {
        for (hop, is_refused) in [
            ("scheme: socks5", false),
            ("scheme: socks5, socks5: {udpAssociate: true}", true),
            ("scheme: relay", true),
            ("scheme: http", true),
        ] {
            let text = format!(
                "{{key: {{namespace: a, name: b}}, digest: d, scheme: ssu, listen: {{port: 1}}, targets: [], \
                  chain: [{{{hop}, nodes: [{{host: a, port: 1080}}]}}]}}"
            );
            let (_, problems) = chain(&yaml::from_str(&text).unwrap()).unwrap();
            assert_eq!(problems.iter().any(|problem| problem.contains("to anywhere")), is_refused, "{hop}");
        }
    }

    #[test]
    fn what_cannot_be_chained_is_refused_by_name() {
        for (hop, has_targets, want) in [
            ("scheme: warp", true, "hop 1: this proxy can't go through scheme \"warp\""),
            ("scheme: rtcp", true, "\"rtcp\""),
            ("scheme: socks5+kcp", true, "\"socks5+kcp\""),
            ("scheme: forward", true, "leave the targets out"),
            ("scheme: socks5", false, "targets is empty"),
            ("scheme: http, tls: {verify: true}", true, "\"http\" does not"),
            ("scheme: socks5, socks5: {noTLS: true}, tls: {verify: true}", true, "exclude each other"),
            ("scheme: socks5, dialTimeout: 0s", true, "dialTimeout is 0s"),
            ("scheme: ss", true, "needs credentials"),
            ("scheme: ss, credentials: {username: chacha20}", false, "targets is empty"),
            ("scheme: forward, credentials: {username: a}", false, "takes no credentials"),
            ("scheme: forward+ssh, ssh: {insecureIgnoreHostKey: true}", true, "credentials are missing"),
            ("scheme: forward+ssh, credentials: {username: a}", true, "no host key is known"),
            ("scheme: forward+ssh, credentials: {username: a}, ssh: {keepAlive: 5s}", true, "no host key is known"),
            ("scheme: forward+ssh, credentials: {username: a}, ssh: {knownHosts: [/k]}", false, "targets is empty"),
            ("scheme: http, ssh: {knownHosts: [/k]}", true, "ssh is for hops"),
            ("scheme: socks5+ssh", true, "credentials are missing"),
            ("scheme: socks5+ssh, credentials: {username: a}", true, "no host key is known"),
            ("scheme: socks5+ssh, tls: {verify: true}", true, "by TLS"),
        ] {
            let (_, problems) = planned(hop, has_targets);
            assert!(problems.contains(want), "{hop}: {problems}");
        }
        for hop in ["scheme: forward", "scheme: relay"] {
            assert_eq!(planned(hop, false).1, "");
        }
    }
}
