//! `Config`: what a proxy is told to run. Written by `render` and the operator, read by the proxy.
//!
//! Proxies keep their image for weeks while the operator moves on. So what is unknown at the top level is
//! ignored, any version is accepted, and a forward that doesn't fit is refused alone while the others run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ForwardKey, Hop, HostPort, ListenTls, Scheme, Server, Strategy, duration, listeners_overlap, yaml};

/// The format this crate writes.
pub const CONFIG_VERSION: u32 = 1;

/// No revision comes near it, since they are times in milliseconds. It is also the largest number that is safe in JSON.
pub const REVISION_LIMIT: u64 = 1 << 53;

/// Everything one proxy runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Version of the format, see [`CONFIG_VERSION`].
    pub version: u32,
    /// Grows with each change of content, below [`REVISION_LIMIT`]; a proxy ignores a document that isn't newer than
    /// what it runs.
    pub revision: u64,
    pub forwards: Vec<Forward>,
}

/// One forward as its PortForward says it; what was left out is `None` and gets its default in the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forward {
    pub key: ForwardKey,
    /// Opaque mark of this rendering; a report echoes it to say what runs.
    pub digest: String,
    /// `protocol[+transport]`, the seed's words. A word the proxy doesn't know refuses this forward alone.
    pub scheme: String,
    pub listen: HostPort,
    #[serde(default)]
    pub targets: Vec<HostPort>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Zero: never dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fails: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub fail_timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub ttl: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub dial_timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub hedge_delay: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub idle_timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// What targets are dialled through, the first hop first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Hop>,
    /// With a server's scheme only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// What clients that ask for encryption are shown; left out, a certificate made at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenTls>,
}

impl Forward {
    /// Tells whether it forwards datagrams; a scheme this version doesn't know is taken for one of streams.
    pub fn is_datagram(&self) -> bool {
        self.scheme.parse::<Scheme>().is_ok_and(Scheme::is_datagram)
    }

    /// Tells whether it listens at the far end of its chain.
    pub fn is_remote(&self) -> bool {
        self.scheme.parse::<Scheme>().is_ok_and(Scheme::is_remote)
    }

    /// Tells whether one of the two can't listen while the other does, as far as their names show.
    pub fn excludes(&self, other: &Self) -> bool {
        let (place, others) = (self.is_remote(), other.is_remote());
        let is_same_host = place == others && (!place || self.far_end() == other.far_end());
        let has_port = !place || self.listen.port != 0;
        is_same_host
            && has_port
            && self.is_datagram() == other.is_datagram()
            && listeners_overlap(&self.listen, &other.listen)
    }

    /// The nodes of the last hop, where a remote forward listens.
    fn far_end(&self) -> Option<&[HostPort]> {
        self.chain.last().map(|hop| hop.nodes.as_slice())
    }
}

/// Dialling nodes without waiting for a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    #[serde(with = "duration::plain")]
    pub interval: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub timeout: Option<Duration>,
}

/// A `Config` as read: the forwards this build understands, and those it doesn't.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadConfig {
    pub version: u32,
    pub revision: u64,
    pub forwards: Vec<Forward>,
    pub refused: Vec<Refused>,
}

/// A forward that doesn't run, and why. `key` and `digest` are empty where the document has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub key: ForwardKey,
    pub digest: String,
    pub reason: RefusedReason,
    pub message: String,
}

/// Why a forward of a configuration is refused; also a condition reason and a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusedReason {
    /// The forward has a field or scheme this proxy's image doesn't know.
    ProxyTooOld,
    /// Another forward of the same configuration has the listener.
    PortConflict,
    /// A value is out of its range.
    InvalidSpec,
    /// The directory of a Secret or ConfigMap that it names isn't there; what ran before goes on.
    CredentialsMissing,
}

impl RefusedReason {
    /// The reason as written in conditions and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProxyTooOld => "ProxyTooOld",
            Self::PortConflict => "PortConflict",
            Self::InvalidSpec => "InvalidSpec",
            Self::CredentialsMissing => "CredentialsMissing",
        }
    }
}

/// Why a text is no configuration at all. What runs is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration: {0}")]
    Unreadable(#[from] yaml::YamlError),
    /// Every later document would be older, and a proxy that took this one would take no other.
    #[error("configuration: revision {0} is beyond {REVISION_LIMIT}; write a time in milliseconds")]
    Revision(u64),
}

#[derive(Deserialize)]
struct Document {
    version: u32,
    revision: u64,
    #[serde(default)]
    forwards: Vec<serde_json::Value>,
}

impl Config {
    /// Makes a document of the present format.
    pub fn new(revision: u64, forwards: Vec<Forward>) -> Self {
        Self { version: CONFIG_VERSION, revision, forwards }
    }

    /// Writes the document as YAML.
    pub fn to_yaml(&self) -> Result<String, yaml::YamlError> {
        yaml::to_string(self)
    }
}

impl ReadConfig {
    /// Reads a document (YAML or JSON) of any version.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let document: Document = yaml::from_str(text)?;
        if document.revision >= REVISION_LIMIT {
            return Err(ConfigError::Revision(document.revision));
        }
        let (mut forwards, mut refused) = (Vec::new(), Vec::new());
        for value in document.forwards {
            match serde_json::from_value::<Forward>(value.clone()) {
                Ok(forward) => forwards.push(forward),
                Err(error) => refused.push(too_old(&value, &error.to_string())),
            }
        }
        Ok(Self { version: document.version, revision: document.revision, forwards, refused })
    }
}

impl From<Config> for ReadConfig {
    fn from(config: Config) -> Self {
        Self { version: config.version, revision: config.revision, forwards: config.forwards, refused: Vec::new() }
    }
}

/// Only an operator writes these documents, so whatever doesn't fit comes from a newer one.
fn too_old(value: &serde_json::Value, error: &str) -> Refused {
    let key = value
        .get("key")
        .and_then(|key| serde_json::from_value(key.clone()).ok())
        .unwrap_or_else(|| ForwardKey::local("", ""));
    let digest = value.get("digest").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let message = format!(
        "forward {key}: this proxy's image is older than its configuration: {error}; restart the pod with the present image"
    );
    Refused { key, digest, reason: RefusedReason::ProxyTooOld, message }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: &str = "
version: 1
revision: 7
forwards:
- key: {namespace: shop, name: db}
  digest: abc
  scheme: tcp
  listen: {host: '', port: 5432}
  targets: [{host: db1, port: 5432}]
  failTimeout: 10s
";

    #[test]
    fn a_document_survives_writing_and_reading() {
        let read = ReadConfig::parse(ONE).unwrap();
        let again = Config::new(read.revision, read.forwards.clone()).to_yaml().unwrap();
        assert_eq!(ReadConfig::parse(&again).unwrap(), read);
        assert_eq!(read.forwards[0].fail_timeout, Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_tcp_and_a_udp_forward_share_a_port_number() {
        let forward = |scheme: &str| {
            let mut forward = ReadConfig::parse(ONE).unwrap().forwards.remove(0);
            scheme.clone_into(&mut forward.scheme);
            forward
        };
        for (a, b, want) in [("tcp", "tcp", true), ("tcp", "udp", false), ("udp", "udp", true), ("warp", "tcp", true)] {
            assert_eq!((forward(a).excludes(&forward(b)), forward(b).excludes(&forward(a))), (want, want), "{a} {b}");
        }
    }

    #[test]
    fn a_far_ends_port_is_another_than_ours_and_than_another_far_ends() {
        let forward = |scheme: &str, hop: &str| {
            let mut forward = ReadConfig::parse(ONE).unwrap().forwards.remove(0);
            scheme.clone_into(&mut forward.scheme);
            let hop = format!("{{scheme: socks5, nodes: [{{host: {hop}, port: 1080}}]}}");
            forward.chain = vec![yaml::from_str(&hop).unwrap()];
            forward
        };
        for (a, b, want) in [
            (forward("rtcp", "a"), forward("rtcp", "a"), true),
            (forward("rtcp", "a"), forward("rtcp", "b"), false),
            (forward("rtcp", "a"), forward("rudp", "a"), false),
            (forward("rtcp", "a"), forward("tcp", "a"), false),
        ] {
            assert_eq!((a.excludes(&b), b.excludes(&a)), (want, want), "{} {}", a.scheme, b.scheme);
        }
        let mut chosen = forward("rtcp", "a");
        chosen.listen.port = 0;
        assert!(!chosen.excludes(&chosen.clone()), "the far end chooses one for each");
    }

    #[test]
    fn unknown_words_at_the_top_and_a_newer_version_are_ignored() {
        let newer = ONE.replace("version: 1", "version: 9\nsomethingNew: {a: 1}");
        assert_eq!(ReadConfig::parse(&newer).unwrap().forwards.len(), 1);
    }

    #[test]
    fn a_forward_with_an_unknown_field_is_refused_alone() {
        let two = format!(
            "{ONE}- key: {{namespace: shop, name: new, uid: u}}\n  digest: d\n  scheme: tcp\n  listen: {{host: '', port: 1}}\n  warp: 9\n"
        );
        let read = ReadConfig::parse(&two).unwrap();
        assert_eq!(read.forwards.len(), 1);
        let refused = &read.refused[0];
        assert_eq!((refused.key.name.as_str(), refused.digest.as_str()), ("new", "d"));
        assert_eq!(refused.reason, RefusedReason::ProxyTooOld);
        assert!(refused.message.contains("warp"), "{}", refused.message);
    }

    /// YAML takes some words for truth or nothing where nobody says that they are text.
    #[test]
    fn names_that_mean_something_in_yaml_survive() {
        for name in ["n", "y", "no", "yes", "on", "off", "null", "true", "1", "1e3", "0x10"] {
            let mut forward = ReadConfig::parse(ONE).unwrap().forwards.remove(0);
            forward.key = ForwardKey::local(name, name);
            forward.digest = name.to_owned();
            let text = Config::new(1, vec![forward.clone()]).to_yaml().unwrap();
            assert_eq!(ReadConfig::parse(&text).unwrap().forwards, [forward], "{text}");
        }
    }

    #[test]
    fn a_revision_that_nothing_could_follow_is_refused() {
        let with = |revision: u64| ReadConfig::parse(&ONE.replace("revision: 7", &format!("revision: {revision}")));
        assert_eq!(with(REVISION_LIMIT - 1).unwrap().revision, REVISION_LIMIT - 1);
        for absurd in [REVISION_LIMIT, u64::MAX] {
            assert_eq!(with(absurd), Err(ConfigError::Revision(absurd)));
        }
    }

    #[test]
    fn a_document_cut_in_half_is_an_error() {
        assert!(
            ReadConfig::parse(&ONE[..ONE.len() / 2]).is_ok_and(|c| c.forwards.is_empty())
                || ReadConfig::parse(&ONE[..ONE.len() / 2]).is_err()
        );
        assert!(ReadConfig::parse("version: 1\nrevision: 2\nforwards: [").is_err());
        assert!(ReadConfig::parse("").is_err());
    }
}
