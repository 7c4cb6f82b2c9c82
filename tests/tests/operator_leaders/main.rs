//! Operators that come, go, stand still and compete: one of them writes at any time, and the proxies don't care. Each
//! test has a control plane of its own, with real operators under the rights that the chart gives them.

mod authority;
mod handover;
mod lifecycle;
mod without;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::http,
    cluster::{CLUSTER_SOON, ControlPlane, Objects},
    deadline::await_condition,
    operator::{NAMESPACE, Operator, SERVICE_ACCOUNT},
    ports,
    scene::forward,
    targets::Target,
};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::json;

/// How long one change of a busy forward follows the other.
const BUSY: Duration = Duration::from_millis(100);

/// Starts one more operator of this name.
fn start(cluster: &ControlPlane, name: &str) -> Operator {
    Operator::start_installed(cluster, &["--identity", name])
}

/// Starts one more, and waits until it knows the cluster.
fn stand_by(cluster: &ControlPlane, name: &str) -> Operator {
    let operator = start(cluster, name);
    await_condition(format!("operator {name} to be ready"), CLUSTER_SOON, || {
        http("GET", operator.metrics_port(), "/readyz").is_ok_and(|answer| answer.code == 200)
    });
    operator
}

/// Who holds the lease: the name of an operator; none if nobody does.
fn holder(cluster: &ControlPlane) -> Option<String> {
    let lease: Lease = cluster.objects(NAMESPACE).find(SERVICE_ACCOUNT)?;
    let identity = lease.spec?.holder_identity?;
    // Behind the name stands what tells one process of that name from the next.
    identity.rsplit_once('-').map(|(name, _)| name.to_owned())
}

fn await_holder(cluster: &ControlPlane, name: &str) {
    await_condition(format!("{name} to hold the lease"), CLUSTER_SOON, || holder(cluster).as_deref() == Some(name));
}

/// A PortForward whose targets change all the time; dropping it ends that.
struct Busy {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    fn begin(objects: &Objects) -> Self {
        let (objects, over) = (objects.clone(), Arc::<AtomicBool>::default());
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let (a, b, port) = (Target::letter('A'), Target::letter('B'), ports::free());
            for target in [&a, &b].into_iter().cycle() {
                objects.apply::<PortForward>(&forward("busy", port, &[target], json!({})));
                if until.load(SeqCst) {
                    return;
                }
                std::thread::park_timeout(BUSY);
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        // A panic of it is the test's as well, unless that is panicking already.
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || !matches!(ended, Some(Err(_))), "the busy forward could not be changed");
    }
}
