//! One step of a chain: the proxy, or the group of proxies, that the next connection goes through.

use fairlead_config::{Strategy, defaults};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigMapSource, SecretSource, rules};
use crate::shape::{DURATION, SCHEME, StrategyWord, URL_LIMIT};

/// One step of the chain. Write either `url`, or `scheme` and `nodes`.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::hop_url_or_scheme(),
    validation = rules::hop_url_excludes("nodes"),
    validation = rules::hop_url_excludes("strategy"),
    validation = rules::hop_url_excludes("maxFails"),
    validation = rules::hop_url_excludes("failTimeout"),
    validation = rules::hop_url_excludes("dialTimeout"),
    validation = rules::hop_url_excludes("socks5"),
    validation = rules::hop_scheme_needs_nodes(),
    validation = rules::no_password_in_url()
)]
pub struct Hop {
    /// The hop as one URL, as on the command line: `socks5://bastion:1080?mbind=true`. Excludes the other fields but
    /// `credentials`, `ssh` and `tls`. A password does not belong here: put it into a Secret and name that in `credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = URL_LIMIT))]
    pub url: Option<String>,

    /// What is spoken to the hop: `socks5` `socks4` `socks4a` `http` `ss` `sni` `relay` `forward+ssh`, each also with
    /// `+transport`, as in `socks5+tls` or `http+kcp`; `forward+transport` leaves the target to the hop. `forward+ssh` is
    /// port forwarding by any SSH server; `socks5+ssh` and the like need GOST or Fairlead at the other side.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = SCHEME))]
    pub scheme: Option<String>,

    /// The hop's addresses, 1 to 16; several are a group, chosen from as targets are. Needed with `scheme`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = defaults::HOP_NODES_LIMIT))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub nodes: Vec<HopNode>,

    /// How a node of the group is chosen: `round`, `random` or `fifo`. Default: round.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<StrategyWord>")]
    pub strategy: Option<Strategy>,

    /// Consecutive failed dials after which a node of the group is dead, 1 to 1000; 0: never dead. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = defaults::MAX_FAILS_LIMIT))]
    pub max_fails: Option<u32>,

    /// How long a dead node of the group is left out, as `30s`. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub fail_timeout: Option<String>,

    /// How long a dial of a node of the group may take, name resolution and handshake included, as `5s`. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub dial_timeout: Option<String>,

    /// Options of a SOCKS5 hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socks5: Option<Socks5>,

    /// Who we are to the hop: a Secret with the keys `username` and `password`, or `ssh-privatekey` and, where needed,
    /// `passphrase` and `ssh-certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretSource>,

    /// How an SSH hop is verified and kept alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,

    /// How a TLS hop is verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<HopTls>,
}

/// One address of a hop.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HopNode {
    /// Host name or IP address, without brackets and port.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::host())]
    pub host: String,

    /// The port, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// Options of a SOCKS5 hop.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Socks5 {
    /// `true` carries every connection of a remote forward over one, so that the far end's port stays bound between
    /// clients. The hop must know this extension. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbind: Option<bool>,

    /// `true` never offers the hop encryption within SOCKS5. Default: false.
    #[serde(rename = "noTLS", skip_serializing_if = "Option::is_none")]
    pub no_tls: Option<bool>,

    /// `true` sends UDP by UDP ASSOCIATE (RFC 1928), which any SOCKS5 server knows, instead of over the TCP connection.
    /// Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_associate: Option<bool>,
}

/// How an SSH hop is verified and kept alive. Without `hostKeys` and `knownHosts` no host key is trusted.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ssh {
    /// Host keys to trust, as in an `authorized_keys` line: `ssh-ed25519 AAAA…`. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 4096)), extend("x-kubernetes-list-type" = "atomic"))]
    pub host_keys: Vec<String>,

    /// A ConfigMap with a `known_hosts` file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<ConfigMapSource>,

    /// `true` trusts any host key, and with it anybody on the way. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_ignore_host_key: Option<bool>,

    /// Time between two signs of life asked of the hop, as `15s`. `0s`: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub keep_alive: Option<String>,
}

/// How a TLS hop is verified.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HopTls {
    /// The name that the hop's certificate must carry. Default: the hop's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::server_name())]
    pub server_name: Option<String>,

    /// A ConfigMap with the certificates of the authorities to trust, in PEM. Default: the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<ConfigMapSource>,

    /// A Secret of type `kubernetes.io/tls` with the certificate that we show the hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SecretSource>,

    /// `true` trusts any certificate, and with it anybody on the way. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}
