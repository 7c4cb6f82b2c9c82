//! A namespace of a test's own.

use std::ops::Deref;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use super::{ControlPlane, block_on, objects::Objects};

/// A namespace, as an administrator sees it; dropping it deletes it and all it holds, without waiting for that.
pub struct TempNamespace<'a> {
    cluster: &'a ControlPlane,
    objects: Objects,
}

impl ControlPlane {
    /// A new namespace in which pods can be created.
    pub fn namespace(&self) -> TempNamespace<'_> {
        self.namespace_with(json!({}))
    }

    /// The same with these labels, `pod-security.kubernetes.io/enforce` for example.
    pub fn namespace_with(&self, labels: Value) -> TempNamespace<'_> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let wanted = json!({"metadata": {"generateName": "test-", "labels": labels}});
        let wanted = serde_json::from_value(wanted).expect("a namespace");
        let made = block_on(namespaces.create(&PostParams::default(), &wanted)).expect("create a namespace");
        let objects = self.objects(&made.metadata.name.expect("its name"));
        objects.await_object::<ServiceAccount>("default", "its being there", |_| true);
        TempNamespace { cluster: self, objects }
    }

    /// A namespace that is there, as an administrator sees it.
    pub fn objects(&self, namespace: &str) -> Objects {
        Objects::new(self.client(), namespace.to_owned(), self.directory().to_owned())
    }
}

impl TempNamespace<'_> {
    pub fn name(&self) -> &str {
        self.objects.namespace()
    }

    pub fn cluster(&self) -> &ControlPlane {
        self.cluster
    }
}

impl Deref for TempNamespace<'_> {
    type Target = Objects;

    fn deref(&self) -> &Objects {
        &self.objects
    }
}

impl Drop for TempNamespace<'_> {
    fn drop(&mut self) {
        let namespaces: Api<Namespace> = Api::all(self.client());
        // A control plane that a test has broken takes its namespaces along.
        let _ = block_on(namespaces.delete(self.name(), &DeleteParams::background()));
    }
}
