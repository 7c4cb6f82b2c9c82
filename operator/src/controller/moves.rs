//! PortForwards that move from one gateway to another: their Service leads to the old one until the new one runs them,
//! and the old one serves them until clients have had time to follow. What is under way stands in the Service's label,
//! so that a new leader knows it too. Pure, but for the caches it reads.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use fairlead_api::{PortForward, render::key_of};
use fairlead_config::{ForwardKey, ReadConfig};
use kube::ResourceExt;

use super::{Controller, children::ours, index::ObjectName};
use crate::names::{CONFIG_KEY, ProxyId};

/// How long a gateway serves on after the Service has turned to another one: whoever routes has to hear of it.
pub(super) const PARTING: Duration = Duration::from_secs(5);

/// Whose Service has turned away from a gateway just now.
#[derive(Debug, Default)]
pub(super) struct Partings(HashMap<ObjectName, Parting>);

#[derive(Debug)]
struct Parting {
    from: ProxyId,
    until: Instant,
}

impl Partings {
    /// Notes that a Service leads to this gateway no more.
    pub(super) fn part(&mut self, name: ObjectName, from: ProxyId, now: Instant) {
        self.0.retain(|_, parting| parting.until > now);
        self.0.insert(name, Parting { from, until: now + PARTING });
    }

    /// When a gateway has served one of them long enough, if it still does serve one.
    pub(super) fn next(&self, id: &ProxyId, now: Instant) -> Option<Instant> {
        self.from(id, now).map(|(_, parting)| parting.until).min()
    }

    fn from<'a>(&'a self, id: &'a ProxyId, now: Instant) -> impl Iterator<Item = (&'a ObjectName, &'a Parting)> {
        self.0.iter().filter(move |(_, parting)| parting.from == *id && parting.until > now)
    }
}

impl Controller {
    /// The PortForwards that are another proxy's by now, and that this one serves on.
    pub(super) fn leavers_of(&self, id: &ProxyId, partings: &Partings, now: Instant) -> BTreeSet<ForwardKey> {
        let names = self.services.members(id).chain(partings.from(id, now).map(|(name, _)| name));
        let moved = names.filter(|name| self.members.proxy_of(name).is_some_and(|to| to != id));
        let objects = moved.filter_map(|name| self.caches.port_forwards.get(name));
        objects.filter(|object| object.metadata.deletion_timestamp.is_none()).map(|object| key_of(&object)).collect()
    }

    /// The members whose Service must not turn to this proxy yet: another one serves them, and this one doesn't.
    pub(super) fn comers_of(&self, id: &ProxyId, members: &[PortForward]) -> BTreeSet<ForwardKey> {
        let waits = |object: &&PortForward| !is_programmed(object) && self.is_served_elsewhere(id, object);
        members.iter().filter(waits).map(key_of).collect()
    }

    /// The proxies to which PortForwards move that this one serves on.
    pub(super) fn heirs_of(&self, id: &ProxyId) -> BTreeSet<ProxyId> {
        let heirs = self.services.members(id).filter_map(|name| self.members.proxy_of(name));
        heirs.filter(|to| *to != id).cloned().collect()
    }

    fn is_served_elsewhere(&self, id: &ProxyId, object: &PortForward) -> bool {
        let name = ObjectName::new(object.namespace().unwrap_or_default(), object.name_any());
        let Some(from) = self.services.proxy_of(&name).filter(|from| *from != id) else { return false };
        let service = ours(&self.caches.services, &name);
        let owned = service
            .is_some_and(|service| service.owner_references().iter().any(|o| Some(&o.uid) == object.uid().as_ref()));
        owned && self.stands_in_the_document_of(from, &key_of(object))
    }

    fn stands_in_the_document_of(&self, id: &ProxyId, key: &ForwardKey) -> bool {
        let map = ours(&self.caches.config_maps, &ObjectName::new(&id.namespace, id.object_name()));
        let config = map.and_then(|map| ReadConfig::parse(map.data.as_ref()?.get(CONFIG_KEY)?).ok());
        config.is_some_and(|config| config.forwards.iter().any(|forward| forward.key == *key))
    }
}

/// Whether the status says that the proxy where it is now runs it as it is now.
fn is_programmed(object: &PortForward) -> bool {
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let is = |type_: &str| {
        conditions.iter().any(|condition| {
            (condition.type_.as_str(), condition.status.as_str()) == (type_, "True")
                && condition.observed_generation == object.metadata.generation
        })
    };
    is("Programmed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ProxyKind;

    fn gateway(name: &str) -> ProxyId {
        ProxyId { namespace: "shop".to_owned(), kind: ProxyKind::Shared(name.to_owned()) }
    }

    #[test]
    fn a_gateway_serves_on_for_a_while_and_no_longer() {
        let (mut partings, begin) = (Partings::default(), Instant::now());
        let later = begin + Duration::from_secs(1);
        partings.part(ObjectName::new("shop", "a"), gateway("edge"), begin);
        partings.part(ObjectName::new("shop", "b"), gateway("edge"), later);
        assert_eq!(partings.next(&gateway("edge"), later), Some(begin + PARTING));
        assert_eq!(partings.next(&gateway("side"), later), None);
        assert_eq!(partings.next(&gateway("edge"), begin + PARTING), Some(later + PARTING));
        assert_eq!(partings.next(&gateway("edge"), later + PARTING), None);
        partings.part(ObjectName::new("shop", "c"), gateway("side"), later + PARTING);
        assert_eq!(partings.0.len(), 1, "what is over is forgotten");
    }
}
