//! The status as users read it, from the operator or a laptop's proxy. Every value changes only with a transition;
//! counters and moving times are metrics. One writer, so its lists are atomic; conditions are keyed by type.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nodes a status names, the dead first.
pub const STATUS_NODES_LIMIT: usize = 64;
/// Addresses a status names, and characters of the host of each.
pub(crate) const ADDRESSES_LIMIT: usize = 128;
pub(crate) const ADDRESS_HOST_LIMIT: usize = 253;
/// Characters of a node's `lastError`.
pub const LAST_ERROR_LIMIT: usize = 1024;

/// What was made of the spec, and which nodes are alive, as the proxies themselves experience it.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::shape::structural)]
pub struct PortForwardStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Accepted` (the spec is valid and won its listener), `Programmed` (every proxy runs it), `NodesAvailable` (somewhere
    /// to go in every group), `Ready` (accepted and programmed), and `Reconciling` and `Stalled` for waiting tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Where clients can reach the forward.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = ADDRESSES_LIMIT))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<Address>,

    /// How many proxies run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<Proxies>,

    /// The targets and the nodes of the hops; at most 64, the dead first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = STATUS_NODES_LIMIT))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub nodes: Vec<Node>,

    /// Nodes alive of all nodes, as `2/2`; `?/2` while none was dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub node_summary: Option<String>,

    /// What is in force, defaults included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Effective>,
}

/// Where clients can reach the forward.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// `Service`: a Service of this cluster. `Remote`: a listener at the far end of the chain.
    #[serde(rename = "type")]
    pub type_: AddressType,

    /// Host name or IP address.
    #[schemars(length(max = 253))]
    pub host: String,

    /// The port.
    pub port: u16,

    /// With `Remote`: the pod that holds the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pod: Option<String>,
}

/// What an address is.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum AddressType {
    Service,
    Remote,
}

/// How many proxies run the forward.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proxies {
    /// Proxies that should run it.
    pub desired: u32,
    /// Proxies that report.
    pub connected: u32,
    /// Proxies that run this generation.
    pub programmed: u32,
    /// Proxies that stand by, since another one holds the far end's port.
    pub standby: u32,
}

/// A peer that can be alive or dead.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// `host:port`.
    #[schemars(length(max = 320))]
    pub address: String,

    /// `Target`, or `Hop` for a step of the chain.
    pub role: NodeRole,

    /// With `Hop`: which step of the chain, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<u32>,

    /// `Alive`, `Dead` (maxFails reached), `Degraded` (dead for some proxies, alive for others), or `Unknown` (not dialled
    /// yet). Only proxies that dialled the node have a say.
    pub state: NodeState,

    /// The largest number of consecutive failures that any proxy has, as of the last change of state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fails: Option<u32>,

    /// With `Dead` and `Degraded`: why the last dial failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LAST_ERROR_LIMIT))]
    pub last_error: Option<String>,

    /// When the state last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

/// What a node is to its forward.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum NodeRole {
    Target,
    Hop,
}

/// What proxies experience with a node.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum NodeState {
    Unknown,
    Alive,
    Dead,
    Degraded,
}

/// What is in force, defaults included.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// Protocol and transport.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub scheme: Option<String>,

    /// The listener, as `:5432`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub listen: Option<String>,

    /// How a target is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub strategy: Option<String>,

    /// Consecutive failures after which a target is dead; 0: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fails: Option<u32>,

    /// How long a dead target is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub fail_timeout: Option<String>,

    /// How long a UDP client's channel lives without a datagram.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub ttl: Option<String>,
}
