//! A real control plane without nodes: etcd, kube-apiserver and kube-controller-manager on free ports of 127.0.0.1,
//! with our CRD. Nothing runs the pods; [`ProxyPod`] stands in for them. Where its programs are missing, tests are
//! skipped, visibly.
//!
//! ```no_run
//! use fairlead_tests::cluster::ControlPlane;
//! let Some(cluster) = ControlPlane::shared() else { return };
//! let namespace = cluster.namespace();
//! ```

use std::{
    future::Future,
    path::Path,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use tokio::runtime::Runtime;

use crate::{deadline::await_condition, ports, skip::skip};

mod access;
mod audit;
mod flags;
mod kubectl;
mod kubelet;
mod namespace;
mod objects;
mod pki;
mod programs;
mod proxy_pod;
mod scratch;
mod server;
mod volumes;

pub use audit::Request;
pub use kubelet::Kubelet;
pub use namespace::TempNamespace;
pub use objects::{Kind, Objects};
pub use programs::helm;
pub use proxy_pod::{PROXY_ARGUMENTS, ProxyPod, proxy_pod};
pub(crate) use proxy_pod::{free_address, status as pod_status};
pub use volumes::Mounting;

use audit::AuditLog;
use pki::Pki;
use programs::Programs;
use scratch::Scratch;
use server::Server;

/// How long anything of the control plane may take that takes seconds on an idle machine.
pub const CLUSTER_SOON: Duration = Duration::from_secs(60);

/// The field manager of what tests write.
pub const FIELD_MANAGER: &str = "fairlead-tests";

const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
const AUDIT_LOG: &str = "audit.log";
const ADMIN: &str = "admin";
const CONTROLLERS: &str = "controllers";

/// A running control plane; dropping it ends it and removes its data.
pub struct ControlPlane {
    // Dropped in this order: the servers before their directory.
    servers: Mutex<Servers>,
    audit: Mutex<AuditLog>,
    port: u16,
    etcd_port: u16,
    pki: Pki,
    programs: Programs,
    admin: OnceLock<Client>,
    scratch: Scratch,
}

#[derive(Default)]
struct Servers {
    controller_manager: Option<Server>,
    api_server: Option<Server>,
    etcd: Option<Server>,
}

impl ControlPlane {
    /// The one that the tests of this process share, started by the first; none, after saying so, where it can't run.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<ControlPlane>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Programs::find().ok().map(Self::run_with_crd));
        if let (None, Err(reason)) = (shared, Programs::find()) {
            skip(&reason);
        }
        shared.as_ref()
    }

    /// One of the test's own, with our CRD; none, after saying so, where it can't run.
    pub fn start() -> Option<Self> {
        Self::programs_or_skip().map(Self::run_with_crd)
    }

    /// One of the test's own without our CRD, for tests that install it as users do.
    pub fn start_without_crd() -> Option<Self> {
        let control_plane = Self::run(Self::programs_or_skip()?);
        control_plane.start_controllers();
        Some(control_plane)
    }

    /// One of the test's own with our CRD, in which no controllers run.
    pub fn start_without_controllers() -> Option<Self> {
        let control_plane = Self::run(Self::programs_or_skip()?);
        control_plane.install_crd();
        Some(control_plane)
    }

    fn programs_or_skip() -> Option<Programs> {
        Programs::find().map_err(|reason| skip(&reason)).ok()
    }

    /// The controllers come after the CRD: a garbage collector looks for new kinds only every half minute.
    fn run_with_crd(programs: Programs) -> Self {
        let control_plane = Self::run(programs);
        control_plane.install_crd();
        control_plane.start_controllers();
        control_plane
    }

    #[allow(clippy::print_stderr, reason = "the time is part of what a slow run must explain")]
    fn run(programs: Programs) -> Self {
        // Only the first succeeds, in whichever test it is.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let begin = Instant::now();
        let scratch = Scratch::new();
        let (port, etcd_port) = (ports::free(), ports::free());
        let pki = Pki::new(scratch.path().join("pki"));
        let audit = Mutex::new(AuditLog::new(scratch.path().join(AUDIT_LOG)));
        let servers = Mutex::default();
        let admin = OnceLock::new();
        let control_plane = Self { servers, audit, port, etcd_port, pki, programs, admin, scratch };
        control_plane.write_files();
        let etcd = flags::etcd(control_plane.directory(), etcd_port, ports::free());
        let etcd = Server::start("etcd", &control_plane.programs.etcd, etcd, control_plane.directory());
        control_plane.servers().etcd = Some(etcd);
        control_plane.start_api_server();
        eprintln!("control plane ready after {:.1} s", begin.elapsed().as_secs_f32());
        control_plane
    }

    fn write_files(&self) {
        let policy = self.directory().join("audit-policy.json");
        std::fs::write(policy, audit::policy().to_string()).expect("write the audit policy");
        let master = |file, user| access::write_master(self.directory(), &self.pki, self.port, file, user);
        master(ADMIN, "admin");
        master(CONTROLLERS, CONTROLLER_MANAGER);
    }

    fn start_controllers(&self) {
        let kubeconfig = access::kubeconfig_file(self.directory(), CONTROLLERS);
        let arguments = flags::controller_manager(&kubeconfig, &self.pki);
        let program = &self.programs.controller_manager;
        let server = Server::start("kube-controller-manager", program, arguments, self.directory());
        self.servers().controller_manager = Some(server);
    }

    /// Starts the API server, which keeps its port and data, and waits until it is ready.
    pub fn start_api_server(&self) {
        let arguments = flags::api_server(self.directory(), &self.pki, self.port, self.etcd_port);
        let server = Server::start("kube-apiserver", &self.programs.api_server, arguments, self.directory());
        self.servers().api_server = Some(server);
        await_condition("the API server", CLUSTER_SOON, || {
            let mut servers = self.servers();
            let Servers { api_server, etcd, .. } = &mut *servers;
            api_server.iter_mut().chain(etcd).for_each(Server::assert_running);
            drop(servers);
            self.read_path("/readyz").is_ok()
        });
    }

    /// Kills the API server; clients see closed connections, then refused ones.
    pub fn stop_api_server(&self) {
        self.servers().api_server = None;
    }

    /// Kills the API server and starts it again.
    pub fn restart_api_server(&self) {
        self.stop_api_server();
        self.start_api_server();
    }

    /// A client that may do everything. Its connections belong to the runtime of [`block_on`].
    pub fn client(&self) -> Client {
        self.admin.get_or_init(|| self.client_of(&self.kubeconfig_admin())).clone()
    }

    /// Makes our CRD known, and waits until its objects can be stored.
    pub fn install_crd(&self) {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client());
        let crd = fairlead_api::crd();
        let name = crd.metadata.name.clone().expect("the CRD's name");
        let apply = PatchParams::apply(FIELD_MANAGER);
        block_on(crds.patch(&name, &apply, &Patch::Apply(&crd))).expect("apply the CRD");
        await_condition("the CRD to be established", CLUSTER_SOON, || {
            let crd = block_on(crds.get(&name)).expect("read the CRD");
            let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
            conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
        });
        await_condition("PortForwards to be served", CLUSTER_SOON, || {
            self.read_path("/apis/fairlead.dev/v1alpha1/portforwards").is_ok()
        });
    }

    /// Every request of a user that was answered before this call, in the order of their ends. The user of a
    /// ServiceAccount is `system:serviceaccount:NAMESPACE:NAME`.
    pub fn requests_of(&self, user: &str) -> Vec<Request> {
        // What the log has when it has this request, was asked before.
        let mark = format!("/version?mark={}", unique());
        self.read_path(&mark).expect("ask for the version");
        let mut log = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        await_condition("the audit log", CLUSTER_SOON, || log.has(&mark));
        log.of(user)
    }

    /// The end of each server's output, for messages.
    pub fn logs(&self) -> String {
        let servers = self.servers();
        let Servers { etcd, api_server, controller_manager } = &*servers;
        [etcd, api_server, controller_manager].into_iter().flatten().map(Server::tail).collect()
    }

    fn read_path(&self, path: &str) -> Result<String, String> {
        let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        block_on(self.client().request_text(request)).map_err(|error| error.to_string())
    }

    fn directory(&self) -> &Path {
        self.scratch.path()
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a future to its end, in the runtime that all clients of this process share.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// A number that no other caller in this process is given.
fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The runtime that all clients of this process share.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}
