//! `known_hosts` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): text to lines, and which of them speak of a host.
//! Lines are read by `ssh_key`; whom they match is decided here, since they may hold patterns, hashes and markers.
//! A line that can't be read is left out, as ssh does.

use aws_lc_rs::hmac;
use russh::keys::ssh_key::{
    PublicKey,
    known_hosts::{Entry, HostPatterns, Marker},
};

/// The port whose hosts stand in the file by their name alone.
const DEFAULT_PORT: u16 = 22;

/// The lines of a file, or of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KnownHosts(Vec<Entry>);

/// What the lines that match one host say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Known<'a> {
    pub(crate) keys: Vec<&'a PublicKey>,
    /// Who may vouch for the host's key.
    pub(crate) authorities: Vec<&'a PublicKey>,
    pub(crate) revoked: Vec<&'a PublicKey>,
    /// Keys of the same host at the default port: trusted, but no other key has to be one of them.
    pub(crate) at_default_port: Vec<&'a PublicKey>,
}

/// A node as the file names it.
struct Name {
    host: String,
    /// `host`, or `[host]:port`.
    full: String,
}

impl KnownHosts {
    /// Adds the lines of a text.
    pub(crate) fn add(&mut self, text: &str) {
        self.0.extend(text.lines().filter_map(entry));
    }

    /// Collects what is known of a host.
    pub(crate) fn of(&self, host: &str, port: u16) -> Known<'_> {
        let name = Name::new(host, port);
        let mut known = Known::default();
        for entry in &self.0 {
            let key = entry.public_key();
            if speaks_of(entry.host_patterns(), &name.full) {
                match entry.marker() {
                    None => known.keys.push(key),
                    Some(Marker::CertAuthority) => known.authorities.push(key),
                    Some(Marker::Revoked) => known.revoked.push(key),
                }
            } else if name.host != name.full && speaks_of(entry.host_patterns(), &name.host) {
                match entry.marker() {
                    None => known.at_default_port.push(key),
                    Some(Marker::CertAuthority) => known.authorities.push(key),
                    Some(Marker::Revoked) => known.revoked.push(key),
                }
            }
        }
        known
    }
}

impl Name {
    fn new(host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase();
        let full = if port == DEFAULT_PORT { host.clone() } else { format!("[{host}]:{port}") };
        Self { host, full }
    }
}

/// Reads one line; `ssh_key` wants single spaces, takes no comment apart, and makes a pattern of nothing between commas.
fn entry(line: &str) -> Option<Entry> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    let at_hosts = usize::from(line.trim_start().starts_with('@'));
    let fields = line.split_ascii_whitespace().take(at_hosts + 3).enumerate();
    let field = |(at, field): (usize, &str)| match at == at_hosts {
        true => field.split(',').filter(|pattern| !pattern.is_empty()).collect::<Vec<_>>().join(","),
        false => field.to_owned(),
    };
    fields.map(field).collect::<Vec<_>>().join(" ").parse().ok()
}

fn speaks_of(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::Patterns(patterns) => is_listed(patterns.iter().map(String::as_str), name),
        HostPatterns::HashedName { salt, hash } => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::sign(&key, name.as_bytes()).as_ref() == hash
        }
    }
}

/// Whether a pattern matches and none that begins with `!` does.
fn is_listed<'a>(patterns: impl Iterator<Item = &'a str>, name: &str) -> bool {
    let mut listed = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(except) if matches(except, name) => return false,
            Some(_) => {}
            None => listed |= matches(pattern, name),
        }
    }
    listed
}

/// Whether a pattern with `*` and `?` matches a name in lower case; steps at most the product of both lengths.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut to) = (0, 0);
    // Where to go on when what followed the last `*` turns out not to match.
    let mut star = None;
    while to < name.len() {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, to));
                at += 1;
            }
            (Some(&byte), _) if byte == b'?' || byte == name[to] => {
                at += 1;
                to += 1;
            }
            (_, Some((begin, taken))) => {
                star = Some((begin, taken + 1));
                at = begin + 1;
                to = taken + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
