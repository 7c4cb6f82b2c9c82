//! Keeps the operator's certificates in its one Secret: reads it, lets `authority` decide, writes what it decided. Only
//! the leader does; two that believe to lead can't both write, since the resource version decides.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    authority::{AuthorityTimes, Decision, Identity, next},
    leader::Leader,
    names::FIELD_MANAGER,
};

/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(2);
/// The longest time between two looks: somebody may have emptied the Secret.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Where the certificates are kept, and for how long they are good.
#[derive(Clone)]
pub struct Keeper {
    /// Of the leader, for writes.
    pub client: Client,
    pub leader: Arc<Leader>,
    pub namespace: String,
    pub secret: String,
    pub times: AuthorityTimes,
}

impl Keeper {
    /// Finds or makes an identity, trying until it can.
    pub(super) async fn first(&self) -> (Arc<Identity>, SystemTime) {
        loop {
            match self.look().await {
                Ok(found) => return found,
                Err(error) => {
                    let secret = format!("{}/{}", self.namespace, self.secret);
                    tracing::error!(secret, %error, "no certificate for the connections to proxies yet");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Renews the identity when it is due, for ever.
    pub(super) async fn keep(self, identities: watch::Sender<Arc<Identity>>, mut due: SystemTime) {
        loop {
            let wait = due.duration_since(SystemTime::now()).unwrap_or(RETRY).min(LOOK_AGAIN);
            sleep(wait).await;
            match self.look().await {
                Ok((identity, next_due)) => {
                    due = next_due;
                    identities.send_if_modified(|now| {
                        let news = **now != *identity;
                        *now = identity;
                        news
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "certificates not renewed; the present ones go on");
                    due = SystemTime::now() + RETRY;
                }
            }
        }
    }

    async fn look(&self) -> anyhow::Result<(Arc<Identity>, SystemTime)> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = self.within_leadership(api.get(&self.secret)).await?;
        match next(secret.data.as_ref(), SystemTime::now(), &self.times)? {
            Decision::Keep { identity, due } => Ok((Arc::new(identity), due)),
            Decision::Write { data, identity, due } => {
                let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                let changed = Secret { data: Some(data), ..secret };
                self.within_leadership(api.replace(&self.secret, &params, &changed)).await?;
                tracing::info!(secret = self.secret, "wrote new certificates");
                Ok((Arc::new(identity), due))
            }
        }
    }

    async fn within_leadership<T>(&self, request: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
        Ok(self.leader.write(timeout(REQUEST_TIMEOUT, request)).await???)
    }
}
