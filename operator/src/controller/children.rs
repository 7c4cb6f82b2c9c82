//! Which writes bring a proxy's objects in line: from members, verdicts and what is there to an ordered list. Pure.
//! Services come first, since a name that is somebody else's must be known before anything runs under it.

use std::collections::{BTreeSet, HashMap};

use fairlead_api::{
    PortForward,
    render::{Verdict, key_of},
};
use fairlead_config::ForwardKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    caches::{Cache, Caches},
    child::{Answer, ChildKind, ChildName, Wanted, Write, is_ours, settle},
    index::ObjectName,
    settlement::Settlement,
};
use crate::{
    names::{ProxyId, ProxyKind},
    objects::{self, Gateway, GatewayObjects, Member, Reference},
    settings::Settings,
};

/// One proxy with its members and what they come to.
pub(super) struct Proxy<'a> {
    pub(super) id: &'a ProxyId,
    pub(super) members: &'a [PortForward],
    /// Members whose Service still leads to another proxy.
    pub(super) comers: &'a BTreeSet<ForwardKey>,
    /// Whether it serves PortForwards on that are another proxy's by now.
    pub(super) some_leave: bool,
    pub(super) settlement: &'a Settlement,
    /// What its pods mount besides the configuration.
    pub(super) references: &'a BTreeSet<Reference>,
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

    fn served(&self) -> Vec<Member<'_>> {
        served(self.members, self.settlement)
    }

    fn all(&self) -> impl Iterator<Item = Member<'_>> {
        all(self.members, self.settlement)
    }

    /// The Services to write.
    pub(super) fn services(&self, present: &Present<'_>) -> serde_json::Result<Vec<Write>> {
        let mut writes = Vec::new();
        for member in self.valid().filter(|member| !self.comers.contains(&key_of(member.object))) {
            let at = ObjectName::new(&self.id.namespace, name_of(member.object));
            match objects::service(&member, self.id) {
                Some(service) => {
                    writes.extend(present.write(ChildKind::Service, &present.caches.services, &service)?)
                }
                None => writes.extend(present.removal(ChildKind::Service, &present.caches.services, &at, |owners| {
                    // Its PortForward is here and wants none; any other owner's is none of our business.
                    owners.iter().any(|owner| Some(&owner.uid) == member.object.metadata.uid.as_ref())
                })),
            }
        }
        Ok(writes)
    }

    /// Everything else to write, the configuration first.
    pub(super) fn others(&self, present: &Present<'_>) -> serde_json::Result<Vec<Write>> {
        let members = self.served();
        if members.is_empty() {
            // Nobody is left whom it could serve; whoever is refused may yet be accepted, and gets a new one.
            return Ok(present.parts(self.id, |owners| !owners.is_empty()));
        }
        let input = Gateway {
            id: self.id,
            members: &members,
            references: self.references,
            config: &self.settlement.text,
            ca: self.ca,
            settings: self.settings,
        };
        match self.id.kind {
            ProxyKind::Sidecar(_) => {
                let config_map = self.owned(objects::sidecar_config_map(&input));
                let write = present.write(ChildKind::ConfigMap, &present.caches.config_maps, &config_map)?;
                Ok(write.into_iter().collect())
            }
            ProxyKind::Own(_) | ProxyKind::Shared(_) => self.gateway(objects::gateway(&input), present),
        }
    }

    fn gateway(&self, all: GatewayObjects, present: &Present<'_>) -> serde_json::Result<Vec<Write>> {
        let caches = present.caches;
        let at = ObjectName::new(&self.id.namespace, self.id.object_name());
        let (config_map, deployment) = (self.owned(all.config_map), self.owned(all.deployment));
        let mut writes = Vec::new();
        writes.extend(present.write(ChildKind::ConfigMap, &caches.config_maps, &config_map)?);
        writes.extend(present.write(ChildKind::Deployment, &caches.deployments, &deployment)?);
        writes.extend(match all.disruption_budget {
            Some(budget) => present.write(ChildKind::PodDisruptionBudget, &caches.budgets, &self.owned(budget))?,
            None => present.removal(ChildKind::PodDisruptionBudget, &caches.budgets, &at, |_| true),
        });
        writes.extend(match all.network_policy {
            // Their clients come in by rules that the members don't ask for.
            Some(_) if self.some_leave => None,
            Some(policy) => present.write(ChildKind::NetworkPolicy, &caches.policies, &self.owned(policy))?,
            None => present.removal(ChildKind::NetworkPolicy, &caches.policies, &at, |_| true),
        });
        Ok(writes)
    }

    /// Refused members own it too: when the last accepted one goes, it is there for them.
    fn owned<K: Resource>(&self, mut object: K) -> K {
        objects::add_owners(object.meta_mut(), self.members);
        object
    }
}

fn all<'a>(members: &'a [PortForward], settlement: &'a Settlement) -> impl Iterator<Item = Member<'a>> {
    members.iter().filter_map(|object| Some(Member { object, verdict: settlement.verdicts.get(&name_of(object))? }))
}

/// The valid members, and the refused ones whose last accepted spec goes on: all that the proxy's objects are for.
pub(super) fn served<'a>(members: &'a [PortForward], settlement: &'a Settlement) -> Vec<Member<'a>> {
    let runs = |member: &Member<'_>| settlement.runs.contains(&key_of(member.object));
    all(members, settlement).filter(|member| is_valid(member) || runs(member)).collect()
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
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let at = ObjectName::new(wanted.namespace().unwrap_or_default(), wanted.name_any());
        let wanted = Wanted::new(kind, wanted)?;
        let present = ours(cache, &at).map(|present| typed(&present)).transpose()?;
        let answer = self.answers.get(&wanted.child);
        Ok(settle(wanted, present.as_ref(), answer))
    }

    fn removal<K>(
        &self,
        kind: ChildKind,
        cache: &Cache<K>,
        at: &ObjectName,
        may_go: impl FnOnce(&[OwnerReference]) -> bool,
    ) -> Option<Write>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let present = ours(cache, at)?;
        if !may_go(present.owner_references()) || present.meta().deletion_timestamp.is_some() {
            return None;
        }
        Some(Write::Delete { child: ChildName { kind, name: at.name.clone() }, uid: present.uid()? })
    }

    /// What is left of a proxy without members, where its owners still live: they moved away. What has no living owner
    /// is the garbage collector's, or its user's who deleted the owner and wanted to keep it.
    pub(super) fn leftovers(&self, id: &ProxyId, lives: impl Fn(&OwnerReference) -> bool) -> Vec<Write> {
        self.parts(id, |owners| owners.iter().any(&lives))
    }

    /// Removes what a proxy is made of, as far as its owners' uids let it.
    fn parts(&self, id: &ProxyId, may_go: impl Fn(&[OwnerReference]) -> bool) -> Vec<Write> {
        let at = ObjectName::new(&id.namespace, id.object_name());
        let caches = self.caches;
        [
            self.removal(ChildKind::Deployment, &caches.deployments, &at, &may_go),
            self.removal(ChildKind::PodDisruptionBudget, &caches.budgets, &at, &may_go),
            self.removal(ChildKind::NetworkPolicy, &caches.policies, &at, &may_go),
            self.removal(ChildKind::ConfigMap, &caches.config_maps, &at, &may_go),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// An object of the cache, if it is ours.
pub(super) fn ours<K>(cache: &Cache<K>, at: &ObjectName) -> Option<K>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
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
