//! The real operator against a real API server, as the ServiceAccount that `deploy/install.yaml` makes and with the
//! rights that it gives, no others: a request that is refused for want of rights fails the test.

use std::{cell::RefCell, collections::HashSet, path::Path, time::Instant};

use fairlead_api::{PortForward, PortForwardStatus};
use fairlead_config::yaml;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

use crate::{
    binary::{Fairlead, Launch, operator},
    cluster::{ControlPlane, Objects, Request},
    ports,
};

mod history;

pub use history::{History, Seen, nodes};

/// The namespace and the ServiceAccount of the operator.
pub const NAMESPACE: &str = "fairlead-system";
/// Also the name of its Deployment and its Lease.
pub const SERVICE_ACCOUNT: &str = "fairlead-operator";
/// Its user, in the audit log.
pub const USER: &str = "system:serviceaccount:fairlead-system:fairlead-operator";

/// A running operator; dropping it kills it.
pub struct Operator {
    process: Fairlead,
    metrics: u16,
}

impl Operator {
    /// Installs what it needs, and starts it.
    pub fn start(cluster: &ControlPlane) -> Self {
        install(cluster);
        Self::start_installed(cluster, &[])
    }

    /// Starts one more, with further arguments, and waits until it serves /metrics.
    pub fn start_installed(cluster: &ControlPlane, arguments: &[&str]) -> Self {
        let kubeconfig = cluster.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT);
        let metrics = ports::free();
        let address = format!("127.0.0.1:{metrics}");
        let all =
            ["run", "--namespace", NAMESPACE, "--metrics-addr", &address].into_iter().chain(arguments.iter().copied());
        let launch = Launch::new(all).program(operator());
        let process = launch.environment("KUBECONFIG", kubeconfig).environment("RUST_LOG", "info").start();
        process.await_listening(metrics);
        Self { process, metrics }
    }

    /// The process, to signal it or read its log.
    pub fn process(&mut self) -> &mut Fairlead {
        &mut self.process
    }

    /// Where it serves /metrics, on 127.0.0.1.
    pub fn metrics_port(&self) -> u16 {
        self.metrics
    }
}

impl Drop for Operator {
    #[allow(clippy::print_stderr, reason = "why a test failed often stands in the operator's log")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the operator at {}:\n{}", self.metrics, self.process.printed());
        }
    }
}

/// Applies everything of `deploy/install.yaml` but the operator's pods, and the CRD, which the control plane has.
pub fn install(cluster: &ControlPlane) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/install.yaml");
    let text = std::fs::read_to_string(file).expect("read deploy/install.yaml");
    let documents: Vec<Value> = yaml::documents(&text).expect("deploy/install.yaml is YAML");
    let left_out = ["CustomResourceDefinition", "Deployment"];
    let is_kept = |document: &Value| !left_out.contains(&document["kind"].as_str().unwrap_or_default());
    let kept: Vec<&Value> = documents.iter().filter(|document| is_kept(document)).collect();
    let text = json!({"apiVersion": "v1", "kind": "List", "items": kept}).to_string();
    let applied = cluster.kubectl_with(&text, &["apply", "--server-side", "-f", "-"]);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
}

/// Every request of the operator that was refused for want of rights. An API server that has just started knows no roles
/// and refuses whatever comes: what it grants at another time doesn't count.
pub fn forbidden(cluster: &ControlPlane) -> Vec<String> {
    let requests = cluster.requests_of(USER);
    let right = |request: &Request| {
        let Request { verb, group, resource, subresource, .. } = request;
        let name = request.name.clone().filter(|_| ["secrets", "leases"].contains(&resource.as_str()));
        (verb.clone(), group.clone(), resource.clone(), subresource.clone(), name)
    };
    let granted: HashSet<_> = requests.iter().filter(|request| !request.is_denied).map(right).collect();
    let denied = requests.iter().filter(|request| request.is_denied && !granted.contains(&right(request)));
    denied.map(|request| format!("{} {}", request.verb, request.path)).collect()
}

/// Every write of any operator so far, the Lease's left out, in the order of their ends.
pub fn writes(cluster: &ControlPlane) -> Vec<Request> {
    let mut writes = cluster.requests_of(USER);
    writes.retain(|request| request.is_write() && request.resource != "leases");
    writes
}

/// A condition of a PortForward.
pub fn condition<'a>(object: &'a PortForward, type_: &str) -> Option<&'a Condition> {
    object.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

/// Status and reason of a condition, empty where there is none.
pub fn says<'a>(object: &'a PortForward, type_: &str) -> (&'a str, &'a str) {
    condition(object, type_).map_or(("", ""), |condition| (&condition.status, &condition.reason))
}

/// Waits for a PortForward whose condition is as wanted, for its present generation.
pub fn await_condition_of(objects: &Objects, name: &str, type_: &str, wanted: (&str, &str)) -> PortForward {
    let last = LastSeen::default();
    objects.await_object(name, &format!("{type_} {wanted:?}"), |object: &PortForward| {
        last.0.replace(Some(object.clone()));
        let present = condition(object, type_).is_some_and(|c| c.observed_generation == object.metadata.generation);
        present && says(object, type_) == wanted
    })
}

/// Shows an object that was waited for in vain.
#[derive(Default)]
struct LastSeen(RefCell<Option<PortForward>>);

impl Drop for LastSeen {
    #[allow(clippy::print_stderr, reason = "the last state says why the wait was in vain")]
    fn drop(&mut self) {
        let seen = self.0.take().filter(|_| std::thread::panicking());
        if let Some(object) = seen {
            eprintln!("last seen: {}", Seen { at: Instant::now(), object }.line());
        }
    }
}

/// The state of each node, in the order of the status.
pub fn node_states(status: &PortForwardStatus) -> Vec<String> {
    status.nodes.iter().map(|node| format!("{} {:?}", node.address, node.state)).collect()
}
