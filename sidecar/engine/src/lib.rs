//! The forwarding engine: ports in, connections out. Knows no Kubernetes, no files and no flags.
//!
//! The life of one connection, in reading order: `accept` takes a client on one of the `workers` and hands it to a
//! recipe in `forward`; `connect` asks the `group`'s `selector` for nodes and `dial`s them, through the hops of a
//! `chain` if there is one (each asked in its `protocol`), until one answers; `relay` copies both ways. A datagram
//! goes through `datagram` to its client's `association` instead, and the client of a server is asked where it wants to
//! go, which `access` allows or not. `engine` runs a `plan` made of a
//! `fairlead_config::Config`, goes from one plan to the next by difference, and `report`s what the nodes are like.

mod accept;
mod access;
mod association;
mod chain;
mod changes;
mod connect;
mod datagram;
mod dial;
mod engine;
mod forward;
mod group;
mod health;
mod pipe;
mod plan;
mod protocol;
mod relay;
mod report;
mod resolve;
mod secrets;
mod selector;
mod socket;
mod ssh;
mod stats;
mod stream;
#[cfg(test)]
mod testing;
mod tls;
mod workers;

pub use dial::{DialCause, DialError};
pub use engine::{Engine, EngineOptions, ListenError};
pub use plan::Plan;
pub use relay::CopyError;
pub use report::{DatagramStats, ForwardStats, NodeStats};
pub use secrets::SecretFiles;
pub use ssh::new_ssh_host_key;
pub use stats::{DIAL_SECONDS, HistogramView};
