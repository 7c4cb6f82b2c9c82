//! What the leader remembers of one proxy between two looks at it: verdicts, the document it wrote, names that were
//! somebody else's. Pure, but for the caches it reads. Losing it loses nothing: the cluster has it all.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use fairlead_api::{PortForward, render::Verdict};
use fairlead_config::{REVISION_LIMIT, ReadConfig};

use super::{
    caches::Caches,
    child::{Answer, ChildKind, ChildName, Write},
    children::{name_of, ours},
    index::ObjectName,
    jobs::Outcome,
    rolls::Collection,
    settlement::InForce,
    writer::WriteError,
};
use crate::names::{CONFIG_KEY, ProxyId};

/// How often a proxy's word about its revision makes for a new document.
const OVERTAKING_GAP: Duration = Duration::from_secs(10);

/// What the leader remembers of one proxy.
#[derive(Default)]
pub(super) struct Known {
    /// What became of each member.
    pub(super) judged: Judgement,
    /// The same, as it will be if the names that are being claimed are free.
    pub(super) hoped: Option<Judgement>,
    /// The members as they were looked at last.
    editions: BTreeMap<String, Edition>,
    /// The document on the API server, as written last.
    pub(super) document: InForce,
    pub(super) answers: HashMap<ChildName, Answer>,
    /// Members whose Service is made.
    pub(super) claimed: BTreeSet<String>,
    /// Names that are somebody else's, and what to say.
    pub(super) taken: BTreeMap<ChildName, String>,
    /// Why a member has no Service although its name is free.
    pub(super) unmade: BTreeMap<String, String>,
    /// Why the last write failed.
    pub(super) failed: Option<String>,
    /// Changes of what its pods mount.
    pub(super) collection: Collection,
    /// When a proxy last ran something newer than the document.
    overtook: Option<Instant>,
}

/// What became of each member, as it was then.
#[derive(Default)]
pub(super) struct Judgement {
    verdicts: BTreeMap<String, Verdict>,
    editions: BTreeMap<String, Edition>,
}

/// Which object of a name, and which of its specs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edition {
    uid: Option<String>,
    generation: Option<i64>,
}

impl Edition {
    fn of(object: &PortForward) -> Self {
        Self { uid: object.metadata.uid.clone(), generation: object.metadata.generation }
    }

    fn all(members: &[PortForward]) -> BTreeMap<String, Self> {
        members.iter().map(|object| (name_of(object), Self::of(object))).collect()
    }
}

impl Judgement {
    pub(super) fn new(members: &[PortForward], verdicts: BTreeMap<String, Verdict>) -> Self {
        Self { verdicts, editions: Edition::all(members) }
    }

    /// The verdict on an object as it is now; none on one that has changed since.
    pub(super) fn on(&self, object: &PortForward) -> Option<&Verdict> {
        let name = name_of(object);
        let is_this = self.editions.get(&name) == Some(&Edition::of(object));
        self.verdicts.get(&name).filter(|_| is_this)
    }
}

impl Known {
    /// Remembers nothing but what runs.
    pub(super) fn running(document: InForce) -> Self {
        Self { document, ..Self::default() }
    }

    /// Whether nothing of an object but its status has changed since it was looked at last.
    pub(super) fn has_looked_at(&self, object: &PortForward) -> bool {
        self.editions.get(&name_of(object)) == Some(&Edition::of(object))
    }

    /// Begins a look at the members: one whose spec has changed may want other names now.
    pub(super) fn look_at(&mut self, members: &[PortForward]) {
        let editions = Edition::all(members);
        if self.editions != editions {
            self.taken.clear();
            self.unmade.retain(|name, _| editions.contains_key(name));
            self.editions = editions;
        }
    }

    /// Whether one of the writes claims a name for a member that doesn't run yet. One that has failed is no claim any
    /// more: it must not hold up the other members.
    pub(super) fn claims(&self, writes: &[Write], in_force: &InForce) -> bool {
        let names = writes.iter().filter(|write| matches!(write, Write::Create(_))).map(|write| &write.child().name);
        let new: Vec<_> =
            names.filter(|name| !self.claimed.contains(*name) && !self.unmade.contains_key(*name)).collect();
        if new.is_empty() {
            return false;
        }
        let runs = in_force.text.as_deref().and_then(|text| ReadConfig::parse(text).ok());
        let runs: BTreeSet<String> = runs.into_iter().flat_map(|config| config.forwards).map(|f| f.key.name).collect();
        new.into_iter().any(|name| !runs.contains(name))
    }

    pub(super) fn gateway_taken(&self, id: &ProxyId) -> bool {
        self.taken.keys().any(|child| child.kind != ChildKind::Service && child.name == id.object_name())
    }

    pub(super) fn learn(&mut self, outcome: Outcome) -> Result<(), String> {
        let child = outcome.write.child().clone();
        let is_service = child.kind == ChildKind::Service;
        if is_service {
            self.unmade.remove(&child.name);
        }
        match outcome.result {
            Ok(answer) => {
                if is_service {
                    self.claimed.insert(child.name.clone());
                }
                if let Some(document) = outcome.document {
                    // What a proxy said while it was being written stays true: the next one is newer still.
                    let revision = document.revision.max(self.document.revision);
                    self.document = InForce { revision, ..document };
                }
                match answer.filter(Answer::is_of_note) {
                    Some(answer) => self.answers.insert(child, answer),
                    None => self.answers.remove(&child),
                };
                Ok(())
            }
            Err(WriteError::Taken(message)) => {
                self.claimed.remove(&child.name);
                self.taken.insert(child, message);
                Ok(())
            }
            Err(error) => {
                let problem = format!("{} {} can't be written: {error}", child.kind.resource().kind, child.name);
                let is_refused = matches!(error, WriteError::Refused(_) | WriteError::Invalid(_));
                if is_service && is_refused && matches!(outcome.write, Write::Create(_)) {
                    self.unmade.insert(child.name, problem.clone());
                }
                Err(problem)
            }
        }
    }

    /// Which members may not run, since a name they need is somebody else's.
    pub(super) fn taken_members(&self, id: &ProxyId, members: &[PortForward]) -> BTreeMap<String, String> {
        let gateway =
            self.taken.iter().find(|(child, _)| child.kind != ChildKind::Service && child.name == id.object_name());
        let of_member = |object: &PortForward| {
            let name = name_of(object);
            let service = ChildName { kind: ChildKind::Service, name: name.clone() };
            let message = self.taken.get(&service).or(gateway.map(|(_, message)| message))?;
            Some((name, message.clone()))
        };
        members.iter().filter_map(of_member).collect()
    }

    /// Takes a proxy's word that it runs this revision, as far as it can be true and is news. Answers when to see to it
    /// that it gets a newer one: `now` if the word is taken, later if the last one came just before.
    pub(super) fn overtake(&mut self, revision: u64, now: Instant) -> Option<Instant> {
        let is_known = self.document.text.is_none() || revision <= self.document.revision;
        if is_known || revision >= REVISION_LIMIT {
            return None;
        }
        let due = self.overtook.map_or(now, |before| now.max(before + OVERTAKING_GAP));
        if due <= now {
            self.document.revision = revision;
            self.overtook = Some(now);
        }
        Some(due)
    }

    /// The newest document that anybody knows of.
    pub(super) fn in_force(&self, caches: &Caches, id: &ProxyId) -> InForce {
        let at = ObjectName::new(&id.namespace, id.object_name());
        let present = ours(&caches.config_maps, &at);
        let text = present.as_ref().and_then(|map| map.data.as_ref()?.get(CONFIG_KEY));
        if self.document.text.as_deref() == text.map(String::as_str) {
            return self.document.clone();
        }
        let revision = text.and_then(|text| ReadConfig::parse(text).ok()).map_or(0, |config| config.revision);
        if revision > self.document.revision || self.document.text.is_none() {
            return InForce { revision, text: text.map(|text| text.as_str().into()) };
        }
        self.document.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::controller::child::Wanted;

    fn document(revision: u64, text: &str) -> InForce {
        InForce { revision, text: Some(text.into()) }
    }

    /// A configuration that has just been written.
    fn written(document: InForce) -> Outcome {
        let wanted = Wanted::new(ChildKind::ConfigMap, &ConfigMap::default()).unwrap();
        Outcome { write: Write::Apply(wanted), result: Ok(None), document: Some(document) }
    }

    #[test]
    fn what_a_proxy_says_while_a_document_is_written_outlasts_the_write() {
        let now = Instant::now();
        let mut known = Known::running(document(10, "one"));
        assert_eq!(known.overtake(9000, now), Some(now));
        known.learn(written(document(11, "two"))).unwrap();
        assert_eq!(known.document, document(9000, "two"));
        known.learn(written(document(9001, "three"))).unwrap();
        assert_eq!(known.document, document(9001, "three"));
    }

    #[test]
    fn a_proxys_word_that_comes_soon_after_another_is_taken_when_the_gap_is_over() {
        let (now, mut known) = (Instant::now(), Known::running(document(10, "one")));
        assert_eq!(known.overtake(10, now), None, "no news");
        assert_eq!(known.overtake(REVISION_LIMIT, now), None, "can't be true");
        assert_eq!(known.overtake(20, now), Some(now));
        let (soon, later) = (now + OVERTAKING_GAP / 2, now + OVERTAKING_GAP);
        assert_eq!((known.overtake(30, soon), known.document.revision), (Some(later), 20));
        assert_eq!((known.overtake(30, later), known.document.revision), (Some(later), 30));
    }
}
