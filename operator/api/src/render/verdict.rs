//! What became of one PortForward: `render`'s answer, from which its status is made.

use std::fmt;

use crate::{Effective, NodeRole};

/// What became of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is in the configuration.
    Accepted {
        /// Mark of the rendering; a report that echoes it speaks of this one.
        digest: String,
        /// What is in force, defaults included.
        effective: Effective,
        /// The nodes it dials, hops first, in the order of the spec.
        nodes: Vec<NodeName>,
        /// What a person should know all the same, one line each.
        warnings: Vec<String>,
    },
    /// It is valid, and runs nowhere since it says `suspend: true`.
    Suspended {
        /// What would be in force.
        effective: Effective,
        /// The nodes it would dial, hops first, in the order of the spec.
        nodes: Vec<NodeName>,
        /// What a person should know all the same, one line each.
        warnings: Vec<String>,
    },
    /// It is not in the configuration.
    Refused {
        /// Reason of the condition `Accepted`.
        reason: AcceptedReason,
        /// What is wrong and what to write instead; several problems are separated by `; `.
        message: String,
    },
}

/// One node of an object: a target, or a member of a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName {
    pub role: NodeRole,
    /// The hop it is a member of, from 1; none for a target.
    pub hop: Option<u32>,
    /// `host:port`.
    pub address: String,
}

/// Why an object is not accepted; the reason of its condition `Accepted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AcceptedReason {
    InvalidURL,
    InvalidSpec,
    /// An older object has the listener, or the proxy itself.
    PortConflict,
    /// An object that must be made exists and is somebody else's.
    NameTaken,
    /// The proxy's configuration is at its limit.
    GatewayFull,
    /// Known or not, this version doesn't do what is asked.
    UnsupportedValue,
}

impl AcceptedReason {
    /// The reason as written in conditions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidURL => "InvalidURL",
            Self::InvalidSpec => "InvalidSpec",
            Self::PortConflict => "PortConflict",
            Self::NameTaken => "NameTaken",
            Self::GatewayFull => "GatewayFull",
            Self::UnsupportedValue => "UnsupportedValue",
        }
    }
}

impl fmt::Display for AcceptedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
