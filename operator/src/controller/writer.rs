//! Writes to the API server, one request after the other: the only place that does. From decided writes to the server's
//! answers. Invariant: no request is begun without leadership, and none outlives it.

use std::{sync::Arc, time::Duration};

use fairlead_api::{PortForward, PortForwardStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    child::{ChildName, Wanted, Write, is_ours},
    drift::has_strays,
    index::ObjectName,
};
use crate::{
    leader::{self, Leader},
    names::FIELD_MANAGER,
    telemetry::Telemetry,
};

/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an object is tried to be changed on which somebody else works.
const ATTEMPTS: usize = 4;

/// Why a write was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("this operator does not lead")]
    NotLeading,
    #[error("no answer in time")]
    NoAnswer,
    /// Somebody else's object has the name.
    #[error("{0}")]
    Taken(String),
    /// The object isn't there any more, or another one of that name is.
    #[error("the object is gone")]
    Gone,
    /// It would make no sense, as far as the server knows.
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Refused(String),
    #[error("not written as JSON: {0}")]
    Format(#[from] serde_json::Error),
}

/// Writes as long as its operator leads.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) leader: Arc<Leader>,
    pub(super) telemetry: Arc<Telemetry>,
}

impl Writer {
    /// Does one write of a child; the answer is what the server made of it, none for a deletion.
    pub(super) async fn child(&self, namespace: &str, write: &Write) -> Result<Option<Value>, WriteError> {
        let resource = write.child().kind.resource();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let answer = match write {
            Write::Create(wanted) => Some(self.create(&api, namespace, wanted).await?),
            Write::Apply(wanted) => Some(self.apply(&api, wanted).await?),
            Write::Delete { child, uid } => {
                self.delete(&api, child, uid).await?;
                None
            }
        };
        answer.map(serde_json::to_value).transpose().map_err(WriteError::from)
    }

    /// Writes a status, unless the object is another one by now; the answer is the object with it.
    pub(super) async fn status(
        &self,
        object: &PortForward,
        status: &PortForwardStatus,
    ) -> Result<PortForward, WriteError> {
        let name = ObjectName::new(object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<PortForward> = Api::namespaced(self.client.clone(), &name.namespace);
        let body = json!({
            "apiVersion": PortForward::api_version(&()),
            "kind": PortForward::kind(&()),
            "metadata": {"name": name.name, "namespace": name.namespace, "uid": object.uid()},
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&body);
        self.ask(("portforwards/status", "patch"), api.patch_status(&name.name, &params, &patch)).await
    }

    /// Makes an object; one of that name that is ours already is brought in line, any other is left alone.
    async fn create(
        &self,
        api: &Api<DynamicObject>,
        namespace: &str,
        wanted: &Wanted,
    ) -> Result<DynamicObject, WriteError> {
        match self.create_new(api, wanted).await {
            Err(WriteError::Taken(_)) => {
                let present = self.ask((wanted.child.kind.plural(), "get"), api.get(&wanted.child.name)).await?;
                if is_ours(present.meta()) {
                    return self.apply(api, wanted).await;
                }
                let kind = wanted.child.kind.resource().kind;
                let taken = format!(
                    "{kind} {namespace}/{} exists and is not Fairlead's: rename this PortForward, or that {kind}",
                    wanted.child.name
                );
                Err(WriteError::Taken(taken))
            }
            created => created,
        }
    }

    async fn create_new(&self, api: &Api<DynamicObject>, wanted: &Wanted) -> Result<DynamicObject, WriteError> {
        let object: DynamicObject = serde_json::from_value(wanted.body.clone())?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let created = self.ask((wanted.child.kind.plural(), "create"), api.create(&params, &object)).await?;
        // A created object's fields belong to an update, which later applies could not take back: makes them an apply's.
        let adopt = |owners: &mut Vec<ManagedFieldsEntry>| {
            owners
                .iter_mut()
                .filter(|entry| is_ours_by(entry, "Update"))
                .for_each(|entry| entry.operation = Some("Apply".to_owned()));
        };
        self.rewrite_owners(api, &wanted.child, created, adopt).await
    }

    /// Rewrites who owns which field, as the server notes it, and tries again when somebody was faster. What can't be
    /// rewritten stays: the next apply takes what it needs by force.
    async fn rewrite_owners(
        &self,
        api: &Api<DynamicObject>,
        child: &ChildName,
        written: DynamicObject,
        rewrite: fn(&mut Vec<ManagedFieldsEntry>),
    ) -> Result<DynamicObject, WriteError> {
        let mut object = written;
        for _ in 0..ATTEMPTS {
            let mut owners = object.metadata.managed_fields.clone().unwrap_or_default();
            rewrite(&mut owners);
            let meta = json!({"managedFields": owners, "resourceVersion": object.resource_version()});
            match self.merge(api, child, json!({"metadata": meta})).await {
                Err(WriteError::Taken(_)) => {
                    object = self.ask((child.kind.plural(), "get"), api.get(&child.name)).await?
                }
                rewritten => return rewritten,
            }
        }
        Ok(object)
    }

    async fn merge(
        &self,
        api: &Api<DynamicObject>,
        child: &ChildName,
        body: Value,
    ) -> Result<DynamicObject, WriteError> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.ask((child.kind.plural(), "patch"), api.patch(&child.name, &params, &Patch::Merge(body))).await
    }

    async fn apply(&self, api: &Api<DynamicObject>, wanted: &Wanted) -> Result<DynamicObject, WriteError> {
        let applied = self.apply_once(api, wanted).await;
        let has_strays = match &applied {
            Ok(applied) => has_strays(&wanted.body, &serde_json::to_value(applied)?),
            // A list with somebody else's items beside ours may not even be valid.
            Err(error) => matches!(error, WriteError::Invalid(_)),
        };
        if !has_strays {
            return applied;
        }
        match self.replace_lists(api, wanted).await {
            Err(WriteError::Invalid(_)) if wanted.child.kind.is_cheap() => self.replace(api, wanted).await,
            replaced => replaced,
        }
    }

    /// Makes an object anew that has more than its kind allows beside what is ours.
    async fn replace(&self, api: &Api<DynamicObject>, wanted: &Wanted) -> Result<DynamicObject, WriteError> {
        let what = wanted.child.kind.plural();
        let present = self.ask((what, "get"), api.get(&wanted.child.name)).await?;
        if !is_ours(present.meta()) {
            return Ok(present);
        }
        self.delete(api, &wanted.child, &present.uid().unwrap_or_default()).await?;
        self.create_new(api, wanted).await
    }

    async fn apply_once(&self, api: &Api<DynamicObject>, wanted: &Wanted) -> Result<DynamicObject, WriteError> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&wanted.body);
        self.ask((wanted.child.kind.plural(), "patch"), api.patch(&wanted.child.name, &params, &patch)).await
    }

    /// Takes out of the spec's lists what somebody else put there. A merge does, whose fields no apply could take back
    /// later, so they are made nobody's before the next one.
    async fn replace_lists(&self, api: &Api<DynamicObject>, wanted: &Wanted) -> Result<DynamicObject, WriteError> {
        let merged = self.merge(api, &wanted.child, json!({"spec": wanted.body["spec"]})).await?;
        let disown = |owners: &mut Vec<ManagedFieldsEntry>| owners.retain(|entry| !is_ours_by(entry, "Update"));
        self.rewrite_owners(api, &wanted.child, merged, disown).await?;
        self.apply_once(api, wanted).await
    }

    async fn delete(&self, api: &Api<DynamicObject>, child: &ChildName, uid: &str) -> Result<(), WriteError> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams::background().preconditions(preconditions);
        match self.ask((child.kind.plural(), "delete"), api.delete(&child.name, &params)).await {
            Ok(_) | Err(WriteError::Gone | WriteError::Taken(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes one request and counts it, by resource and verb.
    async fn ask<T>(
        &self,
        (resource, verb): (&'static str, &'static str),
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let answer = match self.leader.write(timeout(REQUEST_TIMEOUT, request)).await {
            Ok(Ok(answer)) => answer.map_err(judge),
            Ok(Err(_)) | Err(leader::WriteError::LeadershipEnded) => Err(WriteError::NoAnswer),
            Err(leader::WriteError::NotLeading) => return Err(WriteError::NotLeading),
        };
        self.telemetry.api_write(resource, verb, answer.is_ok());
        answer
    }
}

fn is_ours_by(entry: &ManagedFieldsEntry, operation: &str) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some(operation)
}

fn judge(error: kube::Error) -> WriteError {
    let kube::Error::Api(status) = error else { return WriteError::Refused(error.to_string()) };
    match status.code {
        404 => WriteError::Gone,
        409 => WriteError::Taken(status.message),
        422 => WriteError::Invalid(status.message),
        _ => WriteError::Refused(status.message),
    }
}
