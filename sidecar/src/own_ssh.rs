//! What ssh would take on this machine where an SSH hop says nothing: the user's name, keys, agent and known hosts. And
//! the host key of an SSH server that names none.
//! For `fairlead run` alone; a proxy in a cluster takes nothing but what it was told.

use std::{env, fs, path::Path};

use fairlead_config::{Forward, Hop, Scheme};

use crate::own_host_key;

/// Names of private keys, in ssh's order.
const KEYS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];
/// What an OpenSSH key without a passphrase begins with: the cipher `none`, in base64.
const PLAIN: &str = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU";

/// Fills in what SSH hops and servers leave open; looks at nothing where there is none. Returns what is wrong, in lines.
pub(crate) fn complete(forwards: &mut [Forward]) -> Vec<String> {
    if forwards.iter().any(|forward| forward.chain.iter().any(|hop| uses_ssh(&hop.scheme))) {
        let own = OwnSsh::look();
        forwards.iter_mut().for_each(|forward| own.complete(forward));
    }
    let servers = forwards.iter_mut().filter(|forward| uses_ssh(&forward.scheme));
    servers.filter_map(|forward| complete_server(forward, own_host_key::path)).collect()
}

fn uses_ssh(scheme: &str) -> bool {
    scheme.parse().is_ok_and(Scheme::uses_ssh)
}

/// Names this machine's own host key where a server names none.
fn complete_server(forward: &mut Forward, own: impl FnOnce() -> Result<String, String>) -> Option<String> {
    let server = forward.server.get_or_insert_default();
    if server.host_key.is_none() {
        match own() {
            Ok(path) => server.host_key = Some(path),
            Err(error) => return Some(format!("forward {}: {error}", forward.key)),
        }
    }
    None
}

/// What this machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OwnSsh {
    user: Option<String>,
    known_hosts: Vec<String>,
    /// Those that need no passphrase.
    keys: Vec<String>,
    /// The agent's socket.
    agent: Option<String>,
}

impl OwnSsh {
    /// Looks at the environment and at `~/.ssh`.
    fn look() -> Self {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let home = variable("HOME").map(|home| format!("{home}/.ssh"));
        let in_home = |name: &str| home.as_ref().map(|home| format!("{home}/{name}"));
        let known_hosts = in_home("known_hosts").into_iter().chain(["/etc/ssh/ssh_known_hosts".to_owned()]);
        Self {
            user: variable("USER").or_else(|| variable("LOGNAME")),
            known_hosts: known_hosts.collect(),
            keys: KEYS.into_iter().filter_map(in_home).filter(|path| needs_no_passphrase(Path::new(path))).collect(),
            agent: variable("SSH_AUTH_SOCK"),
        }
    }

    /// Fills in what SSH hops leave open.
    fn complete(&self, forward: &mut Forward) {
        for hop in forward.chain.iter_mut().filter(|hop| uses_ssh(&hop.scheme)) {
            self.complete_hop(hop);
        }
    }

    fn complete_hop(&self, hop: &mut Hop) {
        let credentials = hop.credentials.get_or_insert_default();
        let says_who = credentials.directory.is_some() || credentials.file.is_some() || !credentials.keys.is_empty();
        if !says_who {
            credentials.keys.clone_from(&self.keys);
        }
        // A key that needs a passphrase may be in the agent.
        credentials.agent = credentials.agent.take().or_else(|| self.agent.clone());
        credentials.username = credentials.username.take().or_else(|| self.user.clone());
        let ssh = hop.ssh.get_or_insert_default();
        if ssh.known_hosts.is_empty() && ssh.host_keys.is_empty() && !ssh.insecure_ignore_host_key {
            ssh.known_hosts.clone_from(&self.known_hosts);
        }
    }
}

fn needs_no_passphrase(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|key| {
        let is_openssh = key.contains("BEGIN OPENSSH PRIVATE KEY");
        if is_openssh { key.contains(PLAIN) } else { key.contains("PRIVATE KEY") && !key.contains("ENCRYPTED") }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fairlead_config::{ForwardKey, yaml};

    use super::*;

    fn own() -> OwnSsh {
        OwnSsh {
            user: Some("ann".to_owned()),
            known_hosts: vec!["/home/ann/.ssh/known_hosts".to_owned()],
            keys: vec!["/home/ann/.ssh/id_ed25519".to_owned()],
            agent: Some("/run/agent".to_owned()),
        }
    }

    fn completed(hop: &str) -> Hop {
        let key = ForwardKey::local("a", "b");
        let text = format!(
            "{{key: {{namespace: {}, name: b}}, digest: d, scheme: tcp, listen: {{port: 1}}, chain: [{hop}]}}",
            key.namespace
        );
        let mut forward: Forward = yaml::from_str(&text).unwrap();
        own().complete(&mut forward);
        forward.chain.remove(0)
    }

    #[test]
    fn what_a_hop_leaves_open_is_what_ssh_would_take() {
        let hop = completed("{scheme: forward+ssh, nodes: [{host: b, port: 22}]}");
        let (credentials, ssh) = (hop.credentials.unwrap(), hop.ssh.unwrap());
        assert_eq!(credentials.username.as_deref(), Some("ann"));
        assert_eq!((credentials.keys, credentials.agent), (own().keys, own().agent));
        assert_eq!(ssh.known_hosts, own().known_hosts);
    }

    #[test]
    fn a_server_without_a_host_key_has_the_machines_own() {
        let text = "{key: {namespace: a, name: b}, digest: d, scheme: forward+ssh, listen: {port: 1}}";
        let mut forward: Forward = yaml::from_str(text).unwrap();
        let problem = complete_server(&mut forward, || Err("no home".to_owned()));
        assert_eq!(problem.as_deref(), Some("forward a/b: no home"));
        assert_eq!(complete_server(&mut forward, || Ok("/own".to_owned())), None);
        assert_eq!(complete_server(&mut forward, || Ok("/other".to_owned())), None);
        assert_eq!(forward.server.unwrap().host_key.as_deref(), Some("/own"));
    }

    #[test]
    fn proxies_over_ssh_leave_open_the_same() {
        let hop = completed("{scheme: socks5+ssh, nodes: [{host: b, port: 22}]}");
        assert_eq!(hop.credentials.unwrap().agent, own().agent);
        assert_eq!(hop.ssh.unwrap().known_hosts, own().known_hosts);
        let text = "{key: {namespace: a, name: b}, digest: d, scheme: socks5+ssh, listen: {port: 1}}";
        let mut forwards: [Forward; 1] = [yaml::from_str(text).unwrap()];
        assert!(forwards.iter().any(|forward| uses_ssh(&forward.scheme)));
        assert_eq!(complete_server(&mut forwards[0], || Ok("/own".to_owned())), None);
    }

    #[test]
    fn what_a_hop_says_stands() {
        let hop = completed(
            "{scheme: forward+ssh, nodes: [{host: b, port: 22}], credentials: {username: bob, keys: [/k]}, \
             ssh: {insecureIgnoreHostKey: true}}",
        );
        let (credentials, ssh) = (hop.credentials.unwrap(), hop.ssh.unwrap());
        assert_eq!((credentials.username.as_deref(), credentials.keys.len()), (Some("bob"), 1));
        assert!(ssh.known_hosts.is_empty());
        let other = completed("{scheme: socks5, nodes: [{host: b, port: 1080}]}");
        assert_eq!((other.credentials, other.ssh), (None, None));
    }

    #[test]
    fn only_keys_without_a_passphrase_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        for (text, want) in [
            (format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{PLAIN}AAAAEbm9uZQ\n"), true),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHI\n".to_owned(), false),
            ("-----BEGIN RSA PRIVATE KEY-----\nMII".to_owned(), true),
            ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n".to_owned(), false),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII".to_owned(), false),
            ("nonsense".to_owned(), false),
        ] {
            fs::write(&path, &text).unwrap();
            assert_eq!(needs_no_passphrase(&path), want, "{text}");
        }
        assert!(!needs_no_passphrase(&directory.path().join("gone")));
    }
}
