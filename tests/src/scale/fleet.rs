//! In the stead of a Deployment controller, kubelets and proxies: every Deployment of the operator's gets one Pod, Ready
//! at once, and a simulated proxy at an address of its own. From Deployments to [`Simulated`] ones.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::sync::{OnceCell, watch};
use tokio_rustls::TlsAcceptor;

use super::{admin, simulated::Simulated};
use crate::cluster::{free_address, pod_status};

const ADMIN_PORT: u16 = 19443;
const OURS: &str = "app.kubernetes.io/managed-by=fairlead";
/// Pods that are being made.
const AT_ONCE: usize = 8;

/// All simulated proxies.
pub(super) struct Fleet {
    client: Client,
    proxies: Mutex<Vec<Arc<Simulated>>>,
    /// One authority signs for every connection of this operator.
    acceptor: OnceCell<TlsAcceptor>,
    problem: watch::Sender<Option<String>>,
}

impl Fleet {
    /// Follows the Deployments from now on.
    pub(super) fn start(client: Client) -> Arc<Self> {
        let (proxies, acceptor) = (Mutex::default(), OnceCell::new());
        let fleet = Arc::new(Self { client, proxies, acceptor, problem: watch::Sender::new(None) });
        tokio::spawn(Arc::clone(&fleet).follow());
        fleet
    }

    /// Every proxy there is.
    pub(super) fn proxies(&self) -> Vec<Arc<Simulated>> {
        self.lock().clone()
    }

    /// How many of them an operator hears.
    pub(super) fn heard(&self) -> usize {
        self.lock().iter().filter(|proxy| proxy.is_heard()).count()
    }

    /// What went wrong first, once something did.
    pub(super) async fn failed(&self) -> anyhow::Error {
        let mut problem = self.problem.subscribe();
        match problem.wait_for(Option::is_some).await {
            Ok(problem) => anyhow::anyhow!(problem.clone().unwrap_or_default()),
            Err(_) => std::future::pending().await,
        }
    }

    async fn follow(self: Arc<Self>) {
        let deployments: Api<Deployment> = Api::all(self.client.clone());
        let watched = watcher::watcher(deployments, watcher::Config::default().labels(OURS));
        let mut seen = HashSet::new();
        let made = watched.default_backoff().applied_objects().filter_map(move |deployment| {
            let is_new = |deployment: &Deployment| seen.insert((deployment.namespace(), deployment.name_any()));
            std::future::ready(deployment.ok().filter(is_new))
        });
        made.for_each_concurrent(AT_ONCE, |deployment| async {
            let name = deployment.name_any();
            if let Err(error) = self.run(deployment).await {
                let line = format!("a pod of {name}: {error:#}");
                self.problem.send_if_modified(|first| first.is_none() && first.replace(line).is_none());
            }
        })
        .await;
    }

    async fn run(&self, deployment: Deployment) -> Result<()> {
        let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
        let data = config_maps.get(&name).await.context("its ConfigMap")?.data.unwrap_or_default();
        let file = |key: &str| data.get(key).with_context(|| format!("a ConfigMap without {key}"));
        let proxy = Arc::new(Simulated::new(file("config.yaml")?));
        let authorities = file("ca.crt")?;
        let acceptor = self.acceptor.get_or_try_init(|| async { admin::acceptor(authorities) }).await?.clone();
        let ip = free_address();
        admin::serve(SocketAddr::from((ip, ADMIN_PORT)), acceptor, Arc::clone(&proxy)).await?;
        self.lock().push(proxy);
        self.make_pod(&namespace, &name, &deployment, ip).await.context("its Pod")
    }

    async fn make_pod(&self, namespace: &str, name: &str, deployment: &Deployment, ip: Ipv4Addr) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut manifest = serde_json::to_value(deployment.spec.as_ref().map(|spec| &spec.template))?;
        let name = format!("{name}-0");
        manifest["metadata"]["name"] = name.as_str().into();
        pods.create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
        let status = Patch::Merge(json!({"status": pod_status(ip, true)}));
        pods.patch_status(&name, &PatchParams::default(), &status).await?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Simulated>>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
