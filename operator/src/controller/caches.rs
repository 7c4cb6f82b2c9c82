//! What the operator knows of the cluster: one watch for each kind and watched namespace, stripped of what nobody reads,
//! and a stream of what changed. Reads only.

use std::{fmt::Debug, sync::Arc};

use fairlead_api::PortForward;
use futures::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, DeploymentStatus},
        core::v1::{ConfigMap, Pod, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{index::ObjectName, shelf::Shelf};
use crate::names::{CONTAINER, MANAGED_BY, PROXY_LABEL, ProxyId, SIDECAR_LABEL};

/// Where `kubectl apply` writes the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Changes that wait for the controller; the watches wait beyond that.
const CHANGES_LIMIT: usize = 1024;

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A PortForward, and the proxy it is in now; none if it is gone.
    PortForward(ObjectName, Option<ProxyId>),
    /// A proxy's pod; no proxy if it is gone.
    Pod(ObjectName, Option<ProxyId>),
    /// The Service of a PortForward, and the proxy that it leads to; no proxy if it is gone.
    Service(ObjectName, Option<ProxyId>),
    /// Something else that the operator made for a proxy.
    Child(ProxyId),
    /// A watch began anew: whatever is gone meanwhile was not told.
    Everything,
}

/// All objects that matter, as they were a moment ago.
pub(super) struct Caches {
    pub(super) port_forwards: Cache<PortForward>,
    pub(super) gateway_pods: Cache<Pod>,
    pub(super) sidecar_pods: Cache<Pod>,
    pub(super) config_maps: Cache<ConfigMap>,
    pub(super) deployments: Cache<Deployment>,
    pub(super) services: Cache<Service>,
    pub(super) budgets: Cache<PodDisruptionBudget>,
    pub(super) policies: Cache<NetworkPolicy>,
}

/// The objects of one kind, in all watched namespaces.
pub(super) struct Cache<K> {
    shelves: Vec<Arc<Shelf<K>>>,
}

impl<K: Resource<DynamicType = ()> + Serialize + DeserializeOwned> Cache<K> {
    pub(super) fn get(&self, name: &ObjectName) -> Option<K> {
        self.shelves.iter().find_map(|shelf| shelf.get(name))
    }

    pub(super) fn has(&self, name: &ObjectName) -> bool {
        self.shelves.iter().any(|shelf| shelf.has(name))
    }

    /// Everything there is, one after the other.
    pub(super) fn all(&self) -> impl Iterator<Item = K> + '_ {
        self.shelves.iter().flat_map(|shelf| shelf.all())
    }

    async fn ready(&self) {
        for shelf in &self.shelves {
            shelf.listed().await;
        }
    }
}

/// Starts watches whose tasks end with the tracker's owner.
struct Watches<'a> {
    client: &'a Client,
    namespaces: &'a [String],
    tasks: &'a TaskTracker,
    changes: mpsc::Sender<Change>,
}

impl Caches {
    /// Watches the namespaces, all of them if none is named.
    pub(super) fn start(client: &Client, namespaces: &[String], tasks: &TaskTracker) -> (Self, mpsc::Receiver<Change>) {
        let (changes, receiver) = mpsc::channel(CHANGES_LIMIT);
        let watches = Watches { client, namespaces, tasks, changes };
        let ours = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
        let caches = Self {
            port_forwards: watches.start("", strip_port_forward, port_forward),
            gateway_pods: watches.start(PROXY_LABEL, strip_pod, gateway_pod),
            sidecar_pods: watches.start(SIDECAR_LABEL, strip_pod, sidecar_pod),
            config_maps: watches.start(&ours, |_| {}, |child: &ConfigMap, _| of_child(child)),
            deployments: watches.start(&ours, strip_deployment, |child: &Deployment, _| of_child(child)),
            services: watches.start(&ours, strip_service, service),
            budgets: watches.start(&ours, |_| {}, |child: &PodDisruptionBudget, _| of_child(child)),
            policies: watches.start(&ours, |_| {}, |child: &NetworkPolicy, _| of_child(child)),
        };
        (caches, receiver)
    }

    /// Waits until everything has been listed once.
    pub(super) async fn ready(&self) {
        self.port_forwards.ready().await;
        self.gateway_pods.ready().await;
        self.sidecar_pods.ready().await;
        self.config_maps.ready().await;
        self.deployments.ready().await;
        self.services.ready().await;
        self.budgets.ready().await;
        self.policies.ready().await;
    }
}

impl Watches<'_> {
    fn start<K>(&self, labels: &str, strip: fn(&mut K), change: fn(&K, bool) -> Option<Change>) -> Cache<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let all = [String::new()];
        let namespaces = if self.namespaces.is_empty() { &all } else { self.namespaces };
        let shelves = namespaces.iter().map(|namespace| {
            let api = match namespace.as_str() {
                "" => Api::all(self.client.clone()),
                namespace => Api::namespaced(self.client.clone(), namespace),
            };
            let shelf = Arc::<Shelf<K>>::default();
            let stream = watcher::watcher(api, watcher::Config::default().labels(labels))
                .modify(move |object: &mut K| {
                    strip_metadata(object.meta_mut());
                    strip(object);
                })
                .default_backoff();
            let (filled, changes) = (Arc::clone(&shelf), self.changes.clone());
            self.tasks.spawn(stream.for_each(move |event| {
                event.iter().for_each(|event| filled.take(event));
                let (changes, change) = (changes.clone(), told(event, change));
                async move {
                    if let Some(change) = change {
                        // The controller is gone: so will this task be.
                        let _ = changes.send(change).await;
                    }
                }
            }));
            shelf
        });
        Cache { shelves: shelves.collect() }
    }
}

fn told<K>(event: watcher::Result<Event<K>>, change: fn(&K, bool) -> Option<Change>) -> Option<Change> {
    match event {
        Ok(Event::Apply(object) | Event::InitApply(object)) => change(&object, false),
        Ok(Event::Delete(object)) => change(&object, true),
        Ok(Event::Init) => None,
        Ok(Event::InitDone) => Some(Change::Everything),
        Err(error) => {
            tracing::warn!(%error, "a watch failed; it begins again after a pause");
            None
        }
    }
}

fn port_forward(object: &PortForward, gone: bool) -> Option<Change> {
    let leaves = gone || object.metadata.deletion_timestamp.is_some();
    Some(Change::PortForward(ObjectName::of(object), (!leaves).then(|| ProxyId::of(object))))
}

fn gateway_pod(pod: &Pod, gone: bool) -> Option<Change> {
    Some(Change::Pod(ObjectName::of(pod), if gone { None } else { gateway(pod) }))
}

fn sidecar_pod(pod: &Pod, gone: bool) -> Option<Change> {
    Some(Change::Pod(ObjectName::of(pod), if gone { None } else { sidecar(pod) }))
}

fn gateway(pod: &Pod) -> Option<ProxyId> {
    labelled(pod)
}

fn sidecar(pod: &Pod) -> Option<ProxyId> {
    let kind = crate::names::ProxyKind::Sidecar(pod.labels().get(SIDECAR_LABEL)?.clone());
    Some(ProxyId { namespace: pod.namespace()?, kind })
}

fn service(service: &Service, gone: bool) -> Option<Change> {
    Some(Change::Service(ObjectName::of(service), if gone { None } else { labelled(service) }))
}

fn of_child<K: Resource>(child: &K) -> Option<Change> {
    labelled(child).map(Change::Child)
}

fn labelled<K: Resource>(object: &K) -> Option<ProxyId> {
    ProxyId::of_object(&object.namespace()?, object.labels().get(PROXY_LABEL)?)
}

/// Drops what nobody reads and what may be as large as the object itself.
fn strip_metadata(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// Labels and annotations are for people.
fn strip_port_forward(object: &mut PortForward) {
    object.metadata.labels = None;
    object.metadata.annotations = None;
}

/// Keeps why there are no pods.
fn strip_deployment(deployment: &mut Deployment) {
    if let Some(status) = &mut deployment.status {
        let conditions = status.conditions.take();
        *status = DeploymentStatus { conditions, ..DeploymentStatus::default() };
    }
}

/// Keeps what the operator may want otherwise, and not the addresses that a Service was given.
fn strip_service(service: &mut Service) {
    service.status = None;
    if let Some(spec) = &mut service.spec {
        (spec.cluster_ip, spec.cluster_ips, spec.ip_families) = (None, None, None);
    }
}

/// Keeps what `pods` reads: containers by name and what they mount, address and readiness.
fn strip_pod(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        let containers = std::mem::take(&mut spec.containers);
        let init_containers = spec.init_containers.take();
        *spec = k8s_openapi::api::core::v1::PodSpec::default();
        let bare = |container: k8s_openapi::api::core::v1::Container| k8s_openapi::api::core::v1::Container {
            volume_mounts: container.volume_mounts.filter(|_| container.name == CONTAINER),
            name: container.name,
            ..Default::default()
        };
        spec.containers = containers.into_iter().map(bare).collect();
        spec.init_containers = init_containers.map(|all| all.into_iter().map(bare).collect());
    }
    if let Some(status) = &mut pod.status {
        let mut sidecars = status.init_container_statuses.take();
        sidecars.iter_mut().flatten().for_each(|container| {
            let (name, ready) = (std::mem::take(&mut container.name), container.ready);
            *container = k8s_openapi::api::core::v1::ContainerStatus { name, ready, ..Default::default() };
        });
        let kept = k8s_openapi::api::core::v1::PodStatus {
            conditions: status.conditions.take(),
            init_container_statuses: sidecars,
            phase: status.phase.take(),
            pod_ip: status.pod_ip.take(),
            ..Default::default()
        };
        *status = kept;
    }
}

impl Caches {
    /// Every PortForward, every pod and every Service, as if each had just come.
    pub(super) fn present(&self) -> Vec<Change> {
        fn changes<'a, K: Resource<DynamicType = ()> + Serialize + DeserializeOwned>(
            cache: &'a Cache<K>,
            change: fn(&K, bool) -> Option<Change>,
        ) -> impl Iterator<Item = Change> + 'a {
            cache.all().filter_map(move |object| change(&object, false))
        }
        let pods = changes(&self.gateway_pods, gateway_pod).chain(changes(&self.sidecar_pods, sidecar_pod));
        changes(&self.port_forwards, port_forward).chain(pods).chain(changes(&self.services, service)).collect()
    }

    /// Every proxy that has a ConfigMap or a Deployment.
    pub(super) fn proxies_of_children(&self) -> Vec<ProxyId> {
        let maps = self.config_maps.all().filter_map(|map| labelled(&map));
        maps.chain(self.deployments.all().filter_map(|deployment| labelled(&deployment))).collect()
    }
}
