//! One step of a chain as a proxy is told of it: part of `Forward`, written by `render`, read by the plan.
//! Invariant: no password stands here; credentials, authorities and keys are named by the files that hold them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{HostPort, Strategy, duration};

/// A group of proxies of which one is gone through; what was left out gets its default in the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hop {
    /// `protocol[+transport]`, the seed's words. A word the proxy doesn't know refuses the forward.
    pub scheme: String,
    pub nodes: Vec<HostPort>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Zero: never dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fails: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub fail_timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub dial_timeout: Option<Duration>,
    /// Options of a SOCKS5 hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socks5: Option<HopSocks5>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<HopCredentials>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<HopTls>,
    /// How an SSH hop is verified and kept alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<HopSsh>,
}

/// Options of a SOCKS5 hop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HopSocks5 {
    /// Encryption within SOCKS5 is not offered.
    #[serde(rename = "noTLS", default, skip_serializing_if = "is_false")]
    pub no_tls: bool,
    /// Connections of a remote forward share one to the hop.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mbind: bool,
    /// Datagrams go by UDP ASSOCIATE (RFC 1928).
    #[serde(default, skip_serializing_if = "is_false")]
    pub udp_associate: bool,
}

/// Who we are to a hop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HopCredentials {
    /// The user where the files name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A directory with the files `username` and `password`, for SSH also `ssh-privatekey`, `passphrase` and
    /// `ssh-certificate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// A file whose first line that is no comment is `user password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// SSH private key files, tried in turn; a certificate stands beside its key, in the file NAME-cert.pub.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The socket of an ssh-agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// How an SSH hop is verified and kept alive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HopSsh {
    /// Keys that any node may have, as in an `authorized_keys` line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
    /// Files in the format of `known_hosts`; those that are not there are passed over, unless none is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_hosts: Vec<String>,
    /// Any host key is trusted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub insecure_ignore_host_key: bool,
    /// Time between two signs of life asked of the server; zero: none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub keep_alive: Option<Duration>,
}

/// How a hop that encrypts is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HopTls {
    /// Whether the certificate is verified; left out, that depends on the scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// The name the certificate must carry; left out, the node's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// A PEM file with the authorities to trust; left out, the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// PEM files of the certificate shown to the hop, and of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn only_what_was_said_is_written() {
        let hop: Hop = yaml::from_str("{scheme: socks5, nodes: [{host: a, port: 1080}]}").unwrap();
        assert_eq!(serde_json::to_string(&hop).unwrap(), r#"{"scheme":"socks5","nodes":[{"host":"a","port":1080}]}"#);
        let text = "{scheme: socks5, nodes: [{host: a, port: 1}], dialTimeout: 2s, socks5: {noTLS: true}, \
                    credentials: {directory: /etc/fairlead/secrets/a}, tls: {verify: true, serverName: a}}";
        let hop: Hop = yaml::from_str(text).unwrap();
        let again: Hop = serde_json::from_str(&serde_json::to_string(&hop).unwrap()).unwrap();
        assert_eq!(again, hop);
        assert!(hop.socks5.unwrap().no_tls);
    }
}
