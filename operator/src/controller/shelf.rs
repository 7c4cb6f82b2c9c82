//! The objects of one kind as the API server has them: from a watch to whoever asks for one. They are kept as JSON, which
//! takes a third of the memory of the typed objects, and are read far less often than they are kept.

use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{Resource, runtime::watcher::Event};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use super::index::ObjectName;

/// What a watch has told so far.
pub(super) struct Shelf<K> {
    objects: Mutex<Objects>,
    /// Whether everything has been listed once.
    is_listed: watch::Sender<bool>,
    kind: PhantomData<fn() -> K>,
}

#[derive(Default)]
struct Objects {
    present: HashMap<ObjectName, Box<[u8]>>,
    /// While the watch begins anew: what is there, as far as it has told.
    listed: Option<HashMap<ObjectName, Box<[u8]>>>,
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self { objects: Mutex::default(), is_listed: watch::Sender::new(false), kind: PhantomData }
    }
}

impl<K: Resource<DynamicType = ()> + Serialize + DeserializeOwned> Shelf<K> {
    /// Takes an event in. What a watch lists as it begins replaces everything at once, when it has told all.
    pub(super) fn take(&self, event: &Event<K>) {
        let mut objects = self.lock();
        match event {
            Event::Init => objects.listed = Some(HashMap::new()),
            Event::InitApply(object) => objects.listed.get_or_insert_default().extend(packed(object)),
            Event::InitDone => {
                objects.present = objects.listed.take().unwrap_or_default();
                self.is_listed.send_replace(true);
            }
            Event::Apply(object) => objects.present.extend(packed(object)),
            Event::Delete(object) => drop(objects.present.remove(&ObjectName::of(object))),
        }
    }

    pub(super) fn get(&self, name: &ObjectName) -> Option<K> {
        unpacked(self.lock().present.get(name)?)
    }

    pub(super) fn has(&self, name: &ObjectName) -> bool {
        self.lock().present.contains_key(name)
    }

    /// Everything there is, one after the other.
    pub(super) fn all(&self) -> impl Iterator<Item = K> + '_ {
        let names: Vec<_> = self.lock().present.keys().cloned().collect();
        names.into_iter().filter_map(|name| self.get(&name))
    }

    /// Waits until everything has been listed once.
    pub(super) async fn listed(&self) {
        // The sender is here, so that this ends well.
        let _ = self.is_listed.subscribe().wait_for(|is_listed| *is_listed).await;
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn packed<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Option<(ObjectName, Box<[u8]>)> {
    let bytes = serde_json::to_vec(object);
    let bytes = bytes.inspect_err(|error| tracing::error!(%error, "an object that can't be kept")).ok()?;
    Some((ObjectName::of(object), bytes.into()))
}

fn unpacked<K: DeserializeOwned>(bytes: &[u8]) -> Option<K> {
    serde_json::from_slice(bytes).inspect_err(|error| tracing::error!(%error, "an object that was kept badly")).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    fn map(name: &str, text: &str) -> ConfigMap {
        let meta = json!({"name": name, "namespace": "shop", "uid": "u"});
        serde_json::from_value(json!({"metadata": meta, "data": {"a": text}})).unwrap()
    }

    #[test]
    fn objects_come_change_and_go_and_a_new_beginning_replaces_them_at_once() {
        let shelf = Shelf::<ConfigMap>::default();
        let at = |name: &str| ObjectName::new("shop", name);
        let names = || {
            let mut names: Vec<_> = shelf.all().map(|map| map.metadata.name.unwrap()).collect();
            names.sort();
            names
        };
        shelf.take(&Event::Init);
        shelf.take(&Event::InitApply(map("a", "1")));
        assert!(!shelf.has(&at("a")), "not before all are listed");
        shelf.take(&Event::InitDone);
        shelf.take(&Event::Apply(map("b", "1")));
        shelf.take(&Event::Apply(map("a", "2")));
        assert_eq!(shelf.get(&at("a")), Some(map("a", "2")));
        assert_eq!(names(), ["a", "b"]);
        shelf.take(&Event::Delete(map("a", "2")));
        assert_eq!((shelf.get(&at("a")), shelf.has(&at("b"))), (None, true));
        shelf.take(&Event::Init);
        shelf.take(&Event::InitApply(map("c", "1")));
        assert_eq!(names(), ["b"]);
        shelf.take(&Event::InitDone);
        assert_eq!(names(), ["c"]);
    }

    #[tokio::test]
    async fn whoever_waits_for_the_first_list_is_woken() {
        let shelf = Shelf::<ConfigMap>::default();
        let told = async { [Event::Init, Event::InitDone].iter().for_each(|event| shelf.take(event)) };
        tokio::join!(shelf.listed(), told);
        shelf.listed().await;
    }
}
