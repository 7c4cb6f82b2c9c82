//! What the Secret holds: the authority that signs, the one that will, those that did, and the client certificate.
//! Going from one record to the next is the whole rotation; texts that don't fit together are no record.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

use super::{
    AuthorityError, AuthorityTimes, BUNDLE_KEY, Identity, RECORD_KEY,
    certificate::{self, Made, Seconds},
};

/// The format this build writes; another one is no record.
const VERSION: u32 = 1;

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    current: Authority,
    /// Published, but signs only later.
    next: Option<Authority>,
    old: Vec<Retired>,
    leaf: Leaf,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Authority {
    name: String,
    certificate: String,
    key: String,
    published: Seconds,
    expires: Seconds,
}

/// An authority that signs no more, trusted until the last certificate it signed has expired.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Retired {
    certificate: String,
    until: Seconds,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Leaf {
    certificate: String,
    key: String,
    begins: Seconds,
    expires: Seconds,
}

impl Record {
    /// A first authority, with nothing before it.
    pub(super) fn begin(at: Seconds, times: &AuthorityTimes) -> Result<Self, AuthorityError> {
        let current = Authority::make(at, times)?;
        let leaf = current.sign(at, times)?;
        Ok(Self { version: VERSION, current, next: None, old: Vec::new(), leaf })
    }

    /// Reads what the Secret holds, if that is something.
    pub(super) fn read(data: &BTreeMap<String, ByteString>) -> Option<Self> {
        let record: Self = serde_json::from_slice(&data.get(RECORD_KEY)?.0).ok()?;
        let whole = record.version == VERSION && record.bundle().all(certificate::is_authority);
        whole.then_some(record)
    }

    pub(super) fn write(&self) -> Result<BTreeMap<String, ByteString>, AuthorityError> {
        let bundle: String = self.bundle().collect();
        let record = ByteString(serde_json::to_vec(self)?);
        Ok([(RECORD_KEY.to_owned(), record), (BUNDLE_KEY.to_owned(), ByteString(bundle.into_bytes()))].into())
    }

    pub(super) fn identity(&self) -> Result<Identity, AuthorityError> {
        let (chain, key) = certificate::parse(&self.leaf.made())?;
        Ok(Identity { ca_bundle: self.bundle().collect(), chain, key })
    }

    /// The record for this moment. An error means that nothing can be made of this one.
    pub(super) fn renewed(&self, at: Seconds, times: &AuthorityTimes) -> Result<Self, AuthorityError> {
        let mut record = self.clone();
        record.old.retain(|old| old.until > at);
        record.change_authority(at, times)?;
        if record.current.expires <= at {
            return Err(AuthorityError::Inconsistent("it has expired"));
        }
        let good = certificate::is_good(&record.leaf.made(), &record.current.certificate, at);
        if !good || record.leaf_renewal(times).is_some_and(|due| due <= at) {
            record.leaf = record.current.sign(at, times)?;
        }
        Ok(record)
    }

    /// When there is something to renew, as far as this record knows.
    pub(super) fn due(&self, at: Seconds, times: &AuthorityTimes) -> Seconds {
        let authority = match &self.next {
            Some(next) => next.published + times.publish_ahead,
            None => self.current.expires - times.renew_before,
        };
        let old = self.old.iter().map(|old| old.until);
        let all = [authority, self.leaf.expires].into_iter().chain(self.leaf_renewal(times)).chain(old);
        all.filter(|due| *due > at).min().unwrap_or(at)
    }

    /// Publishes the next authority in time, and lets it sign once it has been published for long enough.
    fn change_authority(&mut self, at: Seconds, times: &AuthorityTimes) -> Result<(), AuthorityError> {
        // One that has expired opens no door, so its successor can do no harm by coming early.
        let last_moment = self.current.expires <= at;
        match self.next.take() {
            Some(next) if last_moment || next.published + times.publish_ahead <= at => {
                let former = std::mem::replace(&mut self.current, next);
                if self.leaf.expires > at {
                    self.old.push(Retired { certificate: former.certificate, until: self.leaf.expires });
                }
                self.leaf = self.current.sign(at, times)?;
            }
            None if self.current.expires - times.renew_before <= at => self.next = Some(Authority::make(at, times)?),
            waiting => self.next = waiting,
        }
        Ok(())
    }

    /// When to renew the client certificate; none if that would make it last no longer.
    fn leaf_renewal(&self, times: &AuthorityTimes) -> Option<Seconds> {
        let due = self.leaf.begins.middle(self.leaf.expires);
        let better = (due + times.leaf_lifetime).min(self.current.expires) > self.leaf.expires;
        better.then_some(due)
    }

    /// Every authority that is to be trusted, the one that signs first.
    fn bundle(&self) -> impl Iterator<Item = &str> {
        let present = [&self.current].into_iter().chain(&self.next).map(|authority| authority.certificate.as_str());
        present.chain(self.old.iter().map(|old| old.certificate.as_str()))
    }
}

impl Authority {
    fn make(at: Seconds, times: &AuthorityTimes) -> Result<Self, AuthorityError> {
        let expires = at + times.lifetime;
        let name = "fairlead operator authority".to_owned();
        let Made { certificate, key } = certificate::authority(&name, at, expires)?;
        Ok(Self { name, certificate, key, published: at, expires })
    }

    fn sign(&self, at: Seconds, times: &AuthorityTimes) -> Result<Leaf, AuthorityError> {
        let expires = (at + times.leaf_lifetime).min(self.expires);
        let signer = Made { certificate: self.certificate.clone(), key: self.key.clone() };
        let Made { certificate, key } = certificate::issue((&self.name, &signer), at, expires)?;
        Ok(Leaf { certificate, key, begins: at, expires })
    }
}

impl Leaf {
    fn made(&self) -> Made {
        Made { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}
