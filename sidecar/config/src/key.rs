//! `ForwardKey`: what identifies a forward between operator, proxy and reports.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identifies one forward: the namespace, name and uid of the PortForward it was rendered from.
/// The uid tells an object from an earlier one of the same name; it is empty where no API server gave one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ForwardKey {
    pub namespace: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl ForwardKey {
    /// Names a forward that no API server has seen.
    pub fn local(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), uid: String::new() }
    }
}

impl fmt::Display for ForwardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
