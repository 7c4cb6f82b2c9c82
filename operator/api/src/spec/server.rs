//! The listening side's own settings: who may use a server and for what, and its TLS certificate.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretSource, rules};

/// Who may use a server, and for what.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// A Secret with the logins: key `users` (`name:password`, one a line), for SSH also `authorized_keys`.
    /// Left out: everybody who can reach the listener; see `anonymous`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<SecretSource>,

    /// A Secret of type `kubernetes.io/ssh-auth` with the SSH server's host key; an SSH server in a
    /// cluster needs one, so that every replica shows the same. `fairlead run` makes one and keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key: Option<SecretSource>,

    /// Networks that clients may reach through this server, in CIDR notation. At most 64. Default: every address but
    /// link-local ones, and not loopback when the server itself can be reached from elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 49)))]
    #[x_kube(merge_strategy = ListMerge::Atomic, validation = rules::networks())]
    pub allow_targets: Vec<String>,

    /// Ports that clients may listen on through this server, as `8080` or `1024-65535`. At most 64.
    /// Default: 1024-65535.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 11)))]
    #[x_kube(merge_strategy = ListMerge::Atomic, validation = rules::port_ranges(), validation = rules::port_ranges_ascend())]
    pub allow_bind: Vec<String>,

    /// `true` lets a server without users listen beyond loopback. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<bool>,
}

/// TLS of the listening side.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenTls {
    /// A Secret of type `kubernetes.io/tls` with the certificate shown to clients, keys `tls.crt` and `tls.key`.
    pub certificate: SecretSource,
}
