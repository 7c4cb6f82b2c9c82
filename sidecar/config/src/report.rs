//! `Report`: what a proxy says it runs, and how its nodes fare. Read by the operator or, on a laptop, by the
//! command itself. Unknown fields are ignored: proxy and operator may be of different ages.

use serde::{Deserialize, Serialize};

use crate::{ForwardKey, HostPort};

/// The format this crate writes.
pub const REPORT_VERSION: u32 = 1;

/// Everything one proxy has to say. Counters are metrics and not in here.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub version: u32,
    /// The revision of the configuration in force; 0 before the first.
    pub revision: u64,
    #[serde(default)]
    pub forwards: Vec<ForwardReport>,
}

/// One forward of a proxy, whether it runs or was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardReport {
    pub key: ForwardKey,
    /// The digest of the rendering that is in force.
    pub digest: String,
    pub state: ForwardState,
    /// Where it listens, when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listening: Option<HostPort>,
    /// For a remote forward that listens: where its clients reach it, as far as this proxy knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<HostPort>,
    /// Why it doesn't listen (`state` isn't `Listening`): a reason of the Programmed condition …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// … and one line for people; also set while it listens with difficulty (out of descriptors, at its limit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default)]
    pub nodes: Vec<NodeReport>,
}

/// Whether a forward runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardState {
    Listening,
    /// Another replica holds what this one would bind.
    Standby,
    /// It could not listen; tried again.
    Failed,
    /// The configuration asks for what this proxy can't do.
    Refused,
    /// A state of a newer proxy.
    #[serde(other)]
    Unknown,
}

/// One node as this proxy experiences it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// As configured: `host:port`.
    pub address: String,
    pub role: NodeRole,
    /// The hop it is a member of, from 1; none for a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<u32>,
    pub state: NodeState,
    /// Consecutive failures.
    #[serde(default)]
    pub fails: u32,
    /// The last dial error in one line, while there are failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When `state` changed last, in milliseconds of Unix time; 0: never.
    #[serde(default)]
    pub since: u64,
}

/// What a node is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRole {
    Target,
    Hop,
}

/// Whether a node is alive, as one proxy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    Alive,
    /// `maxFails` reached, and no dial has succeeded since.
    Dead,
    /// Not dialled yet, or a state of a newer proxy.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn a_report_of_a_newer_proxy_is_read() {
        let text = "
version: 8
revision: 3
mood: good
forwards:
- key: {namespace: a, name: b}
  digest: d
  state: Dreaming
  colour: red
  nodes: [{address: 'x:1', role: Target, state: Sleepy, pulse: 60}]
";
        let report: Report = yaml::from_str(text).unwrap();
        assert_eq!(report.forwards[0].state, ForwardState::Unknown);
        assert_eq!(report.forwards[0].nodes[0].state, NodeState::Unknown);
    }
}
