//! Which writes bring a proxy's objects in line: from members, verdicts and what is there to an ordered list. Pure.
//! Services come first, since a name that is somebody else's must be known before anything runs under it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use fairlead_api::{
    PortForward,
    render::{Verdict, key_of},
};
use fairlead_config::{ForwardKey, ReadConfig};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use super::{
    caches::{Cache, Caches},
    child::{Answer, ChildKind, ChildName, Wanted, Write, is_ours, settle},
    index::ObjectName,
    settlement::Settlement,
};
use crate::{
    names::{ProxyId, ProxyKind},
    objects::{self, Gateway, Member},
    settings::Settings,
};

/// One proxy with its members and what they come to.
pub(super) struct Proxy<'a> {
    pub(super) id: &'a ProxyId,
    pub(super) members: &'a [PortForward],
    pub(super) settlement: &'a Settlement,
    pub(super) ca: &'a str,
    pub(super) settings: &'a Settings,
}

/// What is there now, and how the server answered when it was written.
pub(super) struct Present<'a> {
    pub(super) caches: &'a Caches,
    pub(super) answers: &'a HashMap<ChildName, Answer>,
}

impl Proxy<'_> {
    /// The members that have their names, or may get them.
    fn valid(&self) -> impl Iterator<Item = Member<'_>> {
        self.all().filter(is_valid)
    }

    /// Those, and the refused ones whose last accepted spec goes on: all that the proxy's objects are for.
    fn served(&self) -> Vec<Member<'_>> {
        let document = ReadConfig::parse(&self.settlement.text);
        let runs: BTreeSet<ForwardKey> =
            document.into_iter().flat_map(|document| document.forwards).map(|forward| forward.key).collect();
        self.all().filter(|member| is_valid(member) || runs.contains(&key_of(member.object))).collect()
    }

    fn all(&self) -> impl Iterator<Item = Member<'_>> {
        let member = |object| Some(Member { object, verdict: self.settlement.verdicts.get(&name_of(object))? });
        self.members.iter().filter_map(member)
    }

    /// The Services to write.
    pub(super) fn services(&self, present: &Present<'_>) -> serde_json::Result<Vec<Write>> {
        let mut writes = Vec::new();
        for member in self.valid() {
            let at = ObjectName::new(&self.id.namespace, name_of(member.object));
            match objects::service(&member, self.id) {
                Some(service) => {
                    writes.extend(present.write(ChildKind::Service, &present.caches.services, &service)?)
                }
                None => writes.extend(present.removal(ChildKind::Service, &present.caches.services, &at, |owners| {
                    // Its PortForward is here and wants none; any other owner's is none of our business.
                    owners.iter().any(|uid| Some(uid) == member.object.metadata.uid.as_ref())
                })),
            }
        }
        Ok(writes)
    }

    /// Everything else to write, the configuration first.
    pub(super) fn others(&self, present: &Present<'_>) -> serde_json::Result<Vec<Write>> {
        let members = self.served();
        if members.is_empty() {
            return Ok(Vec::new());
        }
        let input = Gateway {
            id: self.id,
            members: &members,
            config: &self.settlement.text,
            ca: self.ca,
            settings: self.settings,
        };
        let caches = present.caches;
        match self.id.kind {
            ProxyKind::Sidecar(_) => {
                let config_map = objects::sidecar_config_map(&input);
                Ok(present.write(ChildKind::ConfigMap, &caches.config_maps, &config_map)?.into_iter().collect())
            }
            ProxyKind::Own(_) | ProxyKind::Shared(_) => {
                let all = objects::gateway(&input);
                let at = ObjectName::new(&self.id.namespace, self.id.object_name());
                let mut writes = Vec::new();
                writes.extend(present.write(ChildKind::ConfigMap, &caches.config_maps, &all.config_map)?);
                writes.extend(present.write(ChildKind::Deployment, &caches.deployments, &all.deployment)?);
                writes.extend(match &all.disruption_budget {
                    Some(budget) => present.write(ChildKind::PodDisruptionBudget, &caches.budgets, budget)?,
                    None => present.removal(ChildKind::PodDisruptionBudget, &caches.budgets, &at, |_| true),
                });
                writes.extend(match &all.network_policy {
                    Some(policy) => present.write(ChildKind::NetworkPolicy, &caches.policies, policy)?,
                    None => present.removal(ChildKind::NetworkPolicy, &caches.policies, &at, |_| true),
                });
                Ok(writes)
            }
        }
    }
}

fn is_valid(member: &Member<'_>) -> bool {
    match member.verdict {
        Verdict::Accepted { .. } | Verdict::Suspended { .. } => true,
        Verdict::Refused { .. } => false,
    }
}

impl Present<'_> {
    fn write<K>(&self, kind: ChildKind, cache: &Cache<K>, wanted: &K) -> serde_json::Result<Option<Write>>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize,
    {
        let at = ObjectName::new(wanted.namespace().unwrap_or_default(), wanted.name_any());
        let wanted = Wanted::new(kind, wanted)?;
        let present = ours(cache, &at).map(|present| typed(&*present)).transpose()?;
        let answer = self.answers.get(&wanted.child);
        Ok(settle(wanted, present.as_ref(), answer))
    }

    fn removal<K>(
        &self,
        kind: ChildKind,
        cache: &Cache<K>,
        at: &ObjectName,
        may_go: impl FnOnce(&[String]) -> bool,
    ) -> Option<Write>
    where
        K: Resource<DynamicType = ()> + Clone,
    {
        let present = ours(cache, at)?;
        let owners: Vec<String> = present.owner_references().iter().map(|owner| owner.uid.clone()).collect();
        if !may_go(&owners) || present.meta().deletion_timestamp.is_some() {
            return None;
        }
        Some(Write::Delete { child: ChildName { kind, name: at.name.clone() }, uid: present.uid()? })
    }

    /// What is left of a proxy without members, where its owners still live: they moved away. What has no living owner
    /// is the garbage collector's, or its user's who deleted the owner and wanted to keep it.
    pub(super) fn leftovers(&self, id: &ProxyId, lives: impl Fn(&str) -> bool) -> Vec<Write> {
        let at = ObjectName::new(&id.namespace, id.object_name());
        let moved = |owners: &[String]| owners.iter().any(|uid| lives(uid));
        let caches = self.caches;
        [
            self.removal(ChildKind::Deployment, &caches.deployments, &at, moved),
            self.removal(ChildKind::PodDisruptionBudget, &caches.budgets, &at, moved),
            self.removal(ChildKind::NetworkPolicy, &caches.policies, &at, moved),
            self.removal(ChildKind::ConfigMap, &caches.config_maps, &at, moved),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// An object of the cache, if it is ours.
pub(super) fn ours<K>(cache: &Cache<K>, at: &ObjectName) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    cache.get(at).filter(|object| is_ours(object.meta()))
}

fn typed<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = K::api_version(&()).into();
    value["kind"] = K::kind(&()).into();
    Ok(value)
}

pub(super) fn name_of(object: &PortForward) -> String {
    object.metadata.name.clone().unwrap_or_default()
}
