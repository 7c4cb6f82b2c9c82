//! The objects of one namespace as somebody sees them: written as users write them, read and waited for by what they
//! say. Everything panics that a test doesn't expect, naming the object.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
};

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{CLUSTER_SOON, FIELD_MANAGER, block_on};
use crate::deadline::{await_condition, await_some};

/// A kind of namespaced object that tests read and write.
pub trait Kind: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned {}
impl<K> Kind for K where K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{}

/// A namespace in somebody's eyes.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    namespace: String,
    directory: PathBuf,
}

impl Objects {
    pub(super) fn new(client: Client, namespace: String, directory: PathBuf) -> Self {
        Self { client, namespace, directory }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Who sees it.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where things may be kept for as long as the control plane runs.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The objects of a kind.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// Creates an object.
    pub fn create<K: Kind + Serialize>(&self, object: Value) -> Result<K, kube::Error> {
        let object = serde_json::from_value(object).expect("an object of the kind");
        block_on(self.api().create(&PostParams::default(), &object))
    }

    /// Applies an object (server-side) as the field manager of the tests. Panics if it is refused.
    pub fn apply<K: Kind>(&self, object: &Value) -> K {
        let name = object["metadata"]["name"].as_str().expect("the object's name");
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = block_on(self.api().patch(name, &params, &Patch::Apply(object)));
        applied.unwrap_or_else(|error| panic!("apply {object}: {error}"))
    }

    /// Finds an object.
    pub fn find<K: Kind>(&self, name: &str) -> Option<K> {
        block_on(self.api().get_opt(name)).unwrap_or_else(|error| panic!("read {name}: {error}"))
    }

    /// All objects of a kind with these labels (`a=b,c=d`; all with an empty text).
    pub fn list<K: Kind>(&self, labels: &str) -> Vec<K> {
        let listed = block_on(self.api().list(&ListParams::default().labels(labels)));
        listed.unwrap_or_else(|error| panic!("list {labels:?}: {error}")).items
    }

    /// Changes these fields of an object (JSON merge patch).
    pub fn merge<K: Kind>(&self, name: &str, change: &Value) -> K {
        let patched = block_on(self.api().patch(name, &PatchParams::default(), &Patch::Merge(change)));
        patched.unwrap_or_else(|error| panic!("change {name}: {error}"))
    }

    /// Changes these fields of a status, as its owner would.
    pub fn merge_status<K: Kind>(&self, name: &str, status: &Value) -> K {
        let patch = Patch::Merge(json!({"status": status}));
        let patched = block_on(self.api().patch_status(name, &PatchParams::default(), &patch));
        patched.unwrap_or_else(|error| panic!("change the status of {name}: {error}"))
    }

    /// Deletes an object at once, without a grace period; it may be gone already.
    pub fn delete<K: Kind>(&self, name: &str) {
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::background() };
        match block_on(self.api::<K>().delete(name, &params)) {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            deleted => drop(deleted.unwrap_or_else(|error| panic!("delete {name}: {error}"))),
        }
    }

    /// Waits until an object is there and as wanted.
    pub fn await_object<K: Kind>(&self, name: &str, what: &str, wanted: impl Fn(&K) -> bool) -> K {
        let what = format!("{name} with {what} in namespace {}", self.namespace);
        await_some(&what, CLUSTER_SOON, || self.find::<K>(name).filter(&wanted))
    }

    /// Waits until an object is gone.
    pub fn await_gone<K: Kind>(&self, name: &str) {
        let what = format!("{name} to be gone from namespace {}", self.namespace);
        await_condition(&what, CLUSTER_SOON, || self.find::<K>(name).is_none());
    }
}
