//! What runs, as PortForward objects with their status, as an API server would show them. From manifests and engine
//! reports to the table and the JSON lines; pure, with the time passed in.
//! Invariant: an object's status changes only when it says something else than before.

use std::collections::BTreeMap;

use fairlead_api::{
    PortForward,
    render::{Verdict, key_of},
    status::{self, Observed},
};
use fairlead_config::{ForwardKey, Report};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::manifests::Wanted;

/// Every object that shall run, in the order of the manifests.
#[derive(Debug, Default)]
pub(crate) struct Board {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    object: PortForward,
    verdict: Verdict,
}

impl Board {
    /// Takes what shall run from now on. An object that stays keeps its status; a changed one counts a generation.
    pub(crate) fn replace(&mut self, wanted: &Wanted, now: Timestamp) {
        let mut old: BTreeMap<ForwardKey, PortForward> =
            self.entries.drain(..).map(|entry| (key_of(&entry.object), entry.object)).collect();
        let verdicts = wanted.rendering.verdicts.iter().map(|(_, verdict)| verdict.clone());
        let entry = |(object, verdict): (&PortForward, Verdict)| {
            let object = stored(object.clone(), old.remove(&key_of(object)), now);
            Entry { object, verdict }
        };
        self.entries = wanted.objects.iter().zip(verdicts).map(entry).collect();
    }

    /// Brings every status up to date.
    pub(crate) fn observe(&mut self, report: &Report, now: Timestamp) {
        let reports = [report];
        let observed = Observed::here(&reports);
        for Entry { object, verdict } in &mut self.entries {
            let mut fresh = status::status(object, verdict, &observed, now);
            fresh.addresses = status::remote_addresses(object, [(None, report)]);
            if !object.status.as_ref().is_some_and(|present| status::same(present, &fresh)) {
                object.status = Some(fresh);
            }
        }
    }

    /// The objects with their status.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &PortForward> {
        self.entries.iter().map(|entry| &entry.object)
    }
}

/// Adds what an API server adds to an object it stores.
fn stored(mut object: PortForward, old: Option<PortForward>, now: Timestamp) -> PortForward {
    let meta = &mut object.metadata;
    meta.namespace.get_or_insert_with(|| fairlead_api::manifest::DEFAULT_NAMESPACE.to_owned());
    meta.creation_timestamp = Some(Time(now));
    meta.generation = Some(1);
    if let Some(old) = old {
        meta.creation_timestamp = old.metadata.creation_timestamp;
        let changed = i64::from(object.spec != old.spec);
        meta.generation = old.metadata.generation.map(|generation| generation + changed);
        object.status = old.status;
    }
    object
}

/// The objects a reader of the JSON lines has seen, and what to tell next.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    objects: BTreeMap<ForwardKey, PortForward>,
}

impl Seen {
    /// The objects that say something new, removed ones first, these with a time of deletion.
    pub(crate) fn news(&self, board: &Board, now: Timestamp) -> Vec<PortForward> {
        let gone = self.objects.values().filter(|seen| board.objects().all(|present| key_of(present) != key_of(seen)));
        let removed = gone.cloned().map(|mut object| {
            object.metadata.deletion_timestamp = Some(Time(now));
            object
        });
        let changed = board
            .objects()
            .filter(|object| !self.objects.get(&key_of(object)).is_some_and(|seen| says_the_same(seen, object)));
        removed.chain(changed.cloned()).collect()
    }

    /// Notes that the reader got this.
    pub(crate) fn note(&mut self, object: PortForward) {
        if object.metadata.deletion_timestamp.is_some() {
            self.objects.remove(&key_of(&object));
        } else {
            self.objects.insert(key_of(&object), object);
        }
    }
}

fn says_the_same(a: &PortForward, b: &PortForward) -> bool {
    let statuses_agree = match (&a.status, &b.status) {
        (Some(a), Some(b)) => status::same(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    statuses_agree && a.metadata == b.metadata && a.spec == b.spec
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
