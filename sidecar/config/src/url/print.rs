//! The canonical text of a node URL: the scheme always written, targets in the path, options in the table's order.

use std::fmt;

use super::query::encode_value;
use super::{NodeUrl, Role};
use crate::address::HostPort;

impl NodeUrl {
    /// Returns the canonical text with `***` in place of passwords and keys; for logs and messages.
    pub fn redacted(&self) -> String {
        self.to_text(true)
    }

    fn to_text(&self, redacted: bool) -> String {
        let userinfo =
            self.credentials.as_ref().map(|credentials| credentials.to_userinfo(redacted)).unwrap_or_default();
        let others = self.others.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",");
        let mut pairs = self.options.to_pairs(redacted);
        let mut text = format!("{}://{userinfo}{}", self.scheme, authority(&self.address));
        match self.role {
            _ if others.is_empty() => {}
            Role::Listen => text.extend(["/", &others]),
            Role::Hop => pairs.insert(0, format!("ip={}", encode_value(&others))),
        }
        if !pairs.is_empty() {
            text.extend(["?", &pairs.join("&")]);
        }
        text
    }
}

impl fmt::Display for NodeUrl {
    /// Writes the canonical text, password included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text(false))
    }
}

/// An address before the path, where the '%' of an IPv6 zone is escaped.
fn authority(address: &HostPort) -> String {
    address.to_string().replacen('%', "%25", 1)
}
