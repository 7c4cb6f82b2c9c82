//! Which objects belong to which proxy, as last seen: from watch events to the controller. Pure. Invariant: an object
//! belongs to one proxy at most, and whoever loses or gains one is told.

use std::collections::{BTreeSet, HashMap};

use kube::{Resource, ResourceExt};

use crate::names::ProxyId;

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectName {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectName {
    pub(super) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub(super) fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

/// Objects of one kind by proxy, both ways.
#[derive(Debug, Default)]
pub(super) struct Index {
    proxies: HashMap<ObjectName, ProxyId>,
    members: HashMap<ProxyId, BTreeSet<ObjectName>>,
}

impl Index {
    /// Notes where an object belongs now, none if it is gone; returns the proxies that this concerns.
    pub(super) fn place(&mut self, object: ObjectName, proxy: Option<ProxyId>) -> Vec<ProxyId> {
        let before = match &proxy {
            Some(proxy) => self.proxies.insert(object.clone(), proxy.clone()),
            None => self.proxies.remove(&object),
        };
        let left = before.filter(|before| Some(before) != proxy.as_ref());
        if let Some(left) = &left {
            self.leave(left, &object);
        }
        if let Some(proxy) = &proxy {
            self.members.entry(proxy.clone()).or_default().insert(object);
        }
        proxy.into_iter().chain(left).collect()
    }

    /// The objects of one proxy, in order.
    pub(super) fn members(&self, proxy: &ProxyId) -> impl Iterator<Item = &ObjectName> {
        self.members.get(proxy).into_iter().flatten()
    }

    /// The proxy an object belongs to.
    pub(super) fn proxy_of(&self, object: &ObjectName) -> Option<&ProxyId> {
        self.proxies.get(object)
    }

    /// Every proxy that has an object.
    pub(super) fn proxies(&self) -> impl Iterator<Item = &ProxyId> {
        self.members.keys()
    }

    /// Forgets all objects but those that are there.
    pub(super) fn keep(&mut self, is_there: impl Fn(&ObjectName) -> bool) {
        let gone: Vec<_> = self.proxies.keys().filter(|name| !is_there(name)).cloned().collect();
        gone.into_iter().for_each(|name| drop(self.place(name, None)));
    }

    fn leave(&mut self, proxy: &ProxyId, object: &ObjectName) {
        if let Some(members) = self.members.get_mut(proxy) {
            members.remove(object);
            if members.is_empty() {
                self.members.remove(proxy);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ProxyKind;

    fn proxy(name: &str) -> ProxyId {
        ProxyId { namespace: "shop".to_owned(), kind: ProxyKind::Shared(name.to_owned()) }
    }

    #[test]
    fn a_move_concerns_both_proxies_and_a_removal_the_last_one() {
        let mut index = Index::default();
        let db = ObjectName::new("shop", "db");
        assert_eq!(index.place(db.clone(), Some(proxy("a"))), [proxy("a")]);
        assert_eq!(index.place(db.clone(), Some(proxy("a"))), [proxy("a")]);
        assert_eq!(index.place(db.clone(), Some(proxy("b"))), [proxy("b"), proxy("a")]);
        assert_eq!(index.members(&proxy("a")).count(), 0);
        assert_eq!(index.members(&proxy("b")).collect::<Vec<_>>(), [&db]);
        assert_eq!(index.proxies().collect::<Vec<_>>(), [&proxy("b")]);
        assert_eq!(index.place(db.clone(), None), [proxy("b")]);
        assert_eq!((index.proxies().count(), index.proxy_of(&db)), (0, None));
        assert_eq!(index.place(db.clone(), None), []);
        index.place(db, Some(proxy("a")));
        index.keep(|_| false);
        assert_eq!(index.proxies().count(), 0);
    }
}
