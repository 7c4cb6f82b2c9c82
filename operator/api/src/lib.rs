//! The `PortForward` resource: its types, its CRD, and the strict reading of what people write.
//! Pure values in and out; no client, no I/O, no Secret's value ever in a message.

pub mod convert;
mod crd;
pub mod manifest;
pub mod render;
pub mod schema;
mod shape;
#[allow(unreachable_pub, reason = "KubeSchema repeats each public struct inside a function")]
mod spec;
pub mod status;
#[allow(unreachable_pub, reason = "KubeSchema repeats each public struct inside a function")]
mod status_fields;

pub use crd::{crd, crd_yaml};
pub use spec::{
    ConfigMapKey, ConfigMapSource, Gateway, HealthCheck, Hop, HopNode, HopTls, Listen, ListenTls, PortForward,
    PortForwardSpec, SecretName, SecretSource, Server, ServiceTarget, Sidecar, Socks5, Ssh, Target,
};
pub use status_fields::{
    Address, AddressType, Effective, LAST_ERROR_LIMIT, Node, NodeRole, NodeState, PortForwardStatus, Proxies,
    STATUS_NODES_LIMIT,
};
