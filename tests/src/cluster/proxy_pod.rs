//! A pod that runs: a Pod object of the API server and, in a node's stead, a real `fairlead` process with the arguments
//! and volumes that the object says, at a loopback address of its own. What the status says of it is the test's to
//! write, or a [`Kubelet`](super::Kubelet)'s.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use fairlead_api::render::{CONFIG_MAPS_DIR, SECRETS_DIR};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Mounting, Objects, unique, volumes::Volumes};
use crate::{
    binary::{Fairlead, Launch},
    deadline::{SOON, await_condition},
};

/// The container that is run.
const CONTAINER: &str = "fairlead";
/// Where everybody finds what is under /etc.
const ETC: &str = "/etc/";
/// How long a probe may take, as the container says.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// As a sidecar is run, but with its ConfigMap where [`proxy_pod`] mounts it.
pub const PROXY_ARGUMENTS: [&str; 9] = [
    "proxy",
    "--config",
    "/config/config.yaml",
    "--admin-addr",
    ":19443",
    "--admin-ca",
    "/config/ca.crt",
    "--metrics-addr",
    ":19444",
];

/// A Pod and its process; dropping it kills the process and leaves the object.
pub struct ProxyPod {
    name: String,
    ip: Ipv4Addr,
    arguments: Vec<String>,
    /// What is of its own under /etc.
    etc: PathBuf,
    process: Fairlead,
    _volumes: Volumes,
}

impl ProxyPod {
    /// Creates a Pod and runs its container. It is not ready until [`Self::set_ready`] says so.
    pub fn start(namespace: &Objects, manifest: Value, mounting: Mounting) -> Self {
        let pod: Pod = namespace.create(manifest).expect("create a Pod");
        Self::run(namespace, &pod, mounting)
    }

    /// Runs the container of a Pod that a controller created.
    pub fn run(namespace: &Objects, pod: &Pod, mounting: Mounting) -> Self {
        let pod = Self::launch(namespace, pod, mounting);
        pod.set_ready(namespace, false);
        pod
    }

    /// Runs it, and writes no status.
    pub(super) fn launch(namespace: &Objects, pod: &Pod, mounting: Mounting) -> Self {
        let (name, ip) = (pod.name_any(), free_address());
        let directory = namespace.directory().join(format!("pod-{}", unique()));
        let etc = directory.join("etc");
        fs::create_dir_all(&etc).expect("make the pod's directory");
        fs::write(etc.join("hosts"), format!("{ip} localhost\n")).expect("write the pod's hosts");
        let volumes = Volumes::mount(namespace, pod, directory, mounting);
        lay_out(container(pod), &etc, &volumes);
        let arguments = arguments(container(pod), ip, &volumes);
        let process = launch(&arguments, &etc);
        Self { name, ip, arguments, etc, process, _volumes: volumes }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address. Within the process, `localhost` is this too, so that forwards of several pods can listen on the
    /// same port of `localhost`.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// A port of it.
    pub fn address(&self, port: u16) -> SocketAddr {
        (self.ip, port).into()
    }

    /// The process, to look at its output, signal it, or await its end.
    pub fn process(&mut self) -> &mut Fairlead {
        &mut self.process
    }

    /// Starts its process again, as a kubelet does with one that ended; one that still runs is killed.
    pub fn restart(&mut self) {
        if self.process.is_running() {
            self.process.signal(Signal::KILL);
            self.process.await_exit(SOON);
        }
        self.process = launch(&self.arguments, &self.etc);
    }

    /// Whether its readiness probe succeeds.
    pub fn passes_its_probe(&self) -> bool {
        let argument = self.arguments.iter().skip_while(|argument| *argument != "--metrics-addr").nth(1);
        let address: Option<SocketAddr> = argument.and_then(|address| address.parse().ok());
        let address = address.expect("the argument --metrics-addr");
        probe(address).is_ok_and(|answer| answer.starts_with("HTTP/1.0 200"))
    }

    /// Waits until its readiness probe succeeds, and says so in the Pod's status.
    pub fn await_ready(&mut self, namespace: &Objects) {
        await_condition(format!("pod {} to pass its probe", self.name), SOON, || {
            assert!(self.process.is_running(), "pod {} has ended:\n{}", self.name, self.process.printed());
            self.passes_its_probe()
        });
        self.set_ready(namespace, true);
    }

    /// Writes the Pod's condition Ready, whatever is true.
    pub fn set_ready(&self, namespace: &Objects, ready: bool) {
        namespace.merge_status::<Pod>(&self.name, &status(self.ip, ready));
    }

    /// Kills the process and deletes the Pod at once, as when a node is lost.
    pub fn delete(self, namespace: &Objects) {
        namespace.delete::<Pod>(&self.name);
    }
}

/// A Pod with a container `fairlead`, which mounts this ConfigMap at `/config`.
pub fn proxy_pod(name: &str, labels: &Value, config_map: &str, arguments: &[&str]) -> Value {
    let container = json!({
        "name": CONTAINER, "image": "fairlead:test", "args": arguments,
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
    });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "config", "configMap": {"name": config_map, "optional": true}}],
        },
    })
}

/// The container that would be run, native sidecars included; none in a pod that is no proxy.
pub(super) fn proxy_container(pod: &Pod) -> Option<&Container> {
    let spec = pod.spec.as_ref()?;
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers.find(|container| container.name == CONTAINER)
}

fn container(pod: &Pod) -> &Container {
    proxy_container(pod).unwrap_or_else(|| panic!("pod {} has no container {CONTAINER}", pod.name_any()))
}

/// Lays out what PortForwards name, which the container isn't told of by its arguments.
fn lay_out(container: &Container, etc: &Path, volumes: &Volumes) {
    let is_named = |path: &str| [SECRETS_DIR, CONFIG_MAPS_DIR].iter().any(|directory| path.starts_with(directory));
    for mount in container.volume_mounts.iter().flatten().filter(|mount| is_named(&mount.mount_path)) {
        let link = etc.join(mount.mount_path.strip_prefix(ETC).expect("a path under /etc"));
        fs::create_dir_all(link.parent().expect("a directory")).expect("make a directory of /etc");
        symlink(volumes.directory(&mount.name), link).expect("link a volume");
    }
}

/// A namespace with an /etc of its own takes more rights than one with a file: few pods need it.
fn launch(arguments: &[String], etc: &Path) -> Fairlead {
    let launch = Launch::new(arguments);
    let has_more = fs::read_dir(etc).expect("read the pod's /etc").count() > 1;
    let launch = if has_more { launch.etc(etc) } else { launch.hosts(&etc.join("hosts")) };
    launch.start()
}

fn probe(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PROBE_TIMEOUT)?;
    stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map(|_| answer)
}

/// The container's arguments, with the volumes where they are and every port at the pod's own address.
fn arguments(container: &Container, ip: Ipv4Addr, volumes: &Volumes) -> Vec<String> {
    let mounts = container.volume_mounts.iter().flatten();
    let mounts: Vec<_> = mounts.map(|mount| (&mount.mount_path, volumes.directory(&mount.name))).collect();
    let argument = |argument: &String| {
        let mounted = mounts.iter().find_map(|(path, directory)| {
            let inner = argument.strip_prefix(path.as_str())?.strip_prefix('/')?;
            Some(directory.join(inner).display().to_string())
        });
        let port = || argument.strip_prefix(':').filter(|port| port.parse::<u16>().is_ok());
        mounted.or_else(|| port().map(|port| format!("{ip}:{port}"))).unwrap_or_else(|| argument.clone())
    };
    container.args.iter().flatten().map(argument).collect()
}

pub(crate) fn status(ip: Ipv4Addr, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [
            {"type": "Initialized", "status": "True"}, {"type": "PodScheduled", "status": "True"},
            {"type": "ContainersReady", "status": status}, {"type": "Ready", "status": status},
        ],
    })
}

/// An address of 127.64.0.0/10 that no other caller in this process is given, nor, as a rule, in another one.
pub(crate) fn free_address() -> Ipv4Addr {
    const FIRST: u32 = 0x7F40_0000;
    const PROCESSES: u32 = 1 << 12;
    const EACH: u32 = 1 << 10;
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let own = std::process::id() % PROCESSES * EACH;
    (FIRST + own + NEXT.fetch_add(1, Ordering::Relaxed) % EACH).into()
}
