//! The operator's own certificate authority: it signs the certificate that opens the proxies' admin ports.
//!
//! Everything is in one Secret of the operator's namespace. [`next`] says what the Secret shall hold at a moment; whoever
//! reads and writes it is elsewhere. Invariants: a new authority stands in every bundle beside the old one for
//! `publish_ahead` before it signs, and an old one stays there until what it signed has expired. So no proxy meets a
//! certificate of an authority that it hasn't heard of, however late its ConfigMap comes.

mod certificate;
mod record;

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use fairlead_config::duration::format;
use k8s_openapi::ByteString;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use self::{certificate::Seconds, record::Record};

/// The key of the Secret that holds everything.
pub const RECORD_KEY: &str = "authority.json";
/// The key of the Secret that holds the bundle once more, for people.
pub const BUNDLE_KEY: &str = "ca.crt";

/// A decision is looked at anew after this time at the latest, in case somebody set the clock.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

const DAY: Duration = Duration::from_secs(86_400);

/// The shortest life of an authority: client certificates live a twelfth of it, and whole seconds are all they can say.
const LIFETIME_MIN: Duration = Duration::from_secs(36);

/// Who the operator is to its proxies.
#[derive(PartialEq)]
pub struct Identity {
    /// PEM of every authority that proxies shall trust now.
    pub ca_bundle: String,
    /// The client certificate.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// How long things last. `renew_before` has to be longer than `publish_ahead`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityTimes {
    /// Life of an authority.
    pub lifetime: Duration,
    /// How long before its end the next one is published.
    pub renew_before: Duration,
    /// How long an authority is published before it signs; a mounted ConfigMap is about a minute behind.
    pub publish_ahead: Duration,
    /// Life of a client certificate, which is renewed at half of it.
    pub leaf_lifetime: Duration,
}

/// An authority can't be renewed in time, or signs nothing that lasts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an authority can't live for {}: give it at least {}, which is four times the time it is published ahead and no \
     less than {}", format(*.lifetime), format(*.least), format(LIFETIME_MIN)
)]
pub struct TimesError {
    lifetime: Duration,
    least: Duration,
}

/// What to do about the Secret.
#[derive(Debug)]
pub enum Decision {
    /// Nothing, before `due`.
    Keep { identity: Identity, due: SystemTime },
    /// Write `data` as a whole, provided that the Secret is still the one that was read; then use `identity`.
    Write { data: BTreeMap<String, ByteString>, identity: Identity, due: SystemTime },
}

/// Why there is no identity, which only a broken crypto library can cause.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("use a certificate: {0}")]
    Use(#[from] rustls::Error),
    #[error("a certificate is not what was kept of it: {0}")]
    Inconsistent(&'static str),
    #[error("write the authority: {0}")]
    Write(#[from] serde_json::Error),
}

/// Decides what the Secret shall hold at `now`, given what it holds. Whatever is missing or garbage is made anew.
pub fn next(
    data: Option<&BTreeMap<String, ByteString>>,
    now: SystemTime,
    times: &AuthorityTimes,
) -> Result<Decision, AuthorityError> {
    let at = Seconds::of(now);
    let kept = data.and_then(Record::read);
    let renewed = kept.as_ref().and_then(|kept| kept.renewed(at, times).ok());
    let record = match renewed {
        Some(renewed) => renewed,
        None => Record::begin(at, times)?,
    };
    let identity = record.identity()?;
    let due = record.due(at, times).min(at + LOOK_AGAIN).time();
    let written =
        data.and_then(|data| data.get(BUNDLE_KEY)).is_some_and(|text| text.0 == identity.ca_bundle.as_bytes());
    if written && kept.as_ref() == Some(&record) {
        return Ok(Decision::Keep { identity, due });
    }
    Ok(Decision::Write { data: record.write()?, identity, due })
}

impl AuthorityTimes {
    /// The times of authorities that live this long, and are published this long before they sign.
    pub fn of(lifetime: Duration, publish_ahead: Duration) -> Result<Self, TimesError> {
        let least = publish_ahead.saturating_mul(4).max(LIFETIME_MIN);
        if lifetime < least {
            return Err(TimesError { lifetime, least });
        }
        let renew_before = (lifetime / 6).max(publish_ahead * 2);
        Ok(Self { lifetime, renew_before, publish_ahead, leaf_lifetime: lifetime / 12 })
    }
}

impl Default for AuthorityTimes {
    fn default() -> Self {
        Self {
            lifetime: 365 * DAY,
            renew_before: 60 * DAY,
            publish_ahead: Duration::from_secs(3600),
            leaf_lifetime: 30 * DAY,
        }
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { ca_bundle: self.ca_bundle.clone(), chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.ca_bundle.matches("BEGIN CERTIFICATE").count();
        write!(f, "Identity {{ ca_bundle: {certificates} certificates, chain: {}, key: *** }}", self.chain.len())
    }
}

#[cfg(test)]
mod tests;
