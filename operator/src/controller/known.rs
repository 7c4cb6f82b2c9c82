//! What the leader remembers of one proxy between two looks at it: verdicts, the document it wrote, names that were
//! somebody else's. Pure, but for the caches it reads. Losing it loses nothing: the cluster has it all.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

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

/// After this a name that was somebody else's is tried again.
const TAKEN_FOR: Duration = Duration::from_secs(30);

/// What the leader remembers of one proxy.
#[derive(Default)]
pub(super) struct Known {
    /// What became of each member.
    pub(super) verdicts: BTreeMap<String, Verdict>,
    /// The same, as it will be if the names that are being claimed are free.
    pub(super) hoped: Option<BTreeMap<String, Verdict>>,
    /// The document on the API server, as written last.
    pub(super) document: InForce,
    pub(super) answers: HashMap<ChildName, Answer>,
    /// Members whose Service is made.
    pub(super) claimed: BTreeSet<String>,
    /// Names that are somebody else's, until when they count as such, and what to say.
    pub(super) taken: BTreeMap<ChildName, (Instant, String)>,
    /// Why the last write failed.
    pub(super) failed: Option<String>,
}

impl Known {
    /// Whether a write claims a name for a member that doesn't run yet.
    pub(super) fn is_first(&self, write: &Write, in_force: &InForce) -> bool {
        let Write::Create(wanted) = write else { return false };
        let runs = in_force.text.as_deref().and_then(|text| ReadConfig::parse(text).ok());
        let runs = runs.is_some_and(|config| config.forwards.iter().any(|f| f.key.name == wanted.child.name));
        !runs && !self.claimed.contains(&wanted.child.name)
    }

    pub(super) fn gateway_taken(&self, id: &ProxyId) -> bool {
        self.taken.keys().any(|child| child.kind != ChildKind::Service && child.name == id.object_name())
    }

    pub(super) fn learn(&mut self, outcome: Outcome, now: Instant) -> Result<(), String> {
        let child = outcome.write.child().clone();
        match outcome.result {
            Ok(answer) => {
                if child.kind == ChildKind::Service {
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
                self.taken.insert(child, (now + TAKEN_FOR, message));
                Ok(())
            }
            Err(error) => {
                let kind = child.kind.resource().kind;
                Err(format!("{kind} {} can't be written: {error}", child.name))
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
            let (_, message) = self.taken.get(&service).or(gateway.map(|(_, taken)| taken))?;
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
