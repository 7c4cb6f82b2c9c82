//! What a server may be asked for and by whom, as a proxy is told of it: part of `Forward`, written by `render`, read
//! by the plan. Invariant: no password and no key stands here; users and certificates are named by their files.

use serde::{Deserialize, Serialize};

use crate::{Network, PortRange};

/// Who may use a server, and for what; what was left out gets its default in the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// Left out: everybody who can reach the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<ServerUsers>,
    /// Networks that clients may reach; empty: the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_targets: Vec<Network>,
    /// Ports that clients may listen on; empty: the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_bind: Vec<PortRange>,
    /// Whether a server without users may listen beyond loopback.
    #[serde(default, skip_serializing_if = "is_false")]
    pub anonymous: bool,
    /// A file with the private key that an SSH server shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
}

/// Where the logins are: a directory, or files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerUsers {
    /// A directory with the file `users`: `name:password`, one a line; for SSH `authorized_keys` beside it or alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// A file as GOST has it: `name password`, one a line, and comments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A file of keys that may log in to an SSH server, as sshd(8) describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorized_keys: Option<String>,
}

/// What the listening side shows to clients that ask for encryption.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenTls {
    /// A PEM file with the certificate and those that signed it.
    pub certificate: String,
    /// A PEM file with its key.
    pub key: String,
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
        assert_eq!(serde_json::to_string(&Server::default()).unwrap(), "{}");
        let text =
            r#"{"users":{"directory":"/s/a"},"allowTargets":["10.0.0.0/8"],"allowBind":["8080"],"anonymous":true}"#;
        let server: Server = yaml::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&server).unwrap(), text);
    }
}
