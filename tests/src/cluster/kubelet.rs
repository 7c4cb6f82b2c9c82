//! In a node's stead: runs every pod of a namespace that has our container, writes what its probe says into its status,
//! starts again what ended, and ends what is deleted, as slowly as it wants to within its grace period. It takes no
//! notice of other containers, of resources and of `preStop`.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::Status,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    Mounting, Objects, ProxyPod, block_on,
    proxy_pod::{proxy_container, status},
};

/// How often the pods and their probes are looked at.
const TURN: Duration = Duration::from_millis(50);
/// So many failed probes in a row make a pod unready, as its container says.
const FAILURES: u32 = 2;
/// The node that pods are said to be on; there is no such object.
const NODE: &str = "node-1";

/// A running stand-in; dropping it kills what it runs and leaves the objects.
pub struct Kubelet {
    pods: Arc<Mutex<Pods>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// By uid.
type Pods = BTreeMap<String, Running>;

struct Running {
    pod: ProxyPod,
    /// As last written.
    ready: bool,
    /// Probes that have failed since one succeeded.
    failures: u32,
    ending: Option<Instant>,
}

impl Kubelet {
    /// Runs the pods of a namespace from now on.
    pub fn start(namespace: &Objects, mounting: Mounting) -> Self {
        let pods = Arc::<Mutex<Pods>>::default();
        let (stop, stopped) = mpsc::channel();
        let worker = Worker { objects: namespace.clone(), mounting, pods: Arc::clone(&pods) };
        // Processes end with the thread that started them, which is this one.
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
                worker.turn();
            }
        });
        Self { pods, stop: Some(stop), thread: Some(thread) }
    }

    /// Name and address of the pods it runs.
    pub fn pods(&self) -> Vec<(String, Ipv4Addr)> {
        lock(&self.pods).values().map(|running| (running.pod.name().to_owned(), running.pod.ip())).collect()
    }

    /// Does something with a pod that it runs, while it waits; none if it runs no such pod.
    pub fn with_pod<T>(&self, name: &str, act: impl FnOnce(&mut ProxyPod) -> T) -> Option<T> {
        lock(&self.pods).values_mut().find(|running| running.pod.name() == name).map(|running| act(&mut running.pod))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Whether it panicked is for the test to notice.
        let _ = self.thread.take().map(JoinHandle::join);
        lock(&self.pods).clear();
    }
}

struct Worker {
    objects: Objects,
    mounting: Mounting,
    pods: Arc<Mutex<Pods>>,
}

impl Worker {
    /// Errors of the API server, which may be away, are met by the next turn.
    fn turn(&self) {
        let Ok(listed) = block_on(self.objects.api::<Pod>().list(&ListParams::default())) else { return };
        let mut pods = lock(&self.pods);
        let proxies: BTreeMap<String, &Pod> = listed
            .iter()
            .filter(|pod| proxy_container(pod).is_some())
            .filter_map(|pod| Some((pod.uid()?, pod)))
            .collect();
        pods.retain(|uid, _| proxies.contains_key(uid));
        for (uid, pod) in proxies {
            match pods.get_mut(&uid) {
                Some(running) => self.look_after(running, pod),
                None if pod.metadata.deletion_timestamp.is_some() => self.remove(pod),
                None => {
                    self.bind(pod);
                    let pod = ProxyPod::launch(&self.objects, pod, self.mounting);
                    let mut running = Running { pod, ready: true, failures: 0, ending: None };
                    self.write(&mut running, false);
                    pods.insert(uid, running);
                }
            }
        }
    }

    /// A pod on a node is not gone before its node says so.
    fn bind(&self, pod: &Pod) {
        if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none()) {
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name_any()},
                "target": {"kind": "Node", "name": NODE},
            });
            let pods = self.objects.api::<Pod>();
            let (name, params) = (pod.name_any(), PostParams::default());
            let bound = pods.create_subresource::<Value, Status>("binding", &name, &params, &binding);
            let _ = block_on(bound);
        }
    }

    fn look_after(&self, running: &mut Running, pod: &Pod) {
        let alive = running.pod.process().is_running();
        if pod.metadata.deletion_timestamp.is_some() {
            return self.end(running, pod, alive);
        }
        if !alive {
            running.pod.restart();
        }
        let passes = alive && running.pod.passes_its_probe();
        running.failures = if passes { 0 } else { running.failures + 1 };
        // A machine that is busy makes a probe late now and then.
        let is_believed = alive && running.ready && running.failures < FAILURES;
        self.write(running, passes || is_believed);
    }

    fn end(&self, running: &mut Running, pod: &Pod, alive: bool) {
        if !alive {
            return self.remove(pod);
        }
        let Some(since) = running.ending else {
            running.ending = Some(Instant::now());
            return running.pod.process().terminate();
        };
        let grace = pod.metadata.deletion_grace_period_seconds.and_then(|seconds| seconds.try_into().ok());
        if since.elapsed() > Duration::from_secs(grace.unwrap_or_default()) {
            running.pod.process().signal(Signal::KILL);
        }
        let ready = running.pod.passes_its_probe();
        self.write(running, ready);
    }

    fn remove(&self, pod: &Pod) {
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let _ = block_on(self.objects.api::<Pod>().delete(&pod.name_any(), &params));
    }

    fn write(&self, running: &mut Running, ready: bool) {
        if running.ready != ready {
            let patch = Patch::Merge(json!({"status": status(running.pod.ip(), ready)}));
            let pods = self.objects.api::<Pod>();
            let written = block_on(pods.patch_status(running.pod.name(), &PatchParams::default(), &patch));
            if written.is_ok() {
                running.ready = ready;
            }
        }
    }
}

fn lock(pods: &Mutex<Pods>) -> MutexGuard<'_, Pods> {
    pods.lock().unwrap_or_else(PoisonError::into_inner)
}
