//! `PortForward` as users write it, from the API server or a manifest to `render`.
//! The doc comments are what `kubectl explain` prints: effect, unit, default. Shape is checked here by schema and
//! CEL (`rules`); what a value means is checked by `render`. There are no schema defaults: they drift in GitOps tools.

mod hop;
mod references;
mod rules;
mod server;

use fairlead_config::{Strategy, defaults};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use hop::{Hop, HopNode, HopTls, Socks5, Ssh};
pub use references::{ConfigMapKey, ConfigMapSource, SecretName, SecretSource};
pub use server::{ListenTls, Server};

use crate::{
    shape::{DURATION, SCHEME, StrategyWord, URL_LIMIT},
    status_fields::PortForwardStatus,
};

/// What to forward, where to, and how. Write either `url`, or `scheme` with the other fields.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::shape::structural)]
#[kube(
    group = "fairlead.dev",
    version = "v1alpha1",
    kind = "PortForward",
    plural = "portforwards",
    shortname = "pfw",
    category = "fairlead",
    namespaced,
    status = "PortForwardStatus",
    derive = "PartialEq",
    doc = "PortForward forwards a TCP or UDP port, locally, remotely or through a chain of proxies, to one or several targets.",
    validation = rules::object_name(),
    selectable = ".spec.gateway.name",
    selectable = ".spec.sidecar.name",
    printcolumn(name = "Scheme", type_ = "string", json_path = ".status.effective.scheme"),
    printcolumn(name = "Listen", type_ = "string", json_path = ".status.effective.listen"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodeSummary", description = "Nodes alive of all nodes"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", priority = 1, json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Address", type_ = "string", priority = 1, json_path = ".status.addresses[*].host"),
    printcolumn(name = "Strategy", type_ = "string", priority = 1, json_path = ".status.effective.strategy"),
    printcolumn(name = "Proxies", type_ = "integer", priority = 1, json_path = ".status.proxies.programmed"),
    printcolumn(name = "Message", type_ = "string", priority = 1, json_path = r#".status.conditions[?(@.type=="Ready")].message"#)
)]
#[x_kube(
    validation = rules::url_or_scheme(),
    validation = rules::url_excludes("listen"),
    validation = rules::url_excludes("targets"),
    validation = rules::url_excludes("strategy"),
    validation = rules::url_excludes("maxFails"),
    validation = rules::url_excludes("failTimeout"),
    validation = rules::url_excludes("ttl"),
    validation = rules::url_excludes("dialTimeout"),
    validation = rules::url_excludes("hedgeDelay"),
    validation = rules::url_excludes("idleTimeout"),
    validation = rules::url_excludes("maxConnections"),
    validation = rules::scheme_needs_listen(),
    validation = rules::port_zero_at_the_far_end_only(),
    validation = rules::far_end_needs_a_chain(),
    validation = rules::forward_needs_targets(),
    validation = rules::server_needs_a_server_scheme(),
    validation = rules::gateway_or_sidecar(),
    validation = rules::no_password_in_url()
)]
pub struct PortForwardSpec {
    /// The whole forward as one URL, as on the command line: `tcp://:5432/db1:5432,db2:5432?strategy=fifo&max_fails=2`.
    /// Excludes `scheme` and every field that the URL can say itself. A password does not belong here: put it into a
    /// Secret and name that in `credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = URL_LIMIT))]
    pub url: Option<String>,

    /// What is forwarded, and how it is listened for: `tcp`, `udp` (listen here), `rtcp`, `rudp` (listen at the far end of
    /// the chain), `tls` `mtls` `ws` `wss` `mws` `mwss` `kcp` `quic` `h2` `h2c` (a tunnel's end), or a server: `forward+ssh`
    /// `socks5` `socks4` `socks4a` `http` `relay` `ss` `sni` `auto`, each also with `+transport`, as in `socks5+tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = SCHEME))]
    pub scheme: Option<String>,

    /// Where clients are accepted; needed with `scheme`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<Listen>,

    /// Where the traffic ends, in order of preference for `strategy: fifo`. At most 64; the same target may stand twice.
    /// Left out for servers, and for `tcp` and `udp` behind a hop that knows its own target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = defaults::TARGETS_LIMIT))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub targets: Vec<Target>,

    /// How a target is chosen among those that are not dead: `round` (in turn), `random`, `fifo` (the first in the list).
    /// Default: round.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<StrategyWord>")]
    pub strategy: Option<Strategy>,

    /// Consecutive failed dials after which a target is dead and left out for `failTimeout`, 1 to 1000; 0: never dead.
    /// Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = defaults::MAX_FAILS_LIMIT))]
    pub max_fails: Option<u32>,

    /// How long a dead target is left out before it is tried again, as `30s`, `1m30s` or `500ms`. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub fail_timeout: Option<String>,

    /// How long a UDP client's channel lives without a datagram in either direction, as `60s`. It keeps its target, and
    /// outlives a way through a chain that breaks. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub ttl: Option<String>,

    /// How long one dial may take, name resolution included, as `5s`. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub dial_timeout: Option<String>,

    /// How long a silent target is waited for before the next one is dialled too, as `200ms`; the first to answer serves
    /// the client. `0s`: never. Default: 200ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub hedge_delay: Option<String>,

    /// How long a connection may pass no byte in either direction before it is closed, as `10m`. `0s`: for ever.
    /// Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub idle_timeout: Option<String>,

    /// Connections served at a time by each proxy, 1 to 1000000; further clients wait to be accepted. Default: 10000.
    /// For UDP: clients with a channel of their own; for a further one the idlest leaves. Default: 65536.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = defaults::MAX_CONNECTIONS_LIMIT))]
    pub max_connections: Option<u32>,

    /// Dials nodes without waiting for a client, so that a dead one is known beforehand. Left out: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,

    /// The proxies to go through, the first hop first. At most 8. Left out: targets are dialled directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = defaults::CHAIN_LIMIT))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub chain: Vec<Hop>,

    /// Who may use a server scheme, and for what. Only with a server scheme such as `socks5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,

    /// TLS of the listening side. Left out: a self-signed certificate where the transport needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenTls>,

    /// Runs this forward in a gateway, a Deployment that the operator makes. Default: a gateway of its own. Excludes
    /// `sidecar`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,

    /// Runs this forward inside the pods that carry the label `fairlead.dev/sidecar`. Excludes `gateway`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Sidecar>,

    /// `true` stops this forward everywhere and keeps its Service. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Where clients are accepted.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listen {
    /// The IP address or host name to listen on, without brackets and port; for `rtcp` and `rudp` the far end's.
    /// Default: every address in a gateway, loopback only in a sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::listen_address())]
    pub address: Option<String>,

    /// The port to listen on, 1 to 65535. 0, for `rtcp` and `rudp` only: the far end chooses one.
    pub port: u16,
}

/// Where the traffic ends: a host with a port, or a Service. Exactly one of `host` and `service`.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::host_or_service(), validation = rules::host_needs_port())]
pub struct Target {
    /// Host name or IP address, without brackets and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::host())]
    pub host: Option<String>,

    /// The host's port, 1 to 65535; needed with `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,

    /// A Service in this namespace. It is one node, whatever stands behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceTarget>,
}

/// A Service in the PortForward's namespace.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTarget {
    /// The Service's name.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::service_name())]
    pub name: String,

    /// The Service's port number, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// Dialling nodes without waiting for a client.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Time between two dials of a node, as `5s`.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub interval: String,

    /// How long such a dial may take, as `1s`. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub timeout: Option<String>,
}

/// The gateway that runs the forward.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::replicas_of_own_gateway())]
pub struct Gateway {
    /// A gateway shared by every PortForward of this namespace that names it. Left out: one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = rules::short_name("gateway.name"))]
    pub name: Option<String>,

    /// Pods of the forward's own gateway, 0 to 100. Excludes `name`; a shared gateway takes its number from the
    /// installation. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: Option<u32>,
}

/// The pods that run the forward beside the application.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Value of the label `fairlead.dev/sidecar` of the pods.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = rules::short_name("sidecar.name"))]
    pub name: String,
}

#[cfg(test)]
mod rules_tests;
