//! Whether a server's host key is the one we know: a pure judgement of what it shows by what files and fields say.
//! Certificates of hosts follow OpenSSH's PROTOCOL.certkeys. Invariant: what is not known is not trusted, unless the
//! plan says that nobody is checked; a revoked key never is.

use std::fmt;

use russh::keys::{
    Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate,
    ssh_key::{Fingerprint, certificate::CertType, public::KeyData},
};

use super::known_hosts::{Known, KnownHosts, matches};

/// What host keys are judged by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) known_hosts: KnownHosts,
    /// Keys that any node of the hop may have.
    pub(crate) host_keys: Vec<PublicKey>,
    /// Any key will do, but a revoked one.
    pub(crate) anybody: bool,
}

/// What became of the judgement. Displayed, it says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Trusted,
    Unknown { shown: Shown },
    Changed { shown: Shown, known: Vec<Shown> },
    Revoked { shown: Shown },
    UnfitCertificate { shown: Shown, why: String },
}

/// A key as people compare it: its kind and SHA-256 fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    algorithm: String,
    fingerprint: Fingerprint,
}

/// Algorithms of host keys and logins, the best first; none uses SHA-1.
pub(crate) const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

impl Trust {
    /// Reads a line of `hostKeys`: `ssh-ed25519 AAAA… comment`.
    pub(crate) fn host_key(line: &str) -> Result<PublicKey, String> {
        PublicKey::from_openssh(line.trim())
            .map_err(|_| format!("{line:?} is no host key; write one as in \"ssh-ed25519 AAAA…\""))
    }

    /// Judges what the server `host:port` shows, at `now` in seconds of Unix time.
    pub(crate) fn judge(&self, host: &str, port: u16, shown: &PublicKeyOrCertificate, now: u64) -> Verdict {
        let known = self.known_hosts.of(host, port);
        let key = shown.public_key();
        let revoked = |key: &KeyData| known.revoked.iter().any(|revoked| revoked.key_data() == key);
        if revoked(key.key_data()) || shown.certificate().is_some_and(|shown| revoked(shown.signature_key())) {
            return Verdict::Revoked { shown: Shown::of(&key) };
        }
        if self.anybody {
            return Verdict::Trusted;
        }
        if let Some(certificate) = shown.certificate()
            && known.authorities.iter().any(|authority| authority.key_data() == certificate.signature_key())
        {
            return match unfit(certificate, host, now) {
                None => Verdict::Trusted,
                Some(why) => Verdict::UnfitCertificate { shown: Shown::of(&key), why },
            };
        }
        self.judge_key(&known, &key)
    }

    fn judge_key(&self, known: &Known<'_>, key: &PublicKey) -> Verdict {
        let is_it = |known: &PublicKey| known.key_data() == key.key_data();
        let fixed = || known.keys.iter().copied().chain(&self.host_keys);
        if fixed().any(is_it) || known.at_default_port.iter().copied().any(is_it) {
            return Verdict::Trusted;
        }
        let known: Vec<_> = fixed().map(Shown::of).collect();
        let shown = Shown::of(key);
        if known.is_empty() { Verdict::Unknown { shown } } else { Verdict::Changed { shown, known } }
    }

    /// The algorithms to ask the server for: those of keys known of it first, so that it shows one of these.
    pub(crate) fn algorithms(&self, host: &str, port: u16) -> Vec<Algorithm> {
        let known = self.known_hosts.of(host, port);
        let keys = || known.keys.iter().chain(&known.at_default_port).copied().chain(&self.host_keys);
        let is_known = |algorithm: &Algorithm| keys().any(|key| is_of_kind(key, algorithm));
        let (first, rest): (Vec<_>, Vec<_>) = ALGORITHMS.into_iter().partition(is_known);
        [first, rest].concat()
    }

    /// The algorithms of certificates to ask the server for: none where nobody may vouch for it.
    pub(crate) fn certificate_algorithms(&self, host: &str, port: u16) -> Vec<Algorithm> {
        if self.known_hosts.of(host, port).authorities.is_empty() { Vec::new() } else { ALGORITHMS.to_vec() }
    }
}

impl Verdict {
    /// One line for people, or none if the server is trusted.
    pub(crate) fn refusal(&self) -> Option<String> {
        match self {
            Self::Trusted => None,
            Self::Unknown { shown } => Some(format!(
                "the host key is unknown, it is {shown}: compare it with the server's \
                 (ssh-keygen -lf /etc/ssh/ssh_host_…_key.pub) and add it to knownHosts or hostKeys"
            )),
            Self::Changed { shown, known } => {
                let known = known.iter().map(Shown::to_string).collect::<Vec<_>>().join(", ");
                Some(format!(
                    "the host key has changed: it is {shown}, known is {known}; somebody may stand in between. \
                     If the server has a new key, replace the old one in knownHosts or hostKeys"
                ))
            }
            Self::Revoked { shown } => {
                Some(format!("the host key {shown} is revoked in knownHosts; give the server a new one"))
            }
            Self::UnfitCertificate { shown, why } => {
                Some(format!("the host certificate of {shown} {why}; sign the host key anew"))
            }
        }
    }
}

impl Shown {
    fn of(key: &PublicKey) -> Self {
        Self { algorithm: key.algorithm().to_string(), fingerprint: key.fingerprint(HashAlg::Sha256) }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.fingerprint)
    }
}

fn is_of_kind(key: &PublicKey, algorithm: &Algorithm) -> bool {
    key.algorithm() == *algorithm || (key.algorithm().is_rsa() && algorithm.clone().is_rsa())
}

/// What keeps a certificate from standing for a host, once its authority is known.
fn unfit(certificate: &Certificate, host: &str, now: u64) -> Option<String> {
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    let principals = certificate.valid_principals();
    let host = host.to_ascii_lowercase();
    if certificate.cert_type() != CertType::Host {
        Some("is for users and not for hosts".to_owned())
    } else if now < certificate.valid_after() {
        Some("is not valid yet".to_owned())
    } else if now >= certificate.valid_before() {
        Some("has expired".to_owned())
    } else if certificate.validate_at(now, [&authority]).is_err() {
        Some("has a wrong signature".to_owned())
    } else if !principals.is_empty() && !principals.iter().any(|name| matches(name, &host)) {
        Some(format!("is for {} and not for {host}", principals.join(", ")))
    } else {
        certificate.critical_options().keys().next().map(|option| format!("has the critical option {option:?}"))
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
