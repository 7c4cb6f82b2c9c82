//! The Lease at the API server: sends what `election` asks, and says what came of it.
//! A Lease is created or replaced in the version that was read, never patched; what others wrote into it stays.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::LeaseSettings;
use crate::{
    election::{Answer, Record, Request},
    names::FIELD_MANAGER,
};

/// One Lease.
pub(super) struct LeaseStore {
    api: Api<Lease>,
    settings: LeaseSettings,
    /// As last read or written.
    lease: Option<Lease>,
}

impl LeaseStore {
    pub(super) fn new(client: Client, settings: LeaseSettings) -> Self {
        Self { api: Api::namespaced(client, &settings.namespace), settings, lease: None }
    }

    /// Sends one request. Whoever gives up waiting for it does not know whether it is applied.
    pub(super) async fn ask(&mut self, request: Request) -> Answer {
        let name = self.settings.name.clone();
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let written = match request {
            Request::Read => return self.read(&name).await,
            Request::Create(record) => {
                let lease = Lease { metadata: self.metadata(), spec: Some(written(&record, LeaseSpec::default())) };
                self.api.create(&parameters, &lease).await
            }
            Request::Replace(record, version) => {
                let lease = self.replacement(&record, version);
                self.api.replace(&name, &parameters, &lease).await
            }
        };
        match written {
            Ok(lease) => Answer::Written(self.keep(lease).1),
            // Another one was faster, or the Lease is gone.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Answer::Conflict,
            Err(error) => failed(&error),
        }
    }

    async fn read(&mut self, name: &str) -> Answer {
        match self.api.get_opt(name).await {
            Ok(Some(lease)) => {
                let (record, version) = self.keep(lease);
                Answer::Found(record, version)
            }
            Ok(None) => {
                self.lease = None;
                Answer::Absent
            }
            Err(error) => failed(&error),
        }
    }

    fn keep(&mut self, lease: Lease) -> (Record, String) {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let record = record_of(lease.spec.as_ref(), self.settings.terms.duration);
        self.lease = Some(lease);
        (record, version)
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            namespace: Some(self.settings.namespace.clone()),
            name: Some(self.settings.name.clone()),
            ..ObjectMeta::default()
        }
    }

    fn replacement(&self, record: &Record, version: String) -> Lease {
        let before = self.lease.clone().unwrap_or_default();
        let ObjectMeta { namespace, name, .. } = self.metadata();
        let metadata =
            ObjectMeta { namespace, name, resource_version: Some(version), managed_fields: None, ..before.metadata };
        Lease { metadata, spec: Some(written(record, before.spec.unwrap_or_default())) }
    }
}

fn failed(error: &kube::Error) -> Answer {
    tracing::warn!(%error, "the lease can't be read or written");
    Answer::Failed
}

/// What other tools read in a Lease; fields that aren't ours stay.
fn written(record: &Record, before: LeaseSpec) -> LeaseSpec {
    let seconds = record.duration.as_secs() + u64::from(record.duration.subsec_nanos() > 0);
    LeaseSpec {
        holder_identity: Some(record.holder.clone()),
        lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
        acquire_time: record.acquired.map(MicroTime),
        renew_time: record.renewed.map(MicroTime),
        lease_transitions: Some(record.transitions),
        ..before
    }
}

fn record_of(spec: Option<&LeaseSpec>, default: Duration) -> Record {
    let spec = spec.cloned().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: seconds.filter(|seconds| *seconds > 0).map_or(default, Duration::from_secs),
        acquired: spec.acquire_time.map(|time| time.0),
        renewed: spec.renew_time.map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}
