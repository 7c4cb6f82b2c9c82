//! What the leader remembers of one proxy between two looks at it: verdicts, the document it wrote, names that were
//! somebody else's. Pure, but for the caches it reads. Losing it loses nothing: the cluster has it all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fairlead_api::{PortForward, render::Verdict};
use fairlead_config::ReadConfig;

use super::{
    caches::Caches,
    child::{Answer, ChildKind, ChildName, Write},
    children::{name_of, ours},
    index::ObjectName,
    jobs::Outcome,
    settlement::InForce,
    writer::WriteError,
};
use crate::names::{CONFIG_KEY, ProxyId};

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
    /// Begins a look at the members: one whose spec has changed may want other names now.
    pub(super) fn look_at(&mut self, members: &[PortForward]) {
        let editions = Edition::all(members);
        if self.editions != editions {
            self.taken.clear();
            self.unmade.retain(|name, _| editions.contains_key(name));
            self.editions = editions;
        }
    }

    /// Whether a write claims a name for a member that doesn't run yet. One that has failed is no claim any more: it
    /// must not hold up the other members.
    pub(super) fn is_first(&self, write: &Write, in_force: &InForce) -> bool {
        let Write::Create(wanted) = write else { return false };
        let runs = in_force.text.as_deref().and_then(|text| ReadConfig::parse(text).ok());
        let runs = runs.is_some_and(|config| config.forwards.iter().any(|f| f.key.name == wanted.child.name));
        let name = &wanted.child.name;
        !runs && !self.claimed.contains(name) && !self.unmade.contains_key(name)
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
                    self.document = document;
                }
                if let Some(answer) = answer {
                    self.answers.insert(child, answer);
                }
                Ok(())
            }
            Err(WriteError::Taken(message)) => {
                self.claimed.remove(&child.name);
                self.taken.insert(child, message);
                Ok(())
            }
            Err(error) => {
                let problem = format!("{} {} can't be written: {error}", child.kind.resource().kind, child.name);
                if is_service && matches!((&outcome.write, &error), (Write::Create(_), WriteError::Refused(_))) {
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

    /// The newest document that anybody knows of.
    pub(super) fn in_force(&self, caches: &Caches, id: &ProxyId) -> InForce {
        let at = ObjectName::new(&id.namespace, id.object_name());
        let present = ours(&caches.config_maps, &at);
        let text = present.and_then(|map| map.data.as_ref()?.get(CONFIG_KEY).cloned());
        let revision =
            text.as_deref().and_then(|text| ReadConfig::parse(text).ok()).map_or(0, |config| config.revision);
        if revision > self.document.revision || self.document.text.is_none() {
            return InForce { revision, text };
        }
        self.document.clone()
    }
}
